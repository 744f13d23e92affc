"""Several processes: how they start, find each other, agree, and end."""

import atexit
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from ganjax import UserError, cache_folder
from ganjax.devices import sharding

_HEARTBEAT_SECONDS = 45  # a process that says nothing for so long is lost
_watcher = None


def start(preemptible: bool = False) -> None:
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
  order_collectives()
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


def order_collectives() -> None:
  """Has several CPU devices of one process begin collectives in one order, by XLA_FLAGS; before the first use of one.

  By default XLA begins those that do not depend on each other in any order. Devices then wait for each other for ever:
  with jax 0.10 once in some hundred steps of `attngan_emoji` on two devices or four. A flag, not a compiler option: the
  compilation cache does not keep the option.
  """
  flags, name = os.environ.get('XLA_FLAGS', ''), '--xla_cpu_enable_concurrency_optimized_scheduler'
  several = jax.config.jax_num_cpu_devices > 1 or 'xla_force_host_platform_device_count' in flags
  if several and name not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {name}=false'.strip()


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


def dismiss() -> None:
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
  mesh = sharding.make_mesh()
  ones = sharding.place_batch({'ones': np.ones(jax.local_device_count(), np.int32)}, mesh)['ones']
  add = jax.jit(lambda x: x.sum(), out_shardings=sharding.replicated(mesh))
  jax.block_until_ready(add(ones))


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


def say(line: str) -> None:
  """Prints a line, once for all processes."""
  if is_main():
    print(line, flush=True)


def is_joined() -> bool:
  """True where there are several processes."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def is_lost(error: BaseException) -> bool:
  """True for the error of a sum over processes of which one is gone, on CPUs; TPUs wait until JAX aborts."""
  return 'Gloo' in str(error)


def fail(status: int) -> NoReturn:
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


def gather(value: Any) -> list:
  """What JSON makes of the values of all processes, in their order; every process must call it at the same step."""
  text = np.frombuffer(json.dumps(value).encode(), np.uint8)
  if jax.process_count() == 1:
    return [json.loads(text.tobytes())]
  longest = multihost_utils.process_allgather(np.int32(text.size)).max()
  padded = np.pad(text, (0, longest - text.size), constant_values=ord(' '))
  return [json.loads(one.tobytes()) for one in multihost_utils.process_allgather(padded)]


def check_same(what: str, values: dict) -> None:
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
