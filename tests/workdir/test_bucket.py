"""Workdirs in a bucket: in memory, where writing fails wherever it may, and on a stand-in for Google's, by gcsfs."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import socket
import threading
import time

import command
import fsspec
import gcs
import jax
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFile

from ganjax import UserError
from ganjax.workdir import bucket, checkpoint, files, holder, writer
from ganjax.workdir.checkpoint import Checkpoints

URL = 'memory://bucket/run'
FILES = fsspec.filesystem('memory')


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
  """An empty bucket, a cache of this test's own, and little patience."""
  FILES.store.clear()
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  seconds = {
    bucket: {'LOOK': 0.01, 'PUSH': 0.05},
    holder: {'LOOK': 0.01, 'BEAT': 0.05, 'PATIENCE': 0.5},
  }
  for module, values in seconds.items():
    for name, value in values.items():
      monkeypatch.setattr(module, f'_{name}_SECONDS', value)


def there() -> set:
  """Names of the bucket's files."""
  return {name.removeprefix('/bucket/run/') for name in FILES.find('/bucket/run')}


def steps() -> list:
  return sorted(
    int(n.split('/')[1]) for n in there() if re.fullmatch(r'checkpoints/\d+/_METADATA', n)
  )


def wait(what):
  until = time.monotonic() + 20
  while not what():
    assert time.monotonic() < until
    time.sleep(0.01)


def train(folder, first, last, keep=2, run='a'):
  """A run of steps first, ..., last - 1, as train.py leaves it: lines of all, then a checkpoint of each."""
  files.write_json(folder / 'config.json', {'run': run} if run else {})
  checkpoints = Checkpoints(folder, keep)
  with (folder / 'metrics.jsonl').open('a') as log:
    for step in range(first, last):
      log.write(f'{{"step": {step}}}\n')
      log.flush()
      checkpoints.save(step, {'step': jax.numpy.int32(step), 'w': jax.numpy.full(9, step)}, {})
      checkpoints.wait()
  checkpoints.close()


@contextlib.contextmanager
def killed(monkeypatch):
  """Gives what kills the writing to the bucket, and with it the copy."""

  def fail(place):
    raise UserError('killed')

  with pytest.raises(UserError, match='killed'), monkeypatch.context() as patch:
    yield lambda: patch.setattr(bucket._Bucket, '_push', fail)


def lines(folder) -> list:
  return [r['step'] for _, r in writer.parse_lines((folder / 'metrics.jsonl').read_bytes())]


def test_a_copy_is_followed_and_made_again(capsys):
  with bucket.copy(URL) as folder:
    train(folder, 1, 3)
    wait(lambda: steps() == [1, 2])
    (folder / 'samples').mkdir()
    (folder / 'samples/1.png').write_bytes(b'1')
    (folder / '.hidden').write_text('')
    wait(lambda: 'samples/1.png' in there())
    train(folder, 3, 6)
    (folder / 'samples/1.png').unlink()
  # Old checkpoints went there too, and so did the name of the one who writes.
  assert steps() == [4, 5] and not any(re.search(r'samples|\.hidden|\.holder', n) for n in there())
  assert FILES.cat_file('/bucket/run/metrics.jsonl') == (folder / 'metrics.jsonl').read_bytes()
  (folder / 'metrics.jsonl').write_text('of another time')
  with bucket.copy(URL) as again:
    assert again == folder and lines(again) == [1, 2, 3, 4, 5]
    state, step, _ = checkpoint.read(again)
    assert step == 5 and np.array_equal(state['w'], np.full(9, 5))
    # What is there is not sent again.
    FILES.pipe_file('/bucket/run/metrics.jsonl', b'changed there')
    time.sleep(0.2)
  assert FILES.cat_file('/bucket/run/metrics.jsonl') == b'changed there'
  assert capsys.readouterr().out.splitlines()[-1] == f'{URL}: up to date'


