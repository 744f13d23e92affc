import pytest


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
  """A decoded cache of each test's own."""
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'data'


@pytest.fixture
def tensorflow_trap(tmp_path):
  """A directory for the front of sys.path: `import tensorflow` leaves a file in it and fails."""
  trap = tmp_path / 'trap'
  (trap / 'tensorflow').mkdir(parents=True)
  (trap / 'tensorflow' / '__init__.py').write_text(
    f'open({str(trap / "imported")!r}, "w").close()\nraise ImportError("trap")\n'
  )
  yield trap
  assert not (trap / 'imported').exists(), 'TensorFlow was imported'
