"""Published FastGANs: what their arrays tell, where each goes, and which are refused; no torch.

`tests/parity/test_fastgans_torch.py` compares pictures.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch_files

from ganjax import UserError, experiment
from ganjax.weights import fastgans, pickles

WIDTH, Z = 8, 6
FORMS = {'double': (1, 1, 1, 1, 1, 1, 1), 'single': (0,) * 7, 'alternating': (1, 0, 1, 0, 1, 0, 1)}
PATH = Path('x.pkl')


def conv(name, *shape, transposed=False):
  """A convolution under spectral norm."""
  found = torch_files.spectral(name, *shape, bias=False)
  if transposed:
    u = shape[1], shape[0] * int(np.prod(shape[2:]))
    found |= {f'{name}.weight_u': u[:1], f'{name}.weight_v': u[1:]}
  return found


def generator(side, form, classes=False):
  """{name: shape} of G of projected-gan, with a table of 10 classes or without."""
  sides = [4 << i for i in range(1 + max(side, 256).bit_length() - 3)]
  c = {n: int(WIDTH * factor) for n, factor in zip(sides, (16, 8, 4, 2, 2, 1, 0.5, 0.25))}
  found = conv('init.init.0', Z, 2 * c[4], 4, 4, transposed=True)
  found |= torch_files.normed('init.init.1', 2 * c[4])
  for n, double in zip(sides[1:], FORMS[form]):
    for j, inputs in enumerate((c[n // 2], c[n])[: 1 + double]):
      if classes:
        own = f'{j + 1}' if double else ''
        found |= conv(f'feat_{n}.conv{own}', 2 * c[n], inputs, 3, 3)
        found |= {f'feat_{n}.bn{own}.stored_{kind}': (2 * c[n],) for kind in ('mean', 'var')}
        for kind in ('gain', 'bias'):
          found |= torch_files.spectral(f'feat_{n}.bn{own}.{kind}', 2 * c[n], Z)
        found |= {f'feat_{n}.noise.weight': (1,)} if double else {}
        continue
      at = f'feat_{n}.{1 + 4 * j}', f'feat_{n}.{2 + double + 4 * j}'
      found |= conv(at[0], 2 * c[n], inputs, 3, 3) | torch_files.normed(at[1], 2 * c[n])
      found |= {f'feat_{n}.{2 + 4 * j}.weight': (1,)} if double else {}
    if n >= 64:
      found |= conv(f'se_{n}.main.1', c[n], c[n // 16], 4, 4)
      found |= conv(f'se_{n}.main.3', c[n], c[n], 1, 1)
  found |= torch_files.spectral('to_big', 3, c[side], 3, 3)
  found |= {'embed.weight': (10, Z)} if classes else {}
  return {f'synthesis.{name}': shape for name, shape in found.items()}


def matrix_of(arrays, layer):
  weight = arrays[f'{layer}.weight_orig']
  weight = np.moveaxis(weight, 1, 0) if layer.endswith('init.init.0') else weight
  return weight.reshape(len(weight), -1)


def fill(shapes) -> dict:
  """Arrays of the shapes; u and v are near those of the largest singular value of other weights."""
  found = torch_files.fill(shapes, seed=0)
  unit, rng = lambda x: np.float32(x / np.linalg.norm(x)), np.random.default_rng(1)
  for layer in (name[:-9] for name in shapes if name.endswith('.weight_u')):
    matrix = matrix_of(found, layer)
    other = matrix + 0.2 * matrix.std() * rng.normal(size=matrix.shape)
    u = found[f'{layer}.weight_u']
    for _ in range(30):
      v = unit(u @ other)
      u = unit(other @ v)
    found |= {f'{layer}.weight_u': u, f'{layer}.weight_v': v}
  return found


def take(arrays):
  """(the configuration, ours) of a file's arrays, of three classes if it has any."""
  found = {'G_ema': pickles.Module('Generator', arrays, {'c_dim': 3})}
  config = fastgans.configure(found, PATH)
  config.networks.width_D = 1
  run = experiment.build(config)
  state = jax.eval_shape(run.init, run.key)
  shapes = {'params': state.params['G'], 'stats': state.stats['G']}
  return config, fastgans.take(found['G_ema'], shapes, PATH)


