"""train.py in four processes that speak to each other, as hosts do: equal to one, preempted, killed, frozen, resumed.

MLPs in float64 on pictures of 8 pixels, so that most of a run is its start.
"""

import http.server
import json
import re
import shutil
import signal
import threading
import time

import command
import gcs
import jax
import numpy as np
import pytest

from ganjax import data
from ganjax.workdir import checkpoint, writer

STEPS = 60
LOST = r'error: process (\d+) on \S+ has ended: it was killed, or another process was lost or never came; .* resumes\n'


def by_hand(i, count, port):
  address = {'JAX_COORDINATOR_ADDRESS': f'localhost:{port}'}
  return {**address, 'JAX_NUM_PROCESSES': f'{count}', 'JAX_PROCESS_ID': f'{i}'}


def by_slurm(i, count, port):
  """What srun sets, as far as JAX reads it."""
  job = {'SLURM_JOB_ID': '7', 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': f'{count}'}
  return {**job, 'SLURM_PROCID': f'{i}', 'SLURM_LOCALID': '0', 'JAX_COORDINATOR_PORT': f'{port}'}


def by_mpirun(i, count, port):
  """What Open MPI's mpirun sets, as far as JAX reads it."""
  job = {'OMPI_MCA_orte_hnp_uri': '4096.0;tcp://127.0.0.1:1', 'OMPI_COMM_WORLD_SIZE': f'{count}'}
  rank = {'OMPI_COMM_WORLD_RANK': f'{i}', 'OMPI_COMM_WORLD_LOCAL_RANK': '0'}
  return {**job, **rank, 'JAX_COORDINATOR_PORT': f'{port}'}


def start(count, workdir, cluster=by_hand, fields=(), cache='hosts_cache') -> list:
  """Starts the processes of one run; `{i}` in `workdir`, `cache` and fields becomes a process's number."""
  pictures = command.pictures()
  fields = {
    **dict.fromkeys(('networks.dtype', 'networks.param_dtype'), 'float64'),
    'networks.width': 10,
    'batch_size': 8,
    'data.dataset': 'folder',
    'data.data_dir': pictures,
    'data.resolution': 8,
    'data.channels': 3,
    'steps': STEPS,
    'log_every_steps': 1,
    'checkpoint_every_steps': 10,
    **dict(fields),
  }
  arguments = ['--config', command.ROOT / 'configs/gan_mnist.py']
  arguments += [f'--config.{name}={value}' for name, value in fields.items()]
  cache = str(command.files() / cache)
  port, processes = command.free_port(), []
  for i in range(count):
    own = {'JAX_ENABLE_X64': '1', 'GANJAX_CACHE_DIR': cache.format(i=i)}
    env = {**own, **(cluster(i, count, port) if count > 1 else {})}
    own_arguments = [str(one).format(i=i) for one in (*arguments, '--workdir', workdir)]
    processes.append(command.start('train.py', *own_arguments, env=env))
  return processes


def finish(processes) -> list:
  return [command.finish(process) for process in processes]


def succeed(count, workdir, **options) -> list:
  done = finish(start(count, workdir, **options))
  assert [one.returncode for one in done] == [0] * count, [one.stderr for one in done]
  return done


def losses(workdir) -> list:
  lines = [line for _, line in writer.parse_lines((workdir / 'metrics.jsonl').read_bytes())]
  assert [line['step'] for line in lines] == list(range(1, STEPS + 1))
  return [[line[name] for name in ('loss_real', 'loss_fake', 'loss_G')] for line in lines]


def assert_same_run(workdir, reference, tolerance):
  """The end states and the losses on the way agree to `tolerance`, bit for bit where that is 0."""
  (a, step, _), (b, end, _) = checkpoint.read(workdir), checkpoint.read(reference)
  assert step == end == STEPS
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
    where = jax.tree_util.keystr(path)
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance, err_msg=where)
  np.testing.assert_allclose(losses(workdir), losses(reference), rtol=tolerance, atol=tolerance)


@pytest.fixture(scope='module')
def four():
  """(workdir, what its processes printed) of an undisturbed run of four processes on a cold cache."""
  workdir = command.files() / 'hosts_four'
  return workdir, succeed(4, workdir)


