"""A stand-in for Google's storage, with a bucket named `bucket`."""

import contextlib
import json
import urllib.parse
import urllib.request
from http.server import ThreadingHTTPServer

import command
import pytest
from gcp_storage_emulator import server


class _Server(ThreadingHTTPServer):
  request_queue_size = 1000  # gcsfs asks for all files at once


@contextlib.contextmanager
def storage():
  """The environment of processes that shall take it for Google's."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(server.server, 'HTTPServer', _Server)
    port = command.free_port()
    stand_in = server.create_server('localhost', port, in_memory=True, default_bucket='bucket')
    stand_in.start()
    # Else gcsfs asks Google which kind of bucket it is.
    kind = {'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false'}
    yield {'STORAGE_EMULATOR_HOST': f'http://localhost:{port}', **kind}
    stand_in.stop()


def fetch(environment, name, folder):
  """What is below `name` in the bucket now, as `gcloud storage rsync` would bring it."""
  at = f'{environment["STORAGE_EMULATOR_HOST"]}/storage/v1/b/bucket/o'
  with urllib.request.urlopen(at) as answer:
    names = [item['name'] for item in json.load(answer).get('items', ())]
  for one in (one for one in names if one.startswith(f'{name}/')):
    target = folder / one.removeprefix(f'{name}/')
    target.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(f'{at}/{urllib.parse.quote(one, "")}?alt=media') as answer:
      target.write_bytes(answer.read())
  return folder


def wait(environment, name, folder):
  """Fetches until there is a whole checkpoint; returns the step of the newest."""
  while not (found := [*fetch(environment, name, folder).glob('checkpoints/*/_METADATA')]):
    pass
  return max(int(index.parent.name) for index in found)