def test_a_kill_at_any_write_leaves_a_run_that_resumes(monkeypatch, tmp_path):
  """Writing stops for good after any number of files: the checkpoints there are whole, and logged to their steps."""
  run, early, late = (tmp_path / name for name in ('run', 'early', 'late'))
  run.mkdir()
  train(run, 1, 4)
  shutil.copytree(run, early)
  train(run, 4, 6)
  shutil.copytree(run, late)
  place, again = (bucket._Bucket(URL, tmp_path / name) for name in ('place', 'again'))
  done = 0

  def counted(do):
    def change(path, *arguments):
      nonlocal done
      done += not path.endswith('.holder')
      if done > limit:
        raise OSError('cut off')
      return do(path, *arguments)

    return change

  for name in ('pipe_file', 'rm_file'):
    monkeypatch.setattr(FILES, name, counted(getattr(FILES, name)))
  limit, needed = 0, math.inf
  while limit < needed:
    FILES.store.clear()
    done, limit = 0, limit + 1
    with place.held(), contextlib.suppress(UserError):
      place.pull(everything=True)
      for state in (early, late):
        shutil.rmtree(place.folder)
        shutil.copytree(state, place.folder)
        place._push()
      needed = done
    again.pull(everything=True)
    assert checkpoint.list_steps(again.folder) == steps()
    for step in steps():
      assert checkpoint.read(again.folder, step)[1] in lines(again.folder)
    if limit > needed / 2:
      assert steps()
  assert steps() == [4, 5] and needed > 20


def test_nothing_is_removed_that_is_not_of_the_run():
  others = (
    'checkpoints/9.bak/x',
    'checkpoints/old/9/_METADATA',
    '.gitkeep',
    'other/.holder',
    'notes',
  )
  for name in others:
    FILES.pipe_file(f'/bucket/run/{name}', b'')
  FILES.pipe_file('/bucket/run2/metrics.jsonl', b'')
  with bucket.copy(URL) as folder:
    train(folder, 1, 4)
  assert {*others, 'checkpoints/3/_METADATA'} <= there() and steps() == [2, 3]
  assert FILES.exists('/bucket/run2/metrics.jsonl')


def test_what_a_bucket_lacks_of_a_run_that_was_cut_off_is_brought_to_it(monkeypatch, capsys):
  write = FILES.pipe_file
  away = lambda path, data: path.endswith('.holder') and write(path, data)

  def cut_off(first, last):
    """A run whose last checkpoints do not reach the bucket; returns its folder."""
    with pytest.raises(UserError, match='the run as it is now is in'), bucket.copy(URL) as folder:
      monkeypatch.setattr(FILES, 'pipe_file', lambda *a: away(*a) and None or fail())
      train(folder, first, last)
    monkeypatch.setattr(FILES, 'pipe_file', write)
    return folder

  def fail():
    raise ConnectionError('away')

  with bucket.copy(URL) as folder:
    train(folder, 1, 3)
  cut_off(3, 6)
  assert steps() == [1, 2]
  # Where the bucket cannot be read either, nothing is lost,
  for what in ('find', 'get'):
    monkeypatch.setattr(FILES, what, lambda *paths: fail())
    with pytest.raises(UserError, match='cannot read .* away'), bucket.copy(URL):
      raise AssertionError
    assert checkpoint.list_steps(folder) == [4, 5]
    monkeypatch.setattr(FILES, what, getattr(type(FILES), what).__get__(FILES))
  monkeypatch.undo()
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(folder.parents[2]))
  # and then it goes on from there.
  with bucket.copy(URL) as folder:
    assert steps()[-1] == 5 and checkpoint.list_steps(folder)[-1] == 5
    assert lines(folder) == [1, 2, 3, 4, 5]
  assert f'{URL}: bringing it to step 5, as left here' in capsys.readouterr().out
  # A run that ended leaves nothing to bring: who empties the bucket starts anew.
  FILES.rm('/bucket/run', recursive=True)
  with bucket.copy(URL) as folder:
    assert checkpoint.list_steps(folder) == []


def test_who_empties_a_bucket_starts_anew_after_a_kill_too(monkeypatch):
  with killed(monkeypatch) as kill, bucket.copy(URL) as folder:
    train(folder, 1, 5)
    wait(lambda: steps() == [3, 4])
    time.sleep(0.2)
    kill()
  FILES.rm('/bucket/run', recursive=True)
  with bucket.copy(URL) as folder:
    assert checkpoint.list_steps(folder) == [] and not (folder / 'config.json').exists()


