"""What config.json keeps of where a run began and where it went on."""

import json
from types import SimpleNamespace

import jax
import pytest
from ml_collections import ConfigDict

from configs import dcgan_emoji
from ganjax import experiment, run_record
from ganjax.devices import sharding

SOURCES = [SimpleNamespace(info={'dataset': 'emoji', 'size': (64, 64)}, class_names=None)]


@pytest.fixture(scope='module')
def run():
  return experiment.build(ConfigDict(dcgan_emoji.get_config()))


def again(run, devices, saved=None, step=0, **changes):
  """config.json as it is after a start on so many devices."""
  mesh = sharding.make_mesh(jax.devices()[:devices])
  run = run._replace(config=run.config.copy_and_resolve_references())
  run.config.update(changes)
  return json.loads(json.dumps(run_record.record(run, SOURCES, mesh, saved, step)))


def test_what_made_a_finished_run_stays(run):
  """Started again elsewhere it trains nothing: the machine that did stays on record."""
  first = again(run, 1)
  assert first['devices']['count'] == 1 and first['history'] == []
  assert again(run, 4, first, run.config.steps) == first


def test_what_made_later_steps_is_added_where_it_differs(run, monkeypatch):
  first = again(run, 1)
  assert again(run, 1, first, 100) == first, 'nothing is new'
  moved = again(run, 4, first, 200)
  assert {k: v for k, v in moved.items() if k != 'history'} == {
    k: v for k, v in first.items() if k != 'history'
  }
  names = ('commit', 'versions', 'devices', 'processes', 'activations', 'data')
  (entry,) = moved['history']
  assert entry == {
    'step': 200,
    **{name: first[name] for name in names},
    'devices': entry['devices'],
  }
  assert entry['devices']['count'] == 4 and run_record.newest(moved)['devices']['count'] == 4
  assert again(run, 4, moved, 300) == moved
  monkeypatch.setattr(run_record, 'commit', lambda: 'f' * 40)
  upgraded = again(run, 4, moved, 300)
  assert [e['step'] for e in upgraded['history']] == [200, 300]
  assert upgraded['history'][1]['commit'] == 'f' * 40
  # Checkpoints from 250 on were damaged: steps that the machine of 300 made are made anew.
  assert [e['step'] for e in again(run, 1, upgraded, 250)['history']] == [200, 250]
  assert again(run, 1, upgraded, 150)['history'][0]['step'] == 150


def test_the_configuration_is_that_of_the_newest_start_and_other_fields_stay(run):
  first = {**again(run, 1), 'more': 'kept'}
  longer = again(run, 1, first, 100, steps=run.config.steps + 7)
  assert longer['config']['steps'] == first['config']['steps'] + 7 and longer['more'] == 'kept'
  fresh = again(run, 4, first, 0)
  assert fresh['devices']['count'] == 4 and fresh['history'] == [], 'nothing was trained before'


def test_files_of_older_versions_have_no_history(run):
  old = again(run, 1)
  del old['history'], old['activations']
  found = again(run, 4, old, 100)
  assert found['devices']['count'] == 1
  assert [(e['step'], e['devices']['count']) for e in found['history']] == [(100, 4)]
  assert run_record.newest(old) == old
