import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from ganjax import UserError
from ganjax.devices import backend
from ganjax.layers import conv as module
from ganjax.layers import conv_forms as forms
from ganjax.layers.conv import Conv, ConvTranspose, Geometry, conv, conv_transpose
from ganjax.layers.resample import mean_pool, upsample

# size of x, kernel, stride, padding
GEOMETRIES = [
  ((8, 8), (4, 4), 2, 1),  # DCGAN's generator
  ((4, 4), (4, 4), 2, 1),  # its first layer: products by tap
  ((8, 8), (5, 5), 2, 2),  # DCGAN's discriminator
  ((4, 4), (5, 5), 2, 2),  # a kernel larger than the image
  ((6, 8), (3, 3), 1, 1),
  ((5, 5), (1, 1), 1, 0),
  ((5, 5), (1, 1), 2, 0),  # pixels that no tap meets
  ((5, 7), (3, 5), (2, 1), (1, 2)),
  ((9, 8), (2, 3), 3, 0),  # phases of x that no tap meets, rows left over
  ((8, 8), (5, 5), 1, 0),  # transposed: a kernel larger than y
  ((4, 4), (4, 4), 1, 0),
  ((2, 2), (7, 7), 2, 3),
  ((1, 1), (3, 3), 1, 1),
  ((64,), (25,), 4, 11),  # WaveGAN's, of sound
  ((7,), (3,), 1, 1),
  ((8, 8, 8), (4, 4, 4), 2, 1),  # 3D-GAN's, of solids
  ((2, 2, 2), (3, 3, 3), 2, 1),  # by tap
  ((3, 5, 4), (3, 2, 4), (1, 2, 1), (1, 0, 2)),  # of a clip
  ((9, 8), (4, 4), 1, 2),  # y larger than x
]


ALL_SLOW = [pytest.param(g, marks=pytest.mark.slow) for g in GEOMETRIES]
# Those that differ in kind; all of them in the slow tests.
KINDS = (0, 1, 2, 6, 8, 14, 16, 18)
ALL = [
  pytest.param(g, marks=[] if i in KINDS else [pytest.mark.slow]) for i, g in enumerate(GEOMETRIES)
]


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


def example(size, kernel, stride, padding, channels=3, features=4, batch=2):
  """Geometry and x, w, y that fit it."""
  g = Geometry(size, kernel, *(module._sizes(n, len(size)) for n in (stride, padding)))
  shapes = (batch, *size, channels), (*kernel, channels, features), (batch, *g.out, features)
  return g, *draw(*shapes)


def windows(g):
  """For each pixel of y: its index, and the pixels of the padded x that its window covers."""
  for pixel in itertools.product(*map(range, g.out)):
    yield pixel, tuple(slice(s * i, s * i + k) for i, s, k in zip(pixel, g.stride, g.kernel))


def direct(g, x, w):
  """The definition: a sum over pixels and taps, in torch's layouts NCHW and OIHW."""
  x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in g.padding)))
  y = np.zeros((len(x), len(w), *g.out))
  for pixel, window in windows(g):
    y[:, :, *pixel] = np.tensordot(x[:, :, *window], w, (range(1, w.ndim),) * 2)
  return y


def direct_transpose(g, y, w):
  """The definition: each pixel of y spreads the kernel, in torch's layouts NCHW and OIHW."""
  x = np.zeros((len(y), w.shape[1], *(n + 2 * p for n, p in zip(g.size, g.padding))))
  for pixel, window in windows(g):
    x[:, :, *window] += np.einsum('bi,io...->bo...', y[:, :, *pixel], w)
  return x[:, :, *(slice(p, p + n) for n, p in zip(g.size, g.padding))]


