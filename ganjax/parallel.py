"""Devices, the mesh, placement and multi-process start-up.

Training is data parallel over a one-axis mesh ('batch',): the state is replicated, batches are split along their
first axis, and `jax.jit` over global arrays runs code that is written as if for one device. Every mean over a batch
is therefore over the global batch, and random draws do not depend on the number of devices.
"""

import atexit
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from ganjax import UserError, cache_folder

_HEARTBEAT_SECONDS = 45  # a process that says nothing for so long is lost
_watcher = None


def start(preemptible=False):
  """Joins the other processes where there are any; call before the first use of a device.

  Compiled programs are kept in $JAX_COMPILATION_CACHE_DIR, else in $GANJAX_CACHE_DIR/xla (~/.cache/ganjax/xla).

  Where JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID are set, they count. Else JAX finds
  the others itself: the hosts of a TPU slice (Cloud TPU VMs, GKE), the tasks of SLURM's srun or of Open MPI's mpirun.

  Args:
    preemptible: whether SIGTERM is for JAX to tell to all of several processes (`is_stop`).

  Raises:
    UserError: no home for the cache; variables that are missing or no integers; tasks of a cluster unknown to JAX; no
      devices of the kind that JAX_PLATFORMS names.
  """
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', str(cache_folder('xla')))
  _join(preemptible)
  try:
    jax.local_devices()
  except (RuntimeError, AssertionError) as error:
    # The latter where JAX knows the kind, and has no plugin for it.
    asked = jax.config.jax_platforms
    extra = {'cuda': 'cuda', 'gpu': 'cuda', 'tpu': 'tpu'}.get(asked)
    advice = f"in the checkout, pip install '.[{extra}]'" if extra else 'take cpu, cuda or tpu'
    reason = f' ({str(error).splitlines()[0]})' if str(error) else ''
    raise UserError(
      f'JAX_PLATFORMS={asked}: no such devices, or no plugin for them: {advice}{reason}'
    ) from None


def _join(preemptible):
  """Joins the other processes where there are any."""
  arguments, tasks = {}, _count_tasks()
  if address := os.environ.get('JAX_COORDINATOR_ADDRESS'):
    try:
      tasks, process = (int(os.environ[k]) for k in ('JAX_NUM_PROCESSES', 'JAX_PROCESS_ID'))
    except (KeyError, ValueError) as error:
      raise UserError(
        'JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must be '
        f'integers in the environment too ({error})'
      ) from None
    arguments = dict(coordinator_address=address, num_processes=tasks, process_id=process)
    arguments['cluster_detection_method'] = 'deactivate'
  # On a TPU VM JAX has put TPUs first, unless JAX_PLATFORMS says otherwise.
  if tasks == 1 and not address and 'tpu' not in (jax.config.jax_platforms or ''):
    return
  # The CPU back end needs a collectives library to speak to other processes; others ignore it.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  jax.config.update('jax_enable_preemption_service', preemptible)
  _watch()
  try:
    jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
  except (ValueError, OSError, RuntimeError) as error:
    dismiss()
    if tasks == 1 and jax.process_count() == 1:
      return  # a TPU that is in no cluster, or has no metadata server to ask
    tasks = max(tasks, jax.process_count() if tasks == 1 else 1)
    raise UserError(
      f'cannot find the other {tasks - 1} processes ({error}): set JAX_COORDINATOR_ADDRESS=host:port '
      f'of process 0, JAX_NUM_PROCESSES={tasks}, and JAX_PROCESS_ID from 0 to {tasks - 1}'
    ) from None
  if jax.process_count() == 1:
    dismiss()
    # JAX has taken it.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)
  else:
    _meet()


def _count_tasks() -> int:
  """How many processes srun or mpirun started with this one; 1 where neither did."""
  names = ['OMPI_COMM_WORLD_SIZE']
  if 'SLURM_STEP_NODELIST' in os.environ:  # srun's; a batch script of many tasks is one process
    names.append('SLURM_NTASKS')
  return max(int(os.environ.get(name) or 1) for name in names)


