"""Metrics of pixels and generators, from sides to values: the right pictures, in the right range and order."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.devices.sharding import make_mesh
from ganjax.evaluation import pixels, sides
from ganjax.metrics import lpips, ms_ssim, parzen, ppl, ssim


class Extractors:
  """LPIPS nets with seeded weights."""

  @functools.cache  # noqa: B019 (one test run)
  def lpips(self, net):
    rng, channels = np.random.default_rng(0), 3
    trunk, lin = {}, {}
    for layer in lpips.NETS[net].layers:
      shape = layer.features, channels, layer.kernel, layer.kernel
      w = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
      trunk |= {
        f'features.{layer.index}.weight': w,
        f'features.{layer.index}.bias': np.zeros(shape[0], np.float32),
      }
      channels = layer.features
      if layer.tap:
        lin[f'lin{len(lin)}.model.1.weight'] = rng.random((1, channels, 1, 1), np.float32)
    return lpips.convert(trunk, lin, net), {'network': f'lpips_{net}'}


def _side(images, labels=None):
  labels = None if labels is None else (lambda labels=labels: labels)
  return sides._stored(len(images), {'name': 'x'}, lambda i: images[i], labels, None)


def _pairs(n, size, channels=3):
  rng = np.random.default_rng(0)
  a = rng.integers(0, 256, (n, size, size, channels)).astype(np.uint8)
  return a, (a // 2 + rng.integers(0, 128, a.shape)).astype(np.uint8)


def _compute(kind, fake, real, **more):
  return pixels.compute(kind, fake, real, Extractors(), mesh=make_mesh(), batch_size=4, **more)


@pytest.mark.parametrize(('channels', 'luma'), [(3, True), (1, False)])
def test_psnr_and_ssim_are_means_over_pairs(channels, luma):
  a, b = _pairs(6, 20, channels)
  for kind in ('psnr', 'ssim'):
    values, record = _compute(kind, _side(a), _side(b), crop=2)
    expected = getattr(ssim, kind)(a, b, crop=2, luma=luma).mean()
    np.testing.assert_allclose(values[kind], expected, rtol=1e-12)
    assert record['crop'] == 2
  with pytest.raises(UserError, match='pairs need one size'):
    _compute('psnr', _side(a), _side(_pairs(6, 24, channels)[0]))


def test_lpips_sees_pixels_from_minus_one_to_one():
  a, b = _pairs(6, 64)
  values, record = _compute('lpips', _side(a), _side(b))
  variables, _ = Extractors().lpips('alex')
  unit = lambda x: jnp.asarray(x, jnp.float32) / 127.5 - 1
  expected = np.mean(lpips.distance(variables, unit(a), unit(b), 'alex'))
  np.testing.assert_allclose(values['lpips'], expected, rtol=1e-5)
  assert record['network'] == 'lpips_alex'


def test_colours_are_of_all_pictures_of_both_sides():
  """Sides of other lengths, and a last batch that is short."""
  white, black = (np.full((9, 8, 8, 3), level, np.uint8) for level in (255, 0))
  fake, real = np.concatenate([white, black[:1]]), white[:3]
  values, record = _compute('colours', _side(fake), _side(real))
  assert values == {'colours_moved': pytest.approx(0.1)}
  assert record == {'differ_most': {'#151515': pytest.approx(0.1), '#eaeaea': pytest.approx(-0.1)}}
  with pytest.raises(UserError, match='grey pictures with grey ones'):
    _compute('colours', _side(fake), _side(real[..., :1]))


def test_parzen_is_of_all_reals_under_all_fakes():
  rng = np.random.default_rng(0)
  fake, real = (rng.integers(0, 256, (n, 4, 4, 1)).astype(np.uint8) for n in (11, 9))
  values, record = _compute('parzen', _side(fake), _side(real))
  mean, error, widths = parzen.measure(fake, real)
  assert values == {'parzen': mean, 'parzen_error': error} and record == {'widths': widths}
  with pytest.raises(UserError, match='two pictures or more on both sides, of one size'):
    _compute('parzen', _side(fake), _side(real[:, :3]))


def test_ms_ssim_is_over_all_classes_of_a_sorted_side(monkeypatch):
  monkeypatch.setattr(pixels, 'MS_SSIM_PAIRS', 8)
  a, _ = _pairs(1, 24)
  # Twenty copies of one picture, then others: the first sixteen alone would be a collapsed set.
  images = np.concatenate([np.repeat(a, 20, 0), _pairs(60, 24)[0]])
  values, record = _compute('ms_ssim', _side(images), _side(np.repeat(a, 9, 0)))
  assert values['ms_ssim'] < 0.6 and values['ms_ssim_real'] > 0.999
  alone, _ = _compute('ms_ssim', _side(images), None)
  assert alone == {'ms_ssim': values['ms_ssim']} and record['pairs'] == 8
  assert ms_ssim.diversity(np.repeat(a, 9, 0), 8, 0) > 0.999


@pytest.mark.slow
def test_ppl_walks_between_the_latents_of_seeds():
  latents = lambda seeds: jax.vmap(lambda s: jax.random.normal(jax.random.key(s), (16 * 16 * 3,)))(
    seeds
  )
  method = types.SimpleNamespace(
    rows=lambda seeds, examples: latents(seeds), examples=(), styles=None
  )
  traced = []

  def sample(state, z, train):
    traced.append(len(z))
    return jnp.tanh(z.reshape(-1, 16, 16, 3)), state

  stage = type('S', (), {'sample': staticmethod(sample)})
  side = sides.generator(stage, {}, method, num=4, info={'name': 'g'})
  values, record = _compute('ppl', side, None)
  of_next = sides.generator(stage, {}, method, num=4, info={'name': 'g'})
  assert _compute('ppl', of_next, None)[0] == values
  assert traced == [4, 4]  # both ends of a step, in one program for all checkpoints
  variables, _ = Extractors().lpips('vgg16')
  seeds = np.arange(4)
  t = jax.vmap(lambda s: jax.random.uniform(jax.random.fold_in(jax.random.key(s), 1)))(seeds)
  measure = functools.partial(lpips.distance, variables, net='vgg16')
  sample = lambda z: stage.sample({}, z, False)[0]
  lengths = ppl.lengths(sample, measure, latents(2 * seeds), latents(2 * seeds + 1), t)
  np.testing.assert_allclose(values['ppl'], ppl.mean(lengths), rtol=0.02)
  assert values['ppl'] > 0 and record['epsilon'] == 1e-4 and record['space'] == 'z'

  half = sides.generator(stage, {}, method, num=2, info={'name': 'g', 'activations': 'bfloat16'})
  with pytest.raises(UserError, match='ppl needs a float32 generator'):
    _compute('ppl', half, None)


def test_ppl_w_walks_between_styles_with_the_noise_of_the_first(monkeypatch):
  """Pictures are sums of styles and noise, distances mean squares: a length is that of the styles' difference."""
  draw = jax.vmap(lambda s: jax.random.normal(jax.random.key(s), (2, 12)))
  rows = lambda seeds, examples: {'z': draw(seeds), 'noise': jnp.asarray(seeds)}
  find = lambda state, rows: {'w': 3 * rows['z'], 'noise': rows['noise']}

  def sample(state, rows, train):
    noise = 10 * jnp.sin(rows['noise'])[:, None, None, None]
    return rows['w'].sum(1).reshape(-1, 2, 2, 3) + noise, state

  monkeypatch.setattr(lpips, 'distance', lambda _, a, b, net: jnp.mean((a - b) ** 2, (1, 2, 3)))
  method = types.SimpleNamespace(rows=rows, examples=(), styles=types.SimpleNamespace(map=find))
  stage = types.SimpleNamespace(sample=sample)
  side = sides.generator(stage, {}, method, num=6, info={'name': 'g'})
  extractors = types.SimpleNamespace(lpips=lambda net: ({}, {'network': f'lpips_{net}'}))
  work = dict(mesh=make_mesh(jax.devices()[:1]), batch_size=4)
  values, record = pixels.compute('ppl_w', side, None, extractors, **work)
  w = lambda seeds: 3 * draw(seeds).sum(1)
  seeds = np.arange(6)
  wanted = ppl.mean(np.mean((w(2 * seeds) - w(2 * seeds + 1)) ** 2, 1))
  np.testing.assert_allclose(values['ppl_w'], wanted, rtol=0.05)
  assert record['space'] == 'w' and record['sampling'] == 'end'


@pytest.mark.slow
def test_cas_trains_on_fakes_and_tests_on_reals(monkeypatch):
  monkeypatch.setattr(pixels, 'CAS_EPOCHS', 2)
  rng = np.random.default_rng(0)
  labels = np.arange(256) % 2
  images = (labels[:, None, None, None] * 150 + rng.integers(0, 100, (256, 8, 8, 3))).astype(
    np.uint8
  )
  test = _side(images[:50], labels[:50])
  values, record = _compute('cas', _side(images, labels), test)
  assert values['cas_top1'] > 90 and record['epochs'] == 2
  # Fakes with the wrong labels teach the wrong thing.
  assert _compute('cas', _side(images, 1 - labels), test)[0]['cas_top1'] < 10
