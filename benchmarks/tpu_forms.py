"""Forms of a GAN's convolutions, as a TPU's compiler sees them: python benchmarks/tpu_forms.py [--images 128]

Each map of `layers/conv.py`, in every form of `layers/conv_forms.py` that there is for the shape, is compiled on its
own in bfloat16 (pip install '.[tpu-check]'; no TPU is needed, nothing is run): FLOPs, bytes from and to HBM, padding
(how many times their numbers the arrays that its kernels read and write take in memory), and the roofline's time. The
layers are those where a GAN's networks are unlike a classifier's: strided, transposed, and next to pictures of 3
channels, here also padded to 8. Winograd's sums are no products: FLOPs leave them out, the vector unit has them to do.
"""

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ganjax import UserError, chips, hlo, parallel
from ganjax.layers import conv_forms as forms
from ganjax.layers.conv import Geometry

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
  kernel = lambda one: one.kind not in hlo.FREE and not one.kind.endswith('-start')
  kept = [i for i in program['ENTRY'] if i.kind == 'parameter' or kernel(i)]
  found = [a for one in kept for a in one.arrays]
  return sum(a.padded for a in found) / sum(a.size for a in found)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--images', type=int, default=128)
  parser.add_argument(
    '--chip', default='v5e', choices=[c for c in chips.CHIPS if '1x1' in chips.CHIPS[c].slices]
  )
  args = parser.parse_args()
  jax.config.update('jax_platforms', 'cpu')
  chip, devices = chips.find(f'{args.chip}:1x1')
  place = NamedSharding(parallel.make_mesh(devices), PartitionSpec())
  array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place)
  print(f'Compiled for {args.chip}, {args.images} images, bfloat16; nothing was run\n')
  print('| layer | map | form | GFLOP | MB | padding | us at best |\n|' + ' --- |' * 7)
  for layer, (g, channels, features) in LAYERS.items():
    x, y = array(args.images, *g.size, channels), array(args.images, *g.out, features)
    w = array(*g.kernel, channels, features)
    for kind, ends in dict(strided=(x, w), transposed=(y, w), weights=(x, y)).items():
      for name, run in candidates(kind, g, channels, features, args.images).items():
        traced = jax.jit(run).trace(*ends)
        compiled = traced.lower(lowering_platforms=('tpu',)).compile()
        program = hlo.parse(compiled.as_text())
        flops, moved = hlo.flops(program), hlo.traffic(program)
        cells = (
          layer,
          kind,
          name,
          f'{flops / 1e9:.2f}',
          f'{moved / 1e6:.1f}',
          f'{padding(program):.2f}',
        )
        print(f'| {" | ".join(cells)} | {1e6 * chip.seconds(flops, moved):.0f} |', flush=True)


if __name__ == '__main__':
  try:
    sys.exit(main())
  except UserError as error:
    sys.exit(f'error: {error}')
