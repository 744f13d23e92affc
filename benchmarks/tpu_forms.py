"""Forms of a GAN's layers, as a TPU's compiler sees them: python benchmarks/tpu_forms.py [--images 64]

Compiled in bfloat16 (pip install '.[tpu-check]'; no TPU is needed, nothing is run): FLOPs, bytes from and to HBM,
padding (how many times their numbers the arrays that its kernels read and write take in memory), the roofline's time,
and the cycles that XLA takes its kernels to need, at the chip's clock. Two tables:

  maps    those of `layers/conv.py`, in every form of `layers/conv_forms.py` that there is for the shape, where a GAN's
          networks are unlike a classifier's: strided, transposed, and next to pictures of 3 channels, here also padded
          to 8. Winograd's sums are no products: FLOPs leave them out, the vector unit has them to do.
  layers  what ganjax does otherwise on TPUs than one would write it down, with all gradients: resampling and the
          convolution next to it in one, narrow groups in blocks, ADA's resampling without an index.
"""

import argparse
import functools
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ganjax import UserError
from ganjax.devices import backend, sharding
from ganjax.layers import conv_forms as forms
from ganjax.layers.conv import Conv, Geometry, conv
from ganjax.layers.resample import mean_pool, upsample
from ganjax.tpu import chips, hlo
from ganjax.views import ada

# Name -> geometry, channels of x, features of y; transposed layers go from y to x.
LAYERS = {
  'DCGAN, G, 256 to 128, 8 to 16 pixels': (Geometry((16, 16), (4, 4), (2, 2), (1, 1)), 128, 256),
  'DCGAN, G, 128 to RGB, 16 to 32 pixels': (Geometry((32, 32), (4, 4), (2, 2), (1, 1)), 3, 128),
  'DCGAN, D, RGB to 64, 32 to 16 pixels': (Geometry((32, 32), (5, 5), (2, 2), (2, 2)), 3, 64),
  'ResNet, D, RGB to 128, 32 pixels': (Geometry((32, 32), (3, 3), (1, 1), (1, 1)), 3, 128),
  'ResNet, 256 to 256, 32 pixels': (Geometry((32, 32), (3, 3), (1, 1), (1, 1)), 256, 256),
}


def candidates(kind, g, channels, features, images) -> dict:
  """{Name: function of the two arrays} of the forms that a map has for a shape."""
  one = lambda name: functools.partial(getattr(forms, f'{kind}_{name}'), g)
  found = {'native': one('lax'), 'by tap': one('taps')}
  if forms.by_tile(g, images, channels, features):
    found['Winograd'] = one('tiles')
  if channels == 3:

    def padded(a, b):
      run = found['native']
      wide = lambda x, axis: jnp.pad(x, [(0, 5 if i == axis else 0) for i in range(4)])
      if kind == 'strided':
        return run(wide(a, 3), wide(b, 2))
      if kind == 'transposed':
        return run(a, wide(b, 2))[..., :3]
      return run(wide(a, 3), b)[:, :, :3]

    found['native, RGB as 8'] = padded
  return found


def padding(program) -> float:
  """Bytes in memory of the arrays that kernels read and write, over those of their numbers."""
  kernel = lambda one: one.kind not in hlo.UNCOUNTED and not one.kind.endswith('-start')
  kept = [i for i in program['ENTRY'] if i.kind == 'parameter' or kernel(i)]
  found = [a for one in kept for a in one.arrays]
  return sum(a.padded for a in found) / sum(a.size for a in found)


