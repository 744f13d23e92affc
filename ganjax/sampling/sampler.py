"""Pictures from a state: for the grids of training, for sample.py and for evaluation."""

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np

from ganjax import UserError, media
from ganjax.data import Source
from ganjax.devices import sharding
from ganjax.layers.norm import use_standing
from ganjax.method import Method, Stage, TrainState
from ganjax.wording import closest

BATCH_NORM_MODES = ('running', 'batch', 'standing')
SEEDS = 2**31  # latents are drawn by int32, and `standing` takes the negative ones
MOST_SEEDS = 10_000_000
STANDING_BATCHES, STANDING_BATCH = 64, 64  # part of what standing statistics are: no setting


def rows(
  method: Method,
  seeds: np.ndarray,
  source: Source | None = None,
  indices: np.ndarray | None = None,
  **options: float | str,
) -> dict | np.ndarray:
  """The inputs of `stage.sample`, one row per seed: latents, labels, source pictures. Host arrays.

  Args:
    method: `method.Method`; its `rows` makes the inputs.
    seeds: int [n].
    source: `data.Source`, for methods whose samples start from examples.
    indices: int [n], the examples to take. Default: 0, 1, ..., and from 0 again after the last.
    **options: sampling options, such as truncation=0.7. Others have the method's defaults.
  """
  examples = {}
  if method.examples:
    indices = np.arange(len(seeds)) % source.num_examples if indices is None else indices
    examples = to_floats(source.read(indices, method.examples), source.fields)
  return jax.device_get(method.rows(seeds, examples, **options))


def to_floats(
  examples: dict[str, np.ndarray], fields: dict[str, media.Field]
) -> dict[str, jax.Array | np.ndarray]:
  """Stored examples as losses see them, see `ganjax.media`."""
  return {name: media.find(fields[name].kind).to_float(x) for name, x in examples.items()}


