"""ganjax compare in the process that tests; as users run it in test_evaluate.py."""

import pytest

from ganjax.evaluation import compare, records


@pytest.fixture
def run(tmp_path, monkeypatch):
  """The directory that the command is run in, with a file of records."""
  monkeypatch.chdir(tmp_path)
  values = {'preset': 'ttur', 'num_fake': 24, 'fake': {'name': 'g', 'weights': 'ema'}}
  fid = {**values, 'step': 10, 'num_real': 40, 'real': {'name': 'r'}, 'values': {'fid': 3.5}}
  score = {**values, 'step': 10, 'values': {'is': 2.5, 'is_std': 0.1}}
  records.append(tmp_path / 'a.jsonl', [fid, score])
  return tmp_path


def test_a_picture_is_drawn_only_where_out_says(run, capsys):
  compare.COMMAND.read(['ganjax compare', 'a.jsonl'])
  compare.main()
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert [row[:2] for row in rows[1:]] == [['a', 'fid'], ['a', 'is']]
  assert rows[1][3:7] == ['ema', '24', '40', 'r'] and rows[2][3:6] == ['ema', '24', '-']
  assert [path.name for path in run.iterdir()] == ['a.jsonl']
  compare.COMMAND.read(['ganjax compare', 'a.jsonl', '--out=b.png'])
  compare.main()
  assert (run / 'b.png').read_bytes()[:4] == b'\x89PNG'
