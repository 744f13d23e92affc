"""What pictures from pictures are to beat: python benchmarks/baselines.py runs/sketch --out baselines.jsonl

For each picture of the run's held-out split, in place of a sample: the picture that it would start from, enlarged
bicubically where that is smaller; and the target of the training pair whose start is nearest, pixel by pixel. Both are
measured as `ganjax evaluate RUN` measures samples, and recorded alike.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from ganjax import data, experiment
from ganjax.devices import backend, processes, sharding
from ganjax.evaluation import records, sides
from ganjax.evaluation.measure import Extractors, measure
from ganjax.evaluation.presets import parse_metrics, parse_presets
from ganjax.layers.resample import resize_bicubic
from ganjax.media import image
from ganjax.metrics import neighbours


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('run', type=Path)
  parser.add_argument('--metrics', default='psnr,ssim')
  parser.add_argument('--crop', type=int, default=0, help='pixels off each border for psnr, ssim')
  parser.add_argument('--out', type=Path, help='the file that records are appended to')
  args = parser.parse_args()
  processes.start()
  mesh, run = sharding.make_mesh(), experiment.load(args.run)
  held = run.held_out(run.spans[-1])
  (start, *more), made = run.method.examples or ['nothing'], run.method.makes
  kinds = {held.fields[name].kind for name in (start, made) if name in held.fields}
  if more or kinds != {'image'} or start not in held.fields:
    parser.error(
      f'{args.run} makes {made} of {start}: baselines are of pictures, each made of one picture'
    )
  real = sides.of_source(held, made)
  starts, targets = read_all(held, start), read_all(held, made)
  found = {'the start itself': as_samples(starts, targets.shape)}
  if start not in run.method.derived:
    trained = data.whole(run.config.data, run.config.data.split)
    flat = lambda x: x.reshape(len(x), -1).astype(np.float32)
    nearest, _ = neighbours.nearest(flat(starts), flat(read_all(trained, start)), k=1)
    found['target of the nearest training pair'] = read_all(trained, made)[nearest[:, 0]]
  metrics, presets, rows = parse_metrics(args.metrics), parse_presets('ttur'), []
  work = dict(extractors=Extractors(), mesh=mesh, crop=args.crop)
  work['batch_size'] = backend.evaluation_batch(mesh)
  command = f'python benchmarks/baselines.py {args.run} --metrics={args.metrics}'
  command += f' --crop={args.crop}' if args.crop else ''
  for name, pictures in found.items():
    results = measure(side(name, pictures), real, metrics, presets, **work)
    kept = [{**one.record, 'by': 'command', 'command': command} for one in results]
    if args.out:
      records.append(args.out, kept)
    values = [pair for one in kept for pair in one['values'].items()]
    rows += [(name, value, records.number(number)) for value, number in values]
  print(records.table(rows, ('instead of samples', 'metric', 'value')))


def read_all(source, field):
  return source.read(np.arange(source.num_examples), (field,))[field]


def side(name, pictures) -> sides.Side:
  count = len(pictures)
  rows = lambda i: pictures[np.minimum(i, count - 1)]
  return sides.Side(count, {'name': name, 'num': count}, rows, lambda state, rows: rows)


def as_samples(starts, shape):
  """Pictures uint8 [N, h, w, S] in the shape of targets, [N, H, W, C]."""
  factor = shape[1] / starts.shape[1]
  if factor != 1:
    starts = np.concatenate(
      [
        image.to_stored(resize_bicubic(image.to_float(some), factor))
        for some in np.array_split(starts, -(-len(starts) // 64))
      ]
    )
  return np.broadcast_to(starts, shape) if starts.shape[-1] == 1 else starts


if __name__ == '__main__':
  main()
