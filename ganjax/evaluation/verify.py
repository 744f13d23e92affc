"""Measures a generator again and compares with its records: ganjax verify emoji_upscaler

`ganjax evaluate NAME.safetensors --out NAME.jsonl` writes the records, next to NAME.safetensors. Each record has its
command. Every command is run again, and each value is compared. Exit status 1: a value differs.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
TOLERANCE = COMMAND.string(
  'tolerance',
  '1e-3',
  'Largest relative difference that counts as equal. Machines round differently.',
)

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import shlex
import tempfile
from pathlib import Path

import numpy as np

from ganjax import UserError
from ganjax import config as configs
from ganjax.evaluation import evaluate, records


def main() -> int:
  if len(COMMAND.arguments) != 1:
    raise UserError('name one generator, such as: ganjax verify emoji_upscaler')
  try:
    tolerance = float(TOLERANCE.value)
  except ValueError:
    raise UserError(f'--tolerance={TOLERANCE.value} is not a number') from None
  place = Path(commandline.find_run(COMMAND.arguments[0]))
  beside = place.with_suffix('.jsonl')
  known = records.read(beside) if place.is_file() and beside.exists() else []
  commands = list(dict.fromkeys(record['command'] for record in known if 'command' in record))
  if not commands:
    raise UserError(
      f'{beside} holds no records with their commands: ganjax evaluate {place} --out {beside} makes them'
    )
  with tempfile.TemporaryDirectory() as folder:
    out = Path(folder, 'again.jsonl')
    for command in commands:
      print(command, flush=True)
      evaluate.COMMAND.read(['evaluate', str(place), *_flags(command), f'--out={out}'])
      evaluate.main()
    again = {_key(record): record for record in records.read(out)}
  rows, wrong = [], 0
  for record in known:
    found = again.get(_key(record), {}).get('values', {})
    for name, value in record['values'].items():
      same = name in found and np.allclose(found[name], value, rtol=tolerance, atol=0)
      wrong += not same
      number = records.number(found.get(name))
      rows.append((name, records.number(value), number, 'equal' if same else 'NOT EQUAL'))
  print(records.table(rows, ('value', 'recorded', 'now', '')))
  return int(wrong > 0)


def _key(record):
  return record['metric'], record['preset'], _flags(record.get('command', ''))


def _flags(command) -> tuple:
  """The flags of a recorded command, without the run, which had another name where it was measured."""
  words = shlex.split(command)
  return tuple(one for one in words if one.startswith('--') and not one.startswith('--workdir='))


if __name__ == '__main__':
  configs.run(main)
