"""Pictures from a state: for the grids of training, for sample.py and for evaluation."""

import difflib
import functools
import re

import jax
import numpy as np

from ganjax import UserError, media
from ganjax.commandline import closest
from ganjax.devices import sharding
from ganjax.layers.norm import use_standing

BATCH_NORM_MODES = ('running', 'batch', 'standing')
SEEDS = 2**31  # latents are drawn by int32, and `standing` takes the negative ones
MOST_SEEDS = 10_000_000
STANDING_BATCHES, STANDING_BATCH = 64, 64  # part of what standing statistics are: no setting


def rows(method, seeds, source=None, indices=None, **options):
  """What `stage.sample` takes for a sample of each seed, host arrays: `method.rows` of seeds and examples.

  Args:
    method: of the run.
    seeds: int [n].
    source: data, of which a method that asks for examples takes those of `indices`, int [n].
    indices: by default 0, 1, ..., from the first again after the last.
    **options: of the samples, checked by `check_options`; the method's defaults for others.
  """
  examples = {}
  if method.examples:
    indices = np.arange(len(seeds)) % source.num_examples if indices is None else indices
    examples = to_floats(source.read(indices, method.examples), source.fields)
  return jax.device_get(method.rows(seeds, examples, **options))


def to_floats(examples, fields) -> dict:
  """Stored examples as losses see them, see `ganjax.media`."""
  return {name: media.find(fields[name].kind).to_float(x) for name, x in examples.items()}


def parse_options(texts, method) -> dict:
  """['truncation=0.7'] -> {'truncation': 0.7}, of the types of the method's defaults.

  Raises:
    UserError: no option of the method, or another type.
  """
  known, found = method.options, {}
  for text in texts:
    name, equals, value = text.partition('=')
    if name not in known or not equals:
      there = ', '.join(f'{k}={v}' for k, v in known.items()) or 'none'
      raise UserError(
        f'--option={text} is not understood{closest(name, known)}; options of this run, with their defaults: {there}'
      )
    try:
      found[name] = type(known[name])(value)
      if isinstance(found[name], float) and not np.isfinite(found[name]):
        raise ValueError
    except ValueError:
      kind = {float: 'a number', int: 'a whole number'}.get(type(known[name]), 'another value')
      raise UserError(f'--option={text}: {name} must be {kind}') from None
  return found


def to_batches(latents, size: int):
  """Cuts latents (a pytree of [N, ...]) into (rows of `size`, how many count), the last filled up with its last row."""
  n = len(jax.tree.leaves(latents)[0])
  for start in range(0, n, size):
    rows = np.minimum(np.arange(start, start + size), n - 1)
    yield jax.tree.map(lambda x, rows=rows: x[rows], latents), min(size, n - start)


def start(stage, state, latents, *, train=False):
  """Sets off the samples of all rows of `latents`; returns a device array float32 [N, ...] at once."""
  return _sample_function(stage.sample, train)(state, latents)


@functools.lru_cache
def _sample_function(sample, train):
  def run(state, latents):
    latents = jax.tree.map(sharding.split, latents)
    return sharding.whole(sample(state, latents, train=train)[0])

  return jax.jit(run)


