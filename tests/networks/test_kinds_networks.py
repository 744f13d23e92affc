"""Networks of what is no picture: published sizes, phase shuffle, latents, what is refused."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from ganjax import UserError, component
from ganjax.layers.uniform import to_uniform
from ganjax.media import Field, molecule
from ganjax.methods import gan
from ganjax.networks import musegan, wavegan
from ganjax.update import count


def build(name, field, shape, **more):
  return component.build('networks', dict(name=name, **more), fields={field: Field(field, shape)})


def shapes(net, *args):
  keys = dict(zip(('params', 'noise'), jax.random.split(jax.random.key(0))))
  run = lambda *args: net.init_with_output(keys, *args, train=True)
  out, variables = jax.eval_shape(run, *args)
  return out.shape, count(variables['params'])


def taps(pairs, size):
  """Weights and biases of convolutions from i to o channels."""
  return sum(size * i * o + o for i, o in pairs)


@pytest.mark.parametrize('length, widths', [
  (16_384, [1024, 512, 256, 128, 64]),
  (32_768, [2048, 1024, 512, 256, 128, 64]),
  (65_536, [2048, 1024, 512, 256, 128, 64]),
])  # fmt: skip
def test_wavegan_is_of_the_paper(length, widths):
  """Tables of appendix D, and the longer forms of the code."""
  nets = build('wavegan', 'sound', (length, 1))
  out, number = shapes(nets['G'], jnp.zeros((2, 100)))
  assert out == (2, length, 1)
  assert number == 101 * 16 * widths[0] + taps(zip(widths, [*widths[1:], 1]), 25)
  out, number = shapes(nets['D'], jnp.zeros((2, length, 1)))
  up = widths[::-1]
  assert out == (2,) and number == taps(zip([1, *up], up), 25) + 16 * up[-1] + 1
  assert math.prod(wavegan.strides(length)) * 16 == length


def test_the_post_filter_is_512_taps_without_a_bias():
  plain, filtered = (
    shapes(build('wavegan', 'sound', (256, 1), width=2, post_taps=n)['G'], jnp.zeros((2, 5)))
    for n in (0, 512)
  )
  assert filtered == (plain[0], plain[1] + 512)


@pytest.mark.parametrize('taps', [512, 25])
def test_the_post_filter_is_scipys_correlation(taps):
  """Of a whole sound with zeros around, the middle tap at its sample: of an even number the one before the middle."""
  plain, G = (build('wavegan', 'sound', (256, 1), width=2, post_taps=n)['G'] for n in (0, taps))
  z = jax.random.normal(jax.random.key(0), (3, 5))
  params = jax.jit(lambda: G.init(jax.random.key(1), z, train=False))()['params']
  run = lambda net: jax.jit(lambda params: net.apply({'params': params}, z, train=False))(params)
  sounds, found = np.asarray(run(plain))[..., 0], run(G)[..., 0]
  sounds = np.pad(sounds, ((0, 0), ((taps - 1) // 2, taps // 2)))
  kernel = params['Conv_0']['kernel'][:, 0, 0]
  wanted = [scipy.signal.correlate(one, kernel, 'valid') for one in sounds]
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
  assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize('shift', range(-2, 3))
def test_phase_shuffle_moves_a_batch_and_mirrors_its_ends(shift):
  x = np.random.default_rng(0).normal(size=(3, 9, 2))
  found = wavegan.shuffle(jnp.asarray(x), jnp.asarray(shift), 2)
  at = np.abs(np.arange(9) - shift)
  at = np.where(at > 8, 16 - at, at)
  np.testing.assert_allclose(found, x[:, at], rtol=1e-6)


def test_shifts_are_drawn_evenly_and_only_in_training():
  draws = jax.vmap(lambda key: wavegan.draw_shift(key, 2))(
    jax.random.split(jax.random.key(0), 2000)
  )
  values, counts = np.unique(draws, return_counts=True)
  assert values.tolist() == [-2, -1, 0, 1, 2] and scipy.stats.chisquare(counts).pvalue > 1e-3
  D = build('wavegan', 'sound', (256, 1), width=2)['D']
  x = jax.random.normal(jax.random.key(0), (2, 256, 1))
  variables = D.init(jax.random.key(1), x, train=False)
  run = jax.jit(lambda key: D.apply(variables, x, train=True, rngs={'noise': key})[0])
  assert 1 < len({float(run(jax.random.key(i))) for i in range(20)}) <= 5
  assert D.apply(variables, x, train=False).shape == (2,)  # asks for no key


def test_normal_latents_become_even_ones():
  z = np.asarray(to_uniform(jax.random.normal(jax.random.key(0), (5000,))))
  assert scipy.stats.kstest(z, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3
  assert float(to_uniform(jnp.float32(0))) == 0


def test_3d_gan_is_of_the_paper():
  """64 voxels a side: 512, 256, 128 and 64 channels, and D's mirror."""
  nets = build('gan3d', 'solid', (64, 64, 64, 1))
  out, number = shapes(nets['G'], jnp.zeros((2, 200)))
  widths, norms = [512, 256, 128, 64], 2 * (512 + 256 + 128 + 64)
  assert out == (2, 64, 64, 64, 1)
  assert number == 200 * 64 * 512 + norms + taps(zip(widths, [*widths[1:], 1]), 64)
  out, number = shapes(nets['D'], jnp.zeros((2, 64, 64, 64, 1)))
  up = widths[::-1]
  assert out == (2,) and number == taps(zip([1, *up], up), 64) + 2 * sum(up[1:]) + 64 * 512 + 1