def _watch():
  """Has a shell say a line if this process ends without `dismiss`: nothing here could.

  Where another process is lost, JAX aborts this one in C++.
  """
  global _watcher
  line = (
    f'error: process {os.getpid()} on {socket.gethostname()} has ended: it was killed, or another '
    'process was lost or never came; all stop, and the same command on all of them resumes'
  )
  script = 'trap "" HUP INT TERM; read -r _ || echo "$0" >&2'
  _watcher = subprocess.Popen(
    ['sh', '-c', script, line],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    start_new_session=True,  # out of reach of what a terminal sends to all
  )
  atexit.register(dismiss)


def dismiss():
  """Ends the watcher without its line, for a process that says itself why it ends."""
  global _watcher
  if _watcher:
    _watcher.communicate(b'\n')
    _watcher = None


def _meet():
  """Adds something up over all devices of all processes, which connects them.

  Gloo gives up where a process comes 30 s after another to the first sum, and they compile for unequal times (only
  process 0 fills the compilation cache); later sums wait for longer.
  """
  mesh = make_mesh()
  ones = place_batch({'ones': np.ones(jax.local_device_count(), np.int32)}, mesh)['ones']
  add = jax.jit(lambda x: x.sum(), out_shardings=replicated(mesh))
  jax.block_until_ready(add(ones))


def make_mesh(devices=None) -> Mesh:
  """The mesh ('batch',) over all devices of all processes, or over the given ones: those of a process side by side."""
  devices = jax.devices() if devices is None else devices
  return Mesh(np.asarray(sorted(devices, key=lambda d: d.process_index)), ('batch',))


def abstract_mesh(count: int, platform: str) -> AbstractMesh:
  """The mesh ('batch',) over devices that need not be at hand, of 'cpu', 'gpu' or 'tpu': to lower programs for them."""
  device = AbstractDevice(device_kind=platform, num_cores=None, platform=platform)
  # As of `Mesh`: XLA divides the work. JAX 0.12 would have the program say it all.
  return AbstractMesh((count,), ('batch',), axis_types=(AxisType.Auto,), abstract_device=device)


def is_main() -> bool:
  """True in the one process that writes logs and pictures."""
  return jax.process_index() == 0


def peak_memory() -> dict:
  """The most memory used so far: {'peak_memory_bytes'} of this process's fullest device, on CPU
  {'peak_host_memory_bytes'} of the process."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  found = [s['peak_bytes_in_use'] for s in stats if 'peak_bytes_in_use' in s]
  if found:
    return {'peak_memory_bytes': max(found)}
  unit = 1 if sys.platform == 'darwin' else 1024
  return {'peak_host_memory_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def say(line: str):
  """Prints a line, once for all processes."""
  if is_main():
    print(line, flush=True)


def is_joined() -> bool:
  """True where there are several processes."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def is_lost(error) -> bool:
  """True for the error of a sum over processes of which one is gone, on CPUs; TPUs wait until JAX aborts."""
  return 'Gloo' in str(error)


def fail(status: int):
  """Ends the process at once: after an error in one of several, JAX's own shutdown would wait minutes for the others.

  With status 2 an error was said; with others the process's watcher says that it has ended.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  if not is_joined():
    sys.exit(status)
  if status == 2:
    dismiss()
  if is_main():
    time.sleep(3)  # the others, which may be about to say the same, are aborted as this one ends
  os._exit(status)


def replicated(mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def replicate(tree, mesh):
  """Places a pytree of host arrays, equal in every process, whole on every device."""

  def place(x):
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      # Going through the key's words keeps multi-process placement to plain arrays.
      words = place(jax.random.key_data(x))
      return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, replicated(mesh), lambda index: x[index])

  return jax.tree.map(place, tree)


def check_batch(batch_size: int, mesh, microbatches=1):
  """Raises UserError where the global batch, or a part of it, does not divide among the devices."""
  least = mesh.size * microbatches
  if batch_size % least:
    nearest = max(1, round(batch_size / least)) * least
    parts = f' in {microbatches} microbatches' if microbatches > 1 else ''
    raise UserError(
      f'batch_size={batch_size} does not divide among {mesh.size} devices{parts}: '
      f'take a multiple of {least}, such as {nearest}'
    )


def local_rows(batch_size: int, mesh) -> slice:
  """The rows of a global batch that this process feeds: contiguous in a mesh of `make_mesh`."""
  mine = [i for i, d in enumerate(mesh.devices.flat) if d.process_index == jax.process_index()]
  each = batch_size // mesh.size
  return slice(mine[0] * each, (mine[-1] + 1) * each)


def place_batch(rows, mesh, axis=0):
  """This process's rows, a pytree of [b, ...] -> global arrays [B, ...], split over the mesh; b may be another axis."""
  sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, 'batch'))
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)


