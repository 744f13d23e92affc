"""What `ganjax explore` makes: pictures by recipes, and what becomes of uploads.

It is made by the code of `ganjax sample` and `ganjax project`, one thing at a time, in a thread. No path from the
page reaches the disk: uploads are files of names of its own in a folder that goes with it.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import re
import secrets
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganjax import UserError, experiment, run_record
from ganjax.data import provenance
from ganjax.evaluation import copies
from ganjax.media import image as images
from ganjax.sampling import project, recipes, sample, sampler
from ganjax.workdir import checkpoint

MOST_BYTES, MOST_PIXELS = 16_000_000, 16_000_000  # of an upload
MOST_SAMPLES, MOST_FRAMES, MOST_WAITING = 256, 60, 8
UPLOADS = {'PNG': '.png', 'JPEG': '.jpg', 'WEBP': '.webp', 'GIF': '.gif', 'BMP': '.bmp'}
# What is made, and the ending of its file; 'file' is a sample as its kind is stored.
FORMS = {'grid': '.png', 'gif': '.gif', 'npz': '.npz', 'file': ''}
# What the page may say of a picture.
FLAGS = {*sample.IN_RECIPES} - {'keep_size', 'tile', 'batch', 'batch_norm', 'format'}


class Studio:
  """A generator, and what is made of it: one thing at a time, in a thread."""

  def __init__(self, place: str | Path, called: str = '') -> None:
    """Opens the run or file at `place`, which the user calls so. Raises UserError where there is none."""
    self.place, self._called = Path(place), called or str(place)
    self.load = functools.cache(experiment.load)
    self.read = _kept(sample.read)
    self.run = self.load(self.place)
    self._folder = tempfile.TemporaryDirectory(prefix='ganjax-explore-')
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._waiting, self._files, self._bank = 0, {}, None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._thread.shutdown(wait=False, cancel_futures=True)
    self._folder.cleanup()

  def about(self) -> dict:
    """What the page may offer."""
    method, record = self.run.method, run_record.saved_record(self.place)
    steps = [] if self.place.is_file() else checkpoint.list_steps(self.place)
    kinds = self.run.spans[-1].fields
    takes = [kinds[name].kind for name in method.examples]
    picture = takes == ['image']
    grey = picture and kinds[method.examples[0]].shape[-1] == 1
    return {
      'name': self.run.config.name,
      'place': self._called,
      'kind': kinds[method.makes].kind,
      'steps': steps,
      'averaged': bool(method.ema) and not self.place.is_file(),
      'classes': provenance.class_names(record) if method.num_classes else None,
      'num_classes': method.num_classes,
      'options': {k: v for k, v in method.options.items() if isinstance(v, int | float)},
      'styles': bool(method.styles),
      'moves': kinds[method.makes].kind == 'image' and 'text' not in takes,
      'picture': picture,
      'paints': grey and kinds[method.makes].shape[-1] > 1,  # what the user draws
      'text': 'text' in takes,
      'restores': bool(method.restores),
      'nearest': kinds[method.makes].kind == 'image',
    }

  async def do(self, work: Callable[..., Any], *args: Any) -> Any:
    """Runs `work(*args)` in the thread; raises UserError where too much waits."""
    if self._waiting >= MOST_WAITING:
      raise UserError('too much is being made: wait a little')
    self._waiting += 1
    try:
      return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
    finally:
      self._waiting -= 1

  def make(self, recipe: dict[str, Any], source: str | None) -> tuple:
    """(the bytes that `ganjax sample` writes for a recipe, their ending).

    Args:
      recipe: {flag: value}, see `_check`, and 'form', one of FORMS.
      source: the name of an upload, or None.
    """
    given = dict(recipe)
    form = given.pop('form', 'grid')
    if form not in FORMS:
      raise UserError(f'there is no form {form!r}')
    _check(given)
    if source is not None:
      given[self._kind(source)] = str(self.path(source))
    if form == 'file':
      given['format'] = 'files'
    return sample.make(self.place, given, FORMS[form], self.load, self.read)

  def nearest(self, recipe: dict[str, Any], source: str | None) -> bytes:
    """A PNG: each sample of a recipe beside the pictures that the run was trained on which are nearest to it."""
    few = sampler.parse_seeds(str(recipe.get('seeds', '0')))[:6]
    asked = {**recipe, 'seeds': ','.join(map(str, few)), 'form': 'npz'}
    content, _ = self.make(asked, source)
    if self._bank is None:
      self._bank = copies.Bank(self.run)
    samples = np.load(io.BytesIO(content))['arr_0']
    return images.to_png(self._bank.draw(samples), {'Description': 'samples and training images'})

  def upload(self, content: bytes) -> str:
    """Keeps a picture; returns its name. Raises UserError where it is none, or too large."""
    if len(content) > MOST_BYTES:
      raise UserError(f'the file has more than {MOST_BYTES // 1_000_000} MB')
    many = f'the picture has more than {MOST_PIXELS // 1_000_000} million pixels'
    try:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with Image.open(io.BytesIO(content), formats=[*UPLOADS]) as image:
          if image.width * image.height > MOST_PIXELS:
            raise UserError(many)
          image.load()
          ending = UPLOADS[image.format]
    except UserError:
      raise
    except Image.DecompressionBombError:
      raise UserError(many) from None
    except Exception:  # noqa: BLE001 (Pillow raises anything on a broken file)
      raise UserError('the file is no picture that can be read: take PNG or JPEG') from None
    name = self._new(ending)
    self.path(name).write_bytes(content)
    return name

  def find_styles(self, source: str, space: str, steps: int, say: Callable[[str], object]) -> str:
    """Styles that make an uploaded picture, of `ganjax project`; returns the name of the file."""
    name = self._new('.npz')
    words = [f'--source={self.path(source)}', f'--space={space}', f'--steps={steps}']
    words += ['--distance=pixels', f'--out={self.path(name)}']
    with contextlib.redirect_stdout(_Lines(say)):
      project.COMMAND.read(['project', str(self.place), *words])
      project.main()
    return name

  def path(self, name: object) -> Path:
    """The file of a name that this server gave. Raises UserError for another."""
    if not isinstance(name, str) or name not in self._files:
      raise UserError('that file is not there: choose it again')
    return self._files[name]

  def _kind(self, name) -> str:
    return 'styles' if self.path(name).suffix == '.npz' else 'source'

  def _new(self, ending) -> str:
    name = secrets.token_hex(8)
    self._files[name] = Path(self._folder.name, f'{name}{ending}')
    return name


class _Lines(io.StringIO):
  """What is printed, line by line."""

  def __init__(self, say):
    super().__init__()
    self._say = say

  def write(self, text):
    for line in filter(None, text.strip().splitlines()):
      self._say(line)
    return len(text)


def _kept(read):
  """`sample.read` that keeps what it read of the last few checkpoints."""
  kept = {}

  def found(run, place, *which):
    if which not in kept:
      while len(kept) > 3:
        kept.pop(next(iter(kept)))
      kept[which] = read(run, place, *which)
    return kept[which]

  return found


def _check(recipe):
  """Raises UserError for a recipe that the page may not ask for, or one of too much."""
  recipes.check(recipe, FLAGS)
  count = lambda name, default='0': _count(recipe.get(name, default))
  samples = count('seeds') * count('classes') * count('mix') * count('option')
  samples *= len(recipe['text']) if isinstance(recipe.get('text'), list) else 1
  if 'directions' in recipe:
    samples *= count('components', '0-4') * (1 + count('strengths', '-3,-1.5,1.5,3'))
  if samples > MOST_SAMPLES:
    raise UserError(f'more than {MOST_SAMPLES} samples at once: take fewer')
  frames = str(recipe.get('frames', 1))
  if not frames.isdecimal() or int(frames) > MOST_FRAMES:
    raise UserError(f'--frames={frames}: 1 to {MOST_FRAMES}')


def _count(values) -> int:
  """How many a flag of a recipe names at most: numbers, ranges and names joined by commas, or a list of such."""
  total = 0
  for part in ','.join(map(str, values if isinstance(values, list) else [values])).split(','):
    found = re.fullmatch(r'(\d{1,12})-(\d{1,12})', part.strip())
    total += int(found[2]) - int(found[1]) + 1 if found else 1
  return max(total, 1)
