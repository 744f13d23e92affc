"""Inception features against torch-fidelity's: python benchmarks/inception_features.py [--size 256]

Needs the extra `parity`: pip install '.[parity]'. Both sides hold the same seeded weights, take the same uint8 images
and resize them to 299 pixels. Their features are compared first, to 1e-4 of the largest. Then both take turns in one
run, and the median of the rounds' ratios is printed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests/features')]

import jax
import numpy as np
import seeded

from ganjax import features


def make_torch(folder):
  """torch-fidelity's extractor with seeded weights -> (images [B, H, W, 3] uint8 -> features, the weights)."""
  try:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
  except ImportError as error:
    raise SystemExit(f"{error}: this benchmark needs pip install '.[parity]'") from None

  class Network(FeatureExtractorInceptionV3):
    def load_state_dict(self, state_dict, **kwargs):
      """Its constructor loads a file: here of no tensors, until the shapes are known."""
      return super().load_state_dict(state_dict, strict=False)

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.set_grad_enabled(False)
  torch.save({}, f'{folder}/none.pth')
  network = Network('inception', ['2048'], feature_extractor_weights_path=f'{folder}/none.pth')
  shapes = {n: a.shape for n, a in network.state_dict().items() if a.is_floating_point()}
  tensors = seeded.tensors(shapes)
  network.load_state_dict({name: torch.tensor(a) for name, a in tensors.items()})
  run = lambda images: network(torch.tensor(images.transpose(0, 3, 1, 2)))[0].numpy()
  return run, tensors


def make_ganjax(tensors, folder):
  np.savez(f'{folder}/inception.npz', **tensors)
  extractor = features.load('inception', f'{folder}/inception.npz')
  variables = jax.device_put(extractor.variables)
  compute = jax.jit(lambda variables, images: extractor.apply(variables, images)['features'])
  return lambda images: np.asarray(compute(variables, images))


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--batch', type=int, default=16)
  parser.add_argument('--size', type=int, default=32, help='of the images, in pixels')
  parser.add_argument('--rounds', type=int, default=6)
  args = parser.parse_args()
  shape = args.batch, args.size, args.size, 3
  images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  with tempfile.TemporaryDirectory() as folder:
    theirs, tensors = make_torch(folder)
    sides = {'ganjax': make_ganjax(tensors, folder), 'torch-fidelity': theirs}
  ours, theirs = (run(images) for run in sides.values())
  worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
  if not worst < 1e-4:
    raise SystemExit(f'the features differ by {worst:.1e}: this would not compare like with like')
  print(
    f'Inception, float32, batch {args.batch} of {args.size} px, on {jax.devices()[0].device_kind}, '
    f'{len(os.sched_getaffinity(0))} cores\nequal features, within {worst:.0e} of the largest'
  )
  times = {name: [] for name in sides}
  for i in range(args.rounds + 1):
    for name, run in sides.items():
      start = time.perf_counter()
      run(images)
      if i:  # the first round warms up
        times[name].append(time.perf_counter() - start)
  print(f'\n{"":<16}{"ms an image, min":>18}{"median":>10}{"images/s":>12}')
  for name, found in times.items():
    low, median = (f(found) / args.batch for f in (min, statistics.median))
    print(f'{name:<16}{low * 1e3:>18.1f}{median * 1e3:>10.1f}{1 / median:>12.1f}')
  ratios = [b / a for a, b in zip(*times.values())]
  print(
    f'\nganjax is {statistics.median(ratios):.2f} times as fast as torch-fidelity '
    f'(median of {args.rounds} rounds, {min(ratios):.2f} to {max(ratios):.2f})'
  )


if __name__ == '__main__':
  main()
