"""Solids: voxels, bool [X, Y, Z, C], one channel a part or material; -1 and 1 in losses. Z points up."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.workdir.files import replace_file

STORED, ENDING = np.bool_, '.obj'


def to_float(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """bool -> float32, -1 outside and 1 inside; floats stay."""
  return jnp.where(x, 1.0, -1.0) if x.dtype == jnp.bool_ else x


def mirror(x: jax.Array) -> jax.Array:
  """Along X."""
  return jnp.flip(x, axis=-4)


def to_stored(x: jax.Array | np.ndarray) -> np.ndarray:
  """float [..., X, Y, Z, C] -> bool: inside where it is above 0. Raises UserError at NaN or infinity."""
  x = np.asarray(x, np.float32)
  if not np.isfinite(x).all():
    raise UserError('generated solids hold NaN or Inf: the generator has diverged')
  return x > 0


def show(x: np.ndarray) -> np.ndarray:
  """Views from the front (along Y), the side (along X) and above (along Z), uint8 [N, S, 3 S, 1] of the largest side S.

  What is near is bright, what is far dark, and where nothing is, it is black.
  """
  x = x.any(-1)
  size = max(x.shape[1:])

  def view(axis):
    filled = np.moveaxis(x, axis, -1)
    depth, seen = filled.argmax(-1), filled.any(-1)
    shade = np.where(seen, 255 - 160 * depth // filled.shape[-1], 0).astype(np.uint8)
    out = np.zeros((len(x), size, size), np.uint8)
    shade = np.swapaxes(shade, 1, 2)[:, ::-1]  # the second axis that is left points up
    out[:, : shade.shape[1], : shade.shape[2]] = shade
    return out

  # From above the nearest voxel is the highest.
  front, side = view(2), view(1)
  x = x[..., ::-1]
  return np.concatenate([front, side, view(3)], 2)[..., None]


def save(path: Path, x: np.ndarray, text: dict, rate: int | None = None) -> None:
  """A Wavefront OBJ, for each channel an object of the faces between inside and outside; `text` is a comment, as JSON.

  A voxel is a cube of side 1. Raises UserError where it cannot be written; `path` is never left half written.
  """
  lines, base = [f'# {json.dumps(text)}'], 1
  for c in range(x.shape[-1]):
    corners = _faces(x[..., c])
    points, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    lines.append(f'o channel{c}')
    lines += ['v {} {} {}'.format(*point) for point in points]
    lines += ['f {} {} {} {}'.format(*face) for face in index.reshape(-1, 4) + base]
    base += len(points)
  with replace_file(path) as file:
    file.write(('\n'.join(lines) + '\n').encode())


def _faces(filled):
  """Corners int [F, 4, 3] of the faces between inside and outside, counterclockwise as seen from outside."""
  padded, found = np.pad(filled, 1), []
  for axis in range(3):
    after = np.roll(padded, -1, axis)
    first, second = np.eye(3, dtype=int)[[(axis + 1) % 3, (axis + 2) % 3]]
    square = np.stack([0 * first, first, first + second, second])
    # Between a voxel and the next: the face's corner is the next one's.
    for inside, corners in ((padded & ~after), square), ((~padded & after), square[::-1]):
      at = np.argwhere(inside) - 1 + np.eye(3, dtype=int)[axis]
      found.append(at[:, None] + corners)
  return np.concatenate(found)
