"""train.py as processes: what a run leaves, and that nothing loses work (kills, signals, spoilt files, a full disk)."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import command
import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from ganjax import UserError, experiment, run_record, run_state
from ganjax.devices import sharding
from ganjax.workdir import checkpoint

FIELDS = ['step', 'loss_real', 'loss_fake', 'loss_G', 'D_real', 'D_fake', 'images_per_second']
DIAGNOSTICS = ['grad_norm_G', 'grad_norm_D', 'D_saturated', 'sample_diversity']


@pytest.fixture
def workdir(tmp_path):
  return tmp_path / 'run'


@pytest.fixture
def copied(workdir):
  """A copy of the finished run, to spoil."""
  return shutil.copytree(command.finished()[0], workdir)


def metrics(workdir) -> list:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def untimed(workdir) -> list:
  timed = ('images_per_second', 'compile_seconds', 'peak_host_memory_bytes')
  return [{k: v for k, v in line.items() if k not in timed} for line in metrics(workdir)]


def flat(tree) -> dict:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def assert_identical(a, b):
  """Two trees of arrays are equal bit for bit."""
  a, b = flat(a), flat(b)
  assert a.keys() == b.keys()
  differ = [k for k in a if a[k].dtype != b[k].dtype or a[k].tobytes() != b[k].tobytes()]
  assert not differ, f'{len(differ)} of {len(a)} arrays differ, such as {differ[0]}'


def assert_same_run(workdir, reference):
  """The end states are equal bit for bit, and so is what was logged on the way."""
  (a, step, _), (b, end, _) = checkpoint.read(workdir), checkpoint.read(reference)
  assert step == end
  assert_identical(a, b)
  assert untimed(workdir) == untimed(reference)


def one_line(done, pattern):
  """A failure as a user sees it: a status, one line of error, no traceback."""
  assert 'Traceback' not in done.stdout + done.stderr
  assert done.returncode == 2, done.stdout + done.stderr
  assert re.fullmatch(f'error: .*{pattern}.*\n', done.stderr), done.stderr


def resume(workdir, fields=()):
  return command.run('train.py', *command.tiny(fields), '--workdir', workdir)


# What a run leaves.


def test_leaves_config_and_environment():
  saved = json.loads((command.finished()[0] / 'config.json').read_text())
  assert saved['name'] == 'dcgan_emoji'
  assert saved['config']['batch_size'] == 8  # overridden
  assert saved['config']['method']['z_dim'] == 100  # from the file
  assert saved['config']['seed'] == 0  # from `base`
  assert saved['versions'].keys() >= {'ganjax', 'python', 'jax', 'flax', 'optax', 'numpy'}
  assert saved['commit'] is None or re.fullmatch(r'[0-9a-f]{40}\+?', saved['commit'])
  assert saved['devices']['count'] == 1 and saved['devices']['platform'] == 'cpu'
  (data,) = saved['data']
  assert data['dataset'] == 'folder' and data['num_examples'] == 40
  assert re.fullmatch('[0-9a-f]{32}', saved['run'])
  for step in (90, 100):
    assert checkpoint.read(command.finished()[0], step)[2]['run'] == saved['run']


def test_leaves_metrics_of_every_step():
  lines = metrics(command.finished()[0])
  assert [line['step'] for line in lines] == list(range(1, 101))
  for line in lines:
    assert line.keys() >= {*FIELDS, *DIAGNOSTICS}
    assert all(np.isfinite(value) for value in line.values())
    assert 0 < line['D_real'] < 1 and 0 < line['D_fake'] < 1 and 0 <= line['D_saturated'] <= 1
    assert line['compile_seconds'] > 0 and line['peak_host_memory_bytes'] > 1e8
    assert line['images_per_second'] > 0 and line['grad_norm_G'] > 0 and line['grad_norm_D'] > 0
  # Untrained, D cannot tell: both of its losses are near log 2.
  assert abs(lines[0]['loss_real'] - np.log(2)) < 0.3


def test_leaves_tensorboard_events():
  (path,) = (command.finished()[0] / 'tensorboard').iterdir()
  content, tags, start = path.read_bytes(), {}, 0
  while start < len(content):
    length = int.from_bytes(content[start : start + 8], 'little')
    event = event_pb2.Event.FromString(content[start + 12 : start + 12 + length])
    for value in event.summary.value:
      tags.setdefault(value.tag, []).append(event.step)
    start += length + 16
  assert tags['loss_G'] == list(range(1, 101))
  assert tags['samples'] == [0, 25, 50, 75, 100]


def test_leaves_pictures_curves_and_the_newest_checkpoints():
  workdir, _, _, _ = command.finished()
  assert {f.name for f in workdir.iterdir() if f.name[0] != '.'} == {
    *('checkpoints', 'config.json', 'curves.png', 'film.gif', 'metrics.jsonl', 'report.html'),
    *('samples', 'tensorboard'),
  }
  names = sorted(f.name for f in (workdir / 'samples').iterdir())
  assert names == [f'{step:08}.png' for step in (0, 25, 50, 75, 100)]
  grids = [Image.open(workdir / 'samples' / name) for name in names]
  assert [grid.size for grid in grids] == [(8 * 32, 8 * 32)] * 5
  assert grids[1].text['Description'] == 'synthetic image' and grids[1].text['step'] == '25'
  assert grids[0].tobytes() != grids[-1].tobytes()
  with Image.open(workdir / 'curves.png') as curves:
    assert curves.width > 400
  assert checkpoint.list_steps(workdir) == [90, 100]


def test_progress_lines():
  _, output, _, _ = command.finished()
  line = next(line for line in output.splitlines() if line.startswith('step  50/100 '))
  number = r'-?[\d.]+'
  names = '  '.join(f'{name} {number}' for name in FIELDS[1:-1])
  assert re.fullmatch(rf'step  50/100  \d+ images/s  \w+ left  {names}', line)
  assert 'more pictures: ganjax sample ' in output.splitlines()[-1]


def test_imports_neither_tensorflow_nor_tfds_nor_torch():
  _, _, tripped, _ = command.finished()
  assert not tripped.exists(), tripped.read_text()


@pytest.mark.slow
def test_other_cadence_and_n_critic(workdir):
  """n_critic 2 reads two batches a step; what is not due is not written."""
  fields = {'method.n_critic': 2, 'data.fraction': 0.5, 'steps': 5, 'log_every_steps': 2}
  fields |= {'sample_every_steps': 50, 'checkpoint_every_steps': 50, 'ema.half_life_images': 0}
  done = command.succeed('train.py', *command.tiny(fields), '--workdir', workdir)
  assert [line['step'] for line in metrics(workdir)] == [2, 4, 5]
  assert len(re.findall('^step ', done.stdout, re.M)) == 3
  assert checkpoint.list_steps(workdir) == [5]
  assert sorted(f.name for f in (workdir / 'samples').iterdir()) == ['00000000.png', '00000005.png']
  state, _, _ = checkpoint.read(workdir)
  updates = {name: int(state['opt'][name]['0']['count']) for name in ('G', 'D')}
  assert updates == {'G': 5, 'D': 10}
  assert not state['ema']
  (data,) = json.loads((workdir / 'config.json').read_text())['data']
  assert data['num_examples'] == 20 and data['fraction'] == 0.5


# Stopping and going on.


def kill_many_times(workdir, kills, steps, seed):
  """kill -9 at random moments, of start-up and of training in turn; returns the steps that were there to go on from."""
  chance = random.Random(seed)
  arguments = [*command.tiny({'steps': steps}), '--workdir', workdir]
  begun = []
  for kill in range(kills):
    process = command.start('train.py', *arguments)
    if kill % 3 == 1:
      time.sleep(chance.uniform(0, command.finished()[3]))
    else:
      began = command.read_to(process, ('starting', 'resuming'))
      begin = int(re.search(r'at step (\d+)', began)[1])
      target = min(steps, begin + chance.randint(1, 2 * steps // kills))
      if begin < steps:
        command.read_to(process, f'step {target:>{len(str(steps))}}/')
      time.sleep(chance.uniform(0, 0.01))  # into an update, a save or a write
    process.kill()
    done = command.finish(process)
    assert 'Traceback' not in done.stderr and 'error' not in done.stderr
    begun += checkpoint.list_steps(workdir)[-1:]
  done = command.succeed('train.py', *arguments)
  assert f'finished {steps} steps' in done.stdout
  return begun


@pytest.mark.slow
def test_killed_many_times_equals_uninterrupted(workdir):
  begun = kill_many_times(workdir, kills=6, steps=100, seed=1)
  assert len({*begun} - {100}) > 1, begun
  assert_same_run(workdir, command.finished()[0])
  grids = [
    (path / 'samples/00000100.png').read_bytes() for path in (workdir, command.finished()[0])
  ]
  assert grids[0] == grids[1]


def test_signals_save_and_resume_exactly(workdir):
  uninterrupted = command.finished()[0]  # first, since it fills the cache, which says so on stderr
  arguments = [*command.tiny(), '--workdir', workdir]
  for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
    process = command.start('train.py', *arguments)
    step = int(re.match(r'step +(\d+)/', command.read_to(process, 'step '))[1])
    process.send_signal(number)
    done = command.finish(process)
    assert done.returncode == status and not done.stderr, done.stderr
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(rf'stopped by {number.name} at step (\d+), saved; .* resumes', last)
    assert found, done.stdout
    assert checkpoint.list_steps(workdir)[-1] == int(found[1]) >= step
    assert (workdir / 'curves.png').exists()
  done = command.succeed('train.py', *arguments)
  assert f'resuming at step {found[1]} of 100' in done.stdout
  assert_same_run(workdir, uninterrupted)


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_while_starting(tmp_path, number, status):
  """In the imports and on the way to the first step: one line, no traceback, nothing spoilt."""
  processes = []
  for delay in (0.8, 1.4):
    processes.append(
      command.start('train.py', *command.tiny(), '--workdir', tmp_path / f'run{delay}')
    )
    time.sleep(delay)
    processes[-1].send_signal(number)
  for process in processes:
    done = command.finish(process)
    assert done.returncode == status and not done.stderr, done.stderr
    # A quick machine has come to the data by then, and says so.
    line = rf'(data: 40 pictures without labels\n)?stopped by {number.name} before any step; .*'
    assert re.fullmatch(line, done.stdout.strip())


@pytest.mark.slow
def test_signal_while_compiling_and_init_from(workdir):
  """Stopped before its first step, a run keeps the state that it starts with: here another run's networks."""
  other, _, _, _ = command.finished()
  arguments = [*command.tiny({'init_from': other, 'seed': 7}), '--workdir', workdir]
  process = command.start('train.py', *arguments)
  assert 'step 100' in command.read_to(process, f'starting from G, D of {other}')
  command.read_to(process, 'compiling')
  process.send_signal(signal.SIGTERM)
  done = command.finish(process)
  assert done.returncode == 143 and not done.stderr, done.stderr
  assert 'stopped by SIGTERM at step' in done.stdout
  (new, step, _), (old, _, _) = checkpoint.read(workdir), checkpoint.read(other)
  assert step == int(new['step']) == 0, 'the signal was to come before the first step'
  for part in ('params', 'stats', 'ema'):
    assert_identical(new[part], old[part])
  assert all(not x.any() for x in jax.tree.leaves(new['opt']))


