"""Finds the data sets of TFDS in a folder of the user's, and has TFDS download and prepare those that are not there."""

import contextlib
import difflib
import io
import json
import logging
import os
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from ganjax import UserError
from ganjax.data import originals
from ganjax.data.cache import lock_file
from ganjax.data.folder import EXTENSIONS

EXTRA = "in the checkout, pip install '.[tfds]'"


def find(dataset: str, data_dir: str) -> 'tfds.core.DatasetBuilder':
  """Returns TFDS's builder of a data set, prepared; in a call under `quiet`.

  Raises UserError: unknown name, version or config; not prepared and not to be had; damaged.
  """
  _check_place(dataset, data_dir)
  builder = _builder(dataset, data_dir)
  return builder if builder.is_prepared() else _prepare(dataset, data_dir)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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


def _check_place(dataset, data_dir):
  """Raises UserError where `data_dir` is a folder of the data set itself, or one of pictures."""
  name, place = _name(dataset), pathlib.Path(os.path.abspath(data_dir))
  if (place / name).exists():
    return
  for folder in (place, *place.parents[:2]):  # NAME, NAME/VERSION, NAME/CONFIG/VERSION
    if folder.name == name and any(
      f'"name": "{name}"' in path.read_text(errors='replace')
      for path in folder.glob('**/dataset_info.json')
    ):
      raise UserError(
        f'data.data_dir={data_dir} is in the folder of {name} itself: give the one above it, '
        f'--config.data.data_dir={folder.parent}'
      )
  with contextlib.suppress(OSError):
    below = [f for f in place.iterdir() if f.name != 'downloads' and f.is_dir()]
    if any(f.lower().endswith(EXTENSIONS) for here in (place, *below) for f in os.listdir(here)):
      raise UserError(
        f'data.data_dir={data_dir} holds pictures, and no data set {name} of TFDS: for the pictures, '
        f'--config.data.dataset=folder --config.data.data_dir={data_dir}'
      )


def _name(dataset):
  """Without config and version."""
  return re.split('[/:]', dataset)[0]


def _builder(dataset, data_dir):
  name = _name(dataset)
  try:
    return tfds.builder(dataset, data_dir=data_dir)
  except Exception as e:  # TFDS raises ValueError, AssertionError, ImportError and its own
    for path in pathlib.Path(data_dir, name).glob('**/*.json'):
      try:
        json.loads(path.read_bytes())
      except ValueError as own:
        raise damaged(path, own) from e
    known = {'emoji', 'folder', 'stacked_mnist', *tfds.list_builders(with_community_datasets=False)}
    with contextlib.suppress(OSError):
      known |= {entry.name for entry in os.scandir(data_dir) if entry.is_dir()} - {'downloads'}
    if name in known or isinstance(e, ImportError):
      raise UserError(f'data set {dataset!r} cannot be opened: {reason(e)}') from e
    close = difflib.get_close_matches(name.lower(), sorted(known), n=5, cutoff=0.5)
    hint = f'did you mean {", ".join(close)}?' if close else 'see tensorflow.org/datasets/catalog'
    hint = f'for the pictures of that folder, ./{dataset}' if os.path.isdir(dataset) else hint
    raise UserError(f'unknown data set {dataset!r}: {hint}') from e


def _prepare(dataset, data_dir):
  """Returns the builder of a data set that one process downloads and prepares; others wait for it."""
  # TFDS's ten retries keep a machine without a network waiting for three minutes and a half.
  retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 3
  lock = os.path.join(data_dir, f'.{re.sub("[^A-Za-z0-9.]+", "-", dataset)}.lock')
  try:
    with _tidied(dataset, data_dir), lock_file(lock, f'preparing {dataset}'):
      try:
        builder = _builder(dataset, data_dir)
        if os.path.isdir(builder.data_dir) and not builder.is_prepared():
          raise damaged(os.path.join(builder.data_dir, 'dataset_info.json'), 'it is not there')
        if not builder.is_prepared():
          print(f'{dataset} is not prepared in {data_dir}: preparing it with TFDS', file=sys.stderr)
          tty = sys.stderr.isatty()
          (tfds.enable_progress_bar if tty else tfds.disable_progress_bar)()
          originals.prepare(builder)
        return builder
      finally:
        with contextlib.suppress(OSError):
          os.unlink(lock)
  except UserError:
    raise
  except Exception as e:  # anything: network, disk, checksums, missing packages, manual downloads
    if isinstance(e, ModuleNotFoundError):
      cause = f'it needs the package {e.name}'
    else:
      cause = reason(e)
    if _name(dataset) in originals.NAMES:
      remedy = 'the same command prepares it'
    else:
      remedy = f'{EXTRA} && tfds build {shlex.quote(dataset)} --file_format=array_record'
    raise UserError(
      f'{dataset} is not prepared in {data_dir}, and TFDS could not download and prepare it there '
      f'({cause}). Where there is a network: {remedy}, then copy its directory from ~/tensorflow_datasets to '
      f'{data_dir}. This runs now, offline: python train.py --config configs/dcgan_emoji.py'
    ) from e
  finally:
    downloader.MAX_RETRIES = retries


@contextlib.contextmanager
def _tidied(dataset, data_dir):
  """After a failure removes empty folders and broken-off downloads that were not in `data_dir` before."""
  place, name = pathlib.Path(data_dir), _name(dataset)
  downloads = place / 'downloads'
  own = (place / name, downloads / name)

  def folders():
    fixed = (*own, downloads / 'extracted', downloads, place, *place.parents)
    below = (path for root in own for path in root.glob('**/*'))
    return {path for path in (*fixed, *below) if path.is_dir()}

  before = folders()
  try:
    yield
  except BaseException:
    for path in sorted(folders() - before, key=lambda path: len(path.parts), reverse=True):
      if path.parent == downloads / name and '.tmp.' in path.name:
        shutil.rmtree(path, ignore_errors=True)
      with contextlib.suppress(OSError):
        path.rmdir()
    raise


def reason(error: BaseException) -> str:
  """One short line from one of TFDS's or urllib3's long messages."""
  text = ' '.join(str(error).split()).rsplit('"}": ', 1)[-1].rsplit('\'}": ', 1)[-1]
  text = re.sub(r'^\{\{.*?\}\} | \[Op:.*', '', text)  # TensorFlow's places
  text = re.sub(r' Here are \d+ BuilderConfigs whose name closely match:$', '', text)
  found = re.search(r'(Failed to resolve|Connection refused|timed out|unreachable)[^(\["\']*', text)
  text = found.group(0).strip() if found else text
  return text if len(text) <= 240 else text[:237] + '...'


def damaged(path: str | os.PathLike, why: object) -> UserError:
  """The UserError for a file of a prepared data set, or the folder of one, that does not read."""
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  return UserError(
    f'{path} cannot be read ({why}): the data set was not copied or prepared to the end, or is damaged; copy it again, '
    f'or remove {folder} for TFDS to prepare it'
  )
