import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ganjax import UserError
from ganjax.data import source
from ganjax.data.cache import Examples, open_arrays
from ganjax.weights import files as weights

# A data set whose decoding leaves a trace: argv is log file, count, seconds a chunk. It stands still at <log>.hold.
SCRIPT = """
import os, resource, sys, time
import numpy as np
from ganjax import UserError, data
from ganjax.data.cache import Examples, open_arrays
log, count, pause, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
def decode(rows):
  time.sleep(pause)
  while os.path.exists(log + '.hold'):
    time.sleep(0.01)
  with open(log, 'a') as file:
    file.write(''.join(f'{row}\\n' for row in rows))
  return {'image': np.repeat(np.array(rows, np.uint8), 48).reshape(-1, 4, 4, 3)}
if limit:
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
table = Examples('toy', {'toy': 1}, count, {'image': ((4, 4, 3), np.uint8)}, lambda rows: rows, decode)
try:
  print(int(open_arrays(table, ['image'])['image'].astype(int).sum()))
except UserError as e:
  print(e)
"""


def start(log, count, pause=0.0, limit=0, stderr=subprocess.DEVNULL):
  command = [sys.executable, '-c', SCRIPT, str(log), str(count), str(pause), str(limit)]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def toy(log, count=1000, shape=(4, 4, 3), version=1):
  def decode(rows):
    log.append(len(rows))
    image = np.zeros((len(rows), *shape), np.uint8) + np.array(rows, np.uint8)[:, None, None, None]
    return {'image': image, 'label': np.array(rows, np.int32)}

  fields = {'image': (shape, np.uint8), 'label': ((), np.int32)}
  return Examples('toy', {'toy': version}, count, fields, lambda rows: rows, decode)