@pytest.mark.slow
def test_init_from_one_network():
  """G alone comes from the other run; D, and what is asked for of other shapes, do not."""
  other, _, _, _ = command.finished()
  config = run_record.saved_config(other)
  mesh = sharding.make_mesh(jax.devices()[:1])
  fresh, _, _ = run_state.start(experiment.build(config), mesh)
  config.update(init_from=str(other), init_nets=['G'])
  state, step, _ = run_state.start(experiment.build(config), mesh)
  old, _, _ = checkpoint.read(other)
  assert step == 0
  assert_identical(state.params['G'], old['params']['G'])
  assert_identical(state.stats['G'], old['stats']['G'])
  assert_identical(state.ema['G'], old['ema']['G'])
  assert_identical(state.params['D'], fresh.params['D'])
  config.networks.width = 6
  with pytest.raises(UserError, match=r"network 'G' differs at .*: \(.*\) there, \(.*\) here"):
    run_state.start(experiment.build(config), mesh)
  config.update(init_nets=['H'])
  with pytest.raises(UserError, match="init_nets holds 'H'; the networks here are G, D"):
    run_state.start(experiment.build(config), mesh)


def test_one_run_a_workdir(workdir):
  arguments = [*command.tiny({'steps': 100_000}), '--workdir', workdir]
  first = command.start('train.py', *arguments)
  command.read_to(first, 'starting at step 0')
  one_line(command.run('train.py', *arguments), f'in use by process {first.pid} ')
  first.kill()
  command.finish(first)
  third = command.start('train.py', *arguments)
  command.read_to(third, ('starting', 'resuming'))
  third.kill()
  command.finish(third)