def _ways(up: bool, kernel: int) -> dict:
  """256 channels to 256 and resampling by 2, apart and in one."""
  layer = Conv(256, kernel, padding=kernel // 2, use_bias=False, dtype='bfloat16')
  run = lambda layer, x, w: layer.apply({'params': {'kernel': w}}, x)
  one = layer.clone(resample='up' if up else 'down')
  if kernel == 1:  # on the smaller map
    apart = lambda x, w: upsample(run(layer, x, w)) if up else run(layer, mean_pool(x), w)
  else:
    apart = lambda x, w: run(layer, upsample(x), w) if up else mean_pool(run(layer, x, w))
  return {'apart': apart, 'in one': lambda x, w: run(one, x, w)}


def _by_index(images, place):
  with mock.patch.object(backend, 'has_scatter', lambda: True):
    return _by_product(images, place)


def _by_product(images, place):
  with jax.default_matmul_precision('highest'):
    return ada._resample(images, jax.lax.stop_gradient(place))


GROUPS = Geometry((32, 32), (3, 3), (1, 1), (1, 1), 96)
SQUARE = lambda n: ((n, n, 256), 'bfloat16')
KERNEL = lambda n: ((n, n, 256, 256), 'float32')
# Name -> (shape of an image, dtype) of x, (shape, dtype) of w, {way: function of both}.
WAYS = {
  '3x3 after doubling, 256 channels, to 32 pixels': (SQUARE(16), KERNEL(3), _ways(True, 3)),
  '3x3 before halving, 256 channels, from 32 pixels': (SQUARE(32), KERNEL(3), _ways(False, 3)),
  '1x1 and doubling, 256 channels, to 32 pixels': (SQUARE(16), KERNEL(1), _ways(True, 1)),
  '1x1 and halving, 256 channels, from 32 pixels': (SQUARE(32), KERNEL(1), _ways(False, 1)),
  'R3GAN, 3x3 in 96 groups of 16, 32 pixels': (
    ((32, 32, 1536), 'bfloat16'),
    ((3, 3, 16, 1536), 'bfloat16'),
    {
      'native': functools.partial(forms.strided_lax, GROUPS),
      'in blocks': lambda x, w: conv(x, w, 1, 1, groups=96),
    },
  ),
  'ADA, affine map of 32 pixels, float32': (
    ((32, 32, 3), 'float32'),
    ((3, 3), 'float32'),  # of each image
    {'by index': _by_index, 'by product': _by_product},
  ),
}


def with_gradients(run):
  """(x, w, change of the output) -> the output, and what the change makes of x and w."""

  def both(x, w, change):
    y, back = jax.vjp(run, x, w)
    return y, back(change)

  return both


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--images', type=int, default=64)
  parser.add_argument(
    '--chip', default='v5e', choices=[c for c in chips.CHIPS if '1x1' in chips.CHIPS[c].slices]
  )
  args = parser.parse_args()
  jax.config.update('jax_platforms', 'cpu')
  chip, devices = chips.find(f'{args.chip}:1x1')
  mesh = sharding.make_mesh(devices)

  def report(*names, run, ends):
    traced = jax.jit(run).trace(*ends)
    compiled = traced.lower(lowering_platforms=('tpu',)).compile()
    program = hlo.parse(compiled.as_text())
    flops, moved = hlo.flops(program), hlo.traffic(program)
    cells = f'{flops / 1e9:.2f}', f'{moved / 1e6:.1f}', f'{padding(program):.2f}'
    cells += (f'{1e6 * chip.seconds(flops, moved):.0f}',)
    cells += (f'{1e6 * hlo.cycles(program) / chip.clock:,.0f}' if chip.clock else '-',)
    print(f'| {" | ".join([*names, *cells])} |', flush=True)

  place = NamedSharding(mesh, PartitionSpec())
  array = lambda shape, dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
  print(f'Compiled for {args.chip}, {args.images} images; nothing was run\n')
  heads = 'GFLOP | MB | padding | us at best | us by XLA |\n'
  print(f'| map | | form | {heads}|' + ' --- |' * 8)
  half = lambda *shape: array(shape, jnp.bfloat16)
  for layer, (g, channels, features) in LAYERS.items():
    x, y = half(args.images, *g.size, channels), half(args.images, *g.out, features)
    w = half(*g.kernel, channels, features)
    for kind, ends in dict(strided=(x, w), transposed=(y, w), weights=(x, y)).items():
      for name, run in candidates(kind, g, channels, features, args.images).items():
        report(layer, kind, name, run=run, ends=ends)
  print(f'\n| layer with its gradients | way | {heads}|' + ' --- |' * 7)
  for layer, ((shape, dtype), (kernel, wide), ways) in WAYS.items():
    each = (args.images,) if len(kernel) == 2 else ()
    x, w = array((args.images, *shape), dtype), array((*each, *kernel), wide)
    for name, run in ways.items():
      with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        y = jax.eval_shape(run, x, w)
        report(layer, name, run=with_gradients(run), ends=(x, w, array(y.shape, y.dtype)))


if __name__ == '__main__':
  try:
    sys.exit(main())
  except UserError as error:
    sys.exit(f'error: {error}')