@pytest.mark.slow
def test_four_processes_equal_one(four, tmp_path):
  workdir, done = four
  assert f'finished {STEPS} steps' in done[0].stdout
  assert not any('step' in one.stdout for one in done[1:]), 'one process alone is to print'
  succeed(1, tmp_path)
  assert_same_run(tmp_path, workdir, 1e-9)
  state, _, _ = checkpoint.read(workdir)
  assert state['params']['G'] and all(
    x.dtype == np.float64 for x in jax.tree.leaves(state['params'])
  )


@pytest.mark.slow
def test_one_process_fills_a_cold_cache(four):
  _, done = four
  assert sum('decoding folder' in one.stderr and ' of 40' in one.stderr for one in done) == 1
  for one in done:
    assert re.fullmatch(
      r'((waiting for another process that is )?decoding folder .*\n)?', one.stderr
    )


@pytest.mark.slow
def test_hosts_with_a_cache_each_decode_each_for_itself(four, tmp_path):
  """As where disks are local."""
  done = succeed(2, tmp_path / 'run', cache=tmp_path / 'cache{i}')
  for i, one in enumerate(done):
    assert re.fullmatch(r'decoding folder .* 40 of 40 .*\n', one.stderr)
    assert len([*tmp_path.glob(f'cache{i}/data/*/image.npy')]) == 1
  assert_same_run(tmp_path / 'run', four[0], 1e-9)


@pytest.mark.slow
def test_processes_with_several_steps_in_a_dispatch_equal_one_without(tmp_path):
  """As TPU pods run by default."""
  fields = {'steps': 20, 'log_every_steps': 5}
  succeed(2, tmp_path / 'two', fields={**fields, 'steps_per_dispatch': 5})
  succeed(1, tmp_path / 'one', fields=fields)
  (a, step, _), (b, end, _) = checkpoint.read(tmp_path / 'two'), checkpoint.read(tmp_path / 'one')
  assert step == end == 20
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


# Slow: losing processes.


@pytest.mark.slow
def test_processes_in_a_bucket(four, tmp_path, monkeypatch):
  """Two, of which one is killed, then one: each has a copy of its own, on a disk that the other need not see."""
  reference, _ = four
  with gcs.storage() as environment:
    for variable, value in environment.items():
      monkeypatch.setenv(variable, value)
    processes = start(2, 'gs://bucket/hosts', fields={'steps': 1000})
    command.read_to(processes[0], 'step   12/')
    newest = gcs.wait(environment, 'hosts', tmp_path / 'seen')
    processes[1].kill()
    assert all(one.returncode for one in finish(processes))
    (done,) = succeed(1, 'gs://bucket/hosts')
    assert newest <= int(re.search(r'resuming at step (\d+)', done.stdout)[1]) < STEPS
    assert_same_run(gcs.fetch(environment, 'hosts', tmp_path / 'end'), reference, 1e-9)


@pytest.mark.slow
def test_preempted_then_killed_then_resumed(four, tmp_path):
  """The longer `steps` leave time for the signals; nothing but the end of the run depends on them."""
  reference, _ = four
  run = tmp_path / 'run'
  processes = start(4, run, fields={'steps': 1000})
  command.read_to(processes[0], 'step    5/')
  processes[2].send_signal(signal.SIGTERM)
  time.sleep(5)  # process 0 is held back by its pipe: the notice gets to all by some 40 steps later
  done = finish(processes)
  assert [one.returncode for one in done] == [143] * 4, [one.stderr for one in done]
  stopped = re.search(
    r'stopped by SIGTERM at step (\d+), saved; the same command resumes\n$', done[0].stdout
  )
  assert stopped, done[0].stdout
  assert checkpoint.list_steps(run)[-1] == int(stopped[1]) < 55
  assert not any('error' in one.stderr for one in done), [one.stderr for one in done]

  processes = start(4, run, by_slurm, {'steps': 1000})
  assert f'at step {stopped[1]} of' in command.read_to(processes[0], 'resuming')
  command.read_to(processes[0], f'step {int(stopped[1]) + 2:>4}/')
  processes[1].kill()
  since = time.monotonic()
  done = finish(processes)
  assert time.monotonic() - since < 60
  for i, one in enumerate(done):
    assert one.returncode != 0 and 'Traceback' not in one.stderr, one.stderr
    last = one.stderr.splitlines(keepends=True)[-1]
    assert re.fullmatch(LOST, last)[1] == str(processes[i].pid)
    assert one.stderr.count('error: ') == 1, one.stderr
  assert int(stopped[1]) <= checkpoint.list_steps(run)[-1] <= STEPS

  for count, cluster, tolerance in ((4, by_slurm, 0), (2, by_mpirun, 1e-9), (1, by_hand, 1e-9)):
    again = shutil.copytree(run, tmp_path / f'again{count}')
    done = succeed(count, again, cluster=cluster)
    assert 'changed on resume: steps 1000 -> 60' in done[0].stdout
    assert 'resuming at step' in done[0].stdout
    assert_same_run(again, reference, tolerance)