def test_a_run_that_never_reached_its_bucket_does_when_it_goes_on(monkeypatch):
  with killed(monkeypatch) as kill, bucket.copy(URL) as folder:
    kill()
    train(folder, 1, 3)
  assert not there()
  with bucket.copy(URL) as folder:
    assert checkpoint.list_steps(folder) == steps() == lines(folder) == [1, 2]


def test_what_comes_back_to_another_run_takes_that(monkeypatch, tmp_path):
  with killed(monkeypatch) as kill, bucket.copy(URL) as folder:
    train(folder, 1, 5)
    wait(lambda: steps() == [3, 4])
    time.sleep(0.2)
    kill()
  FILES.rm('/bucket/run', recursive=True)
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'another host'))
  with bucket.copy(URL) as elsewhere:
    train(elsewhere, 1, 3, run='b')
  there = {name: FILES.cat_file(name) for name in FILES.find('/bucket/run')}
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  with bucket.copy(URL) as folder:
    assert checkpoint.list_steps(folder) == lines(folder) == [1, 2]
    assert json.loads((folder / 'config.json').read_text()) == {'run': 'b'}
  assert there == {name: FILES.cat_file(name) for name in FILES.find('/bucket/run')}


def test_what_another_run_would_destroy_here_or_there_is_refused(monkeypatch, tmp_path):
  with killed(monkeypatch) as kill, bucket.copy(URL) as folder:
    train(folder, 1, 3)
    wait(lambda: steps() == [1, 2])
    kill()
    train(folder, 3, 5)

  def refused(what):
    there = {name: FILES.cat_file(name) for name in FILES.find('/bucket/run')}
    said = f'{URL} holds {what}, and {folder} holds run a, whose checkpoint 4 never got there: move'
    with pytest.raises(UserError, match=said), bucket.copy(URL):
      raise AssertionError
    assert checkpoint.list_steps(folder) == [3, 4] and lines(folder) == [1, 2, 3, 4]
    assert there == {name: FILES.cat_file(name) for name in FILES.find('/bucket/run')}

  FILES.rm('/bucket/run', recursive=True)
  refused('no run')
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'another host'))
  with bucket.copy(URL) as elsewhere:
    train(elsewhere, 1, 3, run='b')
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  refused('run b')
  for name, said in {
    b'{}': 'a run without an id',
    b'{': 'a config.json that is not readable',
  }.items():
    FILES.pipe_file('/bucket/run/config.json', name)
    refused(said)
  # Who moves it away goes on with what is there.
  FILES.pipe_file('/bucket/run/config.json', b'{"run": "b"}')
  folder.rename(tmp_path / 'kept')
  with bucket.copy(URL) as folder:
    assert checkpoint.list_steps(folder) == [1, 2]


@pytest.mark.parametrize('name', ['{outside}', '../x', 'samples/../../../x', 'a//x', './x'])
def test_names_that_lead_out_of_the_folder_are_refused(name, tmp_path):
  outside = tmp_path / 'x'
  name = name.format(outside=outside)
  FILES.store[f'/bucket/run/{name}'] = MemoryFile(FILES, f'/bucket/run/{name}', b'pwned')
  with pytest.raises(UserError, match=f"holds an object named '{name}'"), bucket.copy(URL):
    raise AssertionError
  assert not outside.exists()


def test_folders_that_a_console_made_are_no_files():
  for name in ('', 'samples/'):
    FILES.store[f'/bucket/run/{name}'] = MemoryFile(FILES, f'/bucket/run/{name}', b'')
  FILES.pipe_file('/bucket/run/samples/1.png', b'1')
  with bucket.copy(URL) as folder:
    assert (folder / 'samples/1.png').read_bytes() == b'1'
  assert '/bucket/run/samples/' in FILES.store


