"""Data sets of the TFDS catalogue (tensorflow.org/datasets), and your own prepared TFDS data sets.

ArrayRecord files are read without TensorFlow; TFRecord files through TFDS with TensorFlow, once, to fill
the cache. Image bytes are decoded by Pillow in both cases, so the format makes no difference to pixels.
"""

import hashlib
import importlib.util
import io
import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from ganjax import UserError, media
from ganjax.data import pixels, preparation
from ganjax.data.cache import Examples
from ganjax.data.files import here


def examples(
  *,
  dataset: str,
  resolution: int | Sequence[int],
  channels: int,
  data_dir: str | None,
  split: str,
  cache: bool,
) -> tuple[Examples, dict[str, Any]]:
  """Returns (Examples, info) of a prepared split; prepares the data set first where it is not.

  Raises UserError: unknown name, version, config or split; no images in it; not prepared and not to be had; files that
  are missing or damaged; TFRecord files with `cache=False`, or without TensorFlow when the cache is not filled yet.
  """
  data_dir = os.path.expanduser(
    data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  )
  with preparation.quiet():
    builder = preparation.find(dataset, data_dir)
    files, identity = _files(builder, dataset, split)
  image, label = _features(builder.info.features, dataset)
  names = [image] if label is None else [image, label]
  formats = {format.value for format in builder.info.available_file_formats()}
  if 'array_record' in formats:
    fetch = _array_records(builder, split, names, files)
  elif cache:
    fetch = _tfrecords(builder, split, names, files)
  else:
    raise UserError(
      f'{dataset} is prepared as {"/".join(sorted(formats))}, which cannot be read by index: leave '
      'data.cache=True, or prepare it with file_format=array_record in another data.data_dir'
    )

  fields = {'image': ((*media.sides(resolution), channels), np.dtype(np.uint8))}
  if label is not None:
    fields['label'] = ((), np.dtype(np.int32))

  def decode(records):
    arrays = {
      name: np.empty((len(records), *shape), dtype) for name, (shape, dtype) in fields.items()
    }
    for i, record in enumerate(records):
      try:
        with PIL.Image.open(io.BytesIO(record[image])) as picture:
          arrays['image'][i] = pixels.prepare(picture, resolution, channels)
      except Exception as e:  # Pillow raises anything on a broken file
        raise UserError(f'{dataset}: an image cannot be decoded ({e}); prepare it again') from e
      if label is not None:
        arrays['label'][i] = record[label]
    return arrays

  full_name = builder.info.full_name
  table = Examples(
    title=f'{full_name} {split} {pixels.size_name(resolution, channels)}',
    key={
      'dataset': full_name,
      'files': files,
      'features': names,
      'size': pixels.key(resolution, channels),
      'preprocessing': pixels.NAME,
    },
    here=identity,
    count=sum(take for *_, take in files),
    fields=fields,
    fetch=fetch,
    decode=decode,
  )
  info = {
    'dataset': full_name,
    'version': str(builder.version),
    'file_formats': sorted(formats),
    'class_names': None if label is None else list(builder.info.features[label].names),
  }
  if label is not None and not cache:
    # Unlabelled splits have -1 throughout, so one example of each file tells; the cache is asked for all.
    first = np.cumsum([0] + [take for *_, take in files[:-1]])
    info['unlabelled'] = any(record[label] < 0 for record in fetch(first))
  return table, info


def _files(builder, dataset, split):
  """What identifies the split's content: [[file name, bytes, examples skipped, examples taken]], and on this host."""
  try:
    instructions = builder.info.splits[split].file_instructions
  except (KeyError, ValueError, AssertionError) as e:
    raise UserError(
      f'{dataset} has no split {split!r}; it has: {", ".join(builder.info.splits)} '
      "(and slices of them such as 'train[:80%]')"
    ) from e
  files, content = [], hashlib.sha256()
  for i in instructions:
    try:
      found = os.stat(i.filename)
    except OSError as e:
      raise preparation.damaged(i.filename, e.strerror) from e
    files.append([os.path.basename(i.filename), found.st_size, i.skip, i.take])
    content.update(f'{os.path.realpath(i.filename)}\0{here(found)}'.encode())
  if not files:
    raise UserError(f'split {split!r} of {dataset} is empty')
  return files, content.hexdigest()


