"""The id of a run, and the version that left it."""

import json
import shutil

import command
import jax
import pytest

from ganjax import UserError, experiment, run_record, run_state
from ganjax.devices import sharding
from ganjax.workdir import checkpoint


@pytest.fixture
def copied(tmp_path):
  """A finished run, to be spoilt."""
  return shutil.copytree(command.finished()[0], tmp_path / 'run')


def edit(workdir, change):
  path = workdir / 'config.json'
  saved = json.loads(path.read_text())
  change(saved)
  path.write_text(json.dumps(saved))


def test_made_once_and_kept(tmp_path):
  one, other = (run_record.run_id(tmp_path, {}) for _ in range(2))
  assert one != other
  (tmp_path / 'config.json').write_text(json.dumps({'run': one}))
  for meta in ({}, {'run': one}):
    assert run_record.run_id(tmp_path, meta) == one
  with pytest.raises(UserError, match=f'config.json is of run {one}, and .* are of run {other}'):
    run_record.run_id(tmp_path, {'run': other})
  # Versions without ids left neither, or went on with a run that had one.
  (tmp_path / 'config.json').write_text('{}')
  assert run_record.run_id(tmp_path, {'run': other}) == other
  assert run_record.run_id(tmp_path, {}) not in (one, other)


def test_pictures_are_not_made_of_the_files_of_two_runs(copied):
  run, mesh = experiment.load(copied), sharding.make_mesh(jax.devices()[:1])
  look = lambda: run_state.read_generator(run, copied, mesh, step=None, weights='ema')
  with jax.set_mesh(mesh):
    assert look()[1] == 100
    edit(copied, lambda saved: saved.pop('run'))  # a run of a version without ids
    assert look()[1] == 100
    edit(copied, lambda saved: saved.update(run='another'))
    with pytest.raises(UserError, match='config.json is of run another, and the checkpoints'):
      look()


def test_states_of_a_newer_version_are_said_to_be(copied):
  """Its networks may have other arrays under the same configuration."""
  run, mesh = experiment.load(copied), sharding.make_mesh(jax.devices()[:1])
  fewer = run._replace(optimizers={**run.optimizers, 'G': run.optimizers['D']})
  fewer = fewer._replace(method=run.method._replace(ema=()))
  restore = lambda: run_state.restore(fewer, checkpoint.Checkpoints(copied), mesh)
  with pytest.raises(UserError, match='^checkpoint .* is of another configuration'):
    restore()
  edit(copied, lambda saved: saved['versions'].update(ganjax='99.0'))
  with pytest.raises(UserError, match='/run is of ganjax 99.0, newer than this .* update this one'):
    restore()
  # What it left alike is taken.
  assert run_state.restore(run, checkpoint.Checkpoints(copied), mesh)[1] == 100
