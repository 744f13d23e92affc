"""Files of the original formats, a few pictures each, behind a local server in place of the data sets' own."""

import gzip
import http.server
import importlib
import io
import re
import shutil
import struct
import tarfile
import threading
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing, shuffle
from tensorflow_datasets.core.download import checksums

from ganjax import UserError, data
from ganjax.data import originals

CIFAR10 = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck']
STL10 = ['airplane', 'bird', 'car', 'cat', 'deer', 'dog', 'horse', 'monkey', 'ship', 'truck']


def noise(seed, *shape):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def labelled(count, seed, classes, size):
  """Rows of a label byte for each of `classes`, then `size` bytes of a picture."""
  labels = [np.random.default_rng([seed, n]).integers(0, n, (count, 1), np.uint8) for n in classes]
  return np.concatenate([*labels, noise(seed, count, size)], 1).tobytes()


def tar(files):
  packed = io.BytesIO()
  with tarfile.open(fileobj=packed, mode='w:gz') as archive:
    for name, content in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return packed.getvalue()


def text(names):
  return ('\n'.join(names) + '\n').encode()


def cifar10():
  names = {'test_batch': 6} | {f'data_batch_{i}': 4 for i in (3, 1, 2, 5, 4)}
  rows = {f'{n}.bin': labelled(k, i, [10], 3072) for i, (n, k) in enumerate(names.items())}
  files = {**rows, 'batches.meta.txt': text(CIFAR10) + b'\n', '../../../evil': b'outside'}
  return {'cifar-10-binary.tar.gz': tar({f'cifar-10-batches-bin/{n}': f for n, f in files.items()})}


def cifar100():
  files = {
    'coarse_label_names.txt': text(f'coarse {i}' for i in range(20)),
    'fine_label_names.txt': text(f'fine {i}' for i in range(100)),
    'train.bin': labelled(30, 7, [20, 100], 3072),
    'test.bin': labelled(5, 8, [20, 100], 3072),
  }
  return {'cifar-100-binary.tar.gz': tar({f'cifar-100-binary/{n}': f for n, f in files.items()})}


def mnist(seed=9):
  files = {}
  for part, count in (('train', 30), ('t10k', 6)):
    pictures = (
      struct.pack('>4i', 2051, count, 28, 28) + noise([seed, count], count, 28, 28).tobytes()
    )
    labels = struct.pack('>2i', 2049, count) + bytes(i * i % 10 for i in range(count))
    files[f'{part}-images-idx3-ubyte.gz'] = gzip.compress(pictures)
    files[f'{part}-labels-idx1-ubyte.gz'] = gzip.compress(labels)
  return files


def stl10():
  files = {
    'class_names.txt': text(STL10),
    'unlabeled_X.bin': noise(1, 9, 27648).tobytes(),
    'train_X.bin': noise(2, 10, 27648).tobytes(),
    'train_y.bin': bytes([10, *range(1, 10)]),
    'test_X.bin': noise(3, 3, 27648).tobytes(),
    'test_y.bin': bytes([3, 1, 10]),
  }
  return {'stl10_binary.tar.gz': tar({f'stl10_binary/{n}': f for n, f in files.items()})}


# The split that is trained on, TFDS's module, the files, the number of examples in each split.
SETS = {
  'cifar10/3.0.2': ('train', 'image_classification.cifar', cifar10, {'train': 20, 'test': 6}),
  'cifar100/3.0.2': ('train', 'image_classification.cifar', cifar100, {'train': 30, 'test': 5}),
  'mnist/3.0.1': ('test', 'image_classification.mnist', mnist, {'train': 30, 'test': 6}),
  'fashion_mnist/3.0.1': (
    'train',
    'image_classification.mnist',
    lambda: mnist(5),
    {'train': 30, 'test': 6},
  ),
  'stl10/1.0.0': (
    'train',
    'datasets.stl10.stl10_dataset_builder',
    stl10,
    {'train': 10, 'test': 3, 'unlabelled': 9},
  ),
}


