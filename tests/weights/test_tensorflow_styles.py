"""StyleGAN2 of TensorFlow: its file is read, each number gets its place, and what does not fit is refused by name.

`tests/parity/test_tensorflow_styles_torch.py` compares pictures.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_networks as files

from ganjax import UserError, experiment
from ganjax.weights import import_weights, stylegans

CHANNELS = 6, 6, 4


def write(path, protocol=4, changes=(), classes=0, version=4, **settings):
  """The arrays of G and D of a file, in whose G `changes` {name: array or None} were made."""
  G, D = files.arrays(np.random.default_rng(0), CHANNELS, classes=classes, G='resnet')
  changed = {name: x for name, x in {**G, **dict(changes)}.items() if x is not None}
  network = lambda x: files.network(x, version=version, **settings)
  path.write_bytes(files.pickled((network(G), network(D), network(changed)), protocol))
  return G, D


def take(path):
  """{'G_ema': ours, 'D': ours} of a file."""
  found = stylegans.read(path, 'stylegan')
  run = experiment.build(import_weights._config('x', *stylegans.describe(found, path)))
  state = jax.eval_shape(run.init, run.key)
  shapes = lambda net: {'params': state.params[net], 'stats': state.stats[net]}
  return {n: stylegans.take(found[n], n[0], shapes(n[0]), path) for n in ('G_ema', 'D')}


@pytest.mark.parametrize('protocol', [4, 5])
def test_every_number_finds_a_place(protocol, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  G, D = write(Path('x.pkl'), protocol)
  ours = take(Path('x.pkl'))
  assert not Path('ran').exists()  # the source text
  del G['lod']
  G |= {name: x + 1 for name, x in G.items() if name.endswith('mod_bias')}
  D = {name: x * (10 if name.startswith('Mapping') else 1) for name, x in D.items()}
  for net, arrays in ('G_ema', G), ('D', D):
    found = np.concatenate([np.ravel(x) for x in jax.tree.leaves(ours[net])])
    theirs = np.concatenate([np.ravel(x) for x in arrays.values()])
    np.testing.assert_array_equal(np.sort(found), np.sort(theirs))
  params = ours['G_ema']['params']['synthesis']
  layer = 'synthesis/16x16/Conv0_up/weight'
  # [k, k, C, F], flipped, is [k, k, F, C].
  wanted = G[layer][::-1, ::-1].swapaxes(2, 3)
  np.testing.assert_array_equal(params['b16_conv0']['conv']['kernel'], wanted)
  np.testing.assert_array_equal(
    params['b16_conv1']['conv']['kernel'], G['synthesis/16x16/Conv1/weight']
  )
  noise = ours['G_ema']['stats']['noise']['synthesis']['b8_conv1']['constant']
  np.testing.assert_array_equal(noise[0], G['synthesis/noise2'][0, 0])


f32 = lambda *shape: np.zeros(shape, np.float32)
SETTINGS = {
  'an older one': (dict(version=3), 'G is of version 3 of dnnlib.tflib.Network'),
  'activation': (dict(nonlinearity='relu'), "nonlinearity of G is not 'lrelu', which alone"),
  'filter': (dict(resample_kernel=[1, 2, 1]), r'resample_kernel of G is not \[1, 3, 3, 1\]'),
  'unknown': (dict(fmap_bass=2), r"'fmap_bass', which is not known \(did you mean fmap_base\?\)"),
}
CHANGES = {
  'a growing one': ('synthesis/ToRGB_lod0/bias', f32(3), 'synthesis/ToRGB_lod0/bias of G_ema'),
  'other classes': ('mapping/LabelConcat/weight', f32(2, 5), 'G_ema has mapping/LabelConcat'),
  'missing': ('synthesis/8x8/Conv1/bias', None, r'lacks synthesis\.b8\.conv1\.bias, which G'),
  'unknown': ('synthesis/8x8/Blur/bias', f32(6), r'b8\.Blur\.bias \(6,\) has no place in G'),
  'shape': ('synthesis/noise1', f32(1, 1, 8, 4), r'b8\.conv0\.noise_const of G is .*\(8, 4\)'),
  'rank': ('synthesis/noise1', f32(8), 'G_ema has an array of another shape'),
  'whole numbers': ('dlatent_avg', np.zeros(5, np.int32), 'it has numbers of the kind <i4'),
  'NaN': ('dlatent_avg', f32(5) + np.nan, r'mapping\.w_avg of G has values that are NaN'),
}


@pytest.mark.parametrize('case', [*SETTINGS, *(f'array: {name}' for name in CHANGES)])
def test_what_does_not_fit_is_named(case, tmp_path):
  kind, _, change = case.partition('array: ')
  if change:
    name, x, says = CHANGES[change]
    how = dict(changes={name: x})
  else:
    how, says = SETTINGS[kind]
  write(tmp_path / 'x.pkl', **how)
  with pytest.raises(UserError, match=says) as error:
    take(tmp_path / 'x.pkl')
  assert '\n' not in str(error.value) and 'x.pkl' in str(error.value)


def test_a_tuple_of_others_is_refused(tmp_path):
  path = tmp_path / 'x.pkl'
  for nets in ((1, 2, 3), (1, 2)):
    path.write_bytes(files.pickled(nets))
    with pytest.raises(UserError, match=r'holds no networks|a tuple where a dict belongs'):
      stylegans.read(path, 'stylegan')