@pytest.mark.slow
def test_a_frozen_process_is_lost_within_a_minute(tmp_path):
  """It closes no connection, as a host without power does not: the others wait until its heartbeat is missed."""
  frozen, waiting = start(2, tmp_path, fields={'steps': 1000})[::-1]
  command.read_to(waiting, 'step   12/')
  frozen.send_signal(signal.SIGSTOP)
  since = time.monotonic()
  done = command.finish(waiting)
  assert time.monotonic() - since < 60
  assert done.returncode == -signal.SIGABRT
  assert re.fullmatch(LOST, done.stderr.splitlines(keepends=True)[-1])
  frozen.send_signal(signal.SIGCONT)
  assert command.finish(frozen).returncode != 0


@pytest.mark.slow
def test_the_others_survive_process_0_by_less_than_a_minute(four, tmp_path):
  """The one that all speak to, that holds the lock of the workdir and writes."""
  first, other = start(2, tmp_path, fields={'steps': 1000})
  command.read_to(first, 'step   30/')
  first.kill()
  since = time.monotonic()
  done = command.finish(other)
  assert time.monotonic() - since < 60
  assert done.returncode != 0 and 'Traceback' not in done.stderr, done.stderr
  last = done.stderr.splitlines(keepends=True)[-1]
  assert re.fullmatch(LOST, last)[1] == str(other.pid)
  command.finish(first)
  saved = checkpoint.list_steps(tmp_path)[-1]
  assert saved >= 10

  again = succeed(2, tmp_path)
  assert f'resuming at step {saved}' in again[0].stdout
  assert_same_run(tmp_path, four[0], 1e-9)


# What differs between hosts.


@pytest.mark.slow
def test_workdirs_that_were_copied_are_no_shared_one(tmp_path):
  """Each host has a `.lock` of the run that was copied, and a checkpoint, which looks broken where others lack it."""
  for i in range(2):
    (tmp_path / f'workdir{i}/checkpoints/10').mkdir(parents=True)
    (tmp_path / f'workdir{i}/.lock').write_text('1 on host0\n')
  before = sorted(tmp_path.rglob('*'))
  for one in finish(start(2, tmp_path / 'workdir{i}')):
    assert one.returncode == 2
    assert re.fullmatch(
      r'error: workdir \S+workdir[01] must be on a disk that all processes share\n', one.stderr
    )
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.slow
def test_a_process_stopped_before_any_step_says_no_more_than_that(tmp_path):
  for i in range(2):
    (tmp_path / f'workdir{i}').mkdir()
    (tmp_path / f'workdir{i}/.lock').write_text('1 on host0\n')
  processes = start(2, tmp_path / 'workdir{i}')
  while '1 on host0' in (tmp_path / 'workdir0/.lock').read_text():
    time.sleep(0.05)
  processes[1].send_signal(signal.SIGINT)  # within the seconds that they wait for NFS
  done = finish(processes)[1]
  assert (done.returncode, done.stderr) == (130, '')
  assert done.stdout.endswith('stopped by SIGINT before any step; the same command goes on\n')


@pytest.mark.slow
def test_ctrl_c_in_one_process_stops_all(tmp_path):
  processes = start(2, tmp_path, fields={'steps': 1000})
  command.read_to(processes[0], 'step    5/')
  processes[1].send_signal(signal.SIGINT)
  time.sleep(2)
  done = finish(processes)
  assert [one.returncode for one in done] == [130] * 2, [one.stderr for one in done]
  assert re.search(r'stopped by SIGINT at step \d+, saved', done[0].stdout)