@pytest.fixture
def origin(tmp_path, monkeypatch):
  """Serves a data set's files, and tells TFDS to expect them: origin(name) -> {file name: content}, to be spoilt."""
  served = {}

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      content, length = served[self.path[1:]]
      self.send_response(200)
      self.send_header('Content-Length', str(length))
      self.end_headers()
      self.wfile.write(content)

    def log_message(self, *_):
      pass

  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()

  def serve(name, scale=1):
    files, infos = SETS[name][2](), {}
    builder = tfds.builder_cls(name.split('/')[0])
    for known in builder.url_infos.values():
      content = files[known.filename]
      (tmp_path / 'known').write_bytes(content)
      info = checksums.compute_url_info(tmp_path / 'known')
      infos[f'http://127.0.0.1:{server.server_port}/{known.filename}'] = checksums.UrlInfo(
        info.size * scale, info.checksum, known.filename
      )
      served[known.filename] = content, len(content)
    monkeypatch.setattr(builder, 'url_infos', infos)
    return served

  yield serve
  server.shutdown()
  server.server_close()


def theirs(builder, module, files, folder, monkeypatch):
  """{split: [(key, example)]} as TFDS's own generators give them, with files in place of TensorFlow's."""
  module = importlib.import_module(f'tensorflow_datasets.{module}')
  gfile = types.SimpleNamespace(GFile=open)
  monkeypatch.setattr(module, 'tf', types.SimpleNamespace(io=types.SimpleNamespace(gfile=gfile)))
  # How many of MNIST it reads.
  monkeypatch.setattr(module, '_TRAIN_EXAMPLES', 30, raising=False)
  monkeypatch.setattr(module, '_TEST_EXAMPLES', 6, raising=False)

  def unpack(urls):
    if isinstance(urls, dict):
      return {name: unpack(url) for name, url in urls.items()}
    name = urls.split('/')[-1]
    content, path = files[name], folder / name
    if name.endswith('.tar.gz'):
      with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [member for member in archive if 'evil' not in member.name]
        archive.extractall(path, members, filter='data')
    else:
      path.write_bytes(gzip.decompress(content))
    return str(path)

  found = builder._split_generators(types.SimpleNamespace(download_and_extract=unpack))
  if isinstance(found, list):
    found = {split.name: builder._generate_examples(**split.gen_kwargs) for split in found}
  return {str(split): list(examples) for split, examples in found.items()}


@pytest.mark.parametrize('name', SETS)
def test_the_data_set_is_the_one_of_the_catalogue(
  name, origin, tmp_path, monkeypatch, tensorflow_trap
):
  monkeypatch.syspath_prepend(tensorflow_trap)
  # More than that TFDS sorts by TensorFlow, if it may.
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1000)
  short, (split, module, files, counts) = name.split('/')[0], SETS[name]
  builder = tfds.builder(short, data_dir=tmp_path / 'reference')
  expected = theirs(builder, module, files(), tmp_path, monkeypatch)

  origin(name)
  size = expected[split][0][1]['image'].shape[0]
  source = data.build(
    dataset=short,
    resolution=size,
    channels=1 if size == 28 else 3,
    split=split,
    data_dir=str(tmp_path / 'tfds'),
  )
  assert shuffle.MAX_MEM_BUFFER_SIZE == 1000
  assert source.info['dataset'] == builder.info.full_name == name

  ours = tfds.builder(short, data_dir=tmp_path / 'tfds')
  assert ours.is_prepared()
  assert {s: info.num_examples for s, info in ours.info.splits.items()} == counts
  assert {s: len(examples) for s, examples in expected.items()} == counts
  assert ours.info.features.to_json() == builder.info.features.to_json()
  for feature in ours.info.features:
    if feature.endswith('label'):
      assert ours.info.features[feature].names == builder.info.features[feature].names
  assert list(source.class_names) == builder.info.features['label'].names

  batch = source.read(np.arange(source.num_examples))
  for part, examples in expected.items():
    # TFDS's order: that of the keys' hashes, salted by the split.
    hasher = hashing.Hasher(part)
    examples.sort(key=lambda example: hasher.hash_key(example[0]))
    for row, example in enumerate(ours.as_data_source(part)):
      key, wanted = examples[row]
      assert example.keys() == wanted.keys()
      np.testing.assert_array_equal(example['image'], wanted['image'])
      for feature in wanted.keys() - {'image'}:
        value = example[feature]
        assert (value.decode() if isinstance(value, bytes) else value) == wanted[feature]
      if part == split:
        np.testing.assert_array_equal(batch['image'][row], wanted['image'])
        assert batch['label'][row] == wanted['label']
  assert not list(tmp_path.rglob('*evil*'))


