"""Interpolation between samples, for strips and videos."""

import jax
import numpy as np
import scipy

from ganjax import UserError
from ganjax.sampling import latents


def interpolate(
  rows: dict | np.ndarray, frames: int, *, closed: bool, paths: int = 1, num_classes: int = 0
) -> dict | np.ndarray:
  """Interpolated rows, one path after the other, [paths * T, ...].

  The content of a row decides how it is interpolated. Styles 'w' follow a cubic spline, in each layer separately
  (stylegan3's gen_video). Latents [n, Z] follow great circles. A 'label' becomes class weights, which are interpolated
  linearly, as other floats are. Integers, such as the seed of the noise, keep the value of the path's first row, so
  that nothing flickers. The given rows appear bit for bit.

  Args:
    rows: rows of `Method.rows` or `Styles.map`, [n, ...].
    frames: number of rows from one given row to the next.
    closed: whether a path returns to its first row, and ends before it: T = frames * n / paths. Otherwise it ends at
      its last row: T = frames * (n / paths - 1) + 1.
    paths: number of paths. The rows are divided among them in order.
    num_classes: number of classes of the labels.

  Raises:
    UserError: the rows cannot be divided into so many paths of at least two.
  """
  count = len(jax.tree.leaves(rows)[0])
  if count % paths or count < 2 * paths:
    raise UserError(
      f'an interpolation needs at least two seeds or classes, and {paths} path(s) of equally many; there are {count}'
    )
  stops = count // paths
  t = np.arange(frames) / frames

  def straight(a, b, t):
    t = t.reshape(-1, *[1] * (a.ndim - 1))
    return (1 - t) * a + t * b

  def spline(x):
    ends = np.concatenate([x, x[:1]]) if closed else x
    how = 'periodic' if closed else 'natural'
    curve = scipy.interpolate.CubicSpline(
      np.arange(len(ends)), ends.astype(np.float64), bc_type=how
    )
    return curve((np.arange(len(ends) - 1)[:, None] + t).ravel())

  def move(name, x):
    if name == 'label':
      x = np.eye(num_classes, dtype=np.float32)[x]
    elif not np.issubdtype(x.dtype, np.floating):
      return np.repeat(x[:1], stops * frames if closed else (stops - 1) * frames + 1, 0)
    if name == 'w':
      legs = [spline(x)]
    else:
      mix = latents.slerp if x.ndim == 2 and x.shape[1] > 1 and name != 'label' else straight
      last = stops if closed else stops - 1
      legs = []
      for i in range(last):
        here, there = x[i][None], x[(i + 1) % stops][None]
        legs += [here, mix(here, there, t[1:])]  # `mix` at 0 may be off by rounding
    return np.concatenate([*legs, *([] if closed else [x[-1:]])]).astype(x.dtype)

  def path(where, x):
    name = getattr(where[-1] if where else None, 'key', None)
    return np.concatenate([move(name, part) for part in np.split(np.asarray(x), paths)])

  return jax.tree_util.tree_map_with_path(path, rows)
