"""The mesh over all devices, and how arrays lie on it.

Training is data parallel over a one-axis mesh ('batch',): the state is replicated, batches are split along their
first axis, and `jax.jit` over global arrays runs code that is written as if for one device. Every mean over a batch
is therefore over the global batch, and random draws do not depend on the number of devices.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import (
  AbstractDevice,
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)

from ganjax import UserError


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """The mesh ('batch',) over all devices of all processes, or over the given ones: those of a process side by side."""
  devices = jax.devices() if devices is None else devices
  return Mesh(np.asarray(sorted(devices, key=lambda d: d.process_index)), ('batch',))


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Places a pytree of host arrays, equal in every process, whole on every device."""

  def place(x):
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      # Going through the key's words keeps multi-process placement to plain arrays.
      words = place(jax.random.key_data(x))
      return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, replicated(mesh), lambda index: x[index])

  return jax.tree.map(place, tree)


def check_batch(batch_size: int, mesh: Mesh | AbstractMesh, microbatches: int = 1) -> None:
  """Raises UserError where the global batch, or a part of it, does not divide among the devices."""
  least = mesh.size * microbatches
  if batch_size % least:
    nearest = max(1, round(batch_size / least)) * least
    parts = f' in {microbatches} microbatches' if microbatches > 1 else ''
    raise UserError(
      f'batch_size={batch_size} does not divide among {mesh.size} devices{parts}: '
      f'take a multiple of {least}, such as {nearest}'
    )


def local_rows(batch_size: int, mesh: Mesh) -> slice:
  """The rows of a global batch that this process feeds: contiguous in a mesh of `make_mesh`."""
  mine = [i for i, d in enumerate(mesh.devices.flat) if d.process_index == jax.process_index()]
  each = batch_size // mesh.size
  return slice(mine[0] * each, (mine[-1] + 1) * each)


def place_batch(rows: Any, mesh: Mesh, axis: int = 0) -> Any:
  """This process's rows, a pytree of [b, ...] -> global arrays [B, ...], split over the mesh; b may be another axis."""
  sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, 'batch'))
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)


def keep_split(x: jax.Array) -> jax.Array:
  """Inside jit: keeps `x` [B, ...] split over the mesh, so that what is computed from it is split too.

  Random draws have no sharded input to follow: without this XLA may compute a whole batch of fakes on every device.
  Does nothing where there is no mesh (`jax.set_mesh`), or the rows do not divide.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or x.shape[0] % mesh.size:
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec('batch'))


def to_parts(x: jax.Array, parts: int) -> jax.Array:
  """[B, ...] -> [parts, B / parts, ...]: each part has rows of every device, so none of them moves.

  Raises:
    UserError: a batch that cannot be dealt out.
  """
  if x.shape[0] % parts:
    raise UserError(f'microbatches={parts} does not divide the batch of {x.shape[0]}')
  return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)


def join_parts(x: jax.Array) -> jax.Array:
  """[parts, b, ...] -> [parts * b, ...]: undoes `to_parts`."""
  return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])


def keep_whole(tree: Any) -> Any:
  """Inside jit: keeps every array of `tree` whole on every device, whatever XLA would have chosen."""
  mesh = jax.sharding.get_abstract_mesh()
  return tree if mesh.empty else jax.lax.with_sharding_constraint(tree, PartitionSpec())


def abstract_mesh(count: int, platform: str) -> AbstractMesh:
  """The mesh ('batch',) over devices that need not be at hand, of 'cpu', 'gpu' or 'tpu': to lower programs for them."""
  device = AbstractDevice(device_kind=platform, num_cores=None, platform=platform)
  # As of `Mesh`: XLA divides the work. JAX 0.12 would have the program say it all.
  return AbstractMesh((count,), ('batch',), axis_types=(AxisType.Auto,), abstract_device=device)


def count(x: jax.Array) -> int:
  """Inside jit: among how many devices of the mesh the rows of `x` [B, ...] divide evenly; 1 where they do not."""
  mesh = jax.sharding.get_abstract_mesh()
  return 1 if mesh.empty or x.shape[0] % mesh.size else mesh.size


def join(x: jax.Array) -> jax.Array:
  """Inside jit: a row of each device, [devices, ...], whole on every device by one sum; of one device, `x`.

  A gather would move half as much, but XLA sums what several layers and gradients exchange together.
  """
  if len(x) == 1:
    return x
  rows = jnp.eye(len(x), dtype=x.dtype).reshape(len(x), len(x), *[1] * (x.ndim - 1))
  return jnp.sum(keep_split(rows * x[:, None]), 0)
