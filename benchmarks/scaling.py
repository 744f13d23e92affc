"""Weak scaling on TPUs, predicted: python benchmarks/scaling.py [--configs dcgan_cifar,...] [--chip v5e] [--images 128]

Compiles each configuration's step for 1, 8, 64 and 256 chips with as many images on each, by libtpu, without a TPU (pip
install '.[tpu-check]'), and adds up, for a chip of each slice,

  compute         the roofline's time of the program (`ganjax.chips`), the best case
  communication   every exchange of the compiled program, one after the other and beside no computation: twice its bytes
                  over the links that a chip has in the slice (reduce-scatter and all-gather), and twice the way around
                  it at 1 us a link, which is what the small ones of batch norm cost
  efficiency      compute on the smallest slice / (compute + communication)

So the first makes the prediction low and the second high where XLA overlaps; measured numbers will differ from both.
Compute is printed as on the smallest slice, exchanges and their MB as of a step and chip of 8.
"""

import argparse
import functools
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax

from ganjax import UserError, chips, roofline

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
  parser.add_argument('--configs', default='dcgan_cifar,sngan_cifar,biggan_cifar')
  parser.add_argument('--chip', default='v5e', choices=chips.CHIPS)
  parser.add_argument('--images', type=int, default=128, help='of a batch, on each chip')
  args = parser.parse_args()
  jax.config.update('jax_platforms', 'cpu')
  slices = CUBE if args.chip in ('v4', 'v5p') else FLAT
  print(f'PREDICTED for {args.chip}, {args.images} images a chip; libtpu, no TPU was used')
  print(
    f'{chips.CHIPS[args.chip].links / 1e9:.0f} GB/s leave a chip over all links ({chips.SOURCES}); '
    f'{1e6 * chips.HOP_SECONDS:g} us a link ({chips.HOP_SOURCE})\n'
  )
  first, *several = slices
  heads = ['config', 'compute, ms', 'exchanges', 'MB']
  heads += [f'{what} {count}' for what in ('ms at', 'efficiency at') for count in several]
  print(f'| {" | ".join(heads)} |\n|{" --- |" * len(heads)}')
  for name in args.configs.split(','):
    try:
      found = {n: predict(name, f'{args.chip}:{shape}', args.images) for n, shape in slices.items()}
    except UserError as error:  # it does not fit: with fewer --images it may
      print(f'| {name} | {error} |{" |" * (len(heads) - 2)}', flush=True)
      continue
    alone = found[first]['compute']
    total = {n: found[n]['compute'] + found[n]['communication'] for n in several}
    cells = [name, f'{1e3 * alone:.2f}']
    cells += [f'{found[several[0]]["exchanges"]:.4g}', f'{found[several[0]]["bytes"] / 1e6:.1f}']
    cells += [f'{1e3 * found[n]["communication"]:.2f}' for n in several]
    cells += [f'{alone / total[n]:.2f}' for n in several]
    print(f'| {" | ".join(cells)} |', flush=True)


def predict(name, topology, images) -> dict:
  """Of a step on one chip of the slice: seconds of `compute` and `communication`, `exchanges` and their `bytes`."""
  chip, devices = chips.find(topology)
  config = importlib.import_module(f'configs.{name}').get_config()
  config.batch_size = images * len(devices)
  programs = roofline.check(config, chip, devices)
  if len(devices) == 1:
    programs = [p._replace(collectives=[]) for p in programs]
  cost = functools.partial(seconds, chip, topology, len(devices))
  return {
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