def generate(
  stage, state, latents, *, mesh, batch_size: int, batch_norm='running', kind='image'
) -> np.ndarray:
  """Samples [N, ...] for N rows of latents, as their kind is stored (pictures: uint8 [N, H, W, C]), in every process.

  Args:
    stage: whose `sample` makes them.
    state: `update.averaged(state)` for averaged weights; prepared by `standing` for standing statistics.
    latents: of `rows`.
    mesh: devices to work on.
    batch_size: pictures at a time, rounded up to a multiple of the devices. A picture does not depend on it, unless
      `batch_norm` is 'batch': then on the batch that it falls into.
    batch_norm: 'running' statistics, those of the 'batch', or 'standing' ones.
    kind: of the samples, a file of `ganjax.media`.
  """
  size = -(-batch_size // mesh.size) * mesh.size
  done = []
  with jax.set_mesh(mesh):
    for rows, count in to_batches(latents, size):
      found = np.asarray(start(stage, state, rows, train=batch_norm == 'batch'))[:count]
      done.append(media.find(kind).to_stored(found))
  return np.concatenate(done)


def prepare(stage, state, method, *, mesh, batch_norm: str, source=None):
  """The state that pictures in a batch-norm mode are made with: `standing` for that mode, else as it is."""
  how = dict(mesh=mesh, source=source)
  return standing(stage, state, method, **how) if batch_norm == 'standing' else state


def standing(stage, state, method, *, mesh, source=None):
  """The state with batch statistics pooled over STANDING_BATCHES of STANDING_BATCH latents (standing statistics).

  The same on any devices: batches that do not divide among them are computed on each. The latents are those of seeds
  counted down from -1, so they meet no seed that a user asks for.
  """
  add = _standing_function(stage.sample)
  with jax.set_mesh(mesh):
    for i in range(STANDING_BATCHES):
      seeds = np.arange(-STANDING_BATCH * (i + 1), -STANDING_BATCH * i)
      latents = rows(method, seeds, source)
      if not i:
        # From zeros, so that one program takes the first batch and the others.
        sums = jax.tree.map(
          lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(add, state, {}, latents)
        )
        sums = sharding.replicate(sums, mesh)
      sums = add(state, sums, latents)
  stats = {name: use_standing({**own, **sums.get(name, {})}) for name, own in state.stats.items()}
  return state.replace(stats=stats)


@functools.lru_cache
def _standing_function(sample):
  def add(state, sums, latents):
    stats = {name: {**own, **sums.get(name, {})} for name, own in state.stats.items()}
    latents = jax.tree.map(sharding.split, latents)
    new = sample(state.replace(stats=stats), latents, train=True, standing=True)[1].stats
    # Only the sums go on: the batches are of one generator, whose spectral norms do not move either.
    kept = {name: {k: v for k, v in own.items() if k == 'standing'} for name, own in new.items()}
    return sharding.whole({name: own for name, own in kept.items() if own})

  return jax.jit(add)


def parse_seeds(text: str, flag='--seeds') -> np.ndarray:
  """'0-35,40' -> int64 [37]: ranges with both ends, joined by commas; at most MOST_SEEDS of them, below SEEDS."""
  try:
    ranges = [part.split('-') if '-' in part[1:] else (part, part) for part in text.split(',')]
    ranges = [(int(a), int(b)) for a, b in ranges]
  except ValueError:
    ranges = []
  if not ranges or not all(0 <= a <= b for a, b in ranges):
    raise UserError(
      f'{flag}={text!r} is not understood: take numbers and ranges, such as 0-35 or 3,7,10-12'
    )
  check_seeds(max(b for _, b in ranges), f'{flag}={text!r}')
  count = sum(b - a + 1 for a, b in ranges)
  if count > MOST_SEEDS:
    raise UserError(f'{flag}={text!r} are {count:,} at once: take {MOST_SEEDS:,} at most')
  return np.concatenate([np.arange(a, b + 1) for a, b in ranges])


def parse_classes(text, num_classes, names=None):
  """'0-2,cat' -> int64 [4]: numbers, ranges, and names of classes, of which a run may have kept the list `names`."""
  if not num_classes:
    raise UserError('--classes is for conditional runs; this one has no classes')
  names, chosen = names or [], []
  for part in text.split(','):
    if part.isdecimal() or (re.fullmatch(r'\d+-\d+', part) and part not in names):
      chosen.append(parse_seeds(part, '--classes'))
    elif part.strip() in names:
      chosen.append([names.index(part.strip())])
    else:
      close = difflib.get_close_matches(part, names, 5, 0.5) or names[:20]
      known = f'no class of the run, such as {", ".join(close)}' if names else 'no number'
      raise UserError(
        f'--classes={text!r} is not understood: {part!r} is {known}; take numbers, ranges such as 0-9, and names'
      )
  chosen = np.concatenate(chosen).astype(np.int64)
  if chosen.max() >= num_classes:
    raise UserError(f'--classes={text}: the classes are 0 to {num_classes - 1}')
  return chosen


def check_seeds(last: int, said: str):
  """Raises UserError where a command line that `said` so takes seeds up to `last` that are no other's latents."""
  if last >= SEEDS:
    raise UserError(f'{said} goes up to {last:,}: the last seed is {SEEDS - 1:,}')


def diversity(pictures) -> float:
  """Mean root-mean-square difference of all pairs of `pictures` uint8 [N, H, W, C], in units of the range [0, 1].

  Falls towards 0 as a generator collapses to one picture.
  """
  x = pictures.reshape(len(pictures), -1).astype(np.float64) / 255
  squares = (x**2).sum(1)
  distances = np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0) / x.shape[1]
  return float(np.sqrt(distances)[np.triu_indices(len(x), 1)].mean())