@pytest.mark.parametrize('geometry', ALL, ids=str)
def test_forms_agree(x64, geometry):
  """Native, by tap, by tile and what CPU chooses: one definition; and S, T, W are adjoints."""
  g, x, w, y = example(*geometry)
  tiles = forms.by_tile(g, 64, 64, 64)
  assert tiles == (geometry == GEOMETRIES[0])
  kinds = ['lax', 'cpu', 'phases', *(['tiles'] if tiles else [])]
  if np.prod(g.kernel) < 64:  # else they take long to compile
    kinds += ['taps', 'columns']
  if len(g.size) == 2:
    kinds += ['swapped']
  apart = {'weights': ['columns', 'swapped']} if max(g.stride) > 1 else {}  # for stride 1 alone
  there = lambda name: [
    kind for kind in kinds if hasattr(forms, f'{name}_{kind}') and kind not in apart.get(name, [])
  ]

  @jax.jit
  def compute(x, w, y):
    each = lambda name, *args: [getattr(forms, f'{name}_{kind}')(g, *args) for kind in there(name)]
    return each('strided', x, w), each('transposed', y, w), each('weights', x, y)

  found = compute(x, w, y)
  for first, *others in found:
    for other in others:
      np.testing.assert_allclose(other, first, rtol=1e-10, atol=1e-10)
  (s, *_), (t, *_), (d, *_) = found
  np.testing.assert_allclose([jnp.vdot(x, t), jnp.vdot(w, d)], [jnp.vdot(s, y)] * 2, rtol=1e-10)


def test_choice_by_shape(monkeypatch):
  """What the figures in conv_forms.py say: small images by tap, wide stride-2 layers by tile, few by columns."""
  for name, kernel, features, batch, chosen in (
    ('strided', 7, 3, 2, True),
    ('strided', 7, 8, 2, False),
    ('strided', 5, 3, 2, False),
    ('weights', 3, 3, 1, True),
    ('weights', 3, 8, 1, False),
    ('weights', 3, 3, 2, False),
  ):
    sizes = dict(channels=8, features=features, batch=batch)
    g, x, w, y = example((12, 12), (kernel, kernel), 1, 0, **sizes)
    with monkeypatch.context() as patch:
      patch.setattr(forms, f'{name}_columns', lambda g, a, b: None)
      found = getattr(forms, f'{name}_cpu')(g, *dict(strided=(x, w), weights=(x, y))[name])
      assert (found is None) == chosen
  narrow = Geometry((32, 32), (4, 4), (2, 2), (1, 1))
  assert forms.by_phase(narrow, 128, 16) and not forms.by_phase(narrow, 16, 16)
  assert not forms.by_phase(narrow._replace(stride=(1, 1)), 128, 16)
  g = [example(*geometry)[0] for geometry in GEOMETRIES]
  assert {forms.by_tap(each) for each in g} == {True, False}
  assert forms.by_tap(g[1]) and not forms.by_tap(g[0])
  assert forms.by_tile(g[0], 64, 128, 256)
  assert not forms.by_tile(g[0], 64, 32, 64) and not forms.by_tile(g[0], 4, 128, 256)
  for name, shapes in (
    ('strided', ((64, 8, 8, 64), (4, 4, 64, 64))),
    ('transposed', ((64, 4, 4, 64), (4, 4, 64, 64))),
    ('weights', ((64, 8, 8, 64), (64, 4, 4, 64))),
  ):
    monkeypatch.setattr(forms, f'{name}_tiles', lambda g, a, b, name=name: name)
    assert getattr(forms, f'{name}_cpu')(g[0], *(jnp.zeros(shape) for shape in shapes)) == name


@pytest.mark.parametrize('geometry', ALL, ids=str)
def test_definition_and_torch_layouts(x64, geometry):
  """Modules compute what torch's layers do; a torch weight with its first two axes last is the kernel."""
  g, x, w, y = example(*geometry)
  assert g.out == y.shape[1:-1]
  torch_weight, first = np.moveaxis(w, (-1, -2), (0, 1)), lambda a: np.moveaxis(a, -1, 1)
  params = {'params': {'kernel': np.transpose(torch_weight, (*range(2, w.ndim), 1, 0))}}
  layer = dict(kernel=g.kernel, stride=geometry[2], padding=geometry[3], use_bias=False)
  found = Conv(4, **layer).apply(params, x)
  np.testing.assert_allclose(first(found), direct(g, first(x), torch_weight), atol=1e-10)
  # Pixels that no window covers are `extra`, torch's output_padding.
  extra = tuple((n + 2 * p - k) % s for n, k, s, p in zip(*g[:4]))
  found = ConvTranspose(3, extra=extra, **layer).apply(params, y)
  np.testing.assert_allclose(first(found), direct_transpose(g, first(y), torch_weight), atol=1e-10)


