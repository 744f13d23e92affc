"""Data sets as arrays that are read by index.

TFDS finds, downloads and prepares data sets; every example is decoded once (`cache.py`); a batch is a
gather; the order is a pure function of the seed and of how many images were consumed (`indices`). So a
resumed run sees exactly the images that an uninterrupted one does, on any number of processes.
"""

import concurrent.futures
import functools
import hashlib
import json

import numpy as np
import PIL.Image

from ganjax import UserError
from ganjax.data import emoji, folder, pixels, stacked_mnist
from ganjax.data.cache import cores, open_arrays

_ORDER, _SUBSET = 0, 1  # what a random stream is for: no two purposes share one


class Source:
  """A data set: a fixed number of examples, read by index from any thread.

  Attributes:
    fields: {name: (shape of one example, numpy dtype)}; `image` uint8 [R, R, C], `label` int32 [] where
      the data set has classes; further int32 fields of the data set's own.
    num_examples: examples after `fraction` and without broken files; indices go from 0 to it.
    class_names: names of the labels, a tuple of str, or None where there are no labels.
    num_classes: their number, or None.
    info: JSON-able description, recorded with each run; alike for copies on other hosts.
    content: what identifies the examples on this host: no other files that were ever in their place have the same.
  """

  def __init__(self, *, read_rows, rows, fields, class_names, info, here=''):
    self._read_rows, self._rows = read_rows, rows
    self.fields, self.info = fields, info
    self.num_examples = len(rows)
    self.class_names = None if class_names is None else tuple(class_names)
    self.num_classes = None if class_names is None else len(self.class_names)
    self.content = json.dumps([info, self.class_names, here], sort_keys=True)

  @property
  def identity(self) -> dict:
    """What must be alike on all hosts: not the times of copied files, nor how TFDS and Pillow keep and decode them.

    Copies of a folder are alike by number, classes and settings; names and contents of files are taken on trust.
    """
    own = ('broken', 'file_formats', 'listing_sha256', 'key_sha256', 'pillow')
    shared = {name: value for name, value in self.info.items() if name not in own}
    return {**shared, 'class_names': self.class_names}

  def read(self, indices, names=None):
    """Returns {name: array [n, ...]} of all fields, or of `names`, for `indices` int [n] in [0, num_examples)."""
    return self._read_rows(self._rows[indices], names or self.fields)


