"""Inception features against torch-fidelity's: python benchmarks/inception_features.py [--size 256] [--batches 8 64]

Needs the extra `parity`: pip install '.[parity]'. Both sides hold the same seeded weights, take the same uint8 images
and resize them to 299 pixels. Their features are compared first, to 1e-4 of the largest. Then both take turns in one
run at each batch size, and the median of the rounds' ratios is printed; last, the ratio of each side at its best, and
at its default, 8 here (on CPU) and 64 there.
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
from ganjax.devices import backend

DEFAULTS = 8, 64  # images a batch: ours on CPU (`backend.evaluation_batch`), torch-fidelity's


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
  features_of = lambda variables, images: extractor.apply(variables, images)['features']
  compute = jax.jit(features_of, compiler_options=backend.forward_compilation())  # as evaluation
  return lambda images: np.asarray(compute(variables, images))


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--batches', type=int, nargs='+', default=[8, 64], help='images a batch')
  parser.add_argument('--size', type=int, default=32, help='of the images, in pixels')
  parser.add_argument('--rounds', type=int, default=6)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    theirs, tensors = make_torch(folder)
    sides = {'ganjax': make_ganjax(tensors, folder), 'torch-fidelity': theirs}
  device = jax.devices()[0].device_kind
  print(f'Inception, float32, {args.size} px, on {device}, {len(os.sched_getaffinity(0))} cores')
  found = [compare(sides, batch, args.size, args.rounds) for batch in args.batches]
  by_side = {n: {b: medians[n] for medians, b in zip(found, args.batches)} for n in sides}
  best = [min(seconds, key=seconds.get) for seconds in by_side.values()]
  for what, batches in ('best', best), ('default', DEFAULTS):
    if set(batches) <= set(args.batches):
      (_, ours), (_, theirs) = by_side.items()
      print(
        f'\neach at its {what}: ganjax (batch {batches[0]}) is {theirs[batches[1]] / ours[batches[0]]:.2f} times as '
        f'fast as torch-fidelity (batch {batches[1]})'
      )


def compare(sides, batch, size, rounds):
  """Prints how the sides do at a batch size; returns the median seconds an image of each."""
  images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
  ours, theirs = (run(images) for run in sides.values())
  worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
  if not worst < 1e-4:
    raise SystemExit(f'the features differ by {worst:.1e}: this would not compare like with like')
  times = {name: [] for name in sides}
  for i in range(rounds + 1):
    for name, run in sides.items():
      start = time.perf_counter()
      run(images)
      if i:  # the first round warms up
        times[name].append((time.perf_counter() - start) / batch)
  print(f'\nbatch {batch}: equal features, within {worst:.0e} of the largest')
  print(f'{"":<16}{"ms an image, min":>18}{"median":>10}{"images/s":>12}')
  medians = {name: statistics.median(seconds) for name, seconds in times.items()}
  for name, median in medians.items():
    print(f'{name:<16}{min(times[name]) * 1e3:>18.1f}{median * 1e3:>10.1f}{1 / median:>12.1f}')
  ratios = [b / a for a, b in zip(*times.values())]
  print(
    f'ganjax is {statistics.median(ratios):.2f} times as fast as torch-fidelity '
    f'(median of {rounds} rounds, {min(ratios):.2f} to {max(ratios):.2f})'
  )
  return medians


if __name__ == '__main__':
  main()
