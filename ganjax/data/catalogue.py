"""Data sets of the TFDS catalogue (tensorflow.org/datasets), and prepared ones of the user's own.

ArrayRecord files are read without TensorFlow; TFRecord files through TFDS with TensorFlow, once, to fill
the cache. Image bytes are decoded by Pillow in both cases, so the format makes no difference to pixels.
"""

import contextlib
import difflib
import importlib.util
import io
import logging
import os
import re
import shlex
import sys

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from ganjax import UserError
from ganjax.data import originals, pixels
from ganjax.data.cache import Examples, lock_file

_EXTRA = "in the checkout, pip install '.[tfds]'"


def examples(*, dataset, resolution, channels, data_dir, split, cache):
  """Returns (Examples, info) of a prepared split; prepares the data set first where it is not.

  Raises UserError: unknown name, version, config or split; no images in it; not prepared and not to be had;
  TFRecord files with `cache=False`, or without TensorFlow when the cache is not filled yet.
  """
  data_dir = os.path.expanduser(
    data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  )
  with _quiet():
    builder = _builder(dataset, data_dir)
    if not builder.is_prepared():
      builder = _prepare(dataset, data_dir)
    files = _files(builder, dataset, split)
  image, label = _features(builder.info.features, dataset)
  names = [image] if label is None else [image, label]
  formats = {format.value for format in builder.info.available_file_formats()}
  if 'array_record' in formats:
    fetch = _array_records(builder, split, names)
  elif cache:
    fetch = _tfrecords(builder, split, names)
  else:
    raise UserError(
      f'{dataset} is prepared as {"/".join(sorted(formats))}, which cannot be read by index: leave '
      'data.cache=True, or prepare it with file_format=array_record in another data.data_dir'
    )

  fields = {'image': ((resolution, resolution, channels), np.dtype(np.uint8))}
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
    title=f'{full_name} {split} {resolution}x{channels}',
    key={
      'dataset': full_name,
      'files': files,
      'features': names,
      'size': [resolution, channels],
      'preprocessing': pixels.NAME,
    },
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
  return table, info


@contextlib.contextmanager
def _quiet():
  """Silences TFDS's warnings and prints; what matters is raised."""
  loggers = [logging.getLogger(name) for name in ('absl', 'urllib3')]
  levels = [logger.level for logger in loggers]
  for logger in loggers:
    logger.setLevel(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    for logger, level in zip(loggers, levels):
      logger.setLevel(level)


def _builder(dataset, data_dir):
  name = re.split('[/:]', dataset)[0]
  try:
    return tfds.builder(dataset, data_dir=data_dir)
  except Exception as e:  # TFDS raises ValueError, AssertionError, ImportError and its own
    known = {'emoji', 'folder', 'stacked_mnist', *tfds.list_builders(with_community_datasets=False)}
    with contextlib.suppress(OSError):
      known |= {entry.name for entry in os.scandir(data_dir) if entry.is_dir()} - {'downloads'}
    if name in known or isinstance(e, ImportError):
      raise UserError(f'data set {dataset!r} cannot be opened: {_reason(e)}') from e
    close = difflib.get_close_matches(name.lower(), sorted(known), n=5, cutoff=0.5)
    hint = f'did you mean {", ".join(close)}?' if close else 'see tensorflow.org/datasets/catalog'
    raise UserError(f'unknown data set {dataset!r}: {hint}') from e


def _prepare(dataset, data_dir):
  """Returns the builder of a data set that one process downloads and prepares; others wait for it."""
  # TFDS's ten retries keep a machine without a network waiting for three minutes and a half.
  retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 3
  lock = os.path.join(data_dir, f'.{re.sub("[^A-Za-z0-9.]+", "-", dataset)}.lock')
  try:
    with lock_file(lock, f'preparing {dataset}'):
      builder = _builder(dataset, data_dir)
      if not builder.is_prepared():
        print(f'{dataset} is not prepared in {data_dir}: preparing it with TFDS', file=sys.stderr)
        tty = sys.stderr.isatty()
        (tfds.enable_progress_bar if tty else tfds.disable_progress_bar)()
        originals.prepare(builder)
      return builder
  except UserError:
    raise
  except Exception as e:  # anything: network, disk, checksums, missing packages, manual downloads
    if isinstance(e, ModuleNotFoundError):
      cause = f'it needs the package {e.name}'
    else:
      cause = _reason(e)
    if re.split('[/:]', dataset)[0] in originals.NAMES:
      remedy = 'the same command prepares it'
    else:
      remedy = f'{_EXTRA} && tfds build {shlex.quote(dataset)} --file_format=array_record'
    raise UserError(
      f'{dataset} is not prepared in {data_dir}, and TFDS could not download and prepare it there '
      f'({cause}). Where there is a network: {remedy}, then copy its directory from ~/tensorflow_datasets to '
      f'{data_dir}. This runs now, offline: python train.py --config configs/dcgan_emoji.py'
    ) from e
  finally:
    downloader.MAX_RETRIES = retries


def _reason(error):
  """One short line from one of TFDS's or urllib3's long messages."""
  text = ' '.join(str(error).split()).rsplit('"}": ', 1)[-1].rsplit('\'}": ', 1)[-1]
  text = re.sub(r' Here are \d+ BuilderConfigs whose name closely match:$', '', text)
  found = re.search(r'(Failed to resolve|Connection refused|timed out|unreachable)[^(\[]*', text)
  text = found.group(0).strip() if found else text
  return text if len(text) <= 240 else text[:237] + '...'


def _files(builder, dataset, split):
  """What identifies the split's content: [file name, bytes, examples skipped, examples taken]."""
  try:
    instructions = builder.info.splits[split].file_instructions
  except (KeyError, ValueError, AssertionError) as e:
    raise UserError(
      f'{dataset} has no split {split!r}; it has: {", ".join(builder.info.splits)} '
      "(and slices of them such as 'train[:80%]')"
    ) from e
  files = [
    [os.path.basename(i.filename), os.path.getsize(i.filename), i.skip, i.take]
    for i in instructions
  ]
  if not files:
    raise UserError(f'split {split!r} of {dataset} is empty')
  return files


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


def _array_records(builder, split, names):
  """A fetch function with random access; parses only the features that are used."""
  source = builder.as_data_source(
    split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES, file_format='array_record'
  )
  wanted = tfds.features.FeaturesDict({name: builder.info.features[name] for name in names})
  decoders = {names[0]: tfds.decode.SkipDecoding()}

  def fetch(rows):
    records = source.__getitems__(rows.tolist())
    return [wanted.deserialize_example_np(record, decoders=decoders) for record in records]

  return fetch


def _tfrecords(builder, split, names):
  """A fetch function that can only be asked for all rows in order."""

  def records():
    if importlib.util.find_spec('tensorflow') is None:
      raise UserError(
        f'{builder.info.full_name} is prepared as TFRecord files, which need TensorFlow to be read once '
        f'into the cache: {_EXTRA}, or prepare it with file_format=array_record'
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
  return lambda rows: [next(iterator) for _ in rows]
