"""Your own sounds: all WAV, FLAC, OGG and MP3 files under a folder or in a zip archive. Folders in it are classes.

Channels are mixed to one, and files are resampled to the given rate. Training sees windows at random places.
"""

import io
import math
import os

import numpy as np
import scipy
from absl import logging

from ganjax import UserError, media
from ganjax.data import domains, folder
from ganjax.data.cache import Examples, open_arrays
from ganjax.data.files import open_files
from ganjax.data.sets import notes
from ganjax.data.source import Source, decoded, indices
from ganjax.media import sound

EXTENSIONS = '.wav', '.flac', '.ogg', '.mp3', '.aiff', '.aif'
_WINDOWS = 7  # a purpose of a random stream, see `data.source`


def fields(*, length: int = 16_384, rate: int = 16_000) -> dict:
  """A window of `length` samples, `rate` a second, and its label where there are classes."""
  known = notes.fields(length=length, rate=rate)
  return {name: known[name] for name in ('sound', 'label')}


def build(
  *,
  data_dir: str | None,
  split: str,
  cache: bool,
  length: int = 16_384,
  rate: int = 16_000,
  normalize: bool = True,
  pad: bool = False,
) -> Source:
  """Windows of the sounds below `data_dir`; an epoch has one for every `length` samples.

  Args:
    data_dir: a folder or zip archive. Folders in it are classes.
    split: 'train', the only one.
    cache: see `ganjax.data.build`.
    length, rate: samples of a window, and samples per second. Files of other rates are resampled.
    normalize: whether to scale each file to full loudness, as WaveGAN's loader does.
    pad: whether to pad files that are shorter than a window with silence. If not, they are left out.

  Returns:
    A Source of windows whose places are a function of seed and position. Read by index they lie side by side.

  Raises:
    UserError: any error that the user can fix, in one line. Windows of files that cannot be used are left out, up to
      1 % of all.
  """
  known = fields(length=length, rate=rate)
  if split != 'train':
    raise UserError(f'sounds has no split {split!r}; it has: train')
  if not data_dir:
    raise UserError('data.dataset=sounds needs data.data_dir=DIRECTORY: the folder of your sounds')
  top = folder.place(data_dir)
  files = open_files(top)
  paths = [path for path in files.names if path.lower().endswith(EXTENSIONS)]
  if not paths:
    raise UserError(f'no sounds in {top}: looked for {" ".join(EXTENSIONS)} in it and below')
  names, numbers = folder.classes_of(paths, top, 'sounds')

  def load(path):
    """The whole sound, float32 [N] of the wanted rate, at least a window."""
    found = read(files.read(path), rate)
    if len(found) < length and not pad:
      raise ValueError(
        f'{len(found)} samples, fewer than data.length={length}: take data.pad=True for silence after it'
      )
    if normalize:
      found = found / max(np.abs(found).max(), 1e-9)
    return np.pad(found, (0, max(0, length - len(found))))

  content, here = folder.identify((files, paths))
  counts = _counts(files, paths, rate, top, content, here)
  parts = -(-np.maximum(counts, length) // length)
  of_file = np.repeat(np.arange(len(paths)), parts)
  number = np.concatenate([np.arange(n) for n in parts])

  def decode(rows):
    arrays = {
      'sound': np.zeros((len(rows), length, 1), np.int16),
      'left': np.zeros(len(rows), np.int32),
      'whole': np.zeros(len(rows), np.uint8),
    }
    if names:
      arrays['label'] = numbers[of_file[rows]]
    last, whole = None, None
    for i, row in enumerate(rows):
      if of_file[row] != last:
        last = of_file[row]
        try:
          # A header may say less than there is, as those of MP3 files do.
          whole = sound.to_stored(load(paths[last]))[: parts[last] * length]
        except Exception as e:  # noqa: BLE001 (soundfile raises anything on a broken file)
          logging.debug('%s: %s', paths[last], e)
          whole = None
      if whole is not None:
        part = whole[number[row] * length :][:length]
        arrays['sound'][i, : len(part), 0] = part
        arrays['left'][i] = len(whole) - number[row] * length
        arrays['whole'][i] = len(part) > 0
    return arrays

  key = dict(dataset='sounds', files=content, length=length, rate=rate)
  key |= dict(normalize=bool(normalize), pad=bool(pad), classes=names, version=1)
  table = Examples(
    title=f'sounds {os.path.basename(top)} {length}',
    key=key,
    here=here,
    count=len(of_file),
    fields={name: (x.shape[1:], x.dtype) for name, x in decode(np.array([], int)).items()},
    fetch=lambda rows: np.asarray(rows),
    decode=decode,
    names=tuple(paths[i] for i in of_file),
    explain=lambda row: folder.explain(lambda row: load(paths[of_file[row]]), row),
    place=top,
    what='windows',
  )
  info = dict(dataset='sounds', listing_sha256=content, length=length, rate=rate, class_names=names)
  stored = decoded(table, info, known | {'left': media.Field('label', ())}, cache)
  return _windows(stored, length, known)


def read(content: bytes, rate: int) -> np.ndarray:
  """The sound of a file, float32 [N], its channels' mean at `rate` samples a second.

  Raises:
    UserError: the package soundfile is not there.
    ValueError: it does not read, has no samples, or samples that are no numbers.
  """
  soundfile = _soundfile()
  try:
    data, own = soundfile.read(io.BytesIO(content), dtype='float32', always_2d=True)
  except soundfile.SoundFileError:
    raise ValueError('damaged, or no sound of a kind that soundfile knows') from None
  if not len(data):
    raise ValueError('it has no samples')
  if not np.isfinite(data).all():
    raise ValueError('it holds NaN or Inf')
  up, down = _ratio(rate, own)
  return scipy.signal.resample_poly(data.mean(1), up, down).astype(np.float32)


def _counts(files, paths, rate, top, content, here):
  """Samples of each file, int64 [n], from the cache: a start need not read every file for its header."""
  examples = Examples(
    title=f'lengths of the sounds in {os.path.basename(top)}',
    key=dict(dataset='sounds', files=content, what='lengths', rate=rate),
    here=here,
    count=len(paths),
    fields={'length': ((), np.dtype(np.int64))},
    fetch=lambda rows: rows,
    decode=lambda rows: {'length': np.array([_count(files, paths[i], rate) for i in rows])},
    what='files',
  )
  return np.array(open_arrays(examples, ['length'])['length'])


def _count(files, path, rate) -> int:
  """Samples of a file once it is resampled, by its header; 0 where that does not read."""
  soundfile = _soundfile()
  try:
    found = soundfile.info(io.BytesIO(files.read(path)))
  except Exception:  # noqa: BLE001 (said where it is decoded)
    return 0
  up, down = _ratio(rate, found.samplerate)
  return -(-found.frames * up // down)


def _ratio(rate, own):
  common = math.gcd(rate, own)
  return rate // common, own // common


def _soundfile():
  try:
    import soundfile
  except ImportError:
    raise UserError(
      "files of sounds need soundfile: pip install soundfile (or 'ganjax[sound]')"
    ) from None
  return soundfile


def _windows(stored, length, known) -> Source:
  """Windows over two neighbouring parts of a file; `left` says how much of it there is from a part's start on."""
  everything = np.arange(stored.num_examples)
  left = stored.read(everything, ('left',))['left'].astype(np.int64)
  fields = {name: field for name, field in known.items() if name in stored.fields}

  def place(part, offset):
    """(part, offset) int64 [n, 2] of windows that end with their file at the latest."""
    offset = np.minimum(offset, left[part] - length)
    return np.stack([part - (offset < 0), offset % length], 1)

  def read_rows(rows, names):
    part, offset = rows.T
    found = stored.read(part, [name for name in names if name != 'sound'])
    if 'sound' in names:
      after = np.minimum(part + (offset > 0), stored.num_examples - 1)
      two = [stored.read(i, ('sound',))['sound'] for i in (part, after)]
      both = np.concatenate(two, 1)
      found['sound'] = np.stack([x[o : o + length] for x, o in zip(both, offset)])
    return found

  def order(seed, start, count):
    offset = domains.draws(seed, start, count, _WINDOWS)[:, 0] % length
    return place(indices(seed, start, count, stored.num_examples), offset.astype(np.int64))

  return Source(
    read_rows=read_rows,
    rows=place(everything, np.zeros_like(everything)),
    fields=fields,
    class_names=stored.class_names,
    info=stored.info,
    here=stored.content,
    order=order,
  )
