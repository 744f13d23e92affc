"""What is known of a side: extracted once, kept on disk under its content, read the next time.

An entry is `$GANJAX_CACHE_DIR/statistics/<name>-<hash of what it depends on>.<what>.npz`. It may be given as the real
side of an evaluation itself; so may statistics of the TTUR and pytorch-fid kind, an .npz of `mu` and `sigma`.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from threadpoolctl import threadpool_limits

import ganjax
from ganjax import UserError, cache_folder
from ganjax.devices import processes
from ganjax.evaluation.extract import FeaturePlan, extract
from ganjax.evaluation.sides import Side
from ganjax.metrics import fid
from ganjax.workdir.files import replace_file, user_errors

ROUNDING = 1e-5  # share of the largest that a covariance kept in float32 may be off by


class Statistics(NamedTuple):
  """Mean and covariance of an output of a feature network."""

  n: int
  mean: np.ndarray  # float64 [d]
  cov: np.ndarray  # float64 [d, d], ddof 1
  factor: np.ndarray  # float64 [d, r], factor @ factor.T = cov
  ddof: int = 1

  def with_ddof(self, ddof: int) -> 'Statistics':
    """The same with the covariance divided by n - ddof. Statistics of unknown n stay as they are."""
    if ddof == self.ddof or not self.n:
      return self
    share = (self.n - self.ddof) / (self.n - ddof)
    return self._replace(cov=self.cov * share, factor=self.factor * share**0.5, ddof=ddof)


def statistics(moments: fid.Moments) -> Statistics:
  """Of `fid.Moments`. Raises UserError for fewer than 2 pictures."""
  if moments.n < 2:
    raise UserError('statistics need at least 2 pictures')
  cov = moments.cov(1)
  return Statistics(moments.n, moments.mean, cov, fid.factor(cov))


class SideFeatures(NamedTuple):
  """What is known of a side by one plan."""

  moments: dict  # output -> Statistics
  rows: dict  # output -> float32 [N, d]
  files: dict  # output -> the file that keeps its statistics


def learn(
  side: Side,
  plans: dict,
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  stop: Callable[[], bool] = lambda: False,
) -> dict:
  """{key: SideFeatures} of all plans over a side: from the cache what is there, the rest in one pass, then kept.

  Raises as `extract` does. Where the cache cannot be written a line says so.
  """
  wanted = [
    (key, kind, output, _path(side, plan, kind, output))
    for key, plan in plans.items()
    for kind in ('moments', 'rows')
    for output in sorted(getattr(plan, kind))
  ]
  values = [_recall(path) for *_, path in wanted]
  # A process that computes waits for the others to compute too.
  lacks = np.any(processes.gather([value is None for value in values]), axis=0)
  missing = [one for (*one, _), lack in zip(wanted, lacks) if lack]
  of = lambda key, kind: frozenset(o for *there, o in missing if there == [key, kind])
  part = lambda key: plans[key]._replace(moments=of(key, 'moments'), rows=of(key, 'rows'))
  parts = {key: part(key) for key, *_ in missing}
  work = dict(mesh=mesh, batch_size=batch_size, stop=stop)
  found = extract(side, parts, **work) if missing else {}
  known = {key: SideFeatures({}, {}, {}) for key in plans}
  for (key, kind, output, path), value, lack in zip(wanted, values, lacks):
    if lack:
      value = getattr(found[key], kind)[output]
      value = statistics(value) if kind == 'moments' else value
      if path:
        _memory[path] = value
        if processes.is_main():
          _write(path, value, _identity(side, plans[key], kind, output))
    getattr(known[key], kind)[output] = value
    if path and kind == 'moments':
      known[key].files[output] = str(path)
  return known


_memory = {}  # path -> value: a run that trains needs it again and again, on hosts whose disks lack it too


def _recall(path):
  """What is kept under a path, or None."""
  if path is None:
    return None
  if path not in _memory:
    value = _read(path) if path.exists() else None
    if value is None:
      return None
    _memory[path] = value
  return _memory[path]


def _identity(side, plan, kind, output) -> dict:
  """All that an entry depends on. Float32 features differ in the last digits between kinds of device."""
  network = {k: v for k, v in plan.extractor.info.items() if k != 'weights_file'}
  return {
    'content': side.content,
    'count': side.count,
    **network,
    'kind': kind,
    'output': output,
    'device': jax.devices()[0].device_kind,
    'version': ganjax.__version__,
  }


def _path(side, plan, kind, output) -> Path | None:
  if side.content is None:
    return None
  digest = hashlib.sha256(
    json.dumps(_identity(side, plan, kind, output), sort_keys=True).encode()
  ).hexdigest()
  name = re.sub(r'[^\w.]+', '-', f'{Path(side.info["name"]).name} {plan.extractor.name} {output}')
  return cache_folder('statistics') / f'{name[:80]}-{digest[:16]}.{kind}.npz'


def _write(path, value, identity):
  arrays = value._asdict() if isinstance(value, Statistics) else {'rows': value}
  try:
    with user_errors(path):
      path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
      np.savez(file, **arrays, identity=np.array(json.dumps(identity)))
  except UserError as error:  # an hour of features must not be lost for that
    print(f'note: statistics are not kept: {error}', file=sys.stderr)


def _read(path):
  """An entry's value, or None where it is damaged: it is then made anew."""
  try:
    with np.load(path, allow_pickle=False) as file:
      if 'rows' in file.files:
        return file['rows']
      return Statistics(
        int(file['n']), file['mean'], file['cov'], file['factor'], int(file['ddof'])
      )
  except Exception:  # noqa: BLE001 (whatever a damaged archive raises)
    return None


