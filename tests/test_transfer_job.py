"""benchmarks/transfer.py: what its runs are and start from, which layers stay, and its table."""

import runpy
import sys
from pathlib import Path

import command
import jax
import numpy as np
import pytest

from ganjax import UserError, data, experiment
from ganjax.data import emoji
from ganjax.evaluation import records
from ganjax.workdir import checkpoint

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'benchmarks/transfer.py'
sys.path.append(str(SCRIPT.parent))
JOB = runpy.run_path(str(SCRIPT), run_name='transfer')

import jobs  # noqa: E402


@pytest.mark.parametrize('run', JOB['TITLES'])
def test_the_ways_differ_in_their_start_and_in_what_is_frozen(run):
  config = JOB['get_config'](run)
  assert config.name == f'transfer_{run}'
  scratch = JOB['get_config']('scratch')
  assert (config.steps, config.seeds) == (scratch.steps, scratch.seeds) == (2000, 3)
  assert bool(config.method.get('freeze_D')) == (run == 'frozen')
  for one in config, scratch:
    one.name, one.method.freeze_D = 'same', ()
  assert config == scratch
  # What a run starts from has its networks.
  source = experiment.build(JOB['get_config']('source'))
  assert source.config.networks == config.networks and source.config.seeds == 1


def test_a_run_that_is_not_known_is_one_line():
  with pytest.raises(UserError, match="'frosen' is not known; there are source, scratch, tran"):
    JOB['get_config']('frosen')


def test_the_job(tmp_path, monkeypatch, capsys):
  """Its runs, in their order, with 200 drawings of one style; what they measured is its table."""
  began = []

  def train(script, run, workdir, **fields):
    began.append((run, workdir, fields))
    workdir.mkdir()
    for step in 400, 2000:
      for seed in range(3):
        values = {JOB['METRIC']: step / 10 + seed * len(began)}
        one = {'metric': JOB['METRIC'], 'step': step, 'values': values}
        records.append(workdir / records.NAME, [one])

  monkeypatch.setattr(jobs, 'train', train)
  monkeypatch.setattr(sys, 'argv', ['transfer.py', '--workdir', str(tmp_path)])
  JOB['main']()
  assert [(run, workdir.name) for run, workdir, _ in began] == [(r, r) for r in JOB['RUNS']]
  source, scratch, *others = (fields for *_, fields in began)
  assert source == {'data__data_dir': tmp_path / 'noto.zip'}
  assert scratch['init_from'] is None
  assert all(one == {**scratch, 'init_from': tmp_path / 'source'} for one in others)
  few = {name.split('__')[1]: value for name, value in scratch.items() if '__' in name}
  found = data.build(dataset='folder', resolution=64, **few)
  assert found.num_examples == 200
  known, styles = emoji.load(), {'noto.zip': 'noto', 'fluent_flat.zip': 'fluent_flat'}
  for file, style in styles.items():
    own = known['image'][known['style'] == known['styles'].index(style)]
    whole = data.build(dataset='folder', data_dir=str(tmp_path / file), resolution=64)
    np.testing.assert_array_equal(whole.read(np.arange(whole.num_examples))['image'], own)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith('| steps | from scratch | transferred | transferred, ')
  assert lines[1:] == [
    '|---|---|---|---|',
    '| 400 | 42.0 (40.0 to 44.0) | 43.0 (40.0 to 46.0) | 44.0 (40.0 to 48.0) |',
    '| 2,000 | 202.0 (200.0 to 204.0) | 203.0 (200.0 to 206.0) | 204.0 (200.0 to 208.0) |',
  ]


@pytest.mark.slow
def test_frozen_layers_are_those_of_the_source(tmp_path):
  """A tiny form of two runs: the two lower convolutions stay, what is above them learns."""
  fields = {
    'data.data_dir': command.pictures(),
    'networks.width': 4,
    'steps': 3,
    'eval.every_steps': 0,
  }
  few = [f'--config.{name}={value}' for name, value in fields.items()]
  runs = ('source', []), ('frozen', [f'--config.init_from={tmp_path}/source'])
  for run, more in runs:
    config = ['--config', f'{SCRIPT}:{run}', '--workdir', tmp_path / run]
    command.succeed('train.py', *config, *few, *more)
  source, frozen = (checkpoint.read(tmp_path / run)[0]['params']['D'] for run, _ in runs)
  for name, layer in frozen.items():
    kept = [
      np.array_equal(mine, np.broadcast_to(theirs, mine.shape))
      for mine, theirs in zip(jax.tree.leaves(layer), jax.tree.leaves(source[name]))
    ]
    assert all(kept) if name in ('Conv_0', 'Conv_1', 'BatchNorm_0') else not any(kept), name
