"""Text encoders: captions in, one vector each out, by which a network can be told what to draw.

An encoder is one file here that defines
  SIZE         numbers of a vector, unless its files say otherwise; None: they alone do
  open_at      path, None for the usual place -> Encoder

Their vectors have the length sqrt(E), so that a number in them is about as large as one of a latent z. Vectors that a
user brings stay as they are.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

from ganjax import UserError
from ganjax.wording import closest


class Encoder(NamedTuple):
  """A text encoder with its weights, where it has any."""

  info: dict  # JSON-able, what it is: name, size, files with their sha256. Equal ones give equal vectors
  encode: Callable  # list of n texts -> float32 [n, E]; called from any thread
  knows: Callable  # text -> whether anything in it means something to the encoder

  def check(self, text: str, where: str) -> None:
    """Raises UserError for a text that is empty, or of which the encoder knows nothing; `where` begins the line."""
    if not text.strip():
      raise UserError(f'{where} is empty: say what is to be seen')
    if not self.knows(text):
      raise UserError(
        f'{where}, {text!r}, has no word that the encoder {self.info["name"]} knows: say it in other words'
      )


def size(name: str, given: int | None = None) -> int:
  """Numbers of a vector of the encoder `name`, without opening anything; `given` is `data.text_size`.

  Raises:
    UserError: an unknown name, or a size that is missing or is none.
  """
  found = given or _module(name).SIZE
  if found is None:
    raise UserError(
      f'data.encoder={name} needs data.text_size, how many numbers a vector of your file has'
    )
  if not isinstance(found, int) or not 0 < found <= 2**16:
    raise UserError(f'data.text_size={given!r} must be a whole number from 1 to 65,536')
  return found


def load(name: str, path: str | None = None, given: int | None = None) -> Encoder:
  """An encoder.

  Args:
    name: a file here.
    path: of its files, `data.encoder_path`; None for the usual place.
    given: as of `size`.

  Raises:
    UserError: no such encoder, no files, or files of another size.
  """
  wanted, found = size(name, given), _module(name).open_at(path)
  if found.info['size'] != wanted:
    raise UserError(
      f'vectors of the encoder {name} have {found.info["size"]} numbers here: set data.text_size={found.info["size"]}'
    )
  return found


def check_same(before: dict | None, now: dict | None) -> None:
  """Raises UserError where a run has learned texts by another encoder than there is; both are `Encoder.info`."""
  if before != now:
    raise UserError(
      f'the run has learned texts as the encoder {before} reads them, and here it is {now}: bring back the files of '
      'that one, or use another --workdir'
    )


def _module(name):
  known = sorted(m.name for m in pkgutil.iter_modules(__path__))
  if name not in known:
    raise UserError(
      f'data.encoder={name!r} is not known{closest(str(name), known)}; there are {", ".join(known)}'
    )
  return importlib.import_module(f'{__name__}.{name}')