def split(x):
  """Inside jit: keeps `x` [B, ...] split over the mesh, so that what is computed from it is split too.

  Random draws have no sharded input to follow: without this XLA may compute a whole batch of fakes on every device.
  Does nothing where there is no mesh (`jax.set_mesh`), or the rows do not divide.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or x.shape[0] % mesh.size:
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec('batch'))


def count(x) -> int:
  """Inside jit: among how many devices of the mesh the rows of `x` [B, ...] divide evenly; 1 where they do not."""
  mesh = jax.sharding.get_abstract_mesh()
  return 1 if mesh.empty or x.shape[0] % mesh.size else mesh.size


def join(x):
  """Inside jit: a row of each device, [devices, ...], whole on every device by one sum; of one device, `x`.

  A gather would move half as much, but XLA sums what several layers and gradients exchange together.
  """
  if len(x) == 1:
    return x
  rows = jnp.eye(len(x), dtype=x.dtype).reshape(len(x), len(x), *[1] * (x.ndim - 1))
  return jnp.sum(split(rows * x[:, None]), 0)


def deal(x, parts: int):
  """[B, ...] -> [parts, B / parts, ...]: each part has rows of every device, so none of them moves.

  Raises:
    UserError: a batch that cannot be dealt out.
  """
  if x.shape[0] % parts:
    raise UserError(f'microbatches={parts} does not divide the batch of {x.shape[0]}')
  return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)


def collect(x):
  """[parts, b, ...] -> [parts * b, ...]: undoes `deal`."""
  return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])


def whole(tree):
  """Inside jit: keeps every array of `tree` whole on every device, whatever XLA would have chosen."""
  mesh = jax.sharding.get_abstract_mesh()
  return tree if mesh.empty else jax.lax.with_sharding_constraint(tree, PartitionSpec())


def gather(value) -> list:
  """What JSON makes of the values of all processes, in their order; every process must call it at the same step."""
  text = np.frombuffer(json.dumps(value).encode(), np.uint8)
  if jax.process_count() == 1:
    return [json.loads(text.tobytes())]
  longest = multihost_utils.process_allgather(np.int32(text.size)).max()
  padded = np.pad(text, (0, longest - text.size), constant_values=ord(' '))
  return [json.loads(one.tobytes()) for one in multihost_utils.process_allgather(padded)]


def check_same(what: str, values: dict):
  """Raises UserError in every process where the values of one, which JSON takes, are not those of process 0."""
  first, *others = gather(values)
  for process, found in enumerate(others, 1):
    for name in sorted({*first, *found}):
      theirs, ours = found.get(name), first.get(name)
      if theirs != ours:
        raise UserError(
          f'process {process} has other {what} than process 0: {name} is {str(theirs)[:99]}, not {str(ours)[:99]}; '
          'give all hosts the same'
        )


def is_stop(call: int) -> bool:
  """True in every process at the same call, one or two after a process of several was sent SIGTERM.

  By JAX's preemption service, which takes that signal in `start`; calls count from 1, alike in all; 0.5 us.
  """
  return multihost_utils.reached_preemption_sync_point(call)