def test_decodes_once_and_reads_back(cache_dir):
  log = []
  first = open_arrays(toy(log), ['image', 'label'])
  assert sum(log) == 1000
  second = open_arrays(toy(log), ['image', 'label'])
  assert sum(log) == 1000
  np.testing.assert_array_equal(second['label'], np.arange(1000))
  np.testing.assert_array_equal(first['image'], second['image'])
  np.testing.assert_array_equal(second['image'][:, 1, 2, 0], np.arange(1000) % 256)
  open_arrays(toy(log, version=2), ['image', 'label'])
  assert sum(log) == 2000
  assert len([path for path in cache_dir.iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize('cut', [1, 20, 10**6])
def test_a_truncated_entry_is_built_again(cache_dir, cut):
  log = []
  open_arrays(toy(log), ['image', 'label'])
  (file,) = cache_dir.glob('*/image.npy')
  os.truncate(file, max(0, file.stat().st_size - cut))
  arrays = open_arrays(toy(log), ['image', 'label'])
  assert sum(log) == 2000
  assert arrays['image'][999, 0, 0, 0] == 999 % 256


def test_a_refused_entry_is_renamed_before_it_is_removed(cache_dir, monkeypatch):
  """Killed in the middle of that, it leaves nothing under the entry's name."""
  log, removed = [], []
  open_arrays(toy(log), ['image', 'label'])
  (file,) = cache_dir.glob('*/image.npy')
  os.truncate(file, 20)
  remove = shutil.rmtree
  watch = lambda path, **how: (removed.append((path.name, sorted(os.listdir(path)))), remove(path))
  monkeypatch.setattr(shutil, 'rmtree', lambda path, **how: path.exists() and watch(path, **how))
  open_arrays(toy(log), ['image', 'label'])
  assert sum(log) == 2000
  old = ['image.npy', 'key.json', 'label.npy']
  assert removed == [(f'{file.parent.name}.building', old)]


def test_an_entry_that_does_not_read_just_now_is_left_alone(cache_dir):
  """Others may have it mapped."""
  log = []
  first = open_arrays(toy(log), ['image', 'label'])
  (file,) = cache_dir.glob('*/label.npy')
  kept = file.rename(file.with_name('kept'))
  file.symlink_to(file)  # 'Too many levels of symbolic links', for what a network or a limit says
  with pytest.raises(UserError, match=r'cannot read .*/toy-\w+ .*symbolic links'):
    open_arrays(toy(log), ['image', 'label'])
  kept.rename(file)
  second = open_arrays(toy(log), ['image', 'label'])
  np.testing.assert_array_equal(first['image'], second['image'])
  assert sum(log) == 1000


def test_a_killed_builder_leaves_nothing_that_counts(tmp_path, cache_dir):
  """Of four processes one builds and is killed; of those that wait, one builds anew and the rest use that."""
  (tmp_path / 'log.hold').touch()
  builder = start(tmp_path / 'log', 4000)
  deadline = time.monotonic() + 60
  while not list(cache_dir.glob('*.building/image.npy')) and time.monotonic() < deadline:
    time.sleep(0.02)
  others = [start(tmp_path / 'log2', 4000, stderr=subprocess.PIPE) for _ in range(3)]
  for other in others:
    assert other.stderr.readline() == 'waiting for another process that is decoding toy\n'
  builder.send_signal(signal.SIGKILL)
  builder.communicate()
  for other in others:
    assert other.communicate()[0].strip() == str(48 * int((np.arange(4000) % 256).sum()))
  assert not list(cache_dir.glob('*.building'))
  assert len((tmp_path / 'log2').read_text().split()) == 4000


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(cache_dir):
  cache_dir.mkdir(parents=True)
  for name in ('dead', 'alive'):
    (cache_dir / f'{name}.building').mkdir()
  with open(cache_dir / 'alive.lock', 'a') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    open_arrays(toy([]), ['image', 'label'])
  assert [path.name for path in cache_dir.glob('*.building')] == ['alive.building']


def test_two_processes_build_once(tmp_path):
  processes = [start(tmp_path / 'log', 3000, pause=0.05) for _ in range(2)]
  outputs = [process.communicate()[0].strip() for process in processes]
  assert outputs == [str(48 * int((np.arange(3000) % 256).sum()))] * 2
  rows = (tmp_path / 'log').read_text().split()
  assert sorted(map(int, rows)) == list(range(3000))


def test_too_little_room_is_said_before_building(cache_dir):
  log = []
  with pytest.raises(UserError, match=r'needs [\d,]+ MiB .* GANJAX_CACHE_DIR') as error:
    open_arrays(toy(log, count=10**9, shape=(1024, 1024, 3)), ['image', 'label'])
  assert '\n' not in str(error.value)
  assert not log
  assert not list(cache_dir.glob('*.building'))


def test_a_disk_that_refuses_while_writing(tmp_path, cache_dir):
  out = start(tmp_path / 'log', 4000, limit=65536).communicate()[0].strip()
  assert 'cannot be written (File too large)' in out
  assert 'GANJAX_CACHE_DIR' in out
  assert '\n' not in out
  assert [path.suffix for path in cache_dir.iterdir()] == ['.lock']


def test_an_unusable_directory(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'file'))
  with pytest.raises(UserError, match='cannot be written .* GANJAX_CACHE_DIR'):
    open_arrays(toy([]), ['image', 'label'])


def test_a_user_without_a_home(monkeypatch):
  """As containers have them: no HOME, and a number that no table of users holds."""

  def nobody(number):
    raise KeyError(number)

  for name in ('HOME', 'TORCH_HOME', 'XDG_CACHE_HOME'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(pwd, 'getpwuid', nobody)
  open_arrays(toy([]), ['image', 'label'])  # GANJAX_CACHE_DIR is set
  with pytest.raises(UserError, match='no weight file net.pth: not in '):
    weights.load(weights.File('net.pth', ''))
  monkeypatch.delenv('GANJAX_CACHE_DIR')
  line = 'no home folder for ~/.cache/ganjax: set GANJAX_CACHE_DIR to a folder .* or HOME'
  for look in (
    lambda: open_arrays(toy([]), ['image', 'label']),
    lambda: weights.load(weights.File('net.pth', '')),
  ):
    with pytest.raises(UserError, match=line):
      look()


def test_an_error_while_decoding_leaves_no_entry(cache_dir):
  def decode(rows):
    raise UserError('broken')

  with pytest.raises(UserError, match='broken'):
    open_arrays(toy([])._replace(decode=decode), ['image', 'label'])
  assert [path.suffix for path in cache_dir.iterdir()] == ['.lock']


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='the system has no such limit')
def test_decoding_takes_no_more_cores_than_the_process_may_use():
  parts = []

  def decode(rows):
    parts.append(len(rows))
    return {'image': np.zeros((len(rows), 4, 4, 3), np.uint8)}

  table = Examples('toy', {}, 8, {}, lambda rows: rows, decode)
  allowed = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {min(allowed)})
  try:
    read = source._decoder(table, {})
  finally:
    os.sched_setaffinity(0, allowed)
  assert len(read(np.arange(8), ['image'])['image']) == 8 and parts == [8]
