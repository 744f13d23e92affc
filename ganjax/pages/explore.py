"""Explores a generator in the browser: ganjax explore emoji_upscaler

RUN is a run's workdir, a file of `ganjax export`, or the name of a pretrained generator. The page opens in a browser
on this machine only, at the address that is printed. Ctrl-C ends it. It offers what the generator can do: seeds,
classes, options, style mixing, directions, videos, checkpoints, texts, your own pictures.
It needs the extra `explore`.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
WORKDIR = COMMAND.string('workdir', None, 'The run, instead of RUN.')
PORT = COMMAND.integer('port', 0, 'Port of the address; by default a free one.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import secrets
import socket

from ganjax import UserError
from ganjax import config as configs
from ganjax.devices import processes


def main() -> None:
  try:
    import uvicorn

    from ganjax.pages import server, studio
  except ImportError as error:
    raise UserError(
      f"the package {error.name} is missing: in the checkout, pip install '.[explore]'"
    ) from None
  place = COMMAND.run(WORKDIR)
  processes.start()
  token = secrets.token_urlsafe(16)
  called = (COMMAND.arguments or [WORKDIR.value])[0]
  with studio.Studio(place, called) as made, socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind(('127.0.0.1', PORT.value))
    except (OSError, OverflowError) as error:
      raise UserError(f'--port={PORT.value}: {error}') from None
    address = f'http://127.0.0.1:{listener.getsockname()[1]}'
    app = server.build(made, token, address)
    print(f'{address}/?token={token}', flush=True)
    how = dict(log_level='warning', lifespan='off', server_header=False)
    uvicorn.Server(uvicorn.Config(app, **how)).run(sockets=[listener])


if __name__ == '__main__':
  configs.run(main)
