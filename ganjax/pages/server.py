"""The server of `ganjax explore`: pictures by recipes, uploads, projections.

It does what `ganjax sample` and `ganjax project` do, by their own code, in one thread. It answers this machine alone:
requests need the token of the address, kept in a cookie, the Host and Origin of the address, and of those that change
something a header that no form of another page can send. No path from the page reaches the disk: uploads are files
of the server's own names in a folder that goes with it.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import json
import re
import secrets
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ganjax import UserError, experiment
from ganjax.data import provenance
from ganjax.evaluation import copies
from ganjax.media import image
from ganjax.sampling import project, recipes, sample, sampler
from ganjax.workdir import checkpoint

HERE = Path(__file__).parent
MOST_BYTES, MOST_PIXELS = 16_000_000, 16_000_000  # of an upload
MOST_SAMPLES, MOST_FRAMES, MOST_WAITING = 256, 60, 8
UPLOADS = {'PNG': '.png', 'JPEG': '.jpg', 'WEBP': '.webp', 'GIF': '.gif', 'BMP': '.bmp'}
TYPES = {'.png': 'image/png', '.gif': 'image/gif', '.wav': 'audio/wav', '.txt': 'text/plain'}
# Of `ganjax sample`: `keep_size` and what follows are not for a page.
FORMS = {
  'grid': '.png',
  'gif': '.gif',
  'npz': '.npz',
  'file': '',
}  # one file, its ending; file: as it is stored
FLAGS = {*recipes.FLAGS} - {'keep_size', 'tile', 'batch', 'batch_norm', 'format'}
POLICY = (
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
  'img-src blob: data:; media-src blob:'
)


class Studio:
  """A generator, and what is made of it: one thing at a time, in a thread."""

  def __init__(self, place, called=''):
    """Opens the run or file at `place`, which the user calls so. Raises UserError where there is none."""
    self.place, self._called = Path(place), called or str(place)
    self.load = functools.cache(experiment.load)
    self.read = _kept(sample.read)
    self.run = self.load(self.place)
    self._folder = tempfile.TemporaryDirectory(prefix='ganjax-explore-')
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._waiting, self._files, self._bank, self.jobs = 0, {}, None, {}

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._thread.shutdown(wait=False, cancel_futures=True)
    self._folder.cleanup()

  def about(self) -> dict:
    """What the page may offer."""
    method, record = self.run.method, experiment.saved_record(self.place)
    steps = [] if self.place.is_file() else checkpoint.list_steps(self.place)
    kinds = self.run.spans[-1].fields
    takes = [kinds[name].kind for name in method.examples]
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
      'picture': takes == ['image'],
      'text': 'text' in takes,
      'restores': bool(method.restores),
      'nearest': kinds[method.makes].kind == 'image',
    }

  async def do(self, work, *args):
    """Runs `work(*args)` in the thread; raises UserError where too much waits."""
    if self._waiting >= MOST_WAITING:
      raise UserError('too much is being made: wait a little')
    self._waiting += 1
    try:
      return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
    finally:
      self._waiting -= 1

  def make(self, recipe, source) -> tuple:
    """(the bytes that `ganjax sample` writes for a recipe, their ending).

    Args:
      recipe: {flag: value}, see `_check`, and 'form', one of FORMS.
      source: the name of an upload, or None.
    """
    given, form = dict(recipe), recipe.get('form', 'grid')
    given.pop('form', None)
    if form not in FORMS:
      raise UserError(f'there is no form {form!r}')
    _check(given)
    if source is not None:
      given[self._kind(source)] = str(self.path(source))
    if form == 'file':
      given['format'] = 'files'
    return sample.make(self.place, given, FORMS[form], self.load, self.read)

  def nearest(self, recipe, source) -> bytes:
    """A PNG: each sample of a recipe beside the pictures that the run was trained on which are nearest to it."""
    few = sampler.parse_seeds(str(recipe.get('seeds', '0')))[:6]
    asked = {**recipe, 'seeds': ','.join(map(str, few)), 'form': 'npz'}
    content, _ = self.make(asked, source)
    if self._bank is None:
      self._bank = copies.Bank(self.run)
    samples = np.load(io.BytesIO(content))['arr_0']
    return image.to_png(self._bank.draw(samples), {'Description': 'samples and training images'})

  def upload(self, content) -> str:
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
    return self._keep(content, ending)

  def find_styles(self, source, space, steps, say):
    """Styles that make an uploaded picture, of `ganjax project`; returns the name of the file."""
    out = Path(self._folder.name, f'{secrets.token_hex(8)}.npz')
    words = [f'--source={self.path(source)}', f'--space={space}', f'--steps={steps}']
    words += ['--distance=pixels', f'--out={out}']
    with contextlib.redirect_stdout(_Lines(say)):
      project.COMMAND.read(['project', str(self.place), *words])
      project.main()
    name = secrets.token_hex(8)
    self._files[name] = out
    return name

  def path(self, name) -> Path:
    """The file of a name that this server gave. Raises UserError for another."""
    if not isinstance(name, str) or name not in self._files:
      raise UserError('that file is not there: choose it again')
    return self._files[name]

  def _kind(self, name) -> str:
    return 'styles' if self.path(name).suffix == '.npz' else 'source'

  def _keep(self, content, ending) -> str:
    name = secrets.token_hex(8)
    self._files[name] = Path(self._folder.name, f'{name}{ending}')
    self._files[name].write_bytes(content)
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


def _check(recipe) -> dict:
  """A recipe that the page may ask for. Raises UserError for another, or one of too much."""
  for flag in recipe:
    if flag not in FLAGS:
      raise UserError(f'{flag!r} is no part of a recipe')
  recipes.check(recipe, 'the recipe')
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
  return recipe


def _count(values) -> int:
  """How many a flag of a recipe names at most: numbers, ranges and names joined by commas, or a list of such."""
  total = 0
  for part in ','.join(map(str, values if isinstance(values, list) else [values])).split(','):
    found = re.fullmatch(r'(\d{1,12})-(\d{1,12})', part.strip())
    total += int(found[2]) - int(found[1]) + 1 if found else 1
  return max(total, 1)


def build(studio, token, address) -> Starlette:
  """The application, for requests to `address` by those who know the token."""

  def guarded(handler):
    """Refuses what did not come from the page itself; errors become a line."""

    async def answer(request):
      sent = request.cookies.get('ganjax', '')
      if not secrets.compare_digest(sent.encode(), token.encode()):
        return _say('open the address that ganjax explore printed', 403)
      if request.method == 'POST':
        own = request.headers.get('origin') == address
        if not own or request.headers.get('x-ganjax') != '1':
          return _say('only the page itself may ask for that', 403)
      try:
        return await handler(request)
      except UserError as error:
        return _say(str(error), 400)

    return answer

  async def enter(request):
    if 'token' in request.query_params:
      given = request.query_params['token']
      if not secrets.compare_digest(given.encode(), token.encode()):
        return _say('this address is of another start of ganjax explore', 403)
      answer = RedirectResponse('/', 303)
      answer.set_cookie('ganjax', token, httponly=True, samesite='strict')
      return answer
    return await guarded(_file('explore.html', 'text/html; charset=utf-8'))(request)

  async def about(_):
    return JSONResponse(studio.about())

  async def make(request):
    asked = await _json(request)
    content, ending = await studio.do(studio.make, asked['recipe'], asked.get('source'))
    return Response(content, media_type=TYPES.get(ending, 'application/octet-stream'))

  async def near(request):
    asked = await _json(request)
    content = await studio.do(studio.nearest, asked['recipe'], asked.get('source'))
    return Response(content, media_type='image/png')

  async def upload(request):
    return JSONResponse({'source': await studio.do(studio.upload, await _body(request))})

  async def find(request):
    asked = await _json(request)
    space, steps = asked.get('space', 'w'), asked.get('steps', 100)
    if space not in ('w', 'w+') or not isinstance(steps, int) or not 1 <= steps <= 2000:
      raise UserError('space is w or w+, and steps 1 to 2000')
    studio.path(asked.get('source'))
    job = {'lines': [], 'done': None, 'error': None, 'began': time.time()}
    name = secrets.token_hex(8)
    studio.jobs[name] = job

    async def work():
      try:
        job['done'] = await studio.do(
          studio.find_styles, asked['source'], space, steps, job['lines'].append
        )
      except UserError as error:
        job['error'] = str(error)

    job['task'] = asyncio.create_task(work())
    return JSONResponse({'job': name})

  async def job(request):
    found = studio.jobs.get(request.path_params['name'])
    if found is None:
      raise UserError('there is no such job')
    return JSONResponse(
      {'line': (found['lines'] or [''])[-1], 'done': found['done'], 'error': found['error']}
    )

  secure = {
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  }

  class Headers:
    """Adds `secure` to every answer."""

    def __init__(self, app):
      self._app = app

    async def __call__(self, scope, receive, send):
      async def extended(message):
        if message['type'] == 'http.response.start':
          more = [(k.encode(), v.encode()) for k, v in secure.items()]
          message['headers'] = [*message.get('headers', []), *more]
        await send(message)

      await self._app(scope, receive, extended)

  return Starlette(
    routes=[
      Route('/', enter),
      Route('/explore.js', guarded(_file('explore.js', 'text/javascript'))),
      Route('/explore.css', guarded(_file('explore.css', 'text/css'))),
      Route('/about', guarded(about)),
      Route('/make', guarded(make), methods=['POST']),
      Route('/nearest', guarded(near), methods=['POST']),
      Route('/upload', guarded(upload), methods=['POST']),
      Route('/find', guarded(find), methods=['POST']),
      Route('/jobs/{name}', guarded(job)),
    ],
    middleware=[
      Middleware(Headers),
      Middleware(TrustedHostMiddleware, allowed_hosts=['127.0.0.1', 'localhost']),
    ],
  )


def _file(name, kind):
  async def answer(_):
    return Response((HERE / name).read_bytes(), media_type=kind)

  return answer


def _say(line, status):
  return JSONResponse({'error': line}, status)


async def _body(request) -> bytes:
  """The body of a request. Raises UserError where it is too large, before all of it is read."""
  content = bytearray()
  async for part in request.stream():
    content += part
    if len(content) > MOST_BYTES:
      raise UserError(f'the file has more than {MOST_BYTES // 1_000_000} MB')
  return bytes(content)


async def _json(request) -> dict:
  try:
    asked = json.loads(await _body(request))
    if not isinstance(asked, dict) or not isinstance(asked.get('recipe', {}), dict):
      raise ValueError
  except ValueError:
    raise UserError('the request is not understood') from None
  return {'recipe': {}, **asked}
