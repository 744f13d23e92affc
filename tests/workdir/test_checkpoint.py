"""Checkpoints on real files: exact round trips, every kind of damage, kills, full disks, locks."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ganjax import UserError
from ganjax.workdir.checkpoint import Checkpoints, list_steps, read
from ganjax.workdir.lock import hold as lock


class State(struct.PyTreeNode):
  step: jax.Array
  key: jax.Array
  params: dict
  opt: dict
  extra: dict


def replicated(devices):
  return NamedSharding(Mesh(np.array(jax.devices()[:devices]), ('batch',)), PartitionSpec())


def make_state(step=3, devices=1, size=5000):
  """A state with what is awkward: typed key, bfloat16, EmptyState, empty dicts, scalars."""
  # By NumPy: XLA's rounding depends on its flags, which child processes here don't share.
  weights = jnp.array(np.random.default_rng(step).standard_normal(size, np.float32))
  params = {
    'G': {'dense': {'kernel': weights, 'bias': jnp.full((3,), step, jnp.bfloat16)}},
    'D': {'scale': jnp.float32(step)},
  }
  tx = optax.chain(optax.clip(1.0), optax.adam(1e-3))
  opt = {'G': tx.init(params['G']), 'D': optax.sgd(0.1).init(params['D'])}
  extra = {'pool': jnp.arange(12, dtype=jnp.uint8).reshape(3, 4), 'seen': jnp.array([True, False])}
  state = State(jnp.int32(step), jax.random.key(step), params, opt, {'G': {}, 'D': extra})
  return jax.device_put(state, replicated(devices)) if devices else state


def abstract(state):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def to_bytes(leaf):
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf).tobytes()


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    assert x.dtype == y.dtype and x.shape == y.shape and to_bytes(x) == to_bytes(y)


def save_steps(workdir, *steps, keep=9, **kwargs):
  checkpoints = Checkpoints(workdir, keep=keep)
  for step in steps:
    checkpoints.save(step, make_state(step, **kwargs), {'at': step})
  checkpoints.close()


def data_files(workdir, step):
  root = workdir / 'checkpoints' / str(step)
  return sorted(path for path in root.rglob('*') if path.is_file())


def biggest(workdir, step):
  return max(data_files(workdir, step), key=lambda path: path.stat().st_size)


def flip(path, position):
  data = bytearray(path.read_bytes())
  data[position] ^= 1 << random.randrange(8)
  path.write_bytes(data)


@pytest.mark.parametrize('devices', [1, 4])
def test_round_trip_is_exact(tmp_path, devices):
  state = make_state(devices=devices)
  meta = {'config': 'dcgan', 'sha256': {'vgg': 'ab'}, 'numbers': [1, 2.5, None]}
  checkpoints = Checkpoints(tmp_path)
  assert checkpoints.restore(state) is None
  checkpoints.save(3, state, meta)
  restored, step, read_meta = checkpoints.restore(abstract(state))
  assert (step, read_meta) == (3, meta)
  assert isinstance(restored.opt['G'][0], optax.EmptyState)
  assert_same(restored, state)
  for leaf in jax.tree.leaves(restored):
    assert leaf.sharding.is_equivalent_to(replicated(devices), leaf.ndim)
  np.testing.assert_array_equal(jax.random.normal(restored.key), jax.random.normal(state.key))
  checkpoints.close()


def test_restores_onto_other_meshes(tmp_path):
  save_steps(tmp_path, 1, devices=4)
  for devices in (1, 2, 4):
    template = make_state(2, devices=devices)
    restored, _, _ = Checkpoints(tmp_path).restore(template)
    assert_same(restored, make_state(1))
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(restored)} == {devices}


def test_restored_arrays_can_be_donated(tmp_path):
  """Restored replicas must not share memory: a donated update would write into all of them."""
  save_steps(tmp_path, 1, devices=4, size=100_000)
  restored, _, _ = Checkpoints(tmp_path).restore(make_state(devices=4, size=100_000))
  restored = jax.tree.leaves(restored.params)
  expected = [np.array(x) for x in restored]
  update = jax.jit(lambda xs: [x + 1 for x in xs], donate_argnums=0)
  for _ in range(3):
    restored, expected = update(restored), [x + np.ones((), x.dtype) for x in expected]
  for x, y in zip(restored, expected):
    for shard in x.addressable_shards:
      np.testing.assert_array_equal(shard.data, y)


def test_buffers_may_be_donated_when_save_returns(tmp_path):
  update = jax.jit(lambda x: jax.tree.map(lambda v: v + 1, x), donate_argnums=0)
  state = {'step': jnp.int32(0), 'w': [jnp.zeros((300_000,)) for _ in range(4)]}
  state = jax.device_put(state, replicated(4))
  checkpoints = Checkpoints(tmp_path, keep=20)
  for step in range(1, 9):
    state = update(state)
    checkpoints.save(step, state, {})
    state = update(update(state))
    state['step'].block_until_ready()
  checkpoints.close()
  for step in range(1, 9):
    found, _, _ = read(tmp_path, step)
    value = 3 * step - 2
    assert found['step'] == value
    assert all((w == value).all() for w in found['w'].values())


def test_keeps_the_best_besides_the_newest(tmp_path):
  checkpoints = Checkpoints(tmp_path, keep=1)
  checkpoints.best = 2
  for step in (1, 2, 3, 4):
    checkpoints.save(step, make_state(), {})
  checkpoints.wait()
  assert checkpoints.steps() == [2, 4]
  checkpoints.best = 4  # a better one: the old best goes with the next save
  checkpoints.save(5, make_state(), {})
  checkpoints.close()
  assert checkpoints.steps() == [4, 5]


def test_keeps_the_newest(tmp_path):
  save_steps(tmp_path, 1, 2, 3, 5, keep=2)
  assert list_steps(tmp_path) == [3, 5]
  deadline = time.time() + 10
  while len(os.listdir(tmp_path / 'checkpoints')) > 2 and time.time() < deadline:
    time.sleep(0.01)
  assert sorted(os.listdir(tmp_path / 'checkpoints')) == ['3', '5']


def test_check_sees_the_commit(tmp_path):
  save_steps(tmp_path, 1)
  checkpoints = Checkpoints(tmp_path, keep=1)
  checkpoints.save(2, make_state(2), {})
  deadline = time.time() + 10
  while checkpoints.steps() != [2] and time.time() < deadline:
    checkpoints.check()
  assert checkpoints.steps() == [2]


@pytest.mark.parametrize('step', [4, 5])
def test_a_step_that_is_not_the_highest_is_an_error(tmp_path, step):
  save_steps(tmp_path, 5)
  with pytest.raises(UserError, match=f'checkpoint {step} is not above the newest, 5'):
    Checkpoints(tmp_path).save(step, make_state(), {})
  assert list_steps(tmp_path) == [5]


def test_read_gives_numpy(tmp_path):
  save_steps(tmp_path, 1, 2)
  tree, step, meta = read(tmp_path)
  assert (step, meta) == (2, {'at': 2})
  assert sorted(tree['opt']['G']) == ['0', '1']
  assert sorted(tree['opt']['G']['1']['0']) == ['count', 'mu', 'nu']
  np.testing.assert_array_equal(
    tree['params']['G']['dense']['kernel'], make_state(2).params['G']['dense']['kernel']
  )
  assert tree['extra']['G'] == {} and tree['params']['G']['dense']['bias'].dtype == 'bfloat16'
  assert read(tmp_path, 1)[1] == 1
  with pytest.raises(UserError, match=r'no checkpoint 7 in .*there are 1, 2'):
    read(tmp_path, 7)
  with pytest.raises(UserError, match='no checkpoint in .*there are none'):
    read(tmp_path / 'absent')


def test_nothing_depends_on_time(tmp_path):
  for name in 'ab':
    save_steps(tmp_path / name, 1)
  a, b = ((tmp_path / name / 'checkpoints/1/_METADATA').read_bytes() for name in 'ab')
  assert a == b


def break_by_truncating(workdir):
  path = biggest(workdir, 2)
  os.truncate(path, path.stat().st_size // 2)


def break_by_flipping(workdir):
  flip(biggest(workdir, 2), 9000)


def break_by_deleting(workdir):
  biggest(workdir, 2).unlink()


def break_by_emptying(workdir):
  shutil.rmtree(workdir / 'checkpoints/2')
  (workdir / 'checkpoints/2').mkdir()


def break_the_index(workdir):
  path = workdir / 'checkpoints/2/_METADATA'
  path.write_text(path.read_text().replace('"at": 2', '"at": 3'))


BREAKS = [
  break_by_truncating,
  break_by_flipping,
  break_by_deleting,
  break_by_emptying,
  break_the_index,
]


@pytest.mark.parametrize('spoil', BREAKS, ids=lambda f: f.__name__[6:])
def test_a_broken_newest_is_moved_and_the_one_before_is_used(tmp_path, capsys, spoil):
  save_steps(tmp_path, 1, 2)
  spoil(tmp_path)
  with pytest.raises(UserError, match='nothing was changed'):
    Checkpoints(tmp_path).restore(make_state(), 2)
  assert read(tmp_path)[1] == 1
  assert list_steps(tmp_path) == [1, 2]
  capsys.readouterr()
  checkpoints = Checkpoints(tmp_path)
  restored, step, _ = checkpoints.restore(make_state())
  assert step == 1
  assert_same(restored, make_state(1))
  said = capsys.readouterr().err
  assert said.count('\n') == 1 and 'checkpoint 2 is broken' in said and 'using 1' in said
  assert list_steps(tmp_path) == [1]
  assert os.listdir(tmp_path / 'checkpoints_broken') == ['2']
  # The step is free again; broken once more, it gets another name.
  checkpoints.save(2, make_state(2), {'at': 2})
  checkpoints.wait()
  spoil(tmp_path)
  assert checkpoints.restore(make_state())[1] == 1
  assert sorted(os.listdir(tmp_path / 'checkpoints_broken')) == ['2', '2.1']


FILES = {
  'index': lambda workdir: workdir / 'checkpoints/2/_METADATA',
  'manifest': lambda workdir: workdir / 'checkpoints/2/manifest.ocdbt',
  'arrays': lambda workdir: biggest(workdir, 2),
}


@pytest.mark.parametrize('name', FILES)
def test_what_a_disk_does_not_read_is_not_broken(tmp_path, name):
  """A link to itself is an error of the system to whoever opens it, Python or tensorstore."""
  save_steps(tmp_path, 1, 2)
  path = FILES[name](tmp_path)
  kept = path.rename(tmp_path / 'kept')
  path.symlink_to(path)
  for call in (
    Checkpoints(tmp_path).restore,
    Checkpoints(tmp_path).restore,
    lambda _: read(tmp_path),
  ):
    said = 'cannot read checkpoint 2 in .*: Too many levels of symbolic links; nothing was changed'
    with pytest.raises(UserError, match=said):
      call(make_state())
  assert list_steps(tmp_path) == [1, 2] and not (tmp_path / 'checkpoints_broken').exists()
  kept.rename(path)
  assert Checkpoints(tmp_path).restore(make_state())[1] == 2


def test_a_folder_that_a_disk_does_not_list_is_one_line(tmp_path):
  (tmp_path / 'checkpoints').symlink_to(tmp_path / 'checkpoints')
  for call in (list_steps, read):
    with pytest.raises(UserError, match='cannot read .*checkpoints: Too many levels'):
      call(tmp_path)


def test_broken_ones_that_cannot_be_moved_are_one_line(tmp_path):
  save_steps(tmp_path, 1, 2)
  break_by_emptying(tmp_path)
  (tmp_path / 'checkpoints_broken').write_text('')
  with pytest.raises(UserError, match='cannot move the broken .*/2 to .*: File exists'):
    Checkpoints(tmp_path).restore(make_state())


@pytest.mark.parametrize('name', [b'\xff', b'a\\b', b'\xed\xb3\xbf'], ids=repr)
def test_a_name_that_tensorstore_does_not_take_is_refused_at_once(tmp_path, name):
  save_steps(tmp_path / 'run', 1)
  workdir = tmp_path / os.fsdecode(name)
  said = f'workdir {os.fsencode(workdir)!r}: checkpoints need a path that is valid UTF-8'
  with pytest.raises(UserError, match=re.escape(said)), lock(workdir):
    pass
  assert not workdir.exists()
  # Nothing is wrong with the checkpoints of a run that was renamed so.
  (tmp_path / 'run').rename(workdir)
  for call in (read, lambda workdir: Checkpoints(workdir).restore(make_state())):
    with pytest.raises(UserError, match=re.escape(said)):
      call(workdir)
  for name in ('läuft %20 #?', 'a:b{c}', 'e\u0301 \U0001f600'):
    workdir = workdir.rename(tmp_path / name)
    with lock(workdir):
      assert read(workdir)[1] == 1


def test_all_broken_is_an_error_and_stays_one(tmp_path):
  save_steps(tmp_path, 1, 2)
  for step in (1, 2):
    flip(biggest(tmp_path, step), 9000)
  for _ in range(2):
    with pytest.raises(UserError, match='no whole checkpoint .*2: .*1: .*nothing was'):
      Checkpoints(tmp_path).restore(make_state())
  assert list_steps(tmp_path) == [1, 2]


def test_a_flipped_byte_anywhere_is_detected_or_harmless(tmp_path):
  random.seed(0)
  save_steps(tmp_path, 1)
  good, _, meta = read(tmp_path)
  detected = {}
  for path in data_files(tmp_path, 1):
    data = path.read_bytes()
    for position in [len(data) // 2, *random.sample(range(len(data)), min(6, len(data)))]:
      flip(path, position)
      try:
        found, _, found_meta = read(tmp_path)
      except UserError as error:
        detected.setdefault(path, []).append(str(error))
      else:
        assert found_meta == meta, (path, position)
        assert_same(found, good)
      path.write_bytes(data)
  # Weights are stored as they are: no check but ours sees a flip there.
  assert any('(1: checksum of ' in line for line in detected[biggest(tmp_path, 1)])


def test_a_foreign_checkpoint_is_named_and_left(tmp_path):
  save_steps(tmp_path, 1, 2)
  state = make_state()
  others = {
    r'params/G/dense/kernel is float32\[5000\], here it is float32\[7\]': make_state(size=7),
    r'step is int32\[\], here it is float32\[\]': state.replace(step=jnp.float32(0)),
    'params/E/w is not there, here it is': state.replace(
      params={**state.params, 'E': {'w': jnp.zeros(2)}}
    ),
    'params/D/scale is .*, here it is not there': state.replace(params={'G': state.params['G']}),
    r'key is key<fry>\[\], here it is key<rbg>': state.replace(key=jax.random.key(0, impl='rbg')),
  }
  for message, template in others.items():
    with pytest.raises(UserError, match=message):
      Checkpoints(tmp_path).restore(template)
  assert list_steps(tmp_path) == [1, 2]
  assert not (tmp_path / 'checkpoints_broken').exists()


def test_other_key_implementations(tmp_path):
  state = make_state().replace(key=jax.random.key(5, impl='rbg'))
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, state, {})
  assert_same(checkpoints.restore(abstract(state))[0], state)


def test_leftovers_of_killed_saves_are_removed(tmp_path):
  save_steps(tmp_path, 1)
  root = tmp_path / 'checkpoints'
  shutil.copytree(root / '1', root / '2.orbax-checkpoint-tmp')
  (root / 'notes').mkdir()
  assert Checkpoints(tmp_path).restore(make_state())[1] == 1
  assert sorted(os.listdir(root)) == ['1', 'notes']


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / 'file').write_text('')
  for workdir in (tmp_path / 'file', '/proc/ganjax'):
    with pytest.raises(UserError, match='cannot write'):
      Checkpoints(workdir)
    with pytest.raises(UserError, match='cannot write'), lock(workdir):
      pass


def test_a_save_into_a_vanished_directory_is_one_line(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  shutil.rmtree(tmp_path / 'checkpoints')
  (tmp_path / 'checkpoints').write_text('')
  with pytest.raises(UserError, match='cannot write checkpoint 1'):
    checkpoints.save(1, make_state(), {})
    checkpoints.wait()


def test_an_error_of_the_run_costs_no_checkpoint(tmp_path, capsys):
  with pytest.raises(ZeroDivisionError), Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, make_state(1, size=9_000_000), {})
    assert list_steps(tmp_path) == [], 'too small to be on its way'
    raise ZeroDivisionError
  assert list_steps(tmp_path) == [1] and os.listdir(tmp_path / 'checkpoints') == ['1']
  # It is said too where that checkpoint fails, and the run's error is raised.
  with pytest.raises(ZeroDivisionError), Checkpoints(tmp_path / 'b') as checkpoints:
    checkpoints.save(1, make_state(1, size=9_000_000), {})
    (tmp_path / 'b/checkpoints').rename(tmp_path / 'gone')
    raise ZeroDivisionError
  assert capsys.readouterr().err.startswith('error: cannot write checkpoint 1 to ')


@contextlib.contextmanager
def small_disk(path, size):
  path.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(path)]
  if shutil.which('mount') is None or subprocess.run(mount, capture_output=True).returncode:
    pytest.skip('mounting a tmpfs is not permitted')
  try:
    yield path
  finally:
    subprocess.run(['umount', '-l', str(path)], check=True)


HEADER = f"""
import os, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_checkpoint import *
"""


def start(code, *args, **kwargs):
  environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
  source = HEADER + textwrap.dedent(code)
  command = [sys.executable, '-c', source, *map(str, args)]
  return subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **kwargs
  )


def test_a_full_disk_is_one_line_and_earlier_checkpoints_stay(tmp_path):
  with small_disk(tmp_path / 'disk', '3m') as workdir:
    child = start(
      """
      checkpoints = Checkpoints(sys.argv[1])
      try:
        for step in (1, 2):
          checkpoints.save(step, make_state(step, size=150_000), {})
        for _ in range(1000):
          checkpoints.check()
          time.sleep(0.01)
      except UserError as error:
        print(error)
      checkpoints.close()
      print(os.listdir(checkpoints.root))
      """,
      workdir,
    )
    said, error = child.communicate(timeout=100)
    assert error == ''
    message, left = said.splitlines()
    assert 'checkpoint 2 to ' in message and 'No space left on device' in message
    assert message.endswith('(checkpoints kept: 1)') and left == "['1']"
    restored, _, _ = Checkpoints(workdir).restore(make_state(size=150_000))
    assert_same(restored, make_state(1, size=150_000))


def test_killed_while_saving_it_always_restores(tmp_path):
  random.seed(1)
  newest = 0
  for _ in range(4):
    child = start(
      """
      checkpoints = Checkpoints(sys.argv[1])
      found = checkpoints.restore(make_state(size=200_000))
      step = found[1] if found else 0
      print('ready', flush=True)
      while True:
        step += 1
        checkpoints.save(step, make_state(step, size=200_000), {})
      """,
      tmp_path,
    )
    assert child.stdout.readline() == 'ready\n', child.communicate()[1]
    time.sleep(random.uniform(0.1, 0.8))
    child.kill()
    assert child.communicate()[1] == ''
    found = Checkpoints(tmp_path).restore(make_state(size=200_000))
    assert not (tmp_path / 'checkpoints_broken').exists()
    if found is not None:
      assert found[1] >= newest
      newest = found[1]
      assert_same(found[0], make_state(newest, size=200_000))
    assert all(name.isdecimal() for name in os.listdir(tmp_path / 'checkpoints'))
  assert newest > 4


def test_a_broken_checkpoint_is_one_line_on_the_terminal(tmp_path):
  save_steps(tmp_path, 1, 2)
  os.truncate(tmp_path / 'checkpoints/2/manifest.ocdbt', 20)  # Every array fails.
  child = start('assert Checkpoints(sys.argv[1]).restore(make_state())[1] == 1', tmp_path)
  said = child.communicate(timeout=100)[1]
  assert child.returncode == 0 and said.count('\n') == 1, said
  assert said.startswith('checkpoint 2 is broken (')


def test_two_processes_write_what_one_restores(tmp_path):
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  code = """
    from jax.experimental import multihost_utils
    workdir, process, port = sys.argv[1:]
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(f'localhost:{port}', 2, int(process))
    import pathlib
    workdir = pathlib.Path(workdir)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ('batch',)), PartitionSpec())
    local = make_state(3, devices=0)
    key = jax.jit(lambda: jax.random.key(3), out_shardings=sharding)()
    state = jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), local.replace(key=0))
    state = state.replace(key=key)
    checkpoints = Checkpoints(workdir, keep=2)
    for step in (1, 2, 3):
      checkpoints.save(step, state, {'processes': jax.process_count()})
      checkpoints.check()
    checkpoints.wait()
    multihost_utils.sync_global_devices('saved')
    seen = workdir
    if jax.process_index() == 1:  # What one process can't read, neither may use.
      seen = workdir / 'copy'
      for number in '23':
        shutil.copytree(workdir / 'checkpoints' / number, seen / 'checkpoints' / number)
      path = biggest(seen, 3)
      path.rename(seen / 'kept')
      path.symlink_to(path)  # its disk gives an error
    multihost_utils.sync_global_devices('unread')
    try:
      Checkpoints(seen).restore(abstract(state))
      raise AssertionError
    except UserError as error:
      assert 'cannot read checkpoint 3 in ' in str(error) and 'symbolic links' in str(error), error
    assert not (workdir / 'checkpoints_broken').exists()
    if jax.process_index() == 1:
      (seen / 'kept').rename(path)
      flip(path, 9000)
    multihost_utils.sync_global_devices('spoilt')
    assert read(seen)[1] == 2
    restored, step, meta = Checkpoints(seen).restore(abstract(state))
    assert step == 2 and meta == {'processes': 2} and restored.key.sharding == sharding
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert all(to_bytes(a) == to_bytes(b)
               for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state)))
    assert sorted(os.listdir(workdir / 'checkpoints_broken')) == ['3']
    checkpoints.save(3, restored, {})
    checkpoints.close()
    jax.distributed.shutdown()
  """
  children = [start(code, tmp_path, process, port) for process in (0, 1)]
  try:
    errors = [child.communicate(timeout=100)[1] for child in children]
  finally:
    for child in children:
      child.kill()
  assert [child.returncode for child in children] == [0, 0], '\n'.join(errors)
  assert 'checkpoint 3 is broken (another process cannot read it): moved to' in errors[0]
  assert 'checkpoint 3' not in errors[1]
  assert list_steps(tmp_path) == [2, 3]
  restored, step, _ = Checkpoints(tmp_path).restore(make_state())
  assert step == 3
  assert_same(restored, make_state(3))


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path):
  child = start(
    """
    import subprocess
    held = lock(sys.argv[1])
    held.__enter__()
    forked = os.fork()
    if forked == 0:
      time.sleep(60)
      os._exit(0)
    started = subprocess.Popen(['sleep', '60'])
    print(forked, started.pid, flush=True)
    time.sleep(60)
    """,
    tmp_path,
  )
  grandchildren = [int(pid) for pid in child.stdout.readline().split()]
  try:
    assert len(grandchildren) == 2
    for _ in range(2):
      with pytest.raises(UserError, match=f'in use by process {child.pid} on '), lock(tmp_path):
        pass
    child.kill()
    child.wait()
    for pid in grandchildren:
      os.kill(pid, 0)  # Raises where the process is gone.
    with lock(tmp_path), pytest.raises(UserError, match=f'process {os.getpid()}'), lock(tmp_path):
      pass
    with lock(tmp_path):
      pass
  finally:
    for pid in grandchildren:
      os.kill(pid, signal.SIGKILL)
    child.kill()
