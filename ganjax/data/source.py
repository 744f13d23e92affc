"""A data set as examples that are read by index, in an order that is a function of seed and position."""

import concurrent.futures
import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from ganjax import UserError, media
from ganjax.data import folder
from ganjax.data.cache import Examples, open_arrays
from ganjax.devices import cpu

_ORDER, _SUBSET = 0, 1  # what a random stream is for: no two purposes share one


class Source:
  """A data set: a fixed number of examples, read by index from any thread.

  Attributes:
    fields: {name: media.Field} of its fields.
    num_examples: examples after `fraction` and without broken files; indices go from 0 to it.
    class_names: names of the labels, a tuple of str, or None where there are no labels.
    num_classes: their number, or None.
    info: JSON-able description, recorded with each run; the same for copies on other hosts.
    content: identifies the examples on this host. It differs from any other files that were in the same place.
  """

  def __init__(
    self,
    *,
    read_rows: Callable[[np.ndarray, Collection[str]], dict[str, np.ndarray]],
    rows: np.ndarray,
    fields: dict[str, media.Field],
    class_names: Iterable[str] | None,
    info: dict[str, Any],
    here: str = '',
    order: Callable[[int, int, int], np.ndarray] | None = None,
  ) -> None:
    """A source.

    Args:
      read_rows: (rows, names) -> {name: array [n, ...]}; called from any thread.
      rows: int [num_examples], what `read_rows` takes for each index; with an order of its own, what it takes for an
        index that is no pair.
      fields, class_names, info: see above.
      here: tells the files from all that were ever in their place on this host.
      order: (seed, start, count) -> rows [count, ...] at positions [start, start + count) of the training order, for a
        data set of which an example is more than an index (two domains of unequal length, a clip and its start); a pure
        function. None: each epoch is a permutation, see `indices`.
    """
    self._read_rows, self._rows, self._own_order = read_rows, rows, order
    self.fields, self.info, self._here = fields, info, here
    self.num_examples = len(rows)
    self.class_names = None if class_names is None else tuple(class_names)
    self.num_classes = None if class_names is None else len(self.class_names)

  @property
  def content(self) -> str:
    return json.dumps([self.info, self.class_names, self._here], sort_keys=True)

  @property
  def identity(self) -> dict[str, Any]:
    """What must be the same on all hosts: not the times of files, nor the storage and decoding by TFDS and Pillow.

    Copies of a folder must agree in number, classes and settings. Names and contents of files are not compared.
    """
    own = ('broken', 'file_formats', 'listing_sha256', 'key_sha256', 'pillow')
    shared = {name: value for name, value in self.info.items() if name not in own}
    return {**shared, 'class_names': self.class_names}

  def read(
    self, indices: np.ndarray, names: Collection[str] | None = None
  ) -> dict[str, np.ndarray]:
    """Returns {name: array [n, ...]} of all fields, or of `names`, for `indices` int [n] in [0, num_examples)."""
    return self._read_rows(self._rows[indices], names or self.fields)

  def rows(self, seed: int, start: int, count: int) -> np.ndarray:
    """What `read_rows` takes for positions [start, start + count) of the training order, [count, ...]."""
    if self._own_order:
      return self._own_order(seed, start, count)
    return self._rows[indices(seed, start, count, self.num_examples)]

  def read_rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
    """{name: array [n, ...]} of all fields for n of `rows`."""
    return self._read_rows(rows, self.fields)

  def extend(
    self, fields: dict[str, media.Field], make: Callable[[np.ndarray], dict[str, np.ndarray]]
  ) -> 'Source':
    """The source with more `fields`, {name: media.Field}, computed by `make(indices)`. Read it only by index."""

    def read_rows(rows, names):
      own = make(rows) if any(name in fields for name in names) else {}
      there = [name for name in names if name not in fields]
      stored = self.read(rows, there) if there else {}
      return {**stored, **{name: own[name] for name in names if name in fields}}

    more = dict(class_names=self.class_names, info=self.info, here=self._here)
    rows = np.arange(self.num_examples)
    return Source(read_rows=read_rows, rows=rows, fields={**self.fields, **fields}, **more)

  def convert(
    self,
    fields: dict[str, media.Field],
    make: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    info: dict[str, Any],
  ) -> 'Source':
    """The same examples in the same order with other `fields`, {name: media.Field}, and more `info`.

    `make({name: array [n, ...]})` computes them from the old fields.
    """

    def read_rows(rows, names):
      found = make(self._read_rows(rows, self.fields))
      return {name: found[name] for name in names}

    more = dict(here=self._here, order=self._own_order, class_names=self.class_names)
    return Source(
      read_rows=read_rows, rows=self._rows, fields=fields, info=self.info | info, **more
    )

  def subset(self, fraction: float, seed: int | tuple[int, ...]) -> 'Source':
    """A random fraction of the examples, in (0, 1], given by `seed` alone. Smaller fractions are subsets of larger."""
    kept, count = np.arange(self.num_examples), self.num_examples
    if fraction < 1:
      if self._own_order:
        raise UserError(f'data.fraction={fraction} is not for {self.info["dataset"]}: leave it 1')
      kept = np.sort(_permutation(seed, 0, count, _SUBSET)[: max(1, round(fraction * count))])
    info = {**self.info, 'fraction': fraction, 'seed': seed, 'num_examples': len(kept)}
    more = dict(here=self._here, order=self._own_order, class_names=self.class_names, info=info)
    return Source(read_rows=self._read_rows, rows=self._rows[kept], fields=self.fields, **more)


