"""Runs many command lines that end soon: each in a fork of this process, which has imported what they import.

Reads {name: [words, environment]} from a JSON file, and prints {name: [status, output, errors]}. A command line cannot
tell that it does not come from a shell, but by how fast its imports are.
"""

import gc
import importlib
import json
import os
import runpy
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = (
  'ganjax.workdir.bucket',
  'ganjax.workdir.curves',
  'ganjax.training.dispatch',
  'ganjax.evaluation.monitor',
  'ganjax.data.catalogue',
  'ganjax.data.emoji',
)
AT_A_TIME = 2


def main(cases, folder):
  """Returns the words of its case in a fork, and None in the process that forks."""
  running, done = {}, {}

  def wait():
    process, status = os.wait()
    name, files = running.pop(process)
    done[name] = [os.waitstatus_to_exitcode(status), *(file.read_text() for file in files)]

  for i, (name, (words, environment)) in enumerate(cases.items()):
    files = [folder / f'case{i}.{stream}' for stream in ('stdout', 'stderr')]
    process = os.fork()
    if not process:
      for stream, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
      os.environ.update(environment)
      # It was read when JAX was imported.
      jax.config.update('jax_platforms', os.environ['JAX_PLATFORMS'])
      return words
    running[process] = name, files
    if len(running) == AT_A_TIME:
      wait()
  while running:
    wait()
  json.dump(done, sys.stdout)
  return None


if __name__ == '__main__':
  sys.path[0] = str(ROOT)  # as of a script that lies there
  for module in IMPORTED:
    importlib.import_module(module)
  gc.freeze()  # a fork that ends would go through all of it
  path = Path(sys.argv[1])
  if words := main(json.loads(path.read_text()), path.parent):
    sys.argv = words
    if words[0].endswith('.py'):
      runpy.run_path(words[0], run_name='__main__')
    else:
      from ganjax import commandline

      sys.argv = ['ganjax', *words]
      commandline.main()