@pytest.mark.parametrize(
  'geometry', [ALL_SLOW[1], GEOMETRIES[8], GEOMETRIES[14], ALL_SLOW[16]], ids=str
)
def test_gradients_of_both_orders(x64, geometry):
  g, x, w, y = example(*geometry, channels=2, features=2, batch=1)
  for function, args in (
    (lambda x, w: module._strided(g, x, w), (x, w)),
    (lambda y, w: module._transposed(g, y, w), (y, w)),
    (lambda x, y: module._weights(g, x, y), (x, y)),
  ):
    check_grads(jax.jit(function), args, order=2, modes=['rev'], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('geometry', [ALL_SLOW[1], *(GEOMETRIES[i] for i in (8, 14, 16))], ids=str)
def test_derivatives_in_a_direction(x64, geometry):
  """Forward mode: the map in each factor's direction; reverse mode is its adjoint; and forward over reverse."""
  g, x, w, y = example(*geometry)
  for name, pair, out in ('strided', (x, w), y), ('transposed', (y, w), x), ('weights', (x, y), w):
    f = functools.partial(getattr(module, f'_{name}'), g)
    directions = tuple(draw(*(a.shape for a in pair), seed=1))

    @jax.jit
    def compute(pair, v, out, f=f):
      gradient = jax.grad(lambda p, q: jnp.vdot(jnp.sin(f(p, q)), out), (0, 1))
      along = lambda *pair: sum(map(jnp.vdot, gradient(*pair), v))
      first = jax.jvp(f, pair, v)[1], f(v[0], pair[1]) + f(pair[0], v[1])
      second = jax.jvp(gradient, pair, v)[1], jax.grad(along, (0, 1))(*pair)
      return (
        first,
        second,
        (jnp.vdot(first[0], out), sum(map(jnp.vdot, jax.vjp(f, *pair)[1](out), v))),
      )

    for found, expected in compute(pair, directions, out):
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), found, expected
      )


def penalty(x, w1, w2, w3):
  """A gradient penalty through one of each layer."""

  def critic(x):
    x = jnp.tanh(conv(x, w1, 2, 1))
    return jnp.sum(conv_transpose(jnp.tanh(conv_transpose(x, w2, 2, 1)), w3, 1, 1) ** 2)

  return jnp.sum(jax.grad(critic)(x) ** 2, range(1, x.ndim))


def critic_of(axes):
  """x and the weights of `penalty`, over so many spatial axes."""
  sides = ((2, 8, 2), 1, 2), ((4, 2, 3), 0, 1), ((4, 3, 3), 0, 1), ((3, 2, 3), 0, 1)
  x, *w = draw(*(shape[:a] + shape[a:b] * axes + shape[b:] for shape, a, b in sides))
  return x, *(each / np.prod(each.shape[:-1]) ** 0.5 for each in w)


@pytest.mark.parametrize('axes', [1, 2, 3])
def test_gradient_penalty_against_lax(x64, monkeypatch, axes):
  """Second derivatives of a small critic equal those that JAX finds for plain lax convolutions."""
  args = critic_of(axes)
  loss = lambda *args: jnp.mean((penalty(*args) - 1) ** 2)
  ours = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*args)
  monkeypatch.setattr(module, '_strided', forms.strided_lax)
  monkeypatch.setattr(module, '_transposed', forms.transposed_lax)
  plain = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*args)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), ours, plain)


def test_vmap_of_gradients(x64):
  """Gradients for each example apart, first of x, then of the weights."""
  x, w1, w2, w3 = draw((3, 8, 8, 2), (4, 4, 2, 3), (4, 4, 3, 3), (3, 3, 2, 3))
  one = lambda x, w: jnp.sum(penalty(x[None], w, w2, w3))
  axes = (0, None)
  for i in (0, 1):
    gradient = jax.grad(one, i)
    mapped = jax.jit(jax.vmap(gradient, axes))(x, w1)
    single = jnp.stack([jax.jit(gradient)(e, w1) for e in x])
    np.testing.assert_allclose(mapped, single, rtol=1e-10, atol=1e-10)
  # Each example with weights of its own.
  ws = jnp.stack([w1, 2 * w1, 3 * w1])
  mapped = jax.jit(jax.vmap(one))(x, ws)
  np.testing.assert_allclose(mapped, [jax.jit(one)(e, w) for e, w in zip(x, ws)], rtol=1e-10)


