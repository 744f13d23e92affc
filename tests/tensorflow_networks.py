"""Files of StyleGAN2 in TensorFlow, written by a stand-in class that pickles to the same opcodes and names."""

import pickle
import sys
import types

import numpy as np


class Network:
  """dnnlib.tflib.Network, as far as it is pickled."""

  def __init__(self, variables, settings, version=4, **components):
    self.variables, self.settings, self.version = variables, settings, version
    self.components = components

  def __getstate__(self):
    return {
      'version': self.version,
      'name': 'G',
      'static_kwargs': self.settings,
      'components': self.components,
      'build_module_src': "open('ran', 'w')",
      'build_func_name': 'G_main',
      'variables': [*self.variables.items()],
    }


def pickled(nets, protocol=4) -> bytes:
  """The file of (G, D, Gs)."""
  module = types.ModuleType('dnnlib.tflib.network')
  module.Network, Network.__module__ = Network, module.__name__
  sys.modules.setdefault('dnnlib', types.ModuleType('dnnlib'))
  sys.modules |= {'dnnlib.tflib': types.ModuleType('dnnlib.tflib'), module.__name__: module}
  return pickle.dumps(nets, protocol)


def network(arrays, *, version=4, **settings) -> Network:
  """Of {name: array}, those of 'mapping/' and 'synthesis/' in components; numbers are NumPy's, as sessions give."""
  parts = {'': {}, 'mapping': {}, 'synthesis': {}}
  for name, x in arrays.items():
    scope, _, rest = name.partition('/')
    scope, rest = (scope, rest) if scope in parts else ('', name)
    parts[scope][rest] = x if np.ndim(x) else np.float32(x)
  own = parts.pop('')
  components = {k: Network(x, settings, version) for k, x in parts.items() if x}
  return Network(own, settings, version, **components)


def arrays(
  rng, channels, *, z_dim=5, w_dim=5, layers=2, classes=0, G='skip', D='resnet', layers_D=0
):
  """({name: array} of G, of D); `channels` of maps of 4, 8, 16, ... pixels, architectures G and D."""
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  sides = [4 << i for i in range(len(channels))]
  of_G, of_D = {'lod': np.float32(0), 'dlatent_avg': draw(w_dim)}, {}

  def layer(found, name, *shape, style=False):
    found[f'{name}/weight'], found[f'{name}/bias'] = draw(*shape), draw(shape[-1])
    if style:
      found[f'{name}/mod_weight'], found[f'{name}/mod_bias'] = (
        draw(w_dim, shape[-2]),
        draw(shape[-2]),
      )

  if classes:
    layer(of_G, 'mapping/LabelEmbed', classes, z_dim)
  for i in range(layers):
    layer(of_G, f'mapping/Dense{i}', w_dim if i else z_dim * (1 + (classes > 0)), w_dim)
  of_G['synthesis/4x4/Const/const'] = draw(1, channels[0], 4, 4)
  number = 0
  for i, (side, c) in enumerate(zip(sides, channels)):
    block, before = f'{side}x{side}', channels[max(i - 1, 0)]
    for name, inputs in (('Conv0_up', before), ('Conv1', c)) if i else (('Conv', c),):
      own = f'synthesis/{block}/{name}'
      layer(of_G, own, 3, 3, inputs, c, style=True)
      of_G[f'{own}/noise_strength'] = draw()
      of_G[f'synthesis/noise{number}'] = draw(1, 1, side, side)
      number += 1
    last = i == len(sides) - 1
    if G == 'skip' or last:
      layer(of_G, f'synthesis/{block}/ToRGB', 1, 1, c, 3, style=True)
    if D == 'skip' or last:
      layer(of_D, f'{block}/FromRGB', 1, 1, 3, c)
    if i:
      layer(of_D, f'{block}/Conv0', 3, 3, c, c)
      layer(of_D, f'{block}/Conv1_down', 3, 3, c, before)
      if G == 'resnet':
        of_G[f'synthesis/{block}/Skip/weight'] = draw(1, 1, before, c)
      if D == 'resnet':
        of_D[f'{block}/Skip/weight'] = draw(1, 1, c, before)
  first = channels[0]
  layer(of_D, '4x4/Conv', 3, 3, first + 1, first)
  layer(of_D, '4x4/Dense0', 16 * first, first)
  layer(of_D, 'Output', first, first if classes else 1)
  if classes:
    layer(of_D, 'LabelEmbed', classes, first)
    for i in range(layers_D):
      layer(of_D, f'Mapping{i}', first, first)
  return of_G, of_D
