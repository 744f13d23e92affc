"""Tables of samples: rows of seeds, columns of what is done to them, and the samples as they are on the border."""

from collections.abc import Collection

import jax
import numpy as np

from ganjax import UserError
from ganjax.method import Method
from ganjax.sampling import sampler


def bordered(
  left: dict | np.ndarray, cells: dict | np.ndarray, top: dict | np.ndarray | None = None
) -> dict | np.ndarray:
  """Rows of a table, row by row, with `left` [n] before the cells [n * C] of each, and first `top` [C].

  The corner between `left` and `top` is not among them.
  """
  n = len(jax.tree.leaves(left)[0])
  join = lambda a, b: np.concatenate([a[:, None], b.reshape(n, -1, *b.shape[1:])], 1)
  rows = jax.tree.map(lambda a, b: join(a, b).reshape(-1, *a.shape[1:]), left, cells)
  return rows if top is None else jax.tree.map(lambda *x: np.concatenate(x), top, rows)


def columns(each: list[dict | np.ndarray]) -> dict | np.ndarray:
  """Rows [n * C], row by row, of C columns of n."""
  stack = lambda *x: np.stack(x, 1).reshape(-1, *x[0].shape[1:])
  return jax.tree.map(stack, *each)


def parse_sweep(
  texts: Collection[str], method: Method
) -> tuple[dict[str, float | str], str, list[float | str]]:
  """--option of which one may have several values -> (options of one, name of the other or '', its values).

  Raises:
    UserError: as `sampler.parse_options`; or several options of several values.
  """
  many = [text for text in texts if ',' in text]
  options = sampler.parse_options([text for text in texts if text not in many], method)
  if not many:
    return options, '', []
  if len(many) > 1:
    raise UserError(f'--option: one at a time may have several values, not {" and ".join(many)}')
  name, _, values = many[0].partition('=')
  each = [sampler.parse_options([f'{name}={value}'], method) for value in values.split(',')]
  return options, name, [one[name] for one in each]


def parse_strengths(text: str) -> list[float]:
  """'-3,-1.5,1.5,3' -> [-3.0, -1.5, 1.5, 3.0]. Raises UserError where they are no numbers."""
  try:
    found = [float(part) for part in text.split(',')]
  except ValueError:
    found = [np.nan]
  if not np.isfinite(found).all():
    raise UserError(f'--strengths={text!r} must be numbers joined by commas, such as -3,-1.5,1.5,3')
  return found


def parse_some(text: str, count: int, flag: str) -> np.ndarray:
  """'0-6' -> int64 [7], of `count` that there are. Raises UserError for others."""
  chosen = sampler.parse_seeds(text, flag)
  if chosen.max() >= count:
    raise UserError(f'{flag}={text}: there are 0 to {count - 1}')
  return chosen