@pytest.mark.slow
def test_data_of_one_host_that_lack_a_picture(tmp_path):
  """Else each process would have an order of its own."""
  for i in range(2):
    shutil.copytree(command.pictures(), tmp_path / f'pictures{i}')
  (tmp_path / 'pictures1/07.png').unlink()
  for one in finish(start(2, tmp_path / 'run', fields={'data.data_dir': tmp_path / 'pictures{i}'})):
    assert one.returncode == 2
    line = 'error: process 1 has other data than process 0: num_examples is 39, not 40; give all hosts the same'
    assert one.stderr.splitlines()[-1] == line


@pytest.mark.slow
def test_settings_of_one_host_that_differ(tmp_path):
  for one in finish(start(2, tmp_path, fields={'optim.G.lr': '1e-{i}'})):
    assert one.returncode == 2, one.stderr
    line = 'error: process 1 has other settings than process 0: optim.G.lr is 0.1, not 1.0; give all hosts the same'
    assert one.stderr.splitlines()[-1] == line


FEED = """
import json

import device_run
import jax
import numpy as np
from ganjax import data
from ganjax.devices import processes, sharding
from ganjax.training.feed import Feed

processes.start()
run, source, devices = device_run.build('float32'), device_run.Pictures(), jax.devices()
mesh = sharding.make_mesh(devices[::2] + devices[1::2])  # those of a process need not come side by side
feed = Feed(source, run.spans[0], 1, 0, mesh, 0)
for step in range(3):
  ((batch,), order) = feed.next(), data.indices(0, 8 * step, 8, source.num_examples)
  for shard in batch['image'].addressable_shards:
    rows = order[shard.index[0]]
    assert len(rows) == 2
    np.testing.assert_array_equal(np.asarray(shard.data), device_run.Pictures().read(rows)['image'])
feed.close()
print(json.dumps([read.tolist() for read in source.reads[:3]]))
"""


def test_each_process_reads_its_half_of_each_batch(tmp_path):
  (tmp_path / 'feed.py').write_text(FEED)
  paths = f'{command.ROOT}:{command.ROOT / "tests"}'
  env = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2', 'PYTHONPATH': paths}
  port = command.free_port()
  both = [command.start(tmp_path / 'feed.py', env=env | by_hand(i, 2, port)) for i in range(2)]
  done = finish(both)
  assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
  first, second = [json.loads(one.stdout.splitlines()[-1]) for one in done]
  whole = data.indices(0, 0, 24, 50).reshape(3, 8)
  np.testing.assert_array_equal(np.concatenate([first, second], 1), whole)
  assert np.shape(first) == np.shape(second) == (3, 4)


MONITOR = """
import json
import runpy
import sys
from pathlib import Path

from ganjax import UserError, experiment
from ganjax.devices import processes, sharding
from ganjax.evaluation import records
from ganjax.evaluation.monitor import Monitor

workdir, data, config = sys.argv[1:]
processes.start()
config = runpy.run_path(config)['get_config']()
config.networks.width = 10
config.data.update(dataset='folder', data_dir=data, resolution=8)
config.eval.update(every_steps=10, metrics='fd_efficientnet_lite0', num=16)
run, mesh = experiment.build(config), sharding.make_mesh()
reals = json.loads(json.dumps(Monitor(run, workdir, mesh, 0)._real.info))
fake = {'batch_norm': 'running', 'weights': 'ema' if run.method.ema else 'raw'}
found = {'by': 'training', 'step': 10, 'preset': 'monitor', 'num_fake': 16, 'fake': fake}
if processes.is_main():
  records.append(Path(workdir, records.NAME), [{**found, 'real': reals, 'values': {'fd_x': 90.0}}])
processes.gather(None)
monitor = Monitor(run, workdir, mesh, 10)
print(reals['listing_sha256'], monitor.due(10), monitor.due(20))
if not processes.is_main():
  Path(data, '07.png').unlink()
try:
  Monitor(run, workdir, mesh, 10)
except UserError as error:
  print(error)
"""