def test_other_processes_take_what_training_reads():
  with bucket.copy(URL) as folder:
    train(folder, 1, 3)
    for name in ('config.json', 'evaluations.jsonl', 'curves.png'):
      (folder / name).write_text(name)
  place = bucket._Bucket(URL, bucket.cache_folder('other'))
  place.pull(everything=False)
  assert checkpoint.read(place.folder)[1] == 2
  names = {path.name for path in place.folder.iterdir() if path.name[0] != '.'}
  assert names == {'checkpoints', 'config.json', 'metrics.jsonl', 'evaluations.jsonl'}


def test_a_disk_without_links_will_do(monkeypatch):
  def refuse(source, target):
    raise PermissionError('no links here')

  monkeypatch.setattr(os, 'link', refuse)
  with bucket.copy(URL) as folder:
    train(folder, 1, 3)
  assert steps() == [1, 2]


def test_files_that_went_from_the_bucket_stop_nothing(capsys):
  with bucket.copy(URL) as folder:
    train(folder, 1, 3)
    wait(lambda: steps() == [1, 2])
    FILES.rm('/bucket/run/checkpoints/1', recursive=True)
    FILES.rm_file('/bucket/run/.holder')  # nobody's is ours again
    train(folder, 3, 5)
    wait(lambda: steps() == [3, 4] and '.holder' in there())
  assert not capsys.readouterr().err


def test_parts_of_checkpoints_are_left_and_cleared_away():
  with bucket.copy(URL) as folder:
    train(folder, 1, 3)
  FILES.rm_file('/bucket/run/checkpoints/2/_METADATA')
  with bucket.copy(URL) as folder:
    assert checkpoint.list_steps(folder) == [1]
  assert steps() == [1] and not any(n.startswith('checkpoints/2/') for n in there())


def test_checkpoints_that_are_replaced_on_their_way_arrive(monkeypatch):
  """Writing takes longer than a checkpoint lasts."""
  write = FILES.pipe_file
  with bucket.copy(URL) as folder:
    monkeypatch.setattr(FILES, 'pipe_file', lambda *a: (time.sleep(0.02), write(*a)))
    ended = threading.Event()

    def go_on():
      step = 1
      while not ended.is_set():
        train(folder, step, step + 1, keep=1)
        step += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
      wait(steps)
    finally:
      ended.set()
      thread.join()


def test_a_bucket_that_fails_is_said_and_tried_again(monkeypatch, capsys):
  write, fails = FILES.pipe_file, threading.Event()

  def pipe_file(path, data):
    if fails.is_set() and not path.endswith('.holder'):
      raise ConnectionError('the network\nis away')
    write(path, data)

  monkeypatch.setattr(FILES, 'pipe_file', pipe_file)
  with bucket.copy(URL) as folder:
    fails.set()
    train(folder, 1, 2)
    time.sleep(0.5)
    fails.clear()
    wait(lambda: steps() == [1])
  said = capsys.readouterr().err
  assert said == f'cannot write {URL}: ConnectionError: the network is away; trying again\n'
  with (
    pytest.raises(UserError, match='network is away; the run as it is now is in /'),
    bucket.copy(URL) as folder,
  ):
    fails.set()
    train(folder, 2, 3)
  assert checkpoint.list_steps(folder) == [1, 2]
  # An error of the run itself comes first.
  fails.clear()
  with pytest.raises(ZeroDivisionError), bucket.copy(URL) as folder:
    fails.set()
    train(folder, 3, 4)
    raise ZeroDivisionError
  assert 'error: cannot write' in capsys.readouterr().err


