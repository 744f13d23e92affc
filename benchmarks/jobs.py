"""Long jobs made of runs of train.py and other commands: what the scripts of tables share.

A job may be stopped or killed at any time; started again, it goes on where it was.
"""

import argparse
import importlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# A script's own work and a training beside it may have to share a GPU.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

from ganjax import UserError
from ganjax.wording import closest
from ganjax.workdir import lock
from ganjax.workdir.files import replace_file


def folder(text) -> Path:
  """A folder named on a command line, for argparse: a job's commands work in this checkout. Raises UserError."""
  if '://' in text:
    raise UserError(f'{text} is in a bucket: a job can work in folders of a disk alone')
  return Path(text).expanduser().absolute()


def parser(doc) -> argparse.ArgumentParser:
  """The command line of a script of this doc, with --workdir, the job's folder."""
  made = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  made.add_argument('--workdir', required=True, type=folder)
  return made


def configure(name, base, *changes):
  """The configuration `base` of configs/, renamed, with the fields {'a.b': value} changed. Raises UserError."""
  known = sorted(path.stem for path in ROOT.glob('configs/*.py'))
  if base not in known:
    raise UserError(
      f'there is no config {base!r}{closest(base, known)}; there are {", ".join(known)}'
    )
  config = importlib.import_module(f'configs.{base}').get_config()
  config.name = name
  for field, value in (item for change in changes for item in change.items()):
    *parents, last = field.split('.')
    node = config
    for parent in parents:
      node = node[parent]
    with node.ignore_type():  # a number where there was a ramp
      node[last] = value
  return config


def pack(path, images, names):
  """Writes uint8 [N, H, W, C] of one or three channels as PNGs of these names into a zip archive, a data set.

  An archive that is there stays as it is. Raises UserError where it cannot be written.
  """
  if path.exists():
    return
  with replace_file(path) as file, zipfile.ZipFile(file, 'w') as archive:
    for image, name in zip(images, names, strict=True):
      png = io.BytesIO()
      Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(png, 'PNG')
      archive.writestr(name, png.getvalue())


def spread(values, form='.1f') -> str:
  """Mean and range of the values of several seeds, as tables show them."""
  mean = sum(values) / len(values)
  return f'{mean:{form}} ({min(values):{form}} to {max(values):{form}})'


def run(*command):
  """Runs `python COMMAND...` of this checkout, whose output is seen. Raises UserError where it fails."""
  with tempfile.TemporaryFile('w+') as errors:
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stderr=errors)
    stopped = []

    def stop(number, frame):
      """The command saves and exits, and the job with it. Ctrl-C reaches both by itself."""
      stopped.append(number)
      if number == signal.SIGTERM:
        process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    status = process.wait()
    for number, handler in before.items():
      signal.signal(number, handler)
    if stopped:
      sys.exit(128 + stopped[0])
    errors.seek(0)
    said = errors.read().strip().splitlines() or ['']
  if status:
    raise UserError(f'{" ".join(map(str, command[:2]))}: {said[-1].removeprefix("error: ")}')


def train(script, method, workdir, **fields):
  """Trains `--config SCRIPT:METHOD` in `workdir`, or goes on; `fields` are set on the command line."""
  wait_for(workdir)
  overrides = [f'--config.{k.replace("__", ".")}={v}' for k, v in fields.items() if v is not None]
  config = f'{Path(script).resolve()}:{method}'
  run('train.py', '--config', config, '--workdir', workdir, *overrides)


def wait_for(workdir):
  """Waits until nothing works in `workdir`: where a job was killed, its training may live on."""
  said = False
  while True:
    try:
      with lock.hold(workdir):
        return
    except UserError as error:
      if 'is in use' not in str(error):
        raise
      if not said:
        print(f'waiting: {error}', flush=True)
      said = True
      time.sleep(2)
