"""Files of published StyleGANs, written by stand-in classes that pickle to the same opcodes and names; their imports.

It needs torch.
"""

import argparse
import io
import pickle
import sys
import types

import jax
import numpy as np
import torch

from ganjax import experiment, run_state
from ganjax.devices import sharding
from ganjax.sampling import sampler
from ganjax.weights import import_weights

BUFFERS = 'w_avg', 'noise_const', 'resample_filter', 'freqs', 'phases', 'transform', 'magnitude_ema'
BUFFERS += 'up_filter', 'down_filter'


def _module(name, **members):
  """A module of this name, whose members say that they are from there."""
  found = types.ModuleType(name)
  for key, member in members.items():
    member.__module__, member.__qualname__, member.__name__ = name, key, key
    setattr(found, key, member)
  sys.modules |= {name.partition('.')[0]: types.ModuleType(name.partition('.')[0]), name: found}
  return found


def _reconstruct_persistent_obj(meta):
  raise AssertionError('this would run the source text of a file')


persistence = _module('torch_utils.persistence', _reconstruct_persistent_obj=_reconstruct_persistent_obj)  # fmt: skip
EasyDict = _module('dnnlib.util', EasyDict=type('EasyDict', (dict,), {})).EasyDict


class Persistent(torch.nn.Module):
  """A module that is pickled as those of torch_utils/persistence.py are."""

  def __reduce__(self):
    state = dict(self.__dict__)
    meta = dict(
      type='class', version=6, module_src='import os', class_name='Generator', state=state
    )
    return persistence._reconstruct_persistent_obj, (meta,), None


def network(arrays: dict, **settings):
  """Modules within modules, of {dotted name: array}."""
  top = Persistent()
  top._init_args, top._init_kwargs = (), EasyDict(settings)
  for name, x in arrays.items():
    *scope, last = name.split('.')
    module = top
    for part in scope:
      if part not in module._modules:
        module.add_module(part, Persistent())
      module = module._modules[part]
    x = torch.tensor(x)
    if last in BUFFERS:
      module.register_buffer(last, x)
    else:
      module.register_parameter(last, torch.nn.Parameter(x, requires_grad=False))
  return top.eval().requires_grad_(False)


def pickled(**networks) -> bytes:
  """The file, by the protocol of Python 3.8."""
  rest = dict(augment_pipe=network({'p': np.float32(0.1)}), training_set_kwargs=EasyDict(path='x'))
  stream = io.BytesIO()
  pickle.dump({**networks, **rest}, stream, 4)
  return stream.getvalue()


FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def stylegan2(rng, sides, widths, w_dim, layers, z_dim, classes=0, channels=3):
  """{name: array} of a 'skip' G and a 'resnet' D."""
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  G, D = {}, {}

  def dense(found, name, outputs, inputs):
    found[f'{name}.weight'], found[f'{name}.bias'] = draw(outputs, inputs), draw(outputs)

  if classes:
    dense(G, 'mapping.embed', w_dim, classes)
  for i in range(layers):
    dense(G, f'mapping.fc{i}', w_dim, w_dim if i else z_dim + (w_dim if classes else 0))
  G['mapping.w_avg'] = draw(w_dim)
  G['synthesis.b4.const'] = draw(widths[0], 4, 4)
  for i, (side, width) in enumerate(zip(sides, widths)):
    block, before = f'synthesis.b{side}', widths[max(i - 1, 0)]
    G[f'{block}.resample_filter'] = FILTER
    for j in (0, 1) if i else (1,):
      layer = f'{block}.conv{j}'
      G[f'{layer}.weight'] = draw(width, width if j else before, 3, 3)
      G[f'{layer}.bias'], G[f'{layer}.noise_strength'] = draw(width), draw()
      G[f'{layer}.noise_const'], G[f'{layer}.resample_filter'] = draw(side, side), FILTER
      dense(G, f'{layer}.affine', width if j else before, w_dim)
    G[f'{block}.torgb.weight'], G[f'{block}.torgb.bias'] = draw(channels, width, 1, 1), draw(channels)  # fmt: skip
    dense(G, f'{block}.torgb.affine', width, w_dim)
  for i in reversed(range(1, len(sides))):
    block = f'b{sides[i]}'
    if i == len(sides) - 1:
      D[f'{block}.fromrgb.weight'] = draw(widths[i], channels, 1, 1)
      D[f'{block}.fromrgb.bias'] = draw(widths[i])
    for j, width in (0, widths[i]), (1, widths[i - 1]):
      D[f'{block}.conv{j}.weight'], D[f'{block}.conv{j}.bias'] = draw(width, widths[i], 3, 3), draw(width)  # fmt: skip
    D[f'{block}.skip.weight'] = draw(widths[i - 1], widths[i], 1, 1)
    D[f'{block}.resample_filter'] = FILTER
  D['b4.conv.weight'], D['b4.conv.bias'] = draw(widths[0], widths[0] + 1, 3, 3), draw(widths[0])
  dense(D, 'b4.fc', widths[0], 16 * widths[0])
  dense(D, 'b4.out', widths[0] if classes else 1, widths[0])
  if classes:
    dense(D, 'mapping.embed', widths[0], classes)
    for i in range(2):
      dense(D, f'mapping.fc{i}', widths[0], widths[0])
  layers = [name.removesuffix('.weight') for name, x in D.items() if x.ndim == 4]
  D |= {f'{layer}.resample_filter': FILTER for layer in layers}
  return G, D


