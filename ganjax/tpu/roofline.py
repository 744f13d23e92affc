"""Training compiled for devices that are not there, and what its compiler says of it.

The update is the real one: every program that training dispatches in its first stage (several steps in a loop, with
their batches; every pattern of phases), the global batch, the state donated, the work split over the slice. XLA's TPU
compiler (the package libtpu) runs on Linux and x86-64; CUDA programs are lowered, of one step, not compiled.

Ten steps in a loop are ten times one: the state is written over at each turn and not copied at the edges. XLA chooses
anew what stays on the chip within the loop, which moves up to 4 % more bytes (dcgan_cifar: 469 MB a step for 451).

Memory is a program's own. Up to three dispatches' batches wait beside it (`feed.py`): megabytes, and not counted.
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from ganjax import UserError, experiment
from ganjax.devices import sharding
from ganjax.method import Stage
from ganjax.tpu import hlo
from ganjax.tpu.chips import Chip
from ganjax.training import dispatch
from ganjax.update import active


class Program(NamedTuple):
  """What is compiled for a dispatch, of one device of the slice; all numbers are of all its steps together."""

  share: float  # of training's steps that run in it: lazy phases make several programs
  steps: int  # in one dispatch
  phases: tuple
  activations: str  # their dtype
  seconds: float  # to compile
  flops: int  # of products and convolutions, see hlo.flops
  moved: int  # bytes that kernels read from HBM and write to it, see hlo.traffic
  cycles: int  # that XLA takes kernels to need, see hlo.cycles
  arguments: int  # bytes of state and batch
  temporary: int
  aliased: int  # of the arguments, whose memory results take over
  total: int  # bytes of HBM
  collectives: list
  copies: list
  transfers: list  # to and from the host
  images: tuple  # bytes of pictures in convolutions, and what padding makes of them


def check(config: ConfigDict, chip: Chip, devices: Sequence[jax.Device]) -> list:
  """Compiles every program of a configuration's first stage for a slice.

  Args:
    config: a ConfigDict.
    chip, devices: as `chips.find` has them.

  Returns:
    A Program for each pattern of phases and number of steps.

  Raises:
    UserError: a batch that does not divide among the devices, or a program that does not fit into their memory.
  """
  mesh = sharding.make_mesh(devices)
  # Abstract: what is computed on the way, such as keys, needs a device that is there.
  with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    run = experiment.build(config)
    span = run.spans[-1]  # the last stage has the largest pictures
    sharding.check_batch(span.batch_size, mesh, config.microbatches)
    shares = dispatch.programs(run, span, mesh.size)
    programs = [_compile(run, span, mesh, share, *one) for one, share in shares.items()]
  needed = max(p.total for p in programs)
  if needed > chip.memory:
    raise DoesNotFit(config, chip.memory, needed)
  return programs


def mean(programs: Sequence[Program], value: Callable[[Program], float]) -> float:
  """What a number of each program comes to a step, over all of training."""
  return sum(p.share * value(p) / p.steps for p in programs)


def patterns(stage: Stage) -> list:
  """[(share of the steps, active phases)]: lazy regularisation makes more than one."""
  period = math.lcm(*(phase.every for phase in stage.phases))
  found = [active(stage, step) for step in range(period)]
  return [(found.count(one) / period, one) for one in dict.fromkeys(found)]


def _compile(run, span, mesh, share, steps, phases) -> Program:
  traced = dispatch.trace(run, run.update(span), span, mesh, phases, steps)
  lowered = traced.lower(lowering_platforms=('tpu',))
  start = time.monotonic()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    found = re.findall(
      r'\b([\d.]+)([KMGT])\b', str(error)
    )  # what it takes and what there is, in this order
    if 'RESOURCE_EXHAUSTED' not in str(error) or len(found) < 2:
      raise
    needed, there = (float(number) * 2 ** (10 * ' KMGT'.index(unit)) for number, unit in found[:2])
    raise DoesNotFit(run.config, there, needed) from None
  seconds = time.monotonic() - start
  memory = compiled.memory_analysis()
  program = hlo.parse(compiled.as_text())
  return Program(
    share,
    steps,
    phases,
    run.activations,
    seconds,
    hlo.flops(program),
    hlo.traffic(program),
    hlo.cycles(program),
    memory.argument_size_in_bytes,
    memory.temp_size_in_bytes,
    memory.alias_size_in_bytes,
    memory.argument_size_in_bytes
    + memory.temp_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.generated_code_size_in_bytes,
    hlo.collectives(program),
    hlo.copies(program),
    hlo.host_transfers(program),
    hlo.images(program, run.config.data.channels),
  )


class DoesNotFit(UserError):
  """A program that takes more memory than a chip has, both in bytes."""

  def __init__(self, config: ConfigDict, there: float, needed: float) -> None:
    super().__init__(
      f'config {config.name} does not fit: batch_size={config.batch_size} takes {needed / 2**30:.2f} GiB a chip of '
      f'{there / 2**30:.2f}; take a larger slice, a smaller batch_size or more microbatches'
    )
    self.needed = needed


def largest_batch(config: ConfigDict, chip: Chip, devices: Sequence[jax.Device]) -> int:
  """The largest multiple of devices and microbatches that compiles into the chip's memory, to 5 %, by secants.

  Raises:
    DoesNotFit: not even the configuration's own batch does.
  """
  config = config.copy_and_resolve_references()
  step = len(devices) * config.microbatches

  def memory(batch_size):
    """(whether it fits, bytes)."""
    config.batch_size = batch_size
    try:
      return True, max(p.total for p in check(config, chip, devices))
    except DoesNotFit as error:
      return False, error.needed

  low, high = config.batch_size, None
  used = max(p.total for p in check(config, chip, devices))
  guess = 16 * low
  while guess not in (low, high):
    fits, needed = memory(guess)
    slope = max(1, (needed - used) / (guess - low))
    if fits:
      low, used = guess, needed
    else:
      high = guess
    if high is not None and high - low <= max(step, 0.05 * low):
      break
    aim = low + 0.98 * (chip.memory - used) / slope
    if high is not None:
      aim = min(max(aim, 0.75 * low + 0.25 * high), 0.25 * low + 0.75 * high)
    guess = max(low + step, int(aim) // step * step)
  return low


def lower(config: ConfigDict, count: int) -> list:
  """Lowers every program of the first stage for GPUs, without a compiler: no memory, no fusion, no exchanges.

  Args:
    config: a ConfigDict.
    count: GPUs.

  Returns:
    [(share of the steps, phases, FLOPs over all GPUs, bytes that its operations read and write one by one, StableHLO)].

  Raises:
    UserError: a batch that does not divide among the GPUs.
  """
  mesh = sharding.abstract_mesh(count, 'gpu')
  out = []
  with jax.sharding.use_abstract_mesh(mesh):
    run = experiment.build(config)
    span = run.spans[-1]  # the last stage has the largest pictures
    sharding.check_batch(span.batch_size, mesh, config.microbatches)
    for share, phases in patterns(span.stage):
      traced = dispatch.trace(run, run.update(span), span, mesh, phases)
      lowered = traced.lower(lowering_platforms=('cuda',))
      cost = lowered.cost_analysis()
      out.append((share, phases, cost['flops'], cost['bytes accessed'], lowered.as_text()))
  return out
