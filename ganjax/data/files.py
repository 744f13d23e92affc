"""The files of a folder or of a zip archive, read by the same names: paths below it with '/'; hidden ones left out.

A file is identified twice. The first identity is that of a copy too, on any host; the second tells a file from every
other that was ever in its place on this host, so that what was decoded from one is never taken for another.
"""

import heapq
import os
import pathlib
import stat
import zipfile
from collections.abc import Iterable, Iterator

from ganjax import UserError, leads_out

LARGEST = (
  2**30
)  # bytes: no picture is larger, and an archive may hold a file of any size in a few bytes


def open_files(top: str | os.PathLike) -> 'Folder | Archive':
  """The files of a folder or of an archive. Raises UserError where `top` is neither, or does not read."""
  if os.path.isdir(top):
    return Folder(top)
  if not os.path.exists(top):
    raise UserError(f'{top} is not there: give the folder of your files, or a zip archive of them')
  if os.path.isfile(top) and zipfile.is_zipfile(top):
    return Archive(top)
  raise UserError(f'{top} is neither a folder nor a zip archive')


class Folder:
  """What lies under a folder. Links are followed, and a folder is read once however many links lead there.

  Attributes:
    names: of the files, sorted.
    repeated: links to folders that are read by another name, sorted.
  """

  def __init__(self, top: str | os.PathLike) -> None:
    self._top, self.names, self.repeated = top, [], []
    # Folders before links, and links in order: which of two names counts is the same everywhere.
    folders, links, seen = [''], [], set()
    while folders or links:
      folder = folders.pop() if folders else heapq.heappop(links)
      place = os.path.join(top, folder)
      if (real := os.path.realpath(place)) in seen:
        self.repeated.append(folder)
        continue
      seen.add(real)
      try:
        with os.scandir(place) as entries:
          shown = [entry for entry in entries if entry.name[0] != '.']
      except OSError as e:
        raise UserError(f'cannot read the folder {place}: {e.strerror}') from e
      for entry in shown:
        name = f'{folder}/{entry.name}' if folder else entry.name
        if entry.is_symlink() and os.path.isdir(entry.path):
          heapq.heappush(links, name)
        elif not entry.is_symlink() and entry.is_dir():
          folders.append(name)
        else:
          self.names.append(name)
    self.names.sort()
    self.repeated.sort()

  def read(self, name: str) -> bytes:
    """A file's content. Raises OSError: gone, a link in a circle, a pipe or another that is no file, too large."""
    # A named pipe would be waited for.
    handle = os.open(os.path.join(self._top, name), os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, 'rb') as file:
      found = os.fstat(handle)
      if not stat.S_ISREG(found.st_mode):
        raise OSError('not a regular file')
      _check_size(found.st_size)
      return file.read()

  def identify(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields (identity of the file and of copies that keep its time, identity on this host)."""
    yield '', os.path.realpath(self._top)
    for name in names:
      try:
        found = os.stat(os.path.join(self._top, name))
      except OSError as e:
        yield f'{name}\0{e.strerror}\n', ''
        continue
      yield f'{name}\0{found.st_size}\0{found.st_mtime_ns}\n', here(found)


class Archive:
  """What a zip archive holds. A folder that everything lies in, as `zip -r` makes, is no part of the names.

  Attributes:
    names: of the files, sorted.
    repeated: as in `Folder`: none.
  """

  repeated = ()

  def __init__(self, path: str | os.PathLike) -> None:
    self._path = path
    try:
      self._archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as e:
      raise UserError(f'{path} is not readable as a zip archive: {e}') from e
    self._entries = {}
    for entry in self._archive.infolist():
      name = entry.filename.replace('\\', '/')
      parts = pathlib.PurePosixPath(name).parts
      # A first part '.' and a folder's last slash are common, and lead nowhere. './' itself has no part.
      if parts and (leads_out(name.removeprefix('./').removesuffix('/')) or name[1:2] == ':'):
        raise UserError(
          f'{path} holds {entry.filename!r}, a name that leads out of it or has an empty part'
        )
      if parts and not entry.is_dir() and not any(p[0] == '.' or p == '__MACOSX' for p in parts):
        self._entries['/'.join(parts)] = entry
    folders = {name.rpartition('/')[0] for name in self._entries}
    common = f'{os.path.commonpath(folders)}/' if folders and '' not in folders else '/'
    self._entries = {name.removeprefix(common): entry for name, entry in self._entries.items()}
    self.names = sorted(self._entries)

  def read(self, name: str) -> bytes:
    """A file's content. Raises OSError too large, and what zipfile raises: damaged, encrypted."""
    _check_size(self._entries[name].file_size)
    return self._archive.read(self._entries[name])

  def identify(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """As `Folder.identify`; the archive's own place and times stand for all of its files'."""
    yield '', f'{os.path.realpath(self._path)}\0{here(os.stat(self._path))}'
    for name in names:
      entry = self._entries[name]
      yield f'{name}\0{entry.file_size}\0{entry.CRC}\n', ''


def here(found: os.stat_result) -> str:
  """What tells a file of some `os.stat` from others at its place: no program sets the time of its last change."""
  return f'{found.st_ino}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\n'


def _check_size(size):
  if size > LARGEST:
    raise OSError(f'{size / 2**30:.1f} GiB are no picture')