def prepare(tmp_path, name='mnist'):
  return data.build(dataset=name, resolution=28, channels=1, data_dir=str(tmp_path / 'tfds'))


def refused(tmp_path, capfd):
  """The one line that says why MNIST is not there; nothing of it is, and no half of a file."""
  with pytest.raises(UserError) as error:
    prepare(tmp_path)
  line = str(error.value)
  assert '\n' not in line and 'tfds]' not in line
  assert not list((tmp_path / 'tfds').rglob('*.tmp.*'))
  assert not list((tmp_path / 'tfds').glob('mnist/*'))
  out, err = capfd.readouterr()
  assert out == ''
  started = f'mnist is not prepared in {tmp_path / "tfds"}'
  assert [text.split(':')[0] for text in err.splitlines()] == [started, 'mnist/3.0.1']
  return line


IMAGES = 'train-images-idx3-ubyte.gz'


@pytest.mark.parametrize('spoilt', ['another file', 'cut short'])
def test_a_broken_download_is_removed_and_comes_again(origin, tmp_path, capfd, spoilt):
  served = origin('mnist/3.0.1')
  whole, length = served[IMAGES]
  other = whole[:-1] + bytes([whole[-1] ^ 1])
  served[IMAGES] = (other, length) if spoilt == 'another file' else (whole[:-100], length)
  killed = tmp_path / 'tfds' / 'downloads' / 'mnist' / 'x.tmp.0123'  # by a run before this one
  killed.mkdir(parents=True)
  (killed / IMAGES).write_bytes(b'half')
  cause = refused(tmp_path, capfd)
  if spoilt == 'another file':
    assert re.fullmatch(rf'http:\S+/{IMAGES} came broken, .* removed: run again', cause)
  else:
    assert re.search('mnist is not prepared in .*IncompleteRead.*the same command', cause)
  served[IMAGES] = whole, length
  assert prepare(tmp_path).num_examples == 30


def test_a_file_that_was_downloaded_before_is_not_again(origin, tmp_path, capfd):
  served = origin('mnist/3.0.1')
  prepare(tmp_path)
  shutil.rmtree(tmp_path / 'tfds' / 'mnist')
  served.clear()
  assert prepare(tmp_path).num_examples == 30
  # Nor is its sha256 asked for again: one that was spoilt since is named.
  shutil.rmtree(tmp_path / 'tfds' / 'mnist')
  (path,) = (tmp_path / 'tfds' / 'downloads' / 'mnist').glob('*train-images*.gz')
  path.write_bytes(path.read_bytes()[:5000])
  capfd.readouterr()
  assert re.fullmatch(
    rf'{path} is broken \(.*\): remove it and run again', refused(tmp_path, capfd)
  )


def test_room_is_looked_for_first(origin, tmp_path):
  served = origin('mnist/3.0.1', scale=2**30)
  served.clear()  # nothing is asked for
  with pytest.raises(
    UserError, match=r'mnist takes [\d,]+ MiB while .* has [\d,]+ MiB free: point'
  ):
    prepare(tmp_path)


def test_what_tfds_prepares_and_where_it_takes_it_from():
  """A release of TFDS with other files or versions is seen here, and goes by TensorFlow."""
  for name, (_, _, files, _) in SETS.items():
    builder = tfds.builder(name.split('/')[0], data_dir='/nowhere')
    assert builder.info.full_name == name
    assert {info.filename for info in builder.url_infos.values()} == set(files())
    for url, info in builder.url_infos.items():
      assert url.startswith('http') and url.endswith(f'/{info.filename}')
      assert len(info.checksum) == 64
  assert {name.split('/')[0] for name in SETS} == originals.NAMES
