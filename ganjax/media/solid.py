"""Solids: voxels, bool [X, Y, Z, C], one channel a part or material; -1 and 1 in losses. Z points up."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.workdir.files import replace_file

STORED, ENDING = np.bool_, '.obj'
VIEW = 96  # pixels of a side
SHADES = np.array([0.5, 0.75, 1.0])  # of faces along X, Y and Z


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
  """One view of each, from the front, the right and above, uint8 [N, VIEW, VIEW, 1]; black where nothing is.

  Orthographic. Faces upwards are the brightest, faces along X the darkest, and what is far is darker.
  """
  x = x.any(-1)
  index, inside, faces, depth = _rays(x.shape[1:])
  out = np.zeros((len(x), VIEW * VIEW), np.uint8)
  for picture, one in zip(out, x):
    hit = one.reshape(-1)[index] & inside
    at = np.arange(len(picture)), hit.argmax(1)
    picture[:] = np.where(hit.any(1), 255 * SHADES[faces[at]] * (1 - 0.4 * depth[at]), 0)
  return out.reshape(-1, VIEW, VIEW, 1)


@functools.cache
def _rays(sides):
  """What a ray of each pixel of a view passes, near to far: voxels, whether they are in, faces that it enters, depths.

  All [P, T]; a ray passes another voxel where it crosses a plane between voxels.
  """
  turn, tilt = np.radians(35), np.radians(30)
  right = np.array([np.cos(turn), np.sin(turn), 0])
  ahead = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), -np.sin(tilt)])
  up = np.cross(right, ahead)
  reach = max(abs(right) @ sides, abs(up) @ sides) / 2
  across = reach * ((np.arange(VIEW) + 0.5) / VIEW * 2 - 1)
  start = across[None, :, None] * right - across[:, None, None] * up  # rows go down
  start = np.array(sides) / 2 + start.reshape(-1, 3)
  planes = [(np.arange(n + 1) - start[:, a, None]) / ahead[a] for a, n in enumerate(sides)]
  axes = np.repeat(np.arange(3, dtype=np.int8), np.add(sides, 1))
  times = np.concatenate(planes, 1)
  order = times.argsort(1)
  times, faces = np.take_along_axis(times, order, 1), axes[order][:, :-1]
  middle = (times[:, 1:] + times[:, :-1]) / 2
  voxels = np.floor(start[:, None] + middle[..., None] * ahead).astype(np.int32)
  inside = ((voxels >= 0) & (voxels < sides)).all(-1)
  index = np.ravel_multi_index(np.moveaxis(voxels, -1, 0), sides, mode='clip')
  return index.astype(np.int32), inside, faces, (np.clip(middle / reach, -1, 1) + 1) / 2


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
