"""Files of torch.save: read without torch; hostile ones refused, with nothing run.

zip.pth and legacy.pth were written by torch 2.14.1: `torch.save` of an OrderedDict of what `TENSORS` gives, in which
`turned`, `part` and `step` are views of `whole` (`.T`, `[1:, 1:3]`, `[:, ::2]`), `brain` is bfloat16 and `half` a
Parameter, with `_metadata`; the second with `_use_new_zipfile_serialization=False`.
"""

import builtins
import collections
import functools
import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ganjax import UserError
from ganjax.weights import torch_file

HERE = Path(__file__).parent
WHOLE = np.arange(12, dtype=np.float32).reshape(3, 4)
TENSORS = {
  'whole': WHOLE,
  'turned': WHOLE.T,
  'part': WHOLE[1:, 1:3],
  'step': WHOLE[:, ::2],
  'half': np.array([0.5, -2], np.float16),
  'brain': np.array([1.5, -3], np.float32),
  'count': np.array(7),
  'flags': np.array([True, False]),
  'nothing': np.zeros((0, 3), np.float32),
}
ZIP, LEGACY = ((HERE / f'{name}.pth').read_bytes() for name in ('zip', 'legacy'))


@pytest.mark.parametrize('data', [ZIP, LEGACY], ids=['zip', 'legacy'])
def test_both_formats_of_torch(data):
  tensors = torch_file.read(data)
  assert list(tensors) == list(TENSORS)
  for name, want in TENSORS.items():
    np.testing.assert_array_equal(tensors[name], want)
    assert tensors[name].dtype == want.dtype, name
    assert not tensors[name].size or not tensors[name].flags.writeable
  assert np.shares_memory(tensors['whole'], tensors['turned'])


def test_dictionaries_of_python_2():
  """An OrderedDict was pickled as a call with a list of [key, value]."""
  item = tensor()[len(b'\x80\x02}U\x01a') : -2]
  pickled = b'\x80\x02ccollections\nOrderedDict\n](](U\x01a' + item + b'ee\x85R.'
  for wrap in (zipped, legacy):
    assert torch_file.read(wrap(pickled))['a'].shape == (12,)


@pytest.mark.parametrize('data', [ZIP, LEGACY], ids=['zip', 'legacy'])
def test_big_endian_files_are_refused(data):
  if data is LEGACY:
    foreign = data.replace(b'little_endianq\x02\x88', b'little_endianq\x02\x89')
  else:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, 'w') as new:
      for name in old.namelist():
        new.writestr(name, b'big' if name.endswith('byteorder') else old.read(name))
    foreign = stream.getvalue()
  assert foreign != data
  with pytest.raises(UserError, match='not (little-endian|a file of torch.save)'):
    torch_file.read(foreign)


def test_fresh_files_of_torch(tmp_path):
  torch = pytest.importorskip('torch')
  base = torch.randn(4, 5, 6)
  tensors = {
    'a': base.permute(2, 0, 1),
    'b': base[1:3, :, 2],
    'c': torch.randn(7).double(),
    'd': torch.tensor([1.5, -2.5]).bfloat16(),
    'e': torch.nn.Parameter(torch.randn(2, 3)),
    'f': torch.arange(6).to(torch.int16).reshape(2, 3).T,
  }
  for zipped in (True, False):
    torch.save(tensors, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped)
    found = torch_file.read((tmp_path / 'x.pth').read_bytes())
    for name, want in tensors.items():
      want = want.detach().float() if name == 'd' else want.detach()
      np.testing.assert_array_equal(found[name], want.numpy())