@pytest.mark.slow
def test_all_hosts_evaluate_at_the_same_steps(tmp_path):
  """Copies of a folder have files of other times, which is how reals are known to be those of the last evaluation."""
  script, port, processes = tmp_path / 'monitor.py', command.free_port(), []
  script.write_text(MONITOR)
  for i in range(2):
    pictures = tmp_path / f'pictures{i}'
    shutil.copytree(command.pictures(), pictures, copy_function=shutil.copy)
    env = {**by_hand(i, 2, port), 'PYTHONPATH': str(command.ROOT)}
    arguments = tmp_path, pictures, command.ROOT / 'configs/gan_mnist.py'
    processes.append(command.start(script, *arguments, env=env))
  found = [one.stdout.splitlines()[-2:] for one in finish(processes)]
  (first, *zero), (second, *one) = [line.split() for line, _ in found]
  assert first != second and zero == one == ['False', 'True'], found
  for _, line in found:  # one has lost a picture since
    assert re.match(r'process 1 has other pictures in .* count is 39, not 40', line)


# A TPU slice, as far as it goes without TPUs.

SLICE = """
import os
import signal
import sys
import time

os.environ.pop('JAX_PLATFORMS')
import jax

os.environ.pop('TPU_SKIP_MDS_QUERY')  # JAX has looked for chips
initialize = jax.distributed.initialize


def initialize_on_cpu(**arguments):
  try:
    initialize(**arguments)
  finally:
    jax.config.update('jax_platforms', 'cpu')


jax.distributed.initialize = initialize_on_cpu
from ganjax.devices import processes

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))  # as train.py does until it trains
processes.start(preemptible=True)
print(jax.process_index(), jax.process_count(), jax.distributed.is_initialized())
if jax.process_count() == 1:
  os.kill(os.getpid(), signal.SIGTERM)
  time.sleep(9)
"""


class Metadata(http.server.BaseHTTPRequestHandler):
  """What a Compute Engine metadata server says to the hosts of a slice: to each at its own address."""

  def do_GET(self):  # noqa: N802
    found = {
      'agent-worker-number': f'{int(self.server.server_address[0][-1]) - 2}',
      'worker-network-endpoints': ','.join(['unknown:unknown:127.0.0.1'] * self.server.hosts),
      'tpu-env': "ACCELERATOR_TYPE: 'v5litepod-16'\n",
    }
    name = self.path.removeprefix('/computeMetadata/v1/instance/attributes/')
    self.send_response(200 if name in found else 404)
    self.end_headers()
    self.wfile.write(found.get(name, '').encode())

  def log_message(self, *_):
    pass


def start_slice(script, hosts, served=True) -> list:
  """Finished processes of a slice, each with the last line that it printed."""
  script.write_text(SLICE)
  coordinator, processes = command.free_port(), []
  for i in range(hosts):
    server = http.server.HTTPServer((f'127.0.0.{i + 2}', 0), Metadata)
    server.hosts = hosts
    if served:
      threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
      server.server_close()
    env = {
      'JAX_FORCE_TPU_INIT': '1',
      'GCE_METADATA_IP': f'127.0.0.{i + 2}:{server.server_address[1]}',
      'JAX_COORDINATOR_PORT': f'{coordinator}',
      'PYTHONPATH': str(command.ROOT),
    }
    processes.append(command.start(script, env=env))
  return [(one.returncode, one.stdout.splitlines()[-1:], one.stderr) for one in finish(processes)]


def test_hosts_of_a_tpu_slice_find_each_other(tmp_path):
  """By JAX's own detection on Cloud TPU VMs; what it finds are CPUs."""
  done = start_slice(tmp_path / 'slice.py', 2)
  assert [one[:2] for one in done] == [(0, ['0 2 True']), (0, ['1 2 True'])], done


@pytest.mark.parametrize('served', [True, False])
def test_a_single_tpu_vm_is_alone_and_keeps_its_sigterm(served, tmp_path):
  """With a metadata server it is a cluster of one, in which JAX takes the signal; without one JAX gives up."""
  ((status, last, errors),) = start_slice(tmp_path / 'slice.py', 1, served)
  assert (status, last) == (7, [f'0 1 {served}']), errors
  assert 'error: ' not in errors