@pytest.mark.parametrize('batch, resolution, channels', [(8, 4, 8), (8, 16, 8), (64, 8, 64)])
def test_split_batch_moves_no_images(batch, resolution, channels):
  """Over 4 devices only the gradients of the weights are exchanged, summed; images stay where they are.

  By tap, natively and in one product, and by tile.
  """
  mesh = Mesh(np.array(jax.devices()[:4]), ('batch',))
  place = lambda x, *spec: jax.device_put(
    x.astype(jnp.float32), NamedSharding(mesh, PartitionSpec(*spec))
  )
  shapes = (batch, resolution, resolution, 3), (5, 5, 3, channels), (4, 4, channels, channels)
  x, v, w = (0.1 * a for a in draw(*shapes))

  def loss(x, v, w):
    return jnp.sum(conv_transpose(jnp.tanh(conv(x, v, 2, 2)), w, 2, 1) ** 2)

  step = jax.jit(jax.grad(loss, (0, 1, 2)))
  args = place(x, 'batch'), place(v), place(w)
  text = step.lower(*args).compile().as_text()
  for collective in ('all-gather', 'all-to-all', 'collective-permute', 'reduce-scatter'):
    assert collective not in text
  assert 'all-reduce' in text
  split = step(*args)
  assert split[0].sharding.spec == PartitionSpec('batch')
  whole = step(*(jnp.asarray(np.asarray(a)) for a in args))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), split, whole)


def test_one_traced_program_chooses_by_platform():
  """The same function lowered for TPU and GPU holds convolutions only, for CPU products."""
  x, w = jnp.zeros((2, 2, 2, 16)), jnp.zeros((4, 4, 8, 16))
  step = jax.jit(jax.grad(lambda x, w: jnp.sum(conv_transpose(x, w, 2, 1) ** 2), (0, 1)))
  for platform in ('cpu', 'cuda', 'tpu'):
    text = str(jax.export.export(step, platforms=[platform])(x, w).mlir_module())
    assert ('stablehlo.convolution' in text) == (platform != 'cpu')
    assert ('stablehlo.dot_general' in text) == (platform == 'cpu')


@pytest.mark.parametrize('geometry', GEOMETRIES[2:3], ids=str)
def test_bfloat16(geometry):
  """Inputs and outputs, and gradients, are bfloat16, within its rounding of the float32 result."""
  g, x, w, y = example(*geometry, channels=8, features=8)
  for function, args in (
    (module._strided, (x, w)),
    (module._transposed, (y, w)),
    (module._weights, (x, y)),
  ):
    half = [a.astype(jnp.bfloat16) for a in args]
    run = jax.jit(functools.partial(function, g))
    exact = run(*(a.astype(jnp.float32) for a in half))
    found, back = jax.vjp(run, *half)
    assert found.dtype == jnp.bfloat16
    assert {a.dtype for a in back(found)} == {jnp.dtype(jnp.bfloat16)}
    error = np.abs(found.astype(jnp.float32) - exact)
    assert error.max() < 2**-7 * np.abs(exact).max()


def test_bfloat16_by_tile():
  """Winograd's sums are made in float32, so its results are as good."""
  g, x, w, y = example(*GEOMETRIES[0], channels=8, features=8)
  for name, args in ('strided', (x, w)), ('transposed', (y, w)), ('weights', (x, y)):
    half = [a.astype(jnp.bfloat16) for a in args]
    found = jax.jit(functools.partial(getattr(forms, f'{name}_tiles'), g))(*half)
    exact = getattr(forms, f'{name}_lax')(g, *(a.astype(jnp.float32) for a in half))
    assert found.dtype == jnp.bfloat16
    assert np.abs(found.astype(jnp.float32) - exact).max() < 2**-8 * np.abs(exact).max()


