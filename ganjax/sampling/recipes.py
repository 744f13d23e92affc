"""Recipes of pictures: the flags of `ganjax sample` that a picture was made by, in its metadata or in a JSON file."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ganjax import UserError

SEVERAL = 'text', 'option'  # that may be lists


def read(path: str | Path, flags: Collection[str]) -> dict[str, Any]:
  """The recipe in a file, {flag: value}, of some of the `flags`.

  Raises:
    UserError: the file is not there, or it holds none.
  """
  path = Path(path)
  try:
    if path.suffix.lower() == '.json':
      found = json.loads(path.read_text())
    else:
      with Image.open(path) as image:
        comment = image.info.get('comment')
        found = json.loads(comment)['recipe'] if comment else json.loads(image.info['recipe'])
  except OSError as error:
    lost = isinstance(error, UnidentifiedImageError)
    why = 'is neither JSON nor a picture' if lost else f'cannot be read: {error.strerror}'
    raise UserError(f'--recipe={path} {why}') from None
  except (KeyError, TypeError, ValueError):
    raise UserError(f'--recipe={path} holds no recipe') from None
  return check(found, flags, f'--recipe={path}')


def check(recipe: object, flags: Collection[str], name: str = 'the recipe') -> dict[str, Any]:
  """The recipe itself. Raises UserError, which names it `name`, where it holds what is none of `flags`."""
  if not isinstance(recipe, dict):
    raise UserError(f'{name} holds no recipe')
  for flag, value in recipe.items():
    if flag not in flags:
      raise UserError(f'{name}: {flag!r} is no part of a recipe; there are {", ".join(flags)}')
    parts = value if isinstance(value, list) and flag in SEVERAL else [value]
    if not all(isinstance(part, str | int | float | bool) for part in parts):
      raise UserError(f'{name}: {flag} is no value')
  return recipe
