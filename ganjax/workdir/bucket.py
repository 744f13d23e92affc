"""Workdirs in a bucket, such as gs://bucket/run: a run works in a copy on its host's disk, which the bucket follows.

A run appends to its files, locks and renames them. Objects in a bucket allow none of these. So the bucket gets whole
files, under the names that they have in the workdir. A checkpoint's index file is sent last: a kill at any time leaves
a run that resumes. Access is by fsspec; gs:// needs the package gcsfs.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from ganjax import UserError, cache_folder, leads_out
from ganjax.devices import processes
from ganjax.workdir import checkpoint, holder, lock

_LOOK_SECONDS = 2  # between two looks for a new checkpoint
_PUSH_SECONDS = 60  # until all else follows
_SENT = '.sent'  # in a run or a checkpoint here that the bucket has had
_FIRST = ('config.json', 'metrics.jsonl', 'evaluations.jsonl')  # a checkpoint goes on from them


@contextlib.contextmanager
def copy(url: str) -> Iterator[Path]:
  """The workdir at `url` as a folder on this host, which the bucket follows until the block ends.

  Checkpoints are sent within seconds, logs and pictures within a minute. When the block ends, by an error too, all
  files are sent. A failed transfer is printed and tried again. The folder stays on the host after the block. The next
  `copy` of the URL first sends the checkpoints in it that were never sent. In a run of several processes each process
  has a folder, and process 0 writes to the bucket.

  Raises:
    UserError: the bucket cannot be read or written; another process writes there; it holds a name with an empty,
      absolute or '..' part; or it holds another run than the unsent checkpoints on this host.
  """
  name = f'{hashlib.sha256(url.encode()).hexdigest()[:16]}-{jax.process_index()}'
  place = cache_folder('workdirs') / name
  with lock.hold(place):
    bucket = _Bucket(url, place)
    main = processes.is_main()
    with bucket.held() if main else contextlib.nullcontext():
      if main:
        bucket.recover()
      processes.gather(None)  # no other writes from here on
      bucket.pull(everything=main)
      processes.check_same(f'checkpoints in {url}', {'steps': checkpoint.list_steps(bucket.folder)})
      processes.say(f'{url}: at work in a copy, {bucket.folder}')
      with bucket.following() if main else contextlib.nullcontext():
        yield bucket.folder
      processes.say(f'{url}: up to date')


class _Bucket:
  """Keeps the objects below `url` equal to the files below `folder`."""

  def __init__(self, url, place):
    self.folder, self._links, self._new = (place / name for name in ('run', 'links', 'new'))
    self._url = url
    self._there = set()  # names of the run's files in the bucket
    self._sent = {}  # name -> (bytes, time of change) of the local file that the bucket has
    # Its retries are reported with tracebacks; what fails in the end is said here, in a line.
    logging.getLogger('gcsfs').setLevel(logging.CRITICAL)
    # A request that is never answered would be waited for.
    options = {'requests_timeout': 300} if url.startswith('gs:') else {}
    import fsspec  # takes as long as Flax

    with self._errors('read'):
      self._fs, self._root = fsspec.core.url_to_fs(url.rstrip('/'), **options)
    self._holder = holder.Holder(self._fs, self._at('.holder'), url)

  @contextlib.contextmanager
  def held(self):
    """Holds the right to write to the bucket until the block ends.

    Raises:
      UserError: another process does.
    """
    with self._errors('write'):
      self._holder.take()
    with self._holder.kept():
      yield

  def recover(self):
    """Sends the checkpoints that a killed process left unsent.

    Raises:
      UserError: the bucket holds another run than theirs.
    """
    folder, names = self.folder / 'checkpoints', self._list()
    ours = [n for n in checkpoint.list_steps(self.folder) if not (folder / f'{n}/{_SENT}').exists()]
    theirs = [int(name.split('/')[1]) for name in names if name == _index(name)]
    if not ours:
      return
    record = self.folder / _FIRST[0]
    with self._errors('read'):
      here = _describe(record.read_bytes() if record.exists() else None)
      there = _describe(self._fs.cat_file(self._at(_FIRST[0])) if _FIRST[0] in names else None)
    new = not names and not (self.folder / _SENT).exists()
    if here != there and not new:
      raise UserError(
        f'{self._url} holds {there}, and {self.folder} holds {here}, whose checkpoint {ours[-1]} never got there: '
        'move that folder away or delete it to go on without, or use another workdir'
      )
    if ours[-1] > max(theirs, default=-1):
      print(
        f'{self._url}: bringing it to step {ours[-1]}, as left here in {self.folder}', flush=True
      )
      with self._errors('write'):
        self._send(self._files())

  def _list(self) -> set:
    """Names of the run's files in the bucket, without hidden ones and without strangers among the checkpoints.

    Raises:
      UserError: a name has an empty, absolute or '..' part.
    """
    below = f'{self._root}/'
    with self._errors('read'):
      found = [path for path in self._fs.find(self._root) if path.startswith(below)]
    # Consoles mark folders by empty objects whose names end so.
    names = {path.removeprefix(below) for path in found if not path.endswith('/')}
    for name in names:
      if leads_out(name):
        raise UserError(
          f'{self._url} holds an object named {name!r}, which is no name of a file below a folder: remove it'
        )
    return {n for n in names if not re.search(r'(^|/)\.|^checkpoints/(?!\d+/)', n)}

  def pull(self, everything: bool):
    """Replaces the folder by the bucket: everything, or what training reads. Skips unfinished checkpoints."""
    self._there = self._list()
    names = [n for n in self._there if not _index(n) or _index(n) in self._there]
    if not everything:
      names = [n for n in names if n in _FIRST or _index(n)]
    shutil.rmtree(self._new, ignore_errors=True)
    with self._errors('read'):
      for folder in {self._new, *((self._new / name).parent for name in names)}:
        folder.mkdir(parents=True, exist_ok=True)
      self._fs.get([self._at(name) for name in names], [str(self._new / name) for name in names])
      for name in names:
        self._note_sent(name, self._new)
      shutil.rmtree(self.folder, ignore_errors=True)
      self._new.rename(self.folder)
      self._sent = {name: state for name, (_, state) in self._files().items()}

  @contextlib.contextmanager
  def following(self):
    """Sends changes in the background until the block ends, and all that is left at its end."""
    failed = True
    try:
      with holder.beside(self._follow):
        yield
      failed = False
    finally:
      try:
        self._push()
      except UserError as error:
        line = f'{error}; the run as it is now is in {self.folder}'
        if not failed:
          raise UserError(line) from None
        holder.say(f'error: {line}')  # the other error is raised

  def _follow(self, ended):
    steps, push_at, said = None, 0, False
    while not ended.wait(_LOOK_SECONDS):
      try:
        found, now = checkpoint.list_steps(self.folder), time.monotonic()
        if found != steps or now > push_at:
          steps, push_at = found, now + _PUSH_SECONDS
          self._push()
          said = False
      except holder.TakenOver:
        return  # the holder sees it too
      except Exception as error:
        if not said:
          holder.say(f'{error}; trying again')
        said = True

  def _push(self):
    """Sends every file that differs.

    Raises:
      holder.TakenOver: the bucket is another's now.
      UserError: it cannot be written.
    """
    with self._errors('write'):
      self._holder.check()
      files = self._files()
      self._send(files)
      self._holder.check()
      # Of those that went, the index first.
      for name in sorted(self._there - files.keys(), key=lambda name: name != _index(name)):
        with contextlib.suppress(FileNotFoundError):
          self._fs.rm_file(self._at(name))
        self._there.discard(name)

  def _send(self, files):
    # Logs before the checkpoints that go on from them, of a checkpoint the index last; then what can be missed.
    order = lambda name: (
      0 if name in _FIRST else 2 if name == _index(name) else 1 if _index(name) else 3
    )
    for name in sorted(files, key=order):
      path, state = files[name]
      if self._sent.get(name) == state:
        continue
      if name in (_FIRST[0], _index(name)):
        self._holder.check()
      try:
        content = path.read_bytes()  # at once: logs grow
      except FileNotFoundError:
        continue  # a picture that was removed
      self._fs.pipe_file(self._at(name), content)
      self._there.add(name)
      self._sent[name] = state
      self._note_sent(name, self.folder)

  def _note_sent(self, name, folder):
    """Marks a checkpoint (or the run) as sent, once its index (or config.json) is in the bucket."""
    if name in (_FIRST[0], _index(name)):
      with contextlib.suppress(FileNotFoundError):  # deleted since
        (folder / name).with_name(_SENT).touch()

  def _files(self) -> dict:
    """The files of the folder that are not hidden: {name: (path, (bytes, time of change))}.

    Checkpoints are hard-linked to paths of their own: training may delete them during the transfer.
    """
    shutil.rmtree(self._links, ignore_errors=True)
    for step in checkpoint.list_steps(self.folder):
      name = f'checkpoints/{step}'
      try:
        shutil.copytree(self.folder / name, self._links / name, copy_function=_link)
      except (FileNotFoundError, shutil.Error):
        if (self.folder / name).exists():
          raise
        shutil.rmtree(self._links / name, ignore_errors=True)  # deleted since
    found = {}
    for root in (self.folder, self._links):
      for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith('.')]
        if root == self.folder == Path(folder):
          folders[:] = [name for name in folders if name != 'checkpoints']
        for name in names:
          path = Path(folder, name)
          with contextlib.suppress(FileNotFoundError):
            if not name.startswith('.'):
              state = path.stat()
              found[path.relative_to(root).as_posix()] = path, (state.st_size, state.st_mtime_ns)
    return found

  def _at(self, name):
    return f'{self._root}/{name}'

  @contextlib.contextmanager
  def _errors(self, what):
    """Turns the exceptions of bucket packages into one-line UserErrors."""
    try:
      yield
    except UserError:
      raise
    except Exception as error:
      text = ' '.join(str(error).split())
      line = f'cannot {what} {self._url}: {type(error).__name__}: {text[:200]}'
      hint = (
        " (for gs://, in the checkout: pip install '.[gcs]')"
        if isinstance(error, ImportError)
        else ''
      )
      raise UserError(line + hint) from None


def _link(source, target):
  try:
    os.link(source, target)
  except OSError:  # a disk without, or the file went: that is said by this
    shutil.copy2(source, target)


def _index(name) -> str | None:
  """The index file of the checkpoint that the file `name` belongs to; without it the checkpoint is unfinished."""
  parts = name.split('/')
  return '/'.join([*parts[:2], '_METADATA']) if parts[0] == 'checkpoints' else None


def _describe(record: bytes | None) -> str:
  """A run in words for messages, from its config.json; None: no run."""
  if record is None:
    return 'no run'
  try:
    found = json.loads(record).get('run')
  except (ValueError, AttributeError):
    return 'a config.json that is not readable'
  return f'run {found}' if found else 'a run without an id'