@pytest.mark.parametrize(
  'layer, shape, kernel, bias, out',
  [
    (Conv(6, 5, stride=2, padding=2), (2, 8, 8, 3), (5, 5, 3, 6), 6, (2, 4, 4, 6)),
    (ConvTranspose(6, (4, 3), 2, 1), (2, 4, 4, 3), (4, 3, 6, 3), 6, (2, 8, 7, 6)),
  ],
)
def test_modules(layer, shape, kernel, bias, out):
  x = jnp.ones(shape)
  variables = layer.init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, variables) == {'params': {'kernel': kernel, 'bias': (bias,)}}
  y = layer.apply(variables, x)
  assert y.shape == out
  shifted = {'params': {**variables['params'], 'bias': jnp.full(bias, 2.0)}}
  np.testing.assert_allclose(layer.apply(shifted, x), y + 2, atol=1e-5)
  # LeCun's variance 1 / fan-in, whichever axis the input stands at.
  wide = layer.clone(features=200, kernel=4).init(jax.random.key(0), jnp.ones((1, 8, 8, 25)))
  assert np.std(wide['params']['kernel']) == pytest.approx((16 * 25) ** -0.5, rel=0.02)
  half = layer.clone(dtype=jnp.bfloat16)
  assert half.apply(variables, x).dtype == jnp.bfloat16
  assert half.init(jax.random.key(0), x)['params']['kernel'].dtype == jnp.float32


# geometry, channels, features, groups, blocks on CPU
GROUPS = [
  (GEOMETRIES[4], 6, 12, 3, 1),
  pytest.param(GEOMETRIES[1], 64, 32, 4, 2, marks=pytest.mark.slow),
  (GEOMETRIES[8], 8, 8, 8, 1),
  pytest.param(GEOMETRIES[0], 40, 20, 5, 5, marks=pytest.mark.slow),
]


@pytest.mark.parametrize('geometry, channels, features, groups, blocks', GROUPS, ids=str)
def test_groups_are_convolutions_apart(x64, geometry, channels, features, groups, blocks):
  """All three maps: natively, in blocks as on CPU and TPU, and as one convolution without groups for each group."""
  g, x, w, y = example(*geometry, channels=channels, features=features)
  whole, w = g._replace(groups=groups), w[:, :, : channels // groups]
  assert forms._blocks(whole, channels)[0] == blocks
  split = lambda a: jnp.split(a, groups, 3)

  @jax.jit
  def compute(x, w, y):
    apart = lambda name, axis, *pair: jnp.concatenate(
      [getattr(forms, f'{name}_taps')(g, *part) for part in zip(*map(split, pair))], axis
    )
    each = lambda name, *pair: (
      [getattr(forms, f'{name}_{kind}')(whole, *pair) for kind in ('lax', 'cpu', 'tpu')]
      + [apart(name, 3, *pair)]
    )
    return each('strided', x, w), each('transposed', y, w), each('weights', x, y)

  for first, *others in compute(x, w, y):
    for other in others:
      np.testing.assert_allclose(other, first, rtol=1e-10, atol=1e-10)


def test_blocks_on_cpu_hold_32_channels_and_are_about_8():
  g = example(*GEOMETRIES[4])[0]
  blocks = lambda channels, groups: forms._blocks(g._replace(groups=groups), channels)[0]
  assert [blocks(*pair) for pair in ((16, 4), (256, 16), (1536, 96), (70, 7))] == [1, 8, 8, 7]


def test_blocks_on_tpu_hold_128_channels():
  """As few as divide the groups and are no wider; wide groups stay apart."""
  joined = lambda channels, groups: forms._join(
    example(*GEOMETRIES[4])[0]._replace(groups=groups), channels
  )
  found = [joined(*pair) for pair in ((1536, 96), (48, 3), (96, 7), (512, 4), (256, 16))]
  assert [(m, one.groups) for m, one in found] == [(8, 12), (3, 1), (7, 1), (1, 4), (8, 2)]


@pytest.mark.parametrize('geometry', slow.but(GEOMETRIES[:15], *GEOMETRIES[:15:5]), ids=str)
def test_depthwise_on_cpu(x64, geometry):
  """A kernel for each channel: all three maps by tap are those of XLA."""
  g, x, w, y = example(*geometry, channels=5, features=5)
  g, w = g._replace(groups=5), w[..., :1, :]
  for name, factors in ('strided', (x, w)), ('transposed', (y, w)), ('weights', (x, y)):
    found, wanted = (getattr(forms, f'{name}_{kind}')(g, *factors) for kind in ('cpu', 'lax'))
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, atol=1e-12, err_msg=name)
  assert 'conv_general' not in str(jax.make_jaxpr(lambda x, w: forms.strided_cpu(g, x, w))(x, w))


