"""What counts as a run that goes wrong, and what records remember."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from configs import dcgan_emoji
from ganjax import experiment
from ganjax.devices import sharding
from ganjax.evaluation import records
from ganjax.evaluation.monitor import Monitor, warnings


def _flags(*values):
  return [flag for flag, _ in warnings([(100 * (i + 1), v) for i, v in enumerate(values)])]


def test_a_run_that_gets_better_is_not_flagged():
  assert _flags() == []
  assert _flags({'fid': 300.0, 'recall': 0.1}) == []
  assert _flags({'fid': 300.0, 'recall': 0.1}, {'fid': 50.0, 'recall': 0.4}) == []
  assert _flags({'fid': 50.0}, {'fid': 99.0}) == []  # not yet twice
  assert _flags({'kid': 1e-4}, {'kid': 1e-3}) == []  # noise


def test_a_distance_twice_its_best_is_diverging():
  history = [(100, {'fd_x': 80.0}), (200, {'fd_x': 50.0}), (300, {'fd_x': 120.0})]
  ((flag, line),) = warnings(history)
  assert flag == 'diverging'
  assert line == 'diverging: fd_x 120 at step 300, more than twice its best, 50 at 200'
  assert _flags({'kid': 0.02}, {'kid': 0.05}) == ['diverging']
  assert _flags({'fid': 50.0}, {'fid': 120.0}, {'fid': 60.0}) == []  # it came back


def test_lost_recall_or_diversity_is_collapsing():
  assert _flags({'recall_x': 0.4, 'coverage_x': 0.5}, {'recall_x': 0.1, 'coverage_x': 0.5}) == [
    'collapsing'
  ]
  assert _flags({'sample_diversity': 0.3}, {'sample_diversity': 0.02}) == ['collapsing']
  assert _flags({'fid': 10.0, 'recall': 0.5}, {'fid': 100.0, 'recall': 0.0}) == [
    'diverging',
    'collapsing',
  ]
  assert (
    _flags({'precision': 0.9}, {'precision': 0.1}) == []
  )  # precision falls while a GAN gains modes


def test_spread_is_not_a_distance():
  assert _flags({'kid_std': 0.1}, {'kid_std': 0.9}) == []


def test_records_survive_a_cut_line_and_a_resume(tmp_path):
  path = tmp_path / records.NAME
  make = lambda step, by: {'by': by, 'step': step, 'values': {'fid': float(step)}}
  records.append(path, [make(100, 'training'), make(100, 'command')])
  records.append(path, [make(200, 'training'), make(200, 'command')])
  with path.open('a') as file:
    file.write('{"by": "training", "step": 300, "val')
  assert [r['step'] for r in records.read(tmp_path)] == [100, 100, 200, 200]
  records.drop_after(tmp_path, 150)  # resumed at 150: training's own later ones go, the user's stay
  assert [(r['step'], r['by']) for r in records.read(tmp_path)] == [
    (100, 'training'),
    (100, 'command'),
    (200, 'command'),
  ]
  assert records.read(tmp_path / 'nothing') == []
  with path.open('a') as file:
    file.write('{"by": "training", "st')
  records.append(path, [make(300, 'training')])  # does not join the line that was cut
  assert [r['step'] for r in records.read(tmp_path)] == [100, 100, 200, 300]


def test_nothing_is_lost_that_is_appended_while_training_drops(tmp_path):
  path, values = tmp_path / records.NAME, {'fid': 1.0}

  def evaluate():
    for step in range(100):
      records.append(path, [{'by': 'command', 'step': step, 'values': values}])

  with ThreadPoolExecutor() as pool:
    done = pool.submit(evaluate)
    while not done.done():
      records.append(path, [{'by': 'training', 'step': 9, 'values': values}])
      records.drop_after(tmp_path, 5)
    done.result()
  found = records.read(tmp_path)
  assert [r['step'] for r in found] == list(range(100)) and {r['by'] for r in found} == {'command'}


def test_a_hash_of_a_listing_is_called_one_in_older_records_too(tmp_path):
  """0.4.0 called it files_sha256, though no file was read for it."""
  record = {'by': 'training', 'step': 1, 'values': {'fid': 1.0}}
  old = {**record, 'real': {'name': 'folder:train', 'files_sha256': 'a' * 64}}
  records.append(tmp_path / records.NAME, [old, record, {**record, 'real': None}])
  first, *others = records.read(tmp_path)
  assert first['real'] == {'name': 'folder:train', 'listing_sha256': 'a' * 64}
  assert others == [record, {**record, 'real': None}]


def test_best_is_the_first_of_the_right_end():
  points = [(1, 3.0), (2, 1.0), (3, 1.0)]
  assert records.best(points, 'fid') == (2, 1.0)
  assert records.best(points, 'recall') == (1, 3.0)


def test_table_lines_up():
  lines = records.table(
    [('fid', '12.5', 1), ('recall', '-', 20)], ('metric', 'value', 'step')
  ).splitlines()
  assert lines == ['metric  value  step', 'fid      12.5     1', 'recall      -    20']


@pytest.mark.parametrize('real', [{'real': {'name': 'emoji:train'}, 'num_real': 40}, {}])
def test_a_run_that_no_longer_evaluates_may_have_a_value_without_a_good_end(real, tmp_path):
  config = dcgan_emoji.get_config()
  config.eval.update(every_steps=0, metrics='ms_ssim,is', num=16)
  run = experiment.build(config)
  fake = {'batch_norm': 'running', 'weights': 'ema' if run.method.ema else 'raw'}
  make = lambda step, preset, values: {
    'by': 'training',
    'step': step,
    'preset': preset,
    'num_fake': 16,
    'fake': fake,
    'values': values,
    **real,
  }
  found = [(10, None, {'ms_ssim': 0.2}), (10, 'monitor', {'is': 2.0}), (20, 'monitor', {'is': 1.0})]
  records.append(tmp_path / records.NAME, [make(*one) for one in found])
  monitor = Monitor(run, tmp_path, sharding.make_mesh(), 20)
  assert monitor.best_step is None and not monitor.due(30)
  assert monitor.summary() == 'ms_ssim (monitor): 0.2 at the last step evaluated, 10'
  run.config.eval.best = 'is'
  assert Monitor(run, tmp_path, sharding.make_mesh(), 20).best_step == 10
