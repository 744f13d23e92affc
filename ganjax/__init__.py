"""Generative adversarial networks in JAX."""

import os
from pathlib import Path

__version__ = '0.5.0'


class UserError(Exception):
  """Something that the user can put right: printed as one line, never as a traceback."""


def cache_folder(name: str) -> Path:
  """$GANJAX_CACHE_DIR/<name>, else ~/.cache/ganjax/<name>: for what can be made or had again.

  Raises:
    UserError: a user without a home, as containers may have.
  """
  root = os.path.expanduser(os.environ.get('GANJAX_CACHE_DIR') or '~/.cache/ganjax')
  if root.startswith('~'):
    raise UserError(
      f'there is no home folder for {root}: set GANJAX_CACHE_DIR to a folder for decoded data, weights and compiled '
      'programs, or HOME'
    )
  return Path(root, name)


def leads_out(name: str) -> bool:
  """Whether a name from outside, as of an object in a bucket, can be a path out of the folder that it is put below."""
  # An empty first part too: Path('folder') / '/x' is Path('/x').
  return not {'', '.', '..'}.isdisjoint(name.split('/'))