def test_groups_are_joined_on_tpu():
  """Lowered for TPU R3GAN's 96 groups of 16 channels are 12 of 128, in all three maps; for GPU they stay."""
  x, w = jnp.zeros((2, 4, 4, 1536)), jnp.zeros((3, 3, 16, 1536))
  step = jax.jit(jax.grad(lambda x, w: jnp.sum(conv(x, w, 1, 1, groups=96) ** 2), (0, 1)))
  groups = lambda platform: sorted(
    max(map(int, pair))
    for pair in re.findall(
      r'batch_group_count = (\d+) : i64, feature_group_count = (\d+)',
      str(jax.export.export(step, platforms=[platform])(x, w).mlir_module()),
    )
  )
  assert groups('tpu') == [12] * 3 and groups('cuda') == [96] * 3


def test_gradients_in_groups_of_both_orders(x64):
  """Those of `conv` on CPU, of x and w and twice, as JAX finds them for plain lax convolutions."""
  args = draw((2, 4, 4, 48), (3, 3, 4, 48), (3, 3, 4, 48))
  plain = lambda x, w: jax.lax.conv_general_dilated(
    x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=12
  )

  def loss(conv, x, v, w):
    slopes = jax.grad(lambda x: jnp.sum(jnp.sin(conv(jnp.tanh(conv(x, v)), w))))(x)
    return jnp.mean(slopes**2)

  ours = lambda x, w: conv(x, w, 1, 1, groups=12)
  found, expected = (
    jax.jit(jax.value_and_grad(functools.partial(loss, f), (0, 1, 2)))(*args) for f in (ours, plain)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, expected
  )


def test_module_in_groups():
  layer, x = Conv(12, 3, padding=1, groups=3), jnp.ones((2, 4, 4, 6))
  variables = layer.init(jax.random.key(0), x)
  assert variables['params']['kernel'].shape == (3, 3, 2, 12)
  moved = layer.apply(variables, x.at[..., :2].add(1)) != layer.apply(variables, x)
  assert moved[..., :4].any((0, 1, 2)).all() and not moved[..., 4:].any()
  # The fan-in is that of a group.
  wide = layer.clone(features=300, groups=10).init(jax.random.key(0), jnp.ones((1, 4, 4, 200)))
  assert np.std(wide['params']['kernel']) == pytest.approx((9 * 20) ** -0.5, rel=0.02)
  for x, w in ((6, (3, 3, 2, 8)), (7, (3, 3, 2, 9))):
    with pytest.raises(UserError, match='groups=3'):
      conv(jnp.zeros((1, 4, 4, x)), jnp.zeros(w), groups=3)


@pytest.mark.parametrize(
  'kernel, padding, platform',
  [(3, 1, 'cpu'), ((5, 3), (2, 0), 'cpu'), (4, 1, 'cpu'), (1, 0, 'cpu'), (1, 0, 'tpu')],
)
def test_resampling_convolutions_are_convolutions_and_resampling(
  x64, monkeypatch, kernel, padding, platform
):
  """'up' and 'down' with the parameters of a plain layer: values, and gradients of both orders."""
  monkeypatch.setattr(backend, 'platform', lambda: platform)
  plain = Conv(5, kernel, padding=padding, param_dtype='float64')
  up, down = (plain.clone(resample=name) for name in ('up', 'down'))
  x = draw((2, 7 if kernel == 4 else 8, 7 if kernel == 4 else 6, 3))[0]
  variables = plain.init(jax.random.key(0), x)
  variables['params']['bias'] = jnp.arange(5.0)
  for fused, steps in (
    (up, lambda v, x: plain.apply(v, upsample(x))),
    (down, lambda v, x: mean_pool(plain.apply(v, x))),
  ):
    assert jax.tree.map(jnp.shape, fused.init(jax.random.key(0), x)) == jax.tree.map(
      jnp.shape, variables
    )

    @functools.partial(jax.jit, static_argnums=0)
    def both(apply, v, x):
      slope = lambda v, x: jax.grad(lambda x: jnp.sum(jnp.sin(apply(v, x))))(x)
      return apply(v, x), jax.grad(lambda v, x: jnp.sum(slope(v, x) ** 3), (0, 1))(v, x)

    found, expected = both(fused.apply, variables, x), both(steps, variables, x)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), found, expected
    )