def _features(features, dataset):
  """The names of the image and label features: 'image' and 'label', else the only ones of their kind."""
  is_top = isinstance(features, tfds.features.FeaturesDict)
  images = [
    name
    for name, feature in (features.items() if is_top else ())
    if isinstance(feature, tfds.features.Image) and feature.np_dtype in (np.uint8, np.uint16)
  ]
  if 'image' in images:
    images = ['image']
  if len(images) != 1:
    found = f'several ({", ".join(images)}) and none called image' if images else 'none'
    raise UserError(f'{dataset} cannot be used: of image features at its top level it has {found}')
  labels = [n for n, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
  if 'label' in labels:
    labels = ['label']
  return images[0], labels[0] if len(labels) == 1 else None


def _array_records(builder, split, names, files):
  """A fetch function with random access; parses only the features that are used."""
  source = builder.as_data_source(
    split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES, file_format='array_record'
  )
  wanted = tfds.features.FeaturesDict({name: builder.info.features[name] for name in names})
  decoders = {names[0]: tfds.decode.SkipDecoding()}

  def fetch(rows):
    rows = rows.tolist()
    try:
      records = source.__getitems__(rows)
    except Exception as e:  # Riegeli's RuntimeError, of several files at once
      for row in rows:
        try:
          source.__getitems__([row])
        except Exception as own:  # noqa: BLE001, PERF203 (as above)
          raise preparation.damaged(_path(builder, files, row), preparation.reason(own)) from own
      raise preparation.damaged(builder.data_dir, preparation.reason(e)) from e
    return [wanted.deserialize_example_np(record, decoders=decoders) for record in records]

  return fetch


def _path(builder, files, row):
  """The file that a row is in."""
  ends = np.cumsum([take for *_, take in files])
  return os.path.join(builder.data_dir, files[np.searchsorted(ends, row, 'right')][0])


def _tfrecords(builder, split, names, files):
  """A fetch function that can only be asked for all rows in order."""

  def records():
    if importlib.util.find_spec('tensorflow') is None:
      raise UserError(
        f'{builder.info.full_name} is prepared as TFRecord files, which need TensorFlow to be read once '
        f'into the cache: {preparation.EXTRA}, or prepare it with file_format=array_record'
      )
    import tensorflow as tf

    tf.config.set_visible_devices([], 'GPU')  # TensorFlow would take the whole device's memory
    dataset = builder.as_dataset(
      split=split,
      shuffle_files=False,
      decoders={names[0]: tfds.decode.SkipDecoding()},
      read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    for example in dataset.as_numpy_iterator():
      yield {name: example[name] for name in names}

  iterator = records()

  def fetch(rows):
    found = []
    try:
      found.extend(itertools.islice(iterator, len(rows)))
    except UserError:
      raise
    except Exception as e:  # TensorFlow's DataLossError and others
      _check_whole(builder, files)
      path = _path(builder, files, rows[len(found)])
      raise preparation.damaged(path, preparation.reason(e)) from e
    if len(found) < len(rows):
      raise preparation.damaged(builder.data_dir, 'examples are missing')
    return found

  return fetch


def _check_whole(builder, files):
  """Raises UserError for the first TFRecord file with fewer records than it is read for, by their lengths alone.

  A file that ends between two records is no error to TensorFlow, which then counts too few examples of all files.
  """
  for name, size, skip, take in files:
    path, end = os.path.join(builder.data_dir, name), 0
    with open(path, 'rb') as file:
      for i in range(skip + take):
        file.seek(end)
        end += 16 + int.from_bytes(file.read(8), 'little')
        if end > size:
          raise preparation.damaged(path, f'{i} of {skip + take} examples are whole')
