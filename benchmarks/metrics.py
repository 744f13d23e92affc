"""The metrics' time and memory against scipy, torch-fidelity and prdc: python benchmarks/metrics.py [--large]

On random, correlated features of 2048 numbers. Sides that are not installed (extras `test`, `parity`) are named and
left out. Times are of the shortest run, all sides in turns; values are compared. `--large` measures precision,
recall, density and coverage of 50,000 against 50,000 instead: some ten minutes on two cores that are free.
"""

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import resource
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from ganjax.metrics import fid, kid
from ganjax.metrics.prdc import prdc

D = 2048


def draw(n, seed):
  """Features [n, D] float32, correlated, of variances that fall off, as a network's are."""
  scales = np.exp(-np.arange(D, dtype=np.float32) / 600)
  mix = np.random.default_rng(99).standard_normal((D, D), np.float32) * scales[:, None] / D**0.5
  rows = np.random.default_rng(seed).standard_normal((n, D), np.float32) @ mix
  rows += np.float32(0.01 * seed)
  return rows


def load(name):
  """The module, or None and a line that says so."""
  try:
    return importlib.import_module(name)
  except ImportError:
    print(f'{name} is not installed: left out')


def sides_frechet(n):
  stats = []
  for seed, rows in enumerate((n, n // 2)):
    moments = fid.Moments()
    moments.add(draw(rows, seed))
    stats += [moments.mean, moments.cov(1)]
  factor = fid.factor(stats[1])
  sides = {
    'ganjax': lambda: fid.frechet_distance(*stats),
    'ganjax, factor kept': lambda: fid.frechet_distance(*stats, factor1=factor),
  }
  if linalg := load('scipy.linalg'):
    gap = stats[0] - stats[2]
    traces = gap @ gap + np.trace(stats[1] + stats[3])
    sides['scipy sqrtm'] = lambda: traces - 2 * np.trace(linalg.sqrtm(stats[1] @ stats[3])).real
  if module := load('torch_fidelity.metric_fid'):
    pair = [dict(mu=stats[i], sigma=stats[i + 1]) for i in (0, 2)]
    value = lambda: module.fid_statistics_to_metric(*pair, verbose=False)
    sides['torch-fidelity'] = lambda: value()[module.KEY_METRIC_FID]
  return sides


def sides_kid(n):
  real, fake = draw(n, 0), draw(n, 1)
  sides = {'ganjax': lambda: kid.subsets(real, fake, subsets=20)[0]}
  if module := load('torch_fidelity.metric_kid'):
    pair = [load('torch').from_numpy(x.astype(np.float64)) for x in (fake, real)]
    value = lambda: module.kid_features_to_metric(*pair, kid_subsets=20, verbose=False)
    sides['torch-fidelity, float64'] = lambda: value()[module.KEY_METRIC_KID_MEAN]
  return sides


def sides_prdc(n):
  real, fake = draw(n, 0), draw(n, 1)
  sides = {'ganjax, k = 5': lambda: prdc(real, fake, pr_k=5, pr_strict=True)['precision']}
  if package := load('prdc'):
    sides['prdc, k = 5'] = lambda: package.compute_prdc(real, fake, 5)['precision']
  if module := load('torch_fidelity.metric_prc'):
    pair = [load('torch').from_numpy(x) for x in (fake, real)]
    value = lambda: module.prc_features_to_metric(*pair, prc_neighborhood=5, verbose=False)
    sides['torch-fidelity, no D, C'] = lambda: value()[module.KEY_METRIC_PRECISION]
  return sides


def compare(title, sides, runs):
  """Prints the shortest seconds, the values and their difference from the first side's."""
  seconds, values = {name: [] for name in sides}, {}
  with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter('ignore')
    for _ in range(runs):
      for name, call in sides.items():
        start, cpu = time.perf_counter(), time.process_time()
        values[name] = float(call())
        seconds[name].append((time.perf_counter() - start, time.process_time() - cpu))
  print(f'\n{title:<42}{"seconds":>9}{"of CPU":>9}{"value":>18}{"difference":>12}')
  first = next(iter(values.values()))
  for name, value in values.items():
    wall, cpu = min(seconds[name])
    print(f'{name:<42}{wall:>9.2f}{cpu:>9.2f}{value:>18.12g}{value - first:>12.1e}')


def measure_prdc(n):
  """(seconds, GiB at most, of which features) of this process, which does nothing else."""
  real, fake = draw(n, 0), draw(n, 1)
  start = time.perf_counter()
  prdc(real, fake)
  seconds = time.perf_counter() - start
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  return seconds, peak, (real.nbytes + fake.nbytes) / 2**30


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--rows', type=int, default=10000, help='of each set')
  parser.add_argument('--runs', type=int, default=2, help='of each side')
  parser.add_argument('--large', action='store_true', help='50,000 against 50,000, ganjax alone')
  args = parser.parse_args()
  print(
    f'{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}'
  )
  n = 50000 if args.large else args.rows
  # Before this process grows: Linux counts a parent's memory at the fork in the child's peak.
  with multiprocessing.get_context('spawn').Pool(1) as pool:
    seconds, peak, features = pool.apply(measure_prdc, (n,))
  print(
    f'PRDC of {n} x {n}, d = {D}, in a process of its own: {seconds:.1f} s, '
    f'{peak:.2f} GiB at most, {features:.2f} of them features'
  )
  if not args.large:
    compare(f'Frechet distance, d = {D}', sides_frechet(n), args.runs)
    compare(f'KID, 20 subsets of 1000, d = {D}', sides_kid(n), args.runs)
    compare(f'PRDC, {n} x {n}, d = {D}', sides_prdc(n), args.runs)


if __name__ == '__main__':
  main()