def test_resampling_convolutions_round_the_sums_of_weights_once():
  """In bfloat16 kernels are added up in their own float32."""
  layer = Conv(4, 3, padding=1, resample='up', dtype='bfloat16')
  x = jax.random.normal(jax.random.key(1), (2, 4, 4, 8), 'bfloat16')
  variables = layer.init(jax.random.key(0), x)
  exact = layer.clone(dtype='float32').apply(variables, x.astype('float32'))
  w = module.add_neighbours(variables['params']['kernel'])
  expected = conv_transpose(x, w[::-1, ::-1].swapaxes(2, 3).astype('bfloat16'), 2, 1)
  np.testing.assert_array_equal(layer.apply(variables, x), expected)
  assert np.abs(layer.apply(variables, x).astype('float32') - exact).max() < 2**-6


def test_skips_are_resampled_in_a_convolution_on_tpus_alone(monkeypatch):
  """And are convolved on the smaller map elsewhere."""
  text = lambda how: str(
    jax.make_jaxpr(lambda x: Conv(4, 1, resample=how).init(jax.random.key(0), x))(
      jnp.zeros((1, 8, 8, 3))
    )
  )
  assert not any('stride=(2, 2)' in text(how) for how in ('up', 'down'))
  monkeypatch.setattr(backend, 'platform', lambda: 'tpu')
  assert 'conv_transposed' in text('up') and 'stride=(2, 2)' in text('up')
  assert 'conv_strided' in text('down') and 'stride=(2, 2)' in text('down')


@pytest.mark.parametrize('how', [{'resample': 'sideways'}, {'stride': 2}, {'groups': 3}])
@pytest.mark.parametrize('kernel', [1, 3])
def test_what_cannot_be_resampled_in_one(kernel, how):
  layer = Conv(6, kernel, **{'resample': 'up', **how})
  with pytest.raises(UserError, match="'up' or 'down', with stride and groups of 1"):
    layer.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize('kernel', [1, 3])
