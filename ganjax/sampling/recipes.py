"""Recipes of pictures: the flags of `ganjax sample` that a picture was made by, in its metadata or in a JSON file."""

import json
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ganjax import UserError

# What a recipe may hold: flags of `ganjax sample` that name no place.
FLAGS = (
  *('seeds', 'classes', 'text', 'option', 'format', 'step', 'weights', 'seed_index', 'batch_norm'),
  *('frames', 'fps', 'paths', 'mix', 'directions', 'components', 'strengths', 'layers'),
  *('class_averages', 'keep_size', 'tile', 'batch'),
)

SEVERAL = 'text', 'option'  # that may be lists


def read(path) -> dict:
  """The recipe in a file, {flag: value}.

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
  return check(found, f'--recipe={path}')


def check(recipe, name: str) -> dict:
  """The recipe itself. Raises UserError, which names it `name`, where it holds what no recipe may."""
  if not isinstance(recipe, dict):
    raise UserError(f'{name} holds no recipe')
  for flag, value in recipe.items():
    if flag not in FLAGS:
      raise UserError(f'{name}: {flag!r} is no part of a recipe; there are {", ".join(FLAGS)}')
    parts = value if isinstance(value, list) and flag in SEVERAL else [value]
    if not all(isinstance(part, str | int | float | bool) for part in parts):
      raise UserError(f'{name}: {flag} is no value')
  return recipe
