"""Five data sets of the TFDS catalogue without TensorFlow: CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST, STL-10.

TFDS's builders of these read their files and encode their pictures by TensorFlow; here NumPy and Pillow do. Names,
versions, features, addresses, checksums, downloads and the order of examples stay TFDS's, so the result is the data set
of the catalogue. Archives are read from within and never unpacked.

Formats: cs.toronto.edu/~kriz/cifar.html, yann.lecun.com/exdb/mnist, ai.stanford.edu/~acoates/stl10.
"""

import contextlib
import functools
import gzip
import posixpath
import shutil
import sys
import tarfile
import urllib.parse
import zlib
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from ganjax import UserError

if TYPE_CHECKING:
  import tensorflow_datasets as tfds


def prepare(builder: 'tfds.core.DatasetBuilder') -> None:
  """Downloads and prepares the data set of a TFDS builder as ArrayRecord files; STL-10 takes 2 GiB of memory.

  Raises UserError: too little room, or a file that is not the one that TFDS knows, which is removed. Raises whatever
  TFDS does for all other reasons.
  """
  limit = shuffle.MAX_MEM_BUFFER_SIZE
  if read := _READERS.get(builder.info.full_name):
    builder._split_generators = functools.partial(_splits, builder, read)
    shuffle.MAX_MEM_BUFFER_SIZE = 2**32  # beyond it TFDS sorts on disk, by TensorFlow
  try:
    builder.download_and_prepare(file_format='array_record')
  finally:
    shuffle.MAX_MEM_BUFFER_SIZE = limit


def _splits(builder, read, dl_manager):
  """{split: generator of (key, example)}; the files are downloaded by then."""
  sources = builder.url_infos
  size = sum(info.size for info in sources.values()) / 2**20
  free = shutil.disk_usage(dl_manager.download_dir).free / 2**20
  # Small pictures as PNG take up to twice the room of one archive.
  if 3 * size > free:
    raise UserError(
      f'{builder.name} takes {3 * size:,.0f} MiB while it is prepared, and {dl_manager.download_dir} has '
      f'{free:,.0f} MiB free: point data.data_dir at a larger disk'
    )
  hosts = {urllib.parse.urlsplit(url).netloc for url in sources}
  print(f'{builder.info.full_name}: {size:,.0f} MiB from {", ".join(hosts)}', file=sys.stderr)
  files = {info.filename: _download(url, builder, dl_manager) for url, info in sources.items()}
  return read(files, builder.info.features)


def _download(url, builder, dl_manager):
  """Path of a file whose size and sha256 are those that TFDS has registered."""
  try:
    return dl_manager.download(url)
  except NonMatchingChecksumError as e:
    raise UserError(
      f'{url} came broken, or is another file (its sha256 is not that of TFDS), and is removed: run again'
    ) from e
  finally:
    # Of a file that did not come whole, in this process or in one that was killed.
    for partial in (dl_manager.download_dir / builder.name).glob('*.tmp.*'):
      shutil.rmtree(partial, ignore_errors=True)


def _cifar10(files, features):
  archive, folder = files['cifar-10-binary.tar.gz'], 'cifar-10-batches-bin'
  features['label'].names = _lines(archive, f'{folder}/batches.meta.txt')
  batches = {
    'train': [f'{folder}/data_batch_{i}.bin' for i in range(1, 6)],
    'test': [f'{folder}/test_batch.bin'],
  }
  return {split: _cifar(archive, split, names, ['label']) for split, names in batches.items()}


def _cifar100(files, features):
  archive, folder = files['cifar-100-binary.tar.gz'], 'cifar-100-binary'
  labels = ['coarse_label', 'label']
  for label, name in zip(labels, ('coarse', 'fine')):
    features[label].names = _lines(archive, f'{folder}/{name}_label_names.txt')
  splits = ('train', 'test')
  return {split: _cifar(archive, split, [f'{folder}/{split}.bin'], labels) for split in splits}


def _cifar(archive, split, names, labels):
  """Rows of a byte for each label, then 32 x 32 pixels of red, of green and of blue."""
  index = 0
  for name in names:
    with _member(archive, name) as file:
      rows = np.frombuffer(file.read(), np.uint8).reshape(-1, len(labels) + 3 * 32 * 32)
    for row in rows:
      picture = row[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
      example = {'id': f'{split}_{index:05}', 'image': _picture(picture)}
      yield index, example | {label: int(value) for label, value in zip(labels, row)}
      index += 1


def _mnist(files, features):
  del features  # they have their names
  return {
    split: _idx(files[f'{part}-images-idx3-ubyte.gz'], files[f'{part}-labels-idx1-ubyte.gz'])
    for split, part in (('train', 'train'), ('test', 't10k'))
  }


def _idx(images, labels):
  """A header of 16 bytes, then 28 x 28 pixels a picture; one of 8 bytes, then a byte a label."""
  with _reading(images), gzip.open(images) as file:
    images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
  with _reading(labels), gzip.open(labels) as file:
    labels = np.frombuffer(file.read(), np.uint8, offset=8)
  for index, (image, label) in enumerate(zip(images, labels, strict=True)):
    yield index, {'image': _picture(image), 'label': int(label)}


def _stl10(files, features):
  archive = files['stl10_binary.tar.gz']
  features['label'].names = _lines(archive, 'stl10_binary/class_names.txt')
  return {
    'train': _stl(archive, 'train_X.bin', 'train_y.bin'),
    'test': _stl(archive, 'test_X.bin', 'test_y.bin'),
    'unlabelled': _stl(archive, 'unlabeled_X.bin', None),
  }


def _stl(archive, images, labels):
  """96 x 96 pixels of red, of green and of blue, column by column; a byte a label, from 1. Without labels: -1."""
  if labels:
    with _member(archive, f'stl10_binary/{labels}') as file:
      labels = file.read()
  with _member(archive, f'stl10_binary/{images}') as file:
    for index, data in enumerate(iter(lambda: file.read(3 * 96 * 96), b'')):
      picture = np.frombuffer(data, np.uint8).reshape(3, 96, 96).transpose(2, 1, 0)
      label = labels[index] - 1 if labels else -1
      yield index, {'image': _picture(picture), 'label': label}


def _picture(array):
  return PIL.Image.fromarray(np.ascontiguousarray(array))


def _lines(archive, name):
  with _member(archive, name) as file:
    return [line for line in file.read().decode().split('\n') if line]


@contextlib.contextmanager
def _member(archive, name):
  """A file within a .tar.gz, which is read from its beginning up to there."""
  with _reading(archive), tarfile.open(archive, 'r|gz') as tar:
    for member in tar:
      if posixpath.normpath(member.name) == name:
        yield tar.extractfile(member)
        return
    raise EOFError(f'no {name}')


@contextlib.contextmanager
def _reading(path):
  """Names the file that does not read: one that an earlier run downloaded is not compared with its sha256 again."""
  try:
    yield
  except (EOFError, ValueError, gzip.BadGzipFile, tarfile.TarError, zlib.error) as e:
    raise UserError(f'{path} is broken ({e}): remove it and run again') from e


# By name and version: TFDS prepares what else there is, or will be.
_READERS = {
  'cifar10/3.0.2': _cifar10,
  'cifar100/3.0.2': _cifar100,
  'fashion_mnist/3.0.1': _mnist,
  'mnist/3.0.1': _mnist,
  'stl10/1.0.0': _stl10,
}
NAMES = {name.split('/')[0] for name in _READERS}
