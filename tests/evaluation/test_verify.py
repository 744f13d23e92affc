"""ganjax verify: the records beside a generator are measured again."""

import json

import pytest

from ganjax import UserError, commandline
from ganjax.evaluation import records, verify


def run(*words):
  verify.COMMAND.read(['verify', *map(str, words)])
  return verify.main()


@pytest.fixture
def measured(tmp_path, monkeypatch):
  """NAME.safetensors with two records, and an evaluation that says psnr 29, ssim 0.75 and notes its command."""
  (tmp_path / 'G.safetensors').write_bytes(b'')
  line = 'ganjax evaluate runs/g --metrics=psnr,ssim --num=8'
  for metric, value in (('psnr', 29.0), ('ssim', 0.75)):
    record = {'metric': metric, 'preset': None, 'values': {metric: value}, 'command': line}
    records.append(tmp_path / 'G.jsonl', [record])
  seen = []

  def evaluate():
    command = verify.evaluate.COMMAND
    seen.append((command.arguments, verify.evaluate.METRICS.value, verify.evaluate.NUM.value))
    said = command.line('evaluate', ['out'])
    for metric, value in (('psnr', 29.0), ('ssim', 0.75)):
      record = {'metric': metric, 'preset': None, 'values': {metric: value}, 'command': said}
      records.append(verify.evaluate.OUT.value, [record])

  monkeypatch.setattr(verify.evaluate, 'main', evaluate)
  return tmp_path, seen


def test_each_command_is_run_once_on_the_file(measured, capsys):
  folder, seen = measured
  assert run(folder / 'G.safetensors') == 0
  assert seen == [([str(folder / 'G.safetensors')], 'psnr,ssim', 8)]
  assert capsys.readouterr().out.count('equal') == 2


def test_a_value_that_differs_is_said(measured, capsys):
  folder, _ = measured
  text = (folder / 'G.jsonl').read_text()
  (folder / 'G.jsonl').write_text(text.replace('29.0', '29.1'))
  assert run(folder / 'G.safetensors') == 1
  assert capsys.readouterr().out.count('NOT EQUAL') == 1
  assert run(folder / 'G.safetensors', '--tolerance=0.01') == 0


def test_without_records_it_says_how_to_make_them(measured):
  folder, _ = measured
  (folder / 'G.jsonl').unlink()
  with pytest.raises(UserError, match=r'G.jsonl holds no records .* ganjax evaluate .*--out'):
    run(folder / 'G.safetensors')


def test_a_command_line_is_written_as_it_would_be_typed():
  command = commandline.Command('', 'RUN')
  command.string('metrics', 'fid', '')
  command.strings('option', '')
  command.integer('num', 1, '')
  command.read(['x', 'a run', '--option=a=1', '--num=3', '--option', 'b=2'])
  assert command.line('do', ['num']) == "ganjax do 'a run' --option=a=1 --option=b=2"


def test_what_comes_along_has_records_of_its_own_bytes():
  """Each shipped generator: records with commands, of this file, or of held-out data in place of its samples."""
  import hashlib

  import ganjax.pretrained

  (folder,) = ganjax.pretrained.__path__
  files = sorted(commandline.Path(folder).glob('*.safetensors'))
  assert files
  for file in files:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    found = [json.loads(line) for line in file.with_suffix('.jsonl').read_text().splitlines()]
    of_samples = [record for record in found if ' --fake=' not in record['command']]
    assert of_samples and all(record['fake']['file']['sha256'] == digest for record in of_samples)
    assert all(record['command'].startswith(f'ganjax evaluate {file.stem} ') for record in found)
    assert not any(record['commit'].endswith('+') for record in found)