def test_the_character_model_is_of_the_paper():
  nets = build('characters', 'line', (32,))
  out, number = shapes(nets['G'], jnp.zeros((2, 128)))
  blocks = 10 * (5 * 512 * 512 + 512)
  assert out == (2, 32, 96) and number == 129 * 32 * 512 + blocks + 513 * 96
  out, number = shapes(nets['D'], jnp.zeros((2, 32, 96)))
  assert out == (2,) and number == 97 * 512 + blocks + 32 * 512 + 1


def test_molgan_is_of_the_paper():
  """QM9's nine atoms of four elements, with four kinds of bonds in place of five."""
  nets = build('molgan', 'molecule', (9, 5 + 4 * 9))
  dense = lambda *sizes: sum(i * o + o for i, o in zip(sizes, sizes[1:]))
  out, number = shapes(nets['G'], jnp.zeros((2, 8)))
  assert out == (2, 9, 41)
  assert number == dense(8, 128, 256, 512) + dense(512, 9 * 9 * 4) + dense(512, 9 * 5)
  out, number = shapes(nets['D'], jnp.zeros((2, 9, 41)))
  convolutions = 4 * dense(5, 128) + 4 * dense(
    128 + 5, 64
  )  # a layer for each bond, one for the atom
  assert out == (2,)
  assert number == convolutions + 2 * dense(64 + 5, 128) + dense(128, 128, 64, 1)


@pytest.mark.slow
def test_molgan_makes_shares_and_sees_no_order_of_atoms():
  nets = build('molgan', 'molecule', (6, 5 + 4 * 6), width=8)
  key = jax.random.key(0)
  z = jax.random.normal(key, (3, 4))
  run = lambda n, x: jax.jit(functools.partial(nets[n].init_with_output, train=False))(key, x)
  x = np.asarray(run('G', z)[0])
  kinds, bonds = molecule.split(x)
  np.testing.assert_allclose(kinds.sum(-1), 1, rtol=1e-6)
  np.testing.assert_allclose(bonds.sum(-1), 1, rtol=1e-6)
  np.testing.assert_allclose(bonds, bonds.swapaxes(1, 2), rtol=1e-6)
  logits, _ = run('D', x)
  order = np.array([3, 1, 0, 5, 4, 2])
  other = molecule.join(kinds[:, order], bonds[:, order][:, :, order])
  np.testing.assert_allclose(run('D', other)[0], logits, rtol=1e-4)


def test_musegan_is_of_the_authors_code():
  """Its presets `default`: four bars of 48 steps, 84 pitches, 5 voices."""
  assert musegan.factors(12, 84) == (4, (3, 3), 3)
  fields = {'roll': Field('roll', (192, 84, 5), 12)}
  nets = component.build('networks', dict(name='musegan'), fields=fields)
  out, number = shapes(nets['G'], jnp.zeros((2, 128)))
  layer = lambda i, o, k: i * o * k + 3 * o  # a bias and the two numbers of batch norm
  voice = 2 * layer(128, 32, 12) - 9 * 128 * 32 + 2 * layer(32, 16, 12) - 9 * 32 * 16
  voice += layer(32, 1, 1)
  assert out == (2, 192, 84, 5)
  assert number == layer(128, 512, 4) + layer(512, 256, 12) + layer(256, 128, 12) + 5 * voice
  out, number = shapes(nets['D'], jnp.zeros((2, 192, 84, 5)))
  layer = lambda i, o, k: i * o * k + o
  voice = layer(5, 16, 12) + layer(16, 32, 3) + layer(5, 16, 3) + layer(16, 32, 12)
  voice += layer(64, 64, 1)
  streams = (
    layer(5, 32, 12) + layer(32, 64, 4) + layer(5, 16, 3) + layer(16, 32, 4) + layer(32, 64, 4)
  )
  shared = layer(320, 128, 12) + layer(128, 256, 12)
  assert out == (2,) and number == 5 * voice + shared + streams + layer(384, 512, 2) + 513


