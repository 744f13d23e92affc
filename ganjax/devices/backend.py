"""What is chosen by back end when a program is traced: forms, options and sizes of the same mathematics.

(Forms of convolutions are chosen when it is lowered, in `layers/conv.py` and `features/layers.py`. So an exported
generator's program for TPUs, traced on a CPU, has a TPU's convolutions and the CPU's way of resampling.)
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': of the mesh in use (`jax.set_mesh`), which need not be at hand, else of JAX's default."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()


def devices() -> int:
  """The number of devices that a batch may lie on: of the mesh in use (`jax.set_mesh`), else of all."""
  return jax.sharding.get_abstract_mesh().size or jax.device_count()


def activations() -> str:
  """The dtype of activations where a configuration leaves it to us: TPUs multiply in bfloat16 in any case."""
  return 'bfloat16' if platform() == 'tpu' else 'float32'


def has_bfloat16() -> bool:
  """True where bfloat16 is faster than float32: CPUs convert back and forth."""
  return platform() != 'cpu'


def has_grouped_convolutions() -> bool:
  """True where a convolution of many groups is as fast as its parts: not on CPUs."""
  return platform() != 'cpu'


def has_matrix_units() -> bool:
  """True where a product with a banded matrix takes no longer than one with its band: not on CPUs."""
  return platform() != 'cpu'


def has_scatter() -> bool:
  """True where writing to places that are computed is fast: XLA makes a loop of it on TPUs, a place a turn."""
  return platform() != 'tpu'


def has_fast_resampling() -> bool:
  """True where repeating pixels, or adding neighbours up, costs little: by XLA's estimate not on TPUs.

  A 1x1 convolution of 256 channels with its gradients, to or from 64 maps of 32 pixels: 2.2 ms on v5e, and 0.46 ms as
  one of stride 2 (`benchmarks/tpu_forms.py`).
  """
  return platform() != 'tpu'


def steps_per_dispatch(step_bytes: int) -> int:
  """Training steps that one program does, where a config leaves it open: 1 on CPU, else up to 10.

  A dispatch costs the host some tenths of a millisecond, which a short step on an accelerator does not hide. 10, 5, 2
  divide the usual cadences of logs and checkpoints, so that a run needs no second program of single steps; fewer where
  the batches of a dispatch, of which some wait on the device, would pass 8 MiB there: such steps are long. XLA's CPU
  compiler makes convolutions in loops 28 to 46 times slower. Not measured on GPU or TPU: `benchmarks/accelerator.py`.

  Args:
    step_bytes: of a device's part of the batches of a step.
  """
  if platform() == 'cpu':
    return 1
  return next((n for n in (10, 5, 2) if n * step_bytes <= 8 * 2**20), 1)


def evaluation_batch(mesh: jax.sharding.Mesh) -> int:
  """Pictures to look at together: more than 8 a device fall out of a CPU's cache, 64 fill an accelerator."""
  return mesh.size * (64 if has_bfloat16() else 8)


def quick_compilation() -> dict:
  """Compiler options for programs that run once: XLA's CPU compiler spends seconds on each random draw."""
  return {'xla_backend_optimization_level': 1} if platform() == 'cpu' else {}


def forward_compilation() -> dict:
  """Compiler options for networks that are not trained.

  On CPU XLA (jax 0.10) leaves convolutions to YNNPACK, which keeps those of 64 features or fewer on one core. By Eigen,
  XLA's other way, all take all cores (the FID Inception on two: 48 ms an image for 58). A list of what YNNPACK may have
  is the only switch, and an option can name one kind: products.
  """
  options = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'}
  return options if platform() == 'cpu' and _are_known(**options) else {}


def update_compilation() -> dict:
  """Compiler options for training.

  On TPU a pass of XLA has, in a loop of steps, float32(sum over devices) + moment, as Adam's is with b1 of 0 or 0.5,
  summed over the devices in float32, beside the bfloat16 sum that the second moment takes: gradients would cross twice.
  """
  options = {'xla_disable_hlo_passes': 'reorder-convert-reduce-add'}
  return options if platform() == 'tpu' and _are_known(**options) else {}


@functools.cache
def _are_known(**options) -> bool:
  """Whether this version of XLA takes the compiler options."""
  try:
    jax.jit(lambda: 0, compiler_options=options)()
  except jax.errors.JaxRuntimeError:
    return False
  return True


def fold(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
  """`lax.scan`: a loop, for the memory of one turn; unrolled on CPU, whose loops run convolutions slowly.

  XLA's CPU compiler would fuse the sums of all turns into one that waits for every addend, and drops optimization
  barriers. So between two turns there is a condition that always holds, as XLA cannot know.
  """
  if platform() != 'cpu':
    return jax.lax.scan(step, carry, xs)
  numbers = next(x for x in jax.tree.leaves(xs) if jnp.issubdtype(x.dtype, jnp.number))
  holds = ~(numbers[(0,) * numbers.ndim].astype(jnp.float32) * 0 > 1)  # of NaN too
  zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)
  found, at = [], jnp.int32(0)
  for turn in range(len(jax.tree.leaves(xs)[0])):
    if turn:
      carry, at = jax.lax.cond(holds, lambda tree: tree, zeros, (carry, jnp.int32(turn)))
    carry, y = step(carry, jax.tree.map(operator.itemgetter(at), xs))
    found.append(y)
  return carry, jax.tree.map(lambda *ys: jnp.stack(ys), *found)