def spoil(folder, array, how):
  """Cuts the file that holds `array` in the middle of it, or flips one bit there."""
  for path in (f for f in folder.rglob('*') if f.is_file()):
    content = path.read_bytes()
    found = content.find(array.tobytes())
    if found >= 0:
      middle = found + array.nbytes // 2
      rest = b'' if how == 'truncated' else bytes([content[middle] ^ 1]) + content[middle + 1 :]
      path.write_bytes(content[:middle] + rest)
      return
  raise AssertionError('the array is in none of the files')


@pytest.mark.slow
def test_broken_checkpoint_is_moved_away(tmp_path):
  reference, _, _, _ = command.finished()
  array = max(jax.tree.leaves(checkpoint.read(reference)[0]['params']), key=np.size)
  processes = {}
  for name in ('truncated', 'flipped'):
    shutil.copytree(reference, tmp_path / name)
    spoil(tmp_path / name / 'checkpoints/100', array, name)
    processes[name] = command.start('train.py', *command.tiny(), '--workdir', tmp_path / name)
  for name, process in processes.items():
    workdir = tmp_path / name
    done = command.finish(process)
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    moved = workdir / 'checkpoints_broken/100'
    assert re.fullmatch(
      rf'checkpoint 100 is broken \(.*\): moved to {moved}, using 90\n', done.stderr
    )
    assert moved.is_dir() and 'resuming at step 90 of 100' in done.stdout
    assert_same_run(workdir, reference)