def test_the_hybrid_musegan_has_layers_of_each_voice():
  """Four latents of 32 numbers reach a voice; what makes bars has 256 features at 3 places, then 32 at 4 bars."""
  fields = {'roll': Field('roll', (192, 84, 5), 12)}
  nets = component.build('networks', dict(name='musegan', hybrid=True), fields=fields)
  out, number = shapes(nets['G'], jnp.zeros((2, 2 * 6 * 32)))
  layer = lambda i, o, k: i * o * k + 3 * o
  temporal = layer(32, 256, 3) + layer(256, 32, 2)
  voice = layer(128, 256, 12) + layer(256, 128, 12)
  voice += 2 * layer(128, 32, 12) - 9 * 128 * 32 + 2 * layer(32, 16, 12) - 9 * 32 * 16
  voice += layer(32, 1, 1)
  assert out == (2, 192, 84, 5) and number == 6 * temporal + 5 * voice
  with pytest.raises(UserError, match='method.z_dim=128 must be a multiple of 12: networks.hybrid'):
    shapes(nets['G'], jnp.zeros((2, 128)))


def test_latents_of_the_hybrid_musegan_reach_their_voice_and_bars():
  fields = {'roll': Field('roll', (48, 24, 3), 4)}  # 3 bars of 16 steps
  how = dict(name='musegan', width=1, hybrid=True)
  G = component.build('networks', how, fields=fields)['G']
  z = jax.random.normal(jax.random.key(0), (1, 2, 4, 2))  # of all bars, of bars; shared, of voices
  variables = jax.jit(lambda: G.init(jax.random.key(1), z.reshape(1, -1), train=False))()
  # Weights that no depth fades, so that every change is seen.
  larger = jax.tree.map(lambda w: w * 8, variables['params'])
  run = jax.jit(lambda z: G.apply({**variables, 'params': larger}, z.reshape(1, -1), train=False))
  bars = lambda z: np.asarray(run(z)).reshape(3, 16, 24, 3)
  assert np.ptp(bars(z), 0).max() > 1e-3  # bars differ,
  assert np.ptp(bars(z.at[:, 1].set(0)), 0).max() == 0  # by the latents that they are made of alone
  for half in 0, 1:
    for part in range(4):
      changed = np.abs(bars(z.at[:, half, part].add(1)) - bars(z)).max((0, 1, 2)) > 0
      assert changed.tolist() == [part in (0, voice + 1) for voice in range(3)]


@pytest.mark.parametrize('steps, octaves, hybrid', [(1, 2, False), (6, 10, False), (1, 3, True)])
def test_rolls_of_any_size(steps, octaves, hybrid):
  fields = {'roll': Field('roll', (8 * steps, 12 * octaves, 2), steps)}
  how = dict(name='musegan', width=1, hybrid=hybrid)
  nets = component.build('networks', how, fields=fields)
  assert shapes(nets['G'], jnp.zeros((3, 6)))[0] == (3, *fields['roll'].shape)
  assert shapes(nets['D'], jnp.zeros((3, *fields['roll'].shape)))[0] == (3,)


@pytest.mark.parametrize('name, field, shape, more, message', [
  ('wavegan', 'sound', (1000, 1), {}, r'sounds of 64, 128, 256, ... samples, not data.length=1000'),
  ('wavegan', 'solid', (8, 8, 8, 1), {}, 'networks.name=wavegan makes sounds, and the data have solid'),
  ('wavegan', 'sound', (256, 1), {'width': 0}, 'networks.width and width_D must be at least 1'),
  ('wavegan', 'sound', (256, 1), {'shuffle': 64}, 'networks.shuffle=64 must be below 64'),
  ('gan3d', 'solid', (12, 12, 12, 1), {}, 'cubes of 8, 16, 32, ... voxels a side, not data.resolution=12'),
  ('gan3d', 'image', (8, 8, 3), {}, 'networks.name=gan3d makes solids, and the data have image'),
  ('molgan', 'image', (8, 8, 3), {}, 'networks.name=molgan makes molecules, and the data have image'),
  ('molgan', 'molecule', (4, 19), {'width': 1}, 'networks.width and networks.width_D must be at least 2'),
  ('musegan', 'image', (8, 8, 3), {}, 'networks.name=musegan makes rolls, and the data have image'),
  ('musegan', 'roll', (16, 12, 2), {}, 'networks.name=musegan takes two octaves or more'),
  ('musegan', 'roll', (16, 24, 2), {'width': 0}, 'networks.width and networks.width_D must be at least 1'),
  ('characters', 'image', (8, 8, 3), {}, 'networks.name=characters makes lines, and the data have image'),
  ('characters', 'line', (8,), {'width': 0}, 'networks.width=0 must be at least 1'),
])  # fmt: skip
def test_what_is_refused(name, field, shape, more, message):
  with pytest.raises(UserError, match=message):
    build(name, field, shape, **more)


@pytest.mark.parametrize('changes, message', [
  (dict(packing=2), 'method.packing is for pictures, and these networks make a sound'),
  (dict(diffaugment='color'), 'method.diffaugment is for pictures'),
  (dict(most_right_D=0.0), 'method.most_right_D=0.0 must be a share'),
])  # fmt: skip
def test_what_is_for_pictures_alone(changes, message):
  nets = build('wavegan', 'sound', (256, 1))
  with pytest.raises(UserError, match=message):
    gan.build(nets, z_dim=4, **changes)