@pytest.mark.parametrize('side, form, classes', [
  (128, 'double', False),
  (256, 'single', False),
  (512, 'alternating', False),
  (128, 'double', True),
  (256, 'single', True),
])  # fmt: skip
def test_every_number_finds_a_place(side, form, classes):
  arrays = fill(generator(side, form, classes))
  config, ours = take(arrays)
  assert config.networks.num_classes == (3 if classes else 0)
  assert (config.data.resolution, config.networks.blocks) == (side, form)
  assert (config.networks.width, config.method.z_dim) == (WIDTH, Z)
  vectors = ours['stats'].pop('spectral_norm')
  left_out = ('weight_u', 'weight_v', 'num_batches_tracked')
  theirs = [
    x[: 3 if 'embed' in name else None].ravel() if x.ndim else x.ravel()
    for name, x in arrays.items()
    if not name.endswith(left_out) and not (side == 128 and '_256.' in name)
  ]
  found = np.concatenate([np.ravel(x) for x in jax.tree.leaves(ours)])
  np.testing.assert_array_equal(np.sort(found), np.sort(np.concatenate(theirs)))
  # One iteration from each u finds the divisor that the file's u and v give.
  block = vectors['UpBlock_1']
  layers = {
    'init.init.0': vectors['SpectralNorm_0'],
    'to_big': vectors['SpectralNorm_1'],
    'se_128.main.3': vectors['Excite_1']['SpectralNorm_1'],
  }
  if classes:
    norm, number = block['ConditionalBatchNorm_0'], '1' if form == 'double' else ''
    layers[f'feat_16.conv{number}'] = block['SpectralNorm_0']
    layers[f'feat_16.bn{number}.gain'] = norm['SpectralNorm_0']
    layers[f'feat_16.bn{number}.bias'] = norm['SpectralNorm_1']
  else:
    layers['feat_16.1'] = block['SpectralNorm_0']
  for layer, u in layers.items():
    layer = f'synthesis.{layer}'
    matrix, theirs, v = matrix_of(arrays, layer), *(arrays[f'{layer}.weight_{k}'] for k in 'uv')
    right = matrix.T @ u['u']
    sigma = np.linalg.norm(matrix @ right) / np.linalg.norm(right)
    np.testing.assert_allclose(sigma, theirs @ matrix @ v, rtol=1e-5, err_msg=layer)
    assert sigma < 0.999 * np.linalg.norm(matrix, 2)
    np.testing.assert_allclose(np.linalg.norm(u['u']), 1, rtol=1e-6)


def test_a_divisor_that_cannot_be_had_is_said(capsys):
  arrays = fill(generator(128, 'single'))
  arrays['synthesis.to_big.weight_v'] = arrays['synthesis.to_big.weight_v'] / 50
  take(arrays)
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith('weights of synthesis.to_big are divided by') and 'pictures differ' in line


f32 = lambda *shape: np.zeros(shape, np.float32)
REFUSED = {
  'another v': ('synthesis.feat_8.1.weight_v', f32(3), r'feat_8\.1\.weight_v of G is missing, or'),
  'no divisor': (
    'synthesis.to_big.weight_u',
    f32(3),
    'to_big are of a rank below 3, or divided by 0',
  ),
  'rank': (
    'synthesis.feat_8.1.weight_orig',
    f32(128, 128, 3, 3),
    r'feat_8\.1 are of a rank below 32',
  ),
  'NaN': ('synthesis.to_big.bias', f32(3) + np.nan, r'to_big\.bias of G has values that are NaN'),
  'missing': ('synthesis.se_64.main.3.weight_orig', None, r'lacks synthesis\.se_64\.main\.3'),
  'unknown': ('synthesis.feat_8.9.weight', f32(2), r'feat_8\.9\.weight \(2,\) has no place in G'),
  'shape': ('synthesis.init.init.1.bias', f32(2), r'init\.1\.bias of G is float32 \(2,\)'),
  'no block': (
    'synthesis.feat_128.1.weight_orig',
    None,
    'no FastGAN of projected-gan: it lacks 128',
  ),
  'a form': ('synthesis.feat_8.5.weight_orig', None, 'some of its blocks have one convolution'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_does_not_fit_is_named(case):
  name, x, says = REFUSED[case]
  arrays = {**fill(generator(128, 'double')), name: x}
  with pytest.raises(UserError, match=says) as error:
    take({k: x for k, x in arrays.items() if x is not None})
  assert '\n' not in str(error.value) and 'x.pkl' in str(error.value)