def is_statistics(path: Path) -> bool:
  """True for an .npz of statistics rather than pictures."""
  try:
    with np.load(path, allow_pickle=False) as file:
      return 'arr_0' not in file.files and bool({'mu', 'sigma', 'cov'} & set(file.files))
  except Exception:  # noqa: BLE001 (the reader of pictures will say what is wrong)
    return False


def read_statistics(path: Path, plan: FeaturePlan) -> Statistics:
  """Statistics from a file, for the output 'features'.

  Raises UserError: they are of another network, preset or output. A file of `mu` and `sigma` alone says nothing of
  itself and is taken on trust where its size fits.
  """
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    ours = 'identity' in arrays
    there = dict(json.loads(str(arrays['identity']))) if ours else {}
    names = {'mean', 'cov', 'factor'} if ours else {'mu', 'sigma'}
    arrays |= {name: np.asarray(arrays[name], np.float64) for name in names & arrays.keys()}
    found = ours and Statistics(
      *(arrays[k] if arrays[k].ndim else int(arrays[k]) for k in Statistics._fields)
    )
  except Exception as error:  # noqa: BLE001 (whatever a damaged archive raises)
    raise UserError(f'{path} is not readable as statistics: {error}') from None
  mean, cov = (arrays.get(k) for k in (('mean', 'cov') if ours else ('mu', 'sigma')))
  if mean is None or cov is None:
    raise UserError(f'{path}: statistics are mu and sigma; it holds {", ".join(arrays)}')
  _check(path, mean, cov)
  if ours:
    if [np.ndim(value) for value in found] != [0, 1, 2, 2, 0] or len(found.factor) != len(mean):
      raise UserError(f'{path} is not readable as statistics: its arrays do not fit one another')
    here = {k: v for k, v in plan.extractor.info.items() if k != 'weights_file'} | {
      'output': 'features'
    }
    here = json.loads(json.dumps(here))
    for name, value in here.items():
      if there.get(name) != value:
        raise UserError(
          f'{path} holds statistics of another preset or network: {name} is {there.get(name)!r} there, {value!r} here'
        )
    return found
  return Statistics(0, mean, cov, fid.factor(cov))


def _check(path, mean, cov):
  """Raises UserError unless these are a mean and a covariance, up to rounding to float32."""
  size = mean.size
  if mean.shape != (size,) or cov.shape != (size, size):
    raise UserError(
      f'{path}: mu {list(mean.shape)} and sigma {list(cov.shape)} are no mean and covariance'
    )
  if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
    raise UserError(f'{path}: its statistics hold NaN or infinity')
  if np.abs(cov - cov.T).max() > ROUNDING * np.abs(cov).max():
    raise UserError(f'{path}: its sigma is not symmetric, so it is no covariance')
  with threadpool_limits(1, 'blas'):  # as in `fid.frechet_distance`
    variances = np.linalg.eigvalsh(cov)
  if variances[0] < -ROUNDING * np.abs(variances).max():
    raise UserError(
      f'{path}: its sigma has a negative variance, {variances[0]:.3g}, along one direction, so it is no covariance'
    )