@pytest.mark.parametrize('zipped', [True, False])
def test_a_tensor_whose_negation_torch_put_off_is_refused_by_name(zipped, tmp_path):
  torch = pytest.importorskip('torch')
  tensors = {'a': torch.ones(3), 'layer.weight': torch._neg_view(torch.ones(3))}
  torch.save(tensors, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped)
  with pytest.raises(UserError, match=r"'layer.weight' has 'neg' put off: save tensor.resolve_neg"):
    torch_file.read((tmp_path / 'x.pth').read_bytes())
  tensors['layer.weight'] = tensors['layer.weight'].resolve_neg()
  torch.save(tensors, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped)
  np.testing.assert_array_equal(
    torch_file.read((tmp_path / 'x.pth').read_bytes())['layer.weight'], -np.ones(3)
  )


# Files that a person could be sent. What they hold, if run, makes a file `ran` in the working directory.


class Runs:
  def __init__(self, function, *args):
    self.args = function, args

  def __reduce__(self):
    return self.args


def zipped(pickled: bytes, storages=(('0', bytes(48)),), compression=zipfile.ZIP_STORED) -> bytes:
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w', compression) as archive:
    archive.writestr('x/data.pkl', pickled)
    for key, raw in storages:
      archive.writestr(f'x/data/{key}', raw)
  return stream.getvalue()


def legacy(pickled: bytes) -> bytes:
  head = 0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}
  parts = [pickle.dumps(x, 2) for x in head]
  keys = ['0'] if b'U\x010' in pickled else []
  parts += [pickled, pickle.dumps(keys, 2), struct.pack('<q', 12), bytes(48)]
  return b''.join(parts)


def tensor(shape=b'K\x0c\x85', strides=b'K\x01\x85', *, offset=b'K\x00', count=b'K\x0c', **names):
  """A pickle {'a': tensor}, by default 12 elements of storage '0', written opcode by opcode."""
  cls = names.get('cls', b'torch\nFloatStorage')
  rebuild = names.get('rebuild', b'torch._utils\n_rebuild_tensor_v2')
  pid = b'(U\x07storagec' + cls + b'\nU\x010U\x03cpu' + count + b'tQ'
  rest = names.get('rest', b'\x89}')  # requires_grad, backward hooks, and more
  args = b'(' + pid + offset + shape + strides + rest + b't'
  return b'\x80\x02}U\x01ac' + rebuild + b'\n' + args + b'Rs.'


def shell():
  return Runs(os.system, 'touch ran')


