"""Generative adversarial networks in JAX."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from ganjax.pretrained import Generator

__version__ = '0.7.0'


class UserError(Exception):
  """An error that the user can fix. It is printed as one line, without a traceback."""


def cache_folder(name: str) -> Path:
  """$GANJAX_CACHE_DIR/<name>, else ~/.cache/ganjax/<name>: for files that can be made or downloaded again.

  Raises:
    UserError: the user has no home directory, as in some containers.
  """
  root = os.path.expanduser(os.environ.get('GANJAX_CACHE_DIR') or '~/.cache/ganjax')
  if root.startswith('~'):
    raise UserError(
      f'there is no home folder for {root}: set GANJAX_CACHE_DIR to a folder for decoded data, weights and compiled '
      'programs, or HOME'
    )
  return Path(root, name)


def from_pretrained(name: str | Path, **which: int | str | None) -> 'Generator':
  """A trained generator: `from_pretrained('runs/a').sample(seeds=range(4))` is uint8 [4, H, W, C].

  Args:
    name: a pretrained generator, a run's workdir, or a file of `ganjax export --out NAME.safetensors`.
    **which: step, weights and seed_index of a workdir, see `pretrained.Generator`.

  Raises:
    UserError: no such generator.
  """
  from ganjax.pretrained import Generator  # imports JAX, which a command's --help does not wait for

  return Generator(name, **which)


def leads_out(name: str) -> bool:
  """Whether a name from outside, as of an object in a bucket, can lead out of the folder below which it is put."""
  # An empty first part too: Path('folder') / '/x' is Path('/x').
  return not {'', '.', '..'}.isdisjoint(name.split('/'))
