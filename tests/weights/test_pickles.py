"""Pickles of whole networks: read as names and dictionaries; hostile and foreign ones refused, and nothing is run."""

import os
import pickle
import sys
import types
from pathlib import Path

import pytest

from ganjax import UserError
from ganjax.weights import pickles, stylegans


class Call:
  def __init__(self, function, *args):
    self.args = function, args

  def __reduce__(self):
    return self.args


@pytest.fixture
def rebuild(monkeypatch):
  """torch_utils.persistence's function, which compiles the source text that it is given."""

  def _reconstruct_persistent_obj(meta):
    exec(meta['module_src'], {})

  module = types.ModuleType('torch_utils.persistence')
  module._reconstruct_persistent_obj = _reconstruct_persistent_obj
  _reconstruct_persistent_obj.__module__ = module.__name__
  _reconstruct_persistent_obj.__qualname__ = '_reconstruct_persistent_obj'
  monkeypatch.setitem(sys.modules, 'torch_utils', types.ModuleType('torch_utils'))
  monkeypatch.setitem(sys.modules, module.__name__, module)
  return _reconstruct_persistent_obj


def network(rebuild, modules=(), **settings):
  state = dict(_parameters={}, _buffers={}, _modules=dict(modules), _init_kwargs=settings)
  source = "open('ran', 'w')"
  return Call(rebuild, dict(type='class', module_src=source, class_name='Generator', state=state))


@pytest.mark.parametrize('protocol', [2, 4])
def test_source_text_is_not_run(rebuild, protocol, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  data = pickle.dumps({'G_ema': network(rebuild, mapping_kwargs={'layers': 2}, z_dim=3)}, protocol)
  found = pickles.read(data, 'x.pkl')
  assert found == {'G_ema': pickles.Module('Generator', {}, {'layers': 2, 'z_dim': 3})}
  assert not Path('ran').exists()
  pickle.loads(data)
  assert Path('ran').exists()  # the payload works


def test_a_discriminator_of_features_is_left_out(rebuild, monkeypatch):
  """projected-gan's, a plain class, also where one module stands in two places."""
  module = types.ModuleType('pg_modules.discriminator')
  module.ProjectedDiscriminator = type('ProjectedDiscriminator', (), {})
  module.ProjectedDiscriminator.__module__ = module.__name__
  monkeypatch.setitem(sys.modules, 'pg_modules', types.ModuleType('pg_modules'))
  monkeypatch.setitem(sys.modules, module.__name__, module)
  D, shared = module.ProjectedDiscriminator(), network(rebuild)
  D._modules = {'a': shared, 'b': shared}
  found = pickles.read(pickle.dumps({'G_ema': network(rebuild), 'D': D}, 4), 'x.pkl')
  assert [*found] == ['G_ema']


def test_hostile_and_foreign_files_are_refused(rebuild, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  shared = network(rebuild)
  deep = network(rebuild)
  for _ in range(80):
    deep = network(rebuild, {'a': deep})
  cases = {
    'system': {'G_ema': Call(os.system, 'touch ran')},
    'getattr': {'G': network(rebuild, {'a': Call(getattr, 'a', 'system')})},
    'in two places': {'G_ema': network(rebuild, {'a': shared, 'b': shared})},
    'too deep': {'G_ema': deep},
    'NoneType where a str': {'G_ema': Call(rebuild, {})},
    'list where a dict': [1],
    'holds no networks': {'a': 1},
    'Generator, is none of StyleGAN2, StyleGAN3 or FastGAN': {'G_ema': shared},
    'holds no G_ema; it has G, D': {'G': shared, 'D': network(rebuild)},
  }
  for says, value in cases.items():
    path = tmp_path / 'x.pkl'
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(UserError) as error:
      stylegans.describe(stylegans.read(path, 'stylegan'), path)
    line = str(error.value)
    assert says in line and 'x.pkl' in line and '\n' not in line and len(line) < 400, line
    assert not Path('ran').exists()
  path.write_bytes(b'<html>')
  with pytest.raises(UserError, match='cannot read .*x.pkl'):
    stylegans.read(path, 'stylegan')
  with pytest.raises(UserError, match='cannot read .*nothing.pkl: No such file'):
    stylegans.read(tmp_path / 'nothing.pkl', 'stylegan')