def test_stops_at_nan(workdir):
  """With such a rate D's weights overflow within a few steps."""
  fields = {'optim.D.lr': 1e30, 'checkpoint_every_steps': 1, 'keep_checkpoints': 100}
  done = resume(workdir, fields)
  one_line(done, r'became NaN or infinite at step \d+')
  kept = checkpoint.list_steps(workdir)
  if 'parameters' not in done.stderr:
    last = f'the last checkpoint, {kept[-1]}, is' if kept else 'there is no checkpoint'
    assert done.stderr.endswith(f'; {last} before that\n')
  names, step = re.search(r'error: (.*) became NaN or infinite at step (\d+)', done.stderr).groups()
  named = re.findall(r'loss_\w+|grad_norm_\w+|D_\w+|parameters', names)
  assert named, done.stderr
  assert all(saved < int(step) for saved in checkpoint.list_steps(workdir))
  for saved in checkpoint.list_steps(workdir):
    state, _, _ = checkpoint.read(workdir, saved)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 1500 kB: three checkpoints of the tiny networks or so."""
  path = tmp_path / 'disk'
  path.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=1500k', 'tmpfs', str(path)]
  if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
    pytest.skip('mounting a small file system takes root')
  yield path
  subprocess.run(['umount', '-l', str(path)], check=True)


@pytest.mark.slow
def test_full_disk(small_disk):
  workdir = small_disk / 'run'
  fields = {'keep_checkpoints': 100}
  done = resume(workdir, fields)
  one_line(done, 'No space left on device')
  kept = checkpoint.list_steps(workdir)
  assert kept and kept[-1] < 100
  reached = max(int(step) for step in re.findall(r'^step +(\d+)/', done.stdout, re.M))
  # Saves run beside the training: the error is there by the next save, steps here take milliseconds.
  assert reached <= kept[-1] + 20
  assert not list((workdir / 'checkpoints').glob('*tmp*'))
  assert_identical(checkpoint.read(workdir)[0]['step'], np.int32(kept[-1]))

  subprocess.run(['mount', '-o', 'remount,size=20m', str(small_disk)], check=True)
  done = resume(workdir, fields)
  assert done.returncode == 0, done.stderr
  assert f'resuming at step {kept[-1]} of 100' in done.stdout
  assert_same_run(workdir, command.finished()[0])


# What a resume may change.


@pytest.mark.slow
def test_more_steps_and_another_cadence(copied):
  saved = json.loads((copied / 'config.json').read_text())
  (copied / 'config.json').write_text(json.dumps({**saved, 'commit': '0' * 40}))
  done = resume(copied, {'steps': 105, 'sample_every_steps': 3, 'log_every_steps': 5})
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert 'changed on resume: steps 100 -> 105' in lines
  assert 'changed on resume: sample_every_steps 25 -> 3' in lines
  (note,) = [line for line in lines if line.startswith('note:')]
  assert 'learning rates of G' in note and 'schedule' in note
  assert 'resuming at step 100 of 105' in done.stdout and 'finished 105 steps' in done.stdout
  assert [line['step'] for line in metrics(copied)][-2:] == [102, 105]
  after = json.loads((copied / 'config.json').read_text())
  assert after['config']['steps'] == 105 and after['commit'] == '0' * 40
  assert [(e['step'], e['commit']) for e in after['history']] == [(100, saved['commit'])]
  assert after['run'] == saved['run']
  assert [checkpoint.read(copied, step)[2]['run'] for step in (100, 105)] == [saved['run']] * 2


def test_other_changes_are_refused_by_name(copied):
  before = (copied / 'config.json').read_bytes()
  fields = {'batch_size': 16, 'optim.G.lr': 0.1, 'networks.width': 8}
  one_line(
    resume(copied, fields),
    r'batch_size \(was 8, now 16\), networks.width \(was 4, now 8\), '
    r'optim.G.lr \(was 0.002, now 0.1\)',
  )
  one_line(resume(copied, {'steps': 30}), 'at step 100 already, past config.steps=30')
  assert (copied / 'config.json').read_bytes() == before


def test_finished_run_says_so(copied):
  saved = json.loads((copied / 'config.json').read_text()) | {'commit': '0' * 40}
  (copied / 'config.json').write_text(json.dumps(saved))
  done = resume(copied)
  assert json.loads((copied / 'config.json').read_text()) == saved  # which it did not train
  assert done.returncode == 0 and not done.stderr, done.stderr
  grid = copied / 'samples/00000100.png'
  assert f'finished 100 steps in {copied}: {grid}; more pictures: ganjax sample' in done.stdout
  assert_same_run(copied, command.finished()[0])
