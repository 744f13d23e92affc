"""Weak scaling on TPUs, predicted: python benchmarks/scaling.py [--configs dcgan_cifar,...] [--chip v5e] [--images N]

Compiles each configuration's training for 1, 8, 64 and 256 chips with as many images on each (those that it has on 8
chips, unless said), by libtpu, without a TPU (pip install '.[tpu-check]'), and adds up, for a chip of each slice,

  compute         the roofline's time of the program (`ganjax.tpu.chips`), the best case; and XLA's estimate of it
  communication   every exchange of the compiled program, one after the other and beside no computation: twice its bytes
                  over the links that a chip has in the slice (reduce-scatter and all-gather), and twice the way around
                  it at 1 us a link, which is what the small ones of batch norm cost
  efficiency      compute on the smallest slice / (compute + communication)

The best case of compute makes efficiency low, so where XLA says what it takes its kernels to need (v5e), there is a
second one, of that. Measured numbers will differ from both. Compute is printed as on the smallest slice, exchanges and
their MB as of a step and chip of 8.
"""

import argparse
import functools
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax

from ganjax import UserError
from ganjax.tpu import chips, roofline

FLAT = {1: '1x1', 8: '2x4', 64: '8x8', 256: '16x16'}
CUBE = {4: '2x2x1', 8: '2x2x2', 64: '4x4x4', 256: '4x8x8'}


def seconds(chip, topology, count, one) -> float:
  """What an exchange takes: by its bytes, and by the way it goes."""
  hops, share = chips.network(topology)
  passes = 2 if one.kind == 'all-reduce' else 1
  moved = one.size * (count - 1) / count
  return passes * (moved / (share * chip.links) + hops * chips.HOP_SECONDS)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  every = ','.join(sorted(file.stem for file in ROOT.glob('configs/*.py')))
  parser.add_argument('--configs', default=every, help='all, unless said: two hours')
  parser.add_argument('--chip', default='v5e', choices=chips.CHIPS)
  parser.add_argument('--images', type=int, help="of a batch, on each chip; else the config's on 8")
  args = parser.parse_args()
  jax.config.update('jax_platforms', 'cpu')
  slices = CUBE if args.chip in ('v4', 'v5p') else FLAT
  print(f'PREDICTED for {args.chip}, by libtpu; no TPU was used')
  print(
    f'{chips.CHIPS[args.chip].links / 1e9:.0f} GB/s leave a chip over all links ({chips.SOURCES}); '
    f'{1e6 * chips.HOP_SECONDS:g} us a link ({chips.HOP_SOURCE})\n'
  )
  first, *several = slices
  heads = ['config', 'images a chip', 'at best, ms', 'estimated, ms', 'exchanges', 'MB']
  heads += [f'{what} {count}' for what in ('ms at', 'efficiency at') for count in several]
  print(f'| {" | ".join(heads)} |\n|{" --- |" * len(heads)}')
  for name in args.configs.split(','):
    config = importlib.import_module(f'configs.{name}').get_config()
    images = args.images or config.batch_size // 8
    try:
      found = {n: predict(config, f'{args.chip}:{shape}', images) for n, shape in slices.items()}
    except UserError as error:  # it does not fit: with fewer --images it may
      print(f'| {name} | {error} |{" |" * (len(heads) - 2)}', flush=True)
      continue
    kinds = [kind for kind in ('compute', 'estimated') if kind in found[first]]
    times = [f'{1e3 * found[first][kind]:.2f}' for kind in kinds]
    cells = [name, str(images), *times, *['-'] * (2 - len(times))]
    cells += [f'{found[several[0]]["exchanges"]:.4g}', f'{found[several[0]]["bytes"] / 1e6:.1f}']
    cells += [f'{1e3 * found[n]["communication"]:.2f}' for n in several]
    for n in several:
      total = {kind: found[n][kind] + found[n]['communication'] for kind in kinds}
      cells.append(' / '.join(f'{found[first][kind] / total[kind]:.2f}' for kind in kinds))
    print(f'| {" | ".join(cells)} |', flush=True)


def predict(config, topology, images) -> dict:
  """Of a step on one chip of the slice: seconds of `compute` (at best, and as `estimated` where that is known) and of
  `communication`, `exchanges` and their `bytes`.
  """
  chip, devices = chips.find(topology)
  config = config.copy_and_resolve_references()
  config.batch_size = images * len(devices)
  programs = roofline.check(config, chip, devices)
  if len(devices) == 1:
    programs = [p._replace(collectives=[]) for p in programs]
  cost = functools.partial(seconds, chip, topology, len(devices))
  estimated = chip.clock and roofline.mean(programs, lambda p: p.cycles) / chip.clock
  return ({'estimated': estimated} if estimated else {}) | {
    'compute': roofline.mean(programs, lambda p: chip.seconds(p.flops, p.moved)),
    'communication': roofline.mean(programs, lambda p: sum(map(cost, p.collectives))),
    'exchanges': roofline.mean(programs, lambda p: len(p.collectives)),
    'bytes': roofline.mean(programs, lambda p: sum(c.size for c in p.collectives)),
  }


if __name__ == '__main__':
  try:
    sys.exit(main())
  except UserError as error:
    sys.exit(f'error: {error}')