def build(
  *,
  dataset,
  resolution,
  channels=3,
  data_dir=None,
  split='train',
  fraction=1.0,
  flip=False,
  cache=True,
  seed=0,
):
  """Opens a data set; the first time, decodes it into the cache.

  Args:
    dataset: 'emoji' (shipped with ganjax), 'folder' (the images under `data_dir`), or the path of a folder or zip
      archive of images; 'stacked_mnist' (three digits of TFDS's mnist as the channels), else a name of the TFDS
      catalogue, with config and version if wanted: 'cifar10', 'lsun/bedroom', 'mnist:3.0.1'.
    resolution: side of the images in pixels; `pixels.py` says how they get there.
    channels: 3 (RGB) or 1 (grey).
    data_dir: the folder or zip archive, or where TFDS keeps its data sets (default: $TFDS_DATA_DIR, else
      ~/tensorflow_datasets).
    split: a TFDS split or slice ('train', 'test', 'train[:80%]'); 'train' for emoji and folder.
    fraction: share of the examples to keep, in (0, 1]: a random subset given by `seed` alone; smaller
      fractions of one seed are subsets of larger ones.
    flip: not of use here, but among the fields of `config.data`: the training step mirrors.
    cache: False reads and decodes at every access, with the same results, for sets too large for the
      disk. The shipped emoji are in memory either way.
    seed: of the subset. (The order's seed is given to `indices`.)

  Returns:
    A Source.

  Raises:
    UserError: anything that the user can put right, in one line.
  """
  if not isinstance(resolution, int) or resolution < 1:
    raise UserError(f'data.resolution must be a positive number of pixels, not {resolution!r}')
  if channels not in (1, 3):
    raise UserError(f'data.channels must be 1 (grey) or 3 (RGB), not {channels!r}')
  if not 0 < fraction <= 1:
    raise UserError(f'data.fraction must be above 0 and at most 1, not {fraction!r}')
  dataset, data_dir = folder.locate(dataset, data_dir)
  if dataset in ('emoji', 'folder') and split != 'train':
    raise UserError(f'{dataset} has no split {split!r}; it has: train')

  here = ''
  if dataset == 'emoji':
    arrays, info = _emoji(resolution, channels)
    rows = np.arange(len(arrays['image']))
    fields = {name: (array.shape[1:], array.dtype) for name, array in arrays.items()}
    read_rows = functools.partial(_gather, arrays)
  elif dataset == 'stacked_mnist':
    where = {'resolution': resolution, 'data_dir': data_dir, 'split': split, 'cache': cache}
    digits = build(dataset='mnist', channels=1, **where)
    read_rows, fields = stacked_mnist.stack(digits, channels)
    rows = np.arange(stacked_mnist.COUNT)
    names = [f'{label:03}' for label in range(stacked_mnist.NUM_CLASSES)]
    info = {**digits.info, 'dataset': f'stacked_{digits.info["dataset"]}', 'class_names': names}
    here = digits.content
  else:
    size = {'resolution': resolution, 'channels': channels}
    if dataset == 'folder':
      examples, info = folder.examples(data_dir=data_dir, **size)
    else:
      from ganjax.data import catalogue  # imports TFDS, which takes a second

      examples, info = catalogue.examples(
        dataset=dataset, data_dir=data_dir, split=split, cache=cache, **size
      )
    # Without a cache only the outcome of the first look at a user's own files is kept.
    stored = [name for name in examples.fields if cache or name == 'whole']
    # Names the content: files of the data set and what was made of them.
    key = json.dumps(examples.key, sort_keys=True).encode()
    info['key_sha256'] = hashlib.sha256(key).hexdigest()
    arrays = open_arrays(examples, stored) if stored else {}
    rows, here = np.arange(examples.count), examples.here
    if 'whole' in arrays:
      rows, info['broken'] = folder.select_whole(
        arrays.pop('whole'), examples.names, examples.explain, data_dir
      )
    fields = {name: spec for name, spec in examples.fields.items() if name != 'whole'}
    if info.pop('unlabelled', False) or ('label' in arrays and arrays['label'].min() < 0):
      info |= {'unlabelled': True, 'class_names': None}
      del fields['label']
    read_rows = functools.partial(_gather, arrays) if cache else _decoder(examples, fields)

  if fraction < 1:
    kept = max(1, round(fraction * len(rows)))
    rows = rows[np.sort(_permutation(seed, 0, len(rows), _SUBSET)[:kept])]
  info |= {
    'split': split,
    'resolution': resolution,
    'channels': channels,
    'preprocessing': pixels.NAME,
    'pillow': PIL.__version__,
    'fraction': fraction,
    'seed': seed,
    'num_examples': len(rows),
  }
  class_names = info.pop('class_names')
  return Source(
    read_rows=read_rows, rows=rows, fields=fields, class_names=class_names, info=info, here=here
  )


def indices(seed, start, count, num_examples):
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


def _gather(arrays, rows, names):
  return {name: np.take(arrays[name], rows, axis=0) for name in names}


def _decoder(examples, fields):
  """A read function that decodes at every access, with as many threads as cores."""
  workers = cores()
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


def _emoji(resolution, channels):
  """The shipped pictures, all in memory: 5,416 of them take 67 MB at their own size of 64."""
  table = emoji.load()
  arrays = {'image': table['image'], 'label': table['category']}
  arrays |= {name: table[name] for name in ('style', 'category', 'emoji_id')}
  if (resolution, channels) != (emoji.SIZE, 3):
    arrays['image'] = np.stack(
      [pixels.prepare(PIL.Image.fromarray(image), resolution, channels) for image in table['image']]
    )
  info = {
    'dataset': 'emoji',
    'version': emoji.VERSION,
    'class_names': table['categories'],
    'styles': table['styles'],
  }
  return arrays, info