BIG = b'J\xff\xff\xff\x7f'  # BININT 2^31 - 1
EXPLOSIVE = b'(' + b'K\x01' * 9 + b't'  # nine axes
# A tuple of 2^60 leaves, as a key.
NESTED = b'\x80\x02))\x86q\x00' + b'h\x00h\x00\x86q\x00' * 60 + b'}h\x00K\x01s.'
COPIES = b'\x80\x02}U\x01a](' + b'](U\x01aK\x01e' * 10_000 + b'eq\x00'
COPIES += b's(' + b'U\x01bccollections\nOrderedDict\nh\x00\x85R' * 10_000 + b'u.'
PICKLES = {
  'os.system': (pickle.dumps(shell(), 2), 'system'),
  'inside a dictionary': (pickle.dumps({'a': shell()}, 2), 'system'),
  'inside an OrderedDict': (pickle.dumps(collections.OrderedDict(a=shell()), 2), 'system'),
  'getattr': (pickle.dumps(Runs(getattr, shell(), 'a'), 2), 'getattr'),
  'partial': (pickle.dumps(functools.partial(os.system, 'touch ran'), 2), 'partial'),
  'eval': (pickle.dumps(Runs(builtins.eval, "open('ran', 'w')"), 2), 'eval'),
  'STACK_GLOBAL': (pickle.dumps(shell(), 4), 'FRAME'),
  'STACK_GLOBAL alone': (b'\x8c\x05posix\x8c\x06system\x93.', 'SHORT_BINUNICODE'),
  'STACK_GLOBAL of old strings': (b'U\x05posixU\x06system\x93.', 'STACK_GLOBAL'),
  'INST': (b"(S'touch ran'\niposix\nsystem\n.", 'STRING'),
  'INST alone': (b'(U\x09touch raniposix\nsystem\n.', 'INST'),
  'OBJ': (b'(cposix\nsystem\nU\x09touch rano.', 'system'),
  'OBJ of an allowed class': (b'(ccollections\nOrderedDict\no.', 'OBJ'),
  'NEWOBJ': (b'ccollections\nOrderedDict\n)\x81.', 'NEWOBJ'),
  'EXT1': (b'\x82\x01.', 'EXT1'),
  'text persistent id': (b'Pstorage\n.', 'PERSID'),
  'a name below an allowed one': (b'ctorch._utils\n_rebuild_tensor_v2.__globals__\n.', 'globals'),
  'a dotted module': (b'ctorch._utils.os\nsystem\n.', 'system'),
  'torch.load': (b'ctorch\nload\nU\x01a\x85R.', 'load'),
  'a storage called': (b'ctorch\nFloatStorage\nK\x05\x85R.', 'FloatStorage'),
  'BUILD on a storage': (b'ctorch\nFloatStorage\n}U\x01aK\x01sb.', 'Global where a dict'),
  'BUILD on a tensor': (tensor()[:-2] + b'}bs.', 'Tensor where a dict'),
  'a hundred million elements': (tensor(b'J\x00\xe1\xf5\x05\x85'), 'exceeds its storage'),
  'giant by stride 0': (tensor(BIG + BIG + b'\x86', b'K\x00K\x00\x86'), 'exceeds its storage'),
  'giant and empty': (tensor(BIG + BIG + b'K\x00\x87', b'K\x01K\x01\x86'), 'number of axes'),
  'offset past the end': (tensor(offset=b'K\x01'), 'exceeds its storage'),
  'negative offset': (tensor(b'K\x01\x85', offset=b'J\xff\xff\xff\xff'), 'strange shape'),
  'negative stride': (tensor(b'K\x02\x85', b'J\xff\xff\xff\xff\x85'), 'strange shape'),
  'negative size': (tensor(b'J\xff\xff\xff\xff\x85'), 'strange shape'),
  'a shape of text': (tensor(b'U\x01a\x85'), 'strange shape'),
  'nine axes': (tensor(EXPLOSIVE, EXPLOSIVE), 'number of axes'),
  'a storage smaller than it says': (tensor(count=b'K\x0d'), 'storage'),
  'a storage of 2^31 elements': (tensor(count=BIG), 'storage'),
  'a storage of -12 elements': (tensor(count=b'J\xf4\xff\xff\xff'), 'storage'),
  'a wider type': (tensor(cls=b'torch\nDoubleStorage'), 'storage'),
  'an unknown type': (tensor(cls=b'torch\nQInt8Storage'), 'QInt8Storage'),
  'a class that is no storage': (tensor(cls=b'collections\nOrderedDict'), 'unknown kind'),
  'another rebuild': (tensor(rebuild=b'torch._utils\n_rebuild_device_tensor'), 'rebuild_device'),
  'rebuild of nothing': (b'ctorch._utils\n_rebuild_tensor_v2\n)R.', 'values to unpack'),
  'a key that takes forever to hash': (NESTED, 'tuple where a'),
  'ten thousand copies of a long list': (COPIES, 'no dictionary of tensors'),
  'memo of 2^31': (b'\x80\x02}r\xff\xff\xff\x7f.', 'no dictionary of tensors'),
  'empty stack': (b'\x80\x02R.', 'pop from empty list'),
  'negation put off': (tensor(rest=b'\x89}}U\x03neg\x88s'), "'a' has 'neg' put off"),
  'unknown metadata': (tensor(rest=b'\x89}}U\x03newK\x01s'), "'a' has 'new' put off"),
  'metadata of another kind': (tensor(rest=b'\x89}K\x01'), 'int where a dict'),
  'backward hooks': (tensor(rest=b'\x89}K\x01K\x02s'), 'backward hooks'),
  'more than a tensor has': (tensor(rest=b'\x89}NK\x01'), 'more than torch writes'),
  'no tensors': (pickle.dumps({'a': 1}, 2), 'no dictionary of tensors'),
  'no dictionary': (pickle.dumps([1], 2), 'list where a dict'),
  'text for a pickle': (b'<html>', 'cannot read'),
}