def decoded(
  examples: Examples, info: dict[str, Any], fields: dict[str, media.Field], cache: bool
) -> Source:
  """The Source of `cache.Examples`: decoded once into the cache; without `cache`, at every access.

  Args:
    examples: their field `whole` is 0 if an example could not be decoded; up to 1 % are left out.
    info: with `class_names`, and `unlabelled` if labels are useless.
    fields: {name: media.Field} of the fields that examples may have.
    cache: `config.data.cache`.
  """
  # Without a cache only the outcome of the first look at a user's own files is kept.
  stored = [name for name in examples.fields if cache or name == 'whole']
  # Names the content: files of the data set and what was made of them.
  key = json.dumps(examples.key, sort_keys=True).encode()
  info = {**info, 'key_sha256': hashlib.sha256(key).hexdigest()}
  arrays = open_arrays(examples, stored) if stored else {}
  rows = np.arange(examples.count)
  if 'whole' in arrays:
    whole = arrays.pop('whole')
    rows, info['broken'] = folder.select_whole(
      whole, examples.names, examples.explain, examples.place, examples.what
    )
  fields = {name: fields[name] for name in examples.fields if name != 'whole'}
  if info.pop('unlabelled', False) or ('label' in arrays and arrays['label'].min() < 0):
    info |= {'unlabelled': True, 'class_names': None}
    del fields['label']
  read_rows = functools.partial(gather, arrays) if cache else _decoder(examples, fields)
  names = info.pop('class_names')
  return Source(
    read_rows=read_rows, rows=rows, fields=fields, class_names=names, info=info, here=examples.here
  )


def gather(
  arrays: dict[str, np.ndarray], rows: np.ndarray, names: Iterable[str]
) -> dict[str, np.ndarray]:
  """{name: array [n, ...]} of arrays in memory."""
  return {name: np.take(arrays[name], rows, axis=0) for name in names}


def picture(resolution: int | Sequence[int], channels: int) -> media.Field:
  """The field of a picture.

  Raises:
    UserError: an invalid resolution or number of channels.
  """
  if channels not in (1, 3, 4):
    raise UserError(
      f'data.channels must be 1 (grey), 3 (RGB) or 4 (RGB and opacity), not {channels!r}'
    )
  return media.Field('image', (*media.sides(resolution), channels))


def indices(seed: int, start: int, count: int, num_examples: int) -> np.ndarray:
  """Returns the examples at positions [start, start + count) of the training order, int64 [count].

  A position is the number of images consumed before it since training began. Position p belongs to
  epoch p // num_examples, whose permutation is a function of (seed, epoch) alone.
  """
  parts = []
  while count > 0:
    epoch, offset = divmod(start, num_examples)
    part = _order(seed, epoch, num_examples)[offset : offset + count]
    parts.append(part)
    start, count = start + len(part), count - len(part)
  return np.concatenate(parts) if parts else np.zeros([0], np.int64)


_newest = {}  # (seed, length) -> (epoch, its order): who reads on does not come back to an earlier one


def _order(seed, epoch, length):
  kept, order = _newest.get((seed, length), (None, None))
  if kept != epoch:
    order = _permutation(seed, epoch, length, _ORDER)
    _newest[seed, length] = epoch, order
  return order


def _permutation(seed, epoch, length, purpose):
  # NumPy promises the same raw stream of a bit generator for ever, unlike Generator.permutation.
  stream = np.random.Philox(
    key=np.array([seed % 2**64, epoch], np.uint64), counter=np.array([0, 0, 0, purpose], np.uint64)
  )
  return np.argsort(stream.random_raw(length), kind='stable').astype(np.int64)


def _decoder(examples, fields):
  """A read function that decodes at every access, with as many threads as cores."""
  workers = cpu.cores()
  pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix='decode')

  def decode(rows):
    arrays = examples.decode(examples.fetch(rows))
    if 'whole' in arrays and not arrays['whole'].all():
      name = examples.names[rows[np.argmin(arrays['whole'])]]
      raise UserError(f'{name} could be decoded when the run began and no longer can')
    if 'label' in fields and (arrays['label'] < 0).any():
      raise UserError(
        f'{examples.title} has examples without a label (-1): take another split, or data.cache=True, which leaves out '
        'all labels for an unconditional run'
      )
    return arrays

  def read_rows(rows, names):
    parts = list(pool.map(decode, np.array_split(rows, max(1, min(len(rows), workers)))))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}

  return read_rows