def parse_options(texts: Iterable[str], method: Method) -> dict[str, float | str]:
  """['truncation=0.7'] -> {'truncation': 0.7}; each value has the type of the method's default.

  Raises:
    UserError: the method has no such option, or the value has another type.
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


def to_batches(tree: dict | np.ndarray, size: int) -> Iterator[tuple[dict | np.ndarray, int]]:
  """Cuts a pytree of [N, ...] into batches: yields (pytree of [size, ...], number of valid rows).

  The last batch repeats its last row up to `size`.
  """
  n = len(jax.tree.leaves(tree)[0])
  for start in range(0, n, size):
    rows = np.minimum(np.arange(start, start + size), n - 1)
    yield jax.tree.map(lambda x, rows=rows: x[rows], tree), min(size, n - start)


def start(
  stage: Stage, state: TrainState, inputs: dict | np.ndarray, *, train: bool = False
) -> jax.Array:
  """Starts sampling and returns at once: a device array float32 [N, ...], one sample per row of `inputs`."""
  return _sample_function(stage.sample, train)(state, inputs)


@functools.lru_cache
def _sample_function(sample, train):
  def run(state, inputs):
    inputs = jax.tree.map(sharding.keep_split, inputs)
    return sharding.keep_whole(sample(state, inputs, train=train)[0])

  return jax.jit(run)


def generate(
  stage: Stage,
  state: TrainState,
  inputs: dict | np.ndarray,
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  batch_norm: str = 'running',
  kind: str = 'image',
) -> np.ndarray:
  """N samples as their kind is stored (pictures: uint8 [N, H, W, C]). Every process gets all of them.

  Args:
    stage: `method.Stage`; its `sample` makes them.
    state: TrainState. `update.averaged(state)` gives averaged weights, `prepare` standing statistics.
    inputs: N rows, from `rows`.
    mesh: the devices to use.
    batch_size: pictures at a time, rounded up to a multiple of the devices. It changes no picture, except with
      `batch_norm='batch'`: there a picture depends on its batch.
    batch_norm: which statistics normalise: 'running', 'batch' or 'standing'.
    kind: a file of `ganjax.media`: 'image', 'clip', 'sound', ...
  """
  size = -(-batch_size // mesh.size) * mesh.size
  done = []
  with jax.set_mesh(mesh):
    for rows, count in to_batches(inputs, size):
      found = np.asarray(start(stage, state, rows, train=batch_norm == 'batch'))[:count]
      done.append(media.find(kind).to_stored(found))
  return np.concatenate(done)


def prepare(
  stage: Stage,
  state: TrainState,
  method: Method,
  *,
  mesh: jax.sharding.Mesh,
  batch_norm: str,
  source: Source | None = None,
) -> TrainState:
  """The state to sample from: `standing(...)` where `batch_norm` is 'standing', else `state` itself."""
  how = dict(mesh=mesh, source=source)
  return standing(stage, state, method, **how) if batch_norm == 'standing' else state


def standing(
  stage: Stage,
  state: TrainState,
  method: Method,
  *,
  mesh: jax.sharding.Mesh,
  source: Source | None = None,
) -> TrainState:
  """The state with standing statistics: batch statistics pooled over 64 batches of 64 fakes.

  Source: BigGAN, arXiv:1809.11096, section 2. The seeds are -1, -2, ..., which no user's sample has. The result does
  not depend on the number of devices: a batch that the devices do not divide is computed on each of them.
  """
  add = _standing_function(stage.sample)
  with jax.set_mesh(mesh):
    for i in range(STANDING_BATCHES):
      seeds = np.arange(-STANDING_BATCH * (i + 1), -STANDING_BATCH * i)
      inputs = rows(method, seeds, source)
      if not i:
        # From zeros, so that one program takes the first batch and the others.
        sums = jax.tree.map(
          lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(add, state, {}, inputs)
        )
        sums = sharding.replicate(sums, mesh)
      sums = add(state, sums, inputs)
  stats = {name: use_standing({**own, **sums.get(name, {})}) for name, own in state.stats.items()}
  return state.replace(stats=stats)


@functools.lru_cache
def _standing_function(sample):
  def add(state, sums, inputs):
    stats = {name: {**own, **sums.get(name, {})} for name, own in state.stats.items()}
    inputs = jax.tree.map(sharding.keep_split, inputs)
    new = sample(state.replace(stats=stats), inputs, train=True, standing=True)[1].stats
    # Only the sums go on: the batches are of one generator, whose spectral norms do not move either.
    kept = {name: {k: v for k, v in own.items() if k == 'standing'} for name, own in new.items()}
    return sharding.keep_whole({name: own for name, own in kept.items() if own})

  return jax.jit(add)


def parse_seeds(text: str, flag: str = '--seeds') -> np.ndarray:
  """'0-35,40' -> int64 [37]: numbers and ranges (ends included), joined by commas.

  At most MOST_SEEDS seeds, each below SEEDS."""
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


def parse_classes(text: str, num_classes: int, names: Sequence[str] | None = None) -> np.ndarray:
  """'0-2,cat' -> int64 [4]: class numbers, ranges of them, and names from the list `names` of the run."""
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


def check_seeds(last: int, said: str) -> None:
  """Raises UserError where `last`, the largest seed, is not below SEEDS; `said` is the option to name in it."""
  if last >= SEEDS:
    raise UserError(f'{said} goes up to {last:,}: the last seed is {SEEDS - 1:,}')


def diversity(pictures: np.ndarray) -> float:
  """Mean root-mean-square difference of all pairs of `pictures` uint8 [N, H, W, C], in units of the range [0, 1].

  Falls towards 0 as a generator collapses to one picture.
  """
  x = pictures.reshape(len(pictures), -1).astype(np.float64) / 255
  squares = (x**2).sum(1)
  distances = np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0) / x.shape[1]
  return float(np.sqrt(distances)[np.triu_indices(len(x), 1)].mean())