@pytest.mark.parametrize('wrap', [zipped, legacy])
@pytest.mark.parametrize('pickled, says', PICKLES.values(), ids=PICKLES)
def test_hostile_files_are_refused_in_one_line(pickled, says, wrap, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  start = time.perf_counter()
  with pytest.raises(UserError) as error:
    torch_file.read(wrap(pickled))
  line = str(error.value)
  assert says in line
  assert '\n' not in line and len(line) < 300
  assert time.perf_counter() - start < 5
  assert not Path('ran').exists()


def test_the_handmade_pickle_is_well_made():
  """Else the tests above would refuse for want of skill."""
  for wrap in (zipped, legacy):
    for rest in (b'\x89}', b'\x89}N', b'\x89}}', b'\x89}}U\x03neg\x89s'):
      np.testing.assert_array_equal(torch_file.read(wrap(tensor(rest=rest)))['a'], np.zeros(12))


def test_the_payload_works(tmp_path, monkeypatch):
  """pickle.load runs it, in a process of its own: the tests above see what they look for."""
  (tmp_path / 'x.pkl').write_bytes(pickle.dumps(shell(), 2))
  code = "import pickle; pickle.load(open('x.pkl', 'rb'))"
  subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)
  assert (tmp_path / 'ran').exists()


@pytest.mark.parametrize('data', [ZIP, LEGACY], ids=['zip', 'legacy'])
def test_every_truncation_is_refused(data):
  for length in [*range(0, len(data) - 1, 17), len(data) - 1]:
    with pytest.raises(UserError, match='cannot read'):
      torch_file.read(data[:length])


@pytest.mark.parametrize('data', [ZIP, LEGACY], ids=['zip', 'legacy'])
def test_damaged_bytes_give_tensors_or_a_user_error(data):
  """Never another exception, a crash or a tensor larger than the file."""
  rng = np.random.default_rng(0)
  for _ in range(1000):
    damaged = bytearray(data)
    for place in rng.integers(0, len(data), 3):
      damaged[place] = rng.integers(256)
    try:
      tensors = torch_file.read(bytes(damaged))
    except UserError:
      continue
    assert all(x.size <= 2 * len(data) for x in tensors.values())


def test_zip_bombs_are_refused():
  bomb = zipped(
    tensor(b'J\x00\x00\x00\x01\x85', count=b'J\x00\x00\x00\x01'), [('0', bytes(1 << 26))]
  )
  assert torch_file.read(bomb)['a'].shape == (1 << 24,)
  packed = zipped(tensor(), [('0', bytes(1 << 26))], zipfile.ZIP_DEFLATED)
  with pytest.raises(UserError, match='compressed'):
    torch_file.read(packed)
  # Two thousand names for one stored entry.
  stream = io.BytesIO(zipped(tensor(), [('0', bytes(4096))]))
  with zipfile.ZipFile(stream, 'a') as archive:
    entry = archive.getinfo('x/data/0')
    archive.filelist += [entry] * 2000
    archive._didModify = True
  with pytest.raises(UserError, match='larger than the file'):
    torch_file.read(stream.getvalue())


def test_many_views_of_one_storage_take_no_memory():
  """A thousand tensors of 16 MB each in a file of 16 MB."""
  body = tensor(b'J\x00\x00\x40\x00\x85', count=b'J\x00\x00\x40\x00')
  item = body[body.index(b'U\x01a') + 3 : -2]
  items = b''.join(b'U\x03%03d' % i + item for i in range(1000))
  tensors = torch_file.read(zipped(b'\x80\x02}(' + items + b'u.', [('0', bytes(1 << 24))]))
  assert len(tensors) == 1000 and all(x.shape == (1 << 22,) for x in tensors.values())
  assert np.shares_memory(tensors['000'], tensors['999'])
