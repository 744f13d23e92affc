"""Workdirs in a bucket, such as gs://bucket/run: a run works in a copy on its host's disk, which the bucket follows.

What is in a bucket cannot be appended to, locked or renamed, as a run does with its files. So it gets whole files, in
an order in which a kill at any time leaves a run that resumes: a checkpoint's own index comes after all else. They lie
there as in any workdir. By fsspec, which knows gs:// where gcsfs is installed.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from pathlib import Path

import fsspec
import jax

from ganjax import UserError, cache_folder, checkpoint, lock, parallel

_LOOK_SECONDS = 2  # between two looks for a new checkpoint
_PUSH_SECONDS = 60  # until all else follows
_BEAT_SECONDS = 20  # between two signs of life
_PATIENCE_SECONDS = 90  # a process that gives none for so long is gone
_HOLDER = '.holder'  # the file that names the process which writes


@contextlib.contextmanager
def copy(url: str):
  """The workdir at `url` as a folder on this host, which the bucket follows until the block ends.

  Checkpoints follow within seconds, logs and pictures within a minute, and all there is when the block ends, be it by
  an error. What the bucket does not take is said, and tried again. The folder stays until the next copy of the URL.
  In a run of several processes each has a folder, and process 0 writes.

  Raises:
    UserError: the bucket cannot be read or written, or another run writes there.
  """
  name = f'{hashlib.sha256(url.encode()).hexdigest()[:16]}-{jax.process_index()}'
  place = cache_folder('workdirs') / name
  with lock.hold(place):
    bucket = _Bucket(url, place)
    main = parallel.is_main()
    with bucket.held() if main else contextlib.nullcontext():
      parallel.gather(None)  # no other writes from here on
      bucket.pull()
      parallel.check_same(f'checkpoints in {url}', {'steps': checkpoint.list_steps(bucket.folder)})
      parallel.say(f'{url}: at work in a copy, {bucket.folder}')
      with bucket.following() if main else contextlib.nullcontext():
        yield bucket.folder
      parallel.say(f'{url}: up to date')


class _Bucket:
  """The files below `folder`, and those below `url` that are to be the same."""

  def __init__(self, url, place):
    self.folder, self._links = place / 'run', place / 'links'
    self._url = url
    self._there = set()  # names of the bucket's files
    self._sent = {}  # name -> (bytes, time of change) of the local file that the bucket has
    self._me, self._beats = f'{os.getpid()} on {socket.gethostname()}\n{uuid.uuid4()}\n', 0
    with self._errors('read'):
      self._fs, self._root = fsspec.core.url_to_fs(url.rstrip('/'))

  @contextlib.contextmanager
  def held(self):
    """Is the one that writes there until the block ends; there are no locks, so a file is written again and again.

    Raises:
      UserError: another process does.
    """
    with self._errors('write'):
      seen = self._holder()
      who = seen and seen.partition('\n')[0]
      if seen and not _is_dead(who):
        print(f'{self._url}: is process {who} still there? Waiting for a sign', flush=True)
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._holder() == seen and time.monotonic() < until:
          time.sleep(_LOOK_SECONDS)
        if self._holder() not in (seen, None):
          raise UserError(
            f'{self._url} is in use by process {who}: stop it, or use another workdir'
          )
      self._beat()
    try:
      yield
    finally:
      with contextlib.suppress(Exception):  # a courtesy to the next
        if self._is_held():
          self._fs.rm_file(self._at(_HOLDER))

  def _beat(self):
    self._beats += 1
    with self._errors('write'):
      self._fs.pipe_file(self._at(_HOLDER), f'{self._me}{self._beats}\n'.encode())

  def _holder(self) -> str | None:
    try:
      return self._fs.cat_file(self._at(_HOLDER)).decode()
    except FileNotFoundError:
      return None

  def _is_held(self) -> bool:
    return (self._holder() or '').startswith(self._me)

  def _check_held(self):
    with self._errors('read'):
      if not self._is_held():
        raise _TakenOver(f'{self._url}: another process has taken it over')

  def pull(self):
    """Makes the folder anew: everything but checkpoints that lack their index."""
    shutil.rmtree(self.folder, ignore_errors=True)
    below = f'{self._root}/'
    with self._errors('read'):
      found = [path for path in self._fs.find(self._root) if path.startswith(below)]
      self._there = {path.removeprefix(below) for path in found} - {'', _HOLDER}
      names = [n for n in self._there if not _index(n) or _index(n) in self._there]
      for folder in {self.folder, *((self.folder / name).parent for name in names)}:
        folder.mkdir(parents=True, exist_ok=True)
      self._fs.get([below + name for name in names], [str(self.folder / name) for name in names])
    self._sent = {name: state for name, (_, state) in self._files().items()}

  @contextlib.contextmanager
  def following(self):
    """Has the bucket follow the folder until the block ends, and be the same as it then."""
    ended = threading.Event()
    thread = threading.Thread(target=self._follow, args=(ended,), daemon=True)
    thread.start()
    failed = True
    try:
      yield
      failed = False
    finally:
      ended.set()
      thread.join()
      try:
        self._push()
      except UserError as error:
        line = f'{error}; the run as it is now is in {self.folder}'
        if not failed:
          raise UserError(line) from None
        print(f'error: {line}', file=sys.stderr, flush=True)  # the other error is raised

  def _follow(self, ended):
    steps, push_at, beat_at, said = None, 0, 0, False
    while not ended.wait(_LOOK_SECONDS):
      found, now = checkpoint.list_steps(self.folder), time.monotonic()
      try:
        if found != steps or now > push_at:
          self._push()
          steps, push_at, said = found, now + _PUSH_SECONDS, False
        if now > beat_at:
          self._check_held()
          self._beat()
          beat_at = now + _BEAT_SECONDS
      except _TakenOver:
        os.kill(os.getpid(), signal.SIGTERM)  # the last push says why
        return
      except UserError as error:
        if not said:
          print(f'{error}; trying again', file=sys.stderr, flush=True)
        said = True

  def _push(self):
    """Makes the bucket's files those of the folder.

    Raises:
      _TakenOver: the bucket is another's now.
      UserError: it cannot be written.
    """
    self._check_held()
    with self._errors('write'):
      files = self._files()
      # Logs before the checkpoints that go on from them, of a checkpoint the index last.
      for name in sorted(files, key=lambda name: (bool(_index(name)), name == _index(name))):
        path, state = files[name]
        if self._sent.get(name) == state:
          continue
        try:
          content = path.read_bytes()  # at once: logs grow
        except FileNotFoundError:
          continue  # a picture that was removed
        self._fs.pipe_file(self._at(name), content)
        self._there.add(name)
        self._sent[name] = state
      # Of those that went, the index first.
      for name in sorted(self._there - files.keys(), key=lambda name: name != _index(name)):
        self._fs.rm_file(self._at(name))
        self._there.discard(name)

  def _files(self) -> dict:
    """{name: (path, (bytes, time of change))} of the folder; not of what is hidden.

    Checkpoints are linked to paths of their own, as newer ones may replace them while they are on their way.
    """
    shutil.rmtree(self._links, ignore_errors=True)
    for step in checkpoint.list_steps(self.folder):
      name = f'checkpoints/{step}'
      try:
        shutil.copytree(self.folder / name, self._links / name, copy_function=os.link)
      except (FileNotFoundError, shutil.Error):
        if (self.folder / name).exists():
          raise
        shutil.rmtree(self._links / name, ignore_errors=True)  # deleted since
    found = {}
    for root in (self.folder, self._links):
      for folder, folders, names in os.walk(root):
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
    """Turns what packages for buckets raise, which is of many kinds, into a line."""
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


class _TakenOver(UserError):
  """Another process writes to the same place."""


def _is_dead(who) -> bool:
  """Whether a process 'PID on HOST' was one of this host and is no more."""
  pid, _, host = who.partition(' on ')
  return host == socket.gethostname() and pid.isdigit() and not os.path.exists(f'/proc/{pid}')


def _index(name) -> str | None:
  """The name of the file without which the checkpoint that `name` is a part of is none."""
  parts = name.split('/')
  return '/'.join([*parts[:2], '_METADATA']) if parts[0] == 'checkpoints' else None