def rosinality(G, D) -> dict:
  """The same numbers under the names of rosinality's code."""
  found, count = {}, sum(name.endswith('torgb.weight') for name in G)
  for name, x in G.items():
    part, *rest = name.split('.', 1)[1].split('.')
    if name.startswith('mapping.fc'):
      found[f'style.{int(part[2:]) + 1}.{rest[0]}'] = x
    elif name == 'synthesis.b4.const':
      found['input.input'] = x[None]
    elif 'conv' in name or 'torgb' in name:
      i, layer, kind = int(part[1:]).bit_length() - 3, rest[0], '.'.join(rest[1:])
      if layer == 'torgb':
        own = f'to_rgbs.{i - 1}' if i else 'to_rgb1'
      else:
        own = f'convs.{2 * i - 2 + int(layer[-1])}' if i else 'conv1'
      if kind == 'noise_const':
        found[f'noises.noise_{2 * i - 1 + int(layer[-1]) if i else 0}'] = x[None, None]
        continue
      bias = ('bias', x.reshape(1, -1, 1, 1)) if layer == 'torgb' else ('activate.bias', x)
      last, x = {
        'weight': ('conv.weight', x[None]),
        'affine.weight': ('conv.modulation.weight', x),
        'affine.bias': ('conv.modulation.bias', x),
        'noise_strength': ('noise.weight', x.reshape(-1)),
        'bias': bias,
        'resample_filter': ('conv.blur.kernel', x),
      }[kind]
      found[f'{own}.{last}'] = x
  of_D = {}
  for name, x in D.items():
    if name.endswith('resample_filter'):
      continue
    part, layer, kind = name.split('.')
    i = count - (int(part[1:]).bit_length() - 3)
    where = {
      'fromrgb': ('convs.0.0', 'convs.0.1'), 'conv0': (f'convs.{i}.conv1.0', f'convs.{i}.conv1.1'),
      'conv1': (f'convs.{i}.conv2.1', f'convs.{i}.conv2.2'), 'skip': (f'convs.{i}.skip.1', ''),
      'conv': ('final_conv.0', 'final_conv.1'), 'fc': ('final_linear.0',) * 2, 'out': ('final_linear.1',) * 2,
    }[layer]  # fmt: skip
    of_D[f'{where[kind == "bias"]}.{kind}'] = x
  tensors = lambda arrays: {name: torch.tensor(x) for name, x in arrays.items()}
  return {
    'g': tensors(found),
    'd': tensors(of_D),
    'g_ema': tensors(found),
    'g_optim': {'state': {0: {'step': 1}}, 'param_groups': [{'lr': 0.1}]},
    'args': argparse.Namespace(size=32),
    'ada_aug_p': 0.0,
  }


def bring(path, format, monkeypatch):
  """(experiment, state, method's sample) of an imported run."""
  out = path.with_suffix('')
  line = ['ganjax import', '--format', format, '--file', str(path), '--workdir', str(out)]
  monkeypatch.setattr('sys.argv', line)
  import_weights.COMMAND.read(line)
  import_weights.main()
  run = experiment.load(out)
  state, step, weights = run_state.read_generator(
    run, out, sharding.make_mesh(jax.devices()[:1]), step=None, weights='ema'
  )
  assert (step, weights) == (0, 'ema')
  return run, state


def pictures(run, state, **options):
  rows = sampler.rows(run.method, np.arange(4), **options)
  return rows, np.asarray(sampler.start(run.spans[0].stage, state, rows))
