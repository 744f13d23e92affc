"""python tests/toys/command.py train.py ...: one of the commands, with the toys beside the package's own files."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import toys  # noqa: E402

if __name__ == '__main__':
  toys.add()
  sys.argv = sys.argv[1:]
  runpy.run_path(str(ROOT / sys.argv[0]), run_name='__main__')
