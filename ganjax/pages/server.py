"""The server of `ganjax explore`, for its own page alone.

Requests need the token of the address, kept in a cookie, and the Host of the address; those that change something also
its Origin, and a header that no form of another page can send.
"""

import asyncio
import json
import secrets
import traceback
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ganjax import UserError
from ganjax.pages.studio import MOST_BYTES, Studio

HERE = Path(__file__).parent
TYPES = {'.png': 'image/png', '.gif': 'image/gif', '.wav': 'audio/wav', '.txt': 'text/plain'}
SECURE = {
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
  'img-src blob: data:; media-src blob:',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
}  # headers of every answer


def build(studio: Studio, token: str, address: str) -> Starlette:
  """The application, for requests to `address` by those who know the token."""
  jobs = {}  # {name: what has become of it}

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
      except Exception as error:  # noqa: BLE001 (whatever went wrong, the page hears of it)
        return _say(_line(error), 400 if isinstance(error, UserError) else 500)

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
    job = {'lines': [], 'done': None, 'error': None}
    name = secrets.token_hex(8)
    jobs[name] = job

    async def work():
      try:
        job['done'] = await studio.do(
          studio.find_styles, asked['source'], space, steps, job['lines'].append
        )
      except Exception as error:  # noqa: BLE001 (the page waits for an end)
        job['error'] = _line(error)

    job['task'] = asyncio.create_task(work())
    return JSONResponse({'job': name})

  async def job(request):
    found = jobs.get(request.path_params['name'])
    if found is None:
      raise UserError('there is no such job')
    return JSONResponse(
      {'line': (found['lines'] or [''])[-1], 'done': found['done'], 'error': found['error']}
    )

  async def secure(request, handler):
    answer = await handler(request)
    answer.headers.update(SECURE)
    return answer

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
      Middleware(BaseHTTPMiddleware, dispatch=secure),
      Middleware(TrustedHostMiddleware, allowed_hosts=['127.0.0.1', 'localhost']),
    ],
  )


def _file(name, kind):
  async def answer(_):
    return Response((HERE / name).read_bytes(), media_type=kind)

  return answer


def _line(error) -> str:
  """What the page shows of an error; one that is no user's is printed whole in the terminal."""
  if isinstance(error, UserError):
    return str(error)
  traceback.print_exception(error)
  return f'it failed, as the terminal says: {type(error).__name__}'


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