def test_odd_sides_are_not_halved(kernel):
  layer = Conv(4, kernel, padding=kernel // 2, resample='down')
  with pytest.raises(UserError, match='7x8 pixels cannot be halved'):
    layer.init(jax.random.key(0), jnp.zeros((1, 7, 8, 3)))


@pytest.mark.slow
def test_sound_is_resampled_in_a_convolution_too(x64):
  plain = Conv(3, 3, padding=1, param_dtype='float64')
  x = draw((2, 8, 2))[0]
  for size in (1, 3):
    layer = plain.clone(kernel=size, padding=size // 2)
    variables = layer.init(jax.random.key(0), x)
    for how, expected in (
      ('up', layer.apply(variables, upsample(x))),
      ('down', mean_pool(layer.apply(variables, x))),
    ):
      found = layer.clone(resample=how).apply(variables, x)
      np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('sides', [(6,), (5, 6)], ids=str)
def test_the_border_may_be_a_mirror(x64, sides):
  """'reflect' is np.pad's and torch's: the outermost pixels are not repeated."""
  x, w = draw((2, *sides, 3), (*[5] * len(sides), 3, 4))
  layer = Conv(4, 5, stride=2, padding=2, outside='reflect', use_bias=False)
  found = layer.apply({'params': {'kernel': w}}, x)
  mirrored = np.pad(x, ((0, 0), *[(2, 2)] * len(sides), (0, 0)), 'reflect')
  np.testing.assert_allclose(found, conv(jnp.asarray(mirrored), w, 2), rtol=1e-10, atol=1e-12)
  assert np.abs(found - conv(x, w, 2, 2)).max() > 0.1


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize(
  'name, factors', [('strided', 'xw'), ('transposed', 'yw'), ('weights', 'xy')]
)
def test_vmap_of_one_factor_of_both_and_twice(x64, name, factors, groups):
  """Whichever is mapped, at whichever axis, it is the map of each."""
  g = example(*GEOMETRIES[14])[0]._replace(groups=groups)
  shapes = {'x': (2, *g.size, 4), 'w': (*g.kernel, 4 // groups, 6), 'y': (2, *g.out, 6)}
  one = functools.partial(getattr(module, f'_{name}'), g)
  a, b = draw(*((3, 5, *shapes[factor]) for factor in factors))

  def check(found, a, b):
    rows = [jnp.stack([one(*p) for p in zip(*row)]) for row in zip(a, b)]
    np.testing.assert_allclose(found, jnp.stack(rows), rtol=1e-10, atol=1e-12)

  same = lambda a: jnp.broadcast_to(a[:, :1], a.shape)
  check(jax.vmap(jax.vmap(one))(a, b), a, b)
  found = jax.vmap(jax.vmap(one, (2, None), 1))(jnp.moveaxis(a, 1, 3), b[:, 0])
  check(jnp.moveaxis(found, 2, 1), a, same(b))
  check(jax.vmap(jax.vmap(one, (None, 0)))(a[:, 0], b), same(a), b)


def test_shapes_that_do_not_fit():
  x, w = jnp.zeros((1, 2, 2, 3)), jnp.zeros((4, 4, 3, 5))
  with pytest.raises(UserError, match='smaller than the kernel'):
    conv(x, w)
  with pytest.raises(UserError, match='one C'):
    conv(jnp.zeros((1, 8, 8, 5)), w)
  with pytest.raises(UserError, match='one I'):
    conv_transpose(x, w)
  with pytest.raises(UserError, match='leaves nothing'):
    conv_transpose(jnp.zeros((1, 1, 1, 5)), w, 1, 2)
  with pytest.raises(UserError, match='one axis'):
    conv(x, w[0])
  with pytest.raises(UserError, match='each of the 1 spatial axes'):
    Conv(4, (3, 3)).init(jax.random.key(0), jnp.zeros((1, 8, 3)))
  with pytest.raises(UserError, match='below the stride'):
    conv_transpose(jnp.zeros((1, 4, 4, 5)), w, 2, 1, (0, 2))
  with pytest.raises(TypeError, match='one dtype'):
    conv(jnp.zeros((1, 8, 8, 3)), w.astype('bfloat16'))


@pytest.mark.parametrize('geometry', [GEOMETRIES[4], GEOMETRIES[18]], ids=str)
def test_the_weights_gradient_has_no_kernel_larger_than_its_image(geometry):
  """XLA's CPU compiler leaves its fast path there."""
  g, x, _, y = example(*geometry, channels=8, features=8)
  closed = jax.make_jaxpr(lambda x, y: forms.weights_cpu(g, x, y))(x, y)
  (found,) = (e for e in closed.eqns if e.primitive.name == 'conv_general_dilated')
  sides = [np.array(v.aval.shape[1:3]) for v in found.invars]
  assert (sides[1] <= sides[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize('batch', [8, 6])
def test_weights_in_parts_are_those_of_the_whole(batch):
  """3x3 over 32x32 pixels, 64 to 80 channels: 4 parts of a batch of 8, 2 of 6."""
  g = Geometry((32, 32), (3, 3), (1, 1), (1, 1))
  rng = np.random.default_rng(0)
  x, y = (rng.normal(size=(batch, 32, 32, n)).astype(np.float32) for n in (64, 80))
  found = jax.jit(lambda x, y: forms.weights_cpu(g, x, y))
  parts = str(jax.make_jaxpr(found)(x, y)).count('conv_general_dilated')
  assert parts == {8: 4, 6: 2}[batch]
  expected = jax.jit(lambda x, y: forms.weights_lax(g, x, y))(x, y)
  np.testing.assert_allclose(found(x, y), expected, atol=1e-3)