def test_one_writes_at_a_time(monkeypatch, capsys):
  def sign(beat):
    FILES.pipe_file('/bucket/run/.holder', f'7 on elsewhere\nabc\n{beat}\n'.encode())

  # One that gives signs of life is left alone,
  sign(0)
  timer = threading.Timer(0.2, sign, [1])
  timer.start()
  with (
    pytest.raises(UserError, match=r'bucket/run is in use by process 7 on elsewhere: stop it'),
    bucket.copy(URL),
  ):
    raise AssertionError
  assert FILES.cat_file('/bucket/run/.holder').endswith(b'1\n')
  # one that gives none is gone,
  killed = []
  monkeypatch.setattr(os, 'kill', lambda *a: killed.append(a))
  monkeypatch.setattr(signal, 'getsignal', lambda number: 'that of the run')
  taken_over = pytest.raises(
    UserError, match='another process has taken it over; the run .* is in /'
  )
  with taken_over, bucket.copy(URL) as folder:
    train(folder, 1, 2)
    wait(lambda: steps() == [1])
    # and one that comes after all stops this.
    sign(2)
    wait(lambda: killed)
    train(folder, 2, 3)
  assert killed == [(os.getpid(), signal.SIGTERM)] and steps() == [1]
  assert 'error: memory://bucket/run: another process has taken it' in capsys.readouterr().err
  assert FILES.cat_file('/bucket/run/.holder').endswith(b'2\n')
  # While writing takes long, or fails, there are signs of life all the same.
  write = FILES.pipe_file
  beats = lambda: FILES.cat_file('/bucket/run/.holder')
  monkeypatch.setattr(holder, '_PATIENCE_SECONDS', 0.2)
  with bucket.copy(URL) as folder:
    slow = lambda path, data: (path.endswith('.holder') or time.sleep(1), write(path, data))
    monkeypatch.setattr(FILES, 'pipe_file', slow)
    train(folder, 5, 6)
    for _ in range(3):
      seen = beats()
      wait(lambda: beats() != seen)  # noqa: B023
    monkeypatch.setattr(FILES, 'pipe_file', write)

  # One that is taken over with a checkpoint half on its way does not go on with it.
  def cross(path, data):
    write(path, data)
    if 'checkpoints/7/' in path:
      sign(3)

  with taken_over, bucket.copy(URL) as folder:
    monkeypatch.setattr(FILES, 'pipe_file', cross)
    train(folder, 7, 8)
  monkeypatch.setattr(FILES, 'pipe_file', write)
  assert 7 not in steps()
  # A process of this host that is no more need not be waited for.
  monkeypatch.setattr(holder, '_PATIENCE_SECONDS', 1000)
  gone = command.start('sample.py')
  gone.kill()
  command.finish(gone)
  FILES.pipe_file('/bucket/run/.holder', f'{gone.pid} on {socket.gethostname()}\nx\n'.encode())
  with bucket.copy(URL) as folder:
    assert checkpoint.list_steps(folder) == [2, 5, 7]


@pytest.mark.slow
def test_a_run_in_google_storage_is_that_of_a_disk(tmp_path):
  """Killed on one host, preempted on the next, and finished on a third."""
  name, url = 'runs/one', 'gs://bucket/runs/one'
  with gcs.storage() as environment:

    def begin(host):
      own = {'GANJAX_CACHE_DIR': str(tmp_path / f'{host}'), **environment}
      return command.start('train.py', *command.tiny(), '--workdir', url, env=own)

    first = begin(0)
    command.read_to(first, 'step  10')
    newest = gcs.wait(environment, name, tmp_path / 'seen')
    first.kill()
    assert command.finish(first).returncode == -signal.SIGKILL

    second = begin(1)
    assert int(command.read_to(second, 'resuming').split()[3]) >= newest
    command.read_to(second, 'first step done')
    second.terminate()
    done = command.finish(second)
    assert done.returncode == 143 and done.stdout.endswith(f'{url}: up to date\n')
    saved = int(re.search(r'stopped by SIGTERM at step (\d+), saved', done.stdout)[1])
    stopped = gcs.fetch(environment, name, tmp_path / 'stopped')
    assert checkpoint.list_steps(stopped)[-1] == saved

    third = command.finish(begin(2))
    assert third.returncode == 0 and f'resuming at step {saved} ' in third.stdout, third.stderr
    workdir = gcs.fetch(environment, name, tmp_path / 'end')
  other = command.finished()[0]
  (a, step, _), (b, end, _) = checkpoint.read(workdir), checkpoint.read(other)
  assert step == end == 100
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert lines(workdir) == lines(other)
  pictures = lambda folder: {path.name for path in (folder / 'samples').iterdir()}
  assert pictures(workdir) == pictures(other)
