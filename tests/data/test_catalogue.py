import fcntl
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import types

import jax
import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from ganjax import UserError, data
from ganjax.data.cache import lock_file
from ganjax.workdir import writer

_, masked_crc32c = writer._tensorboard()  # of TFRecord files


def picture(split, i):
  rng = np.random.default_rng([len(split), i])
  return rng.integers(0, 256, (16, 16, 3), np.uint8)


def png(array):
  file = io.BytesIO()
  PIL.Image.fromarray(array).save(file, 'PNG')
  return io.BytesIO(file.getvalue())


class TinyPictures(tfds.core.GeneratorBasedBuilder):
  VERSION = tfds.core.Version('1.2.3')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'number': tfds.features.Scalar(np.int64),
          'image': tfds.features.Image(shape=(16, 16, 3)),
          'wide': tfds.features.Image(shape=(None, None, 3)),
          'label': tfds.features.ClassLabel(names=['even', 'odd', 'none']),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {
      'train': self._generate_examples('train', 60),
      'test': self._generate_examples('test', 9),
    }

  def _generate_examples(self, split, count):
    for i in range(count):
      example = {'number': i, 'image': png(picture(split, i)), 'label': i % 2}
      yield i, {**example, 'wide': png(np.zeros((4, 8, 3), np.uint8))}


class OnlyText(tfds.core.GeneratorBasedBuilder):
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features.FeaturesDict({'text': tfds.features.Text()})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    yield 0, {'text': 'hello'}


class UnreachablePictures(TinyPictures):
  VERSION = tfds.core.Version('1.0.0')

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples(dl_manager.download('http://127.0.0.1:1/x.zip'), 1)}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp('tfds')
  for builder in (TinyPictures, OnlyText):
    builder(data_dir=data_dir, file_format='array_record').download_and_prepare()
  return str(data_dir)


def test_pixels_labels_and_description(data_dir):
  source = data.build(dataset='tiny_pictures', resolution=16, data_dir=data_dir)
  assert source.num_examples == 60
  assert (source.num_classes, source.class_names) == (3, ('even', 'odd', 'none'))
  batch = source.read(np.arange(60))
  assert (batch['image'].dtype, batch['label'].dtype) == (np.uint8, np.int32)
  # The order is TFDS's own, and the pixels are those that TFDS decodes.
  reader = tfds.builder('tiny_pictures', data_dir=data_dir).as_data_source('train')
  for i, example in enumerate(reader):
    np.testing.assert_array_equal(batch['image'][i], example['image'])
    np.testing.assert_array_equal(batch['image'][i], picture('train', int(example['number'])))
    assert batch['label'][i] == example['number'] % 2
  assert source.info['dataset'] == 'tiny_pictures/1.2.3'
  assert source.info['split'] == 'train'
  assert json.loads(json.dumps(source.info)) == source.info


@pytest.mark.parametrize('resolution, channels', [(16, 3), (8, 3), (24, 1)])
def test_without_a_cache_the_same_batches(data_dir, cache_dir, resolution, channels):
  size = {'resolution': resolution, 'channels': channels, 'data_dir': data_dir, 'fraction': 0.5}
  direct = data.build(dataset='tiny_pictures', cache=False, **size)
  assert not cache_dir.exists()
  cached = data.build(dataset='tiny_pictures', **size)
  assert direct.num_examples == cached.num_examples == 30
  assert direct.fields == cached.fields
  for start in (0, 25, 55):
    rows = data.indices(1, start, 11, 30)
    a, b = cached.read(rows), direct.read(rows)
    assert set(a) == set(b) == set(direct.fields)
    for name, field in cached.fields.items():
      assert a[name].shape == b[name].shape == (11, *field.shape)
      assert a[name].dtype == b[name].dtype == field.dtype
      np.testing.assert_array_equal(a[name], b[name])


def test_splits_and_slices(data_dir):
  def numbers(split):
    source = data.build(dataset='tiny_pictures', resolution=16, data_dir=data_dir, split=split)
    return {image.tobytes() for image in source.read(np.arange(source.num_examples))['image']}

  assert numbers('test') == {picture('test', i).tobytes() for i in range(9)}
  assert len(numbers('train[:25%]')) == 15
  assert len(numbers('train+test')) == 69
  assert numbers('train[:25%]') | numbers('train[25%:]') == numbers('train')


def test_tensorflow_is_never_imported(data_dir, tensorflow_trap):
  text = f"""
import sys
from ganjax import data
for cache in (True, False):
  source = data.build(dataset='tiny_pictures', resolution=8, data_dir={data_dir!r}, cache=cache)
  print(source.read(data.indices(0, 50, 20, 60))['image'].shape)
print('tensorflow' in sys.modules)
"""
  path = os.pathsep.join([str(tensorflow_trap), os.getcwd()])
  out = subprocess.run(
    [sys.executable, '-c', text],
    env={**os.environ, 'PYTHONPATH': path},
    capture_output=True,
    text=True,
    check=True,
  )
  assert out.stdout.split('\n')[:3] == ['(20, 8, 8, 3)', '(20, 8, 8, 3)', 'False']
  assert 'Traceback' not in out.stderr
  assert len(out.stderr.strip().split('\n')) == 1  # the progress of building


@pytest.mark.parametrize(
  'change, message',
  [
    ({'dataset': 'tiny_picture'}, 'unknown data set .tiny_picture.: did you mean tiny_pictures'),
    ({'dataset': 'cifar-10'}, 'unknown data set .cifar-10.: did you mean .*cifar10'),
    ({'dataset': 'qqqqqqqq'}, 'unknown data set .qqqqqqqq.: see tensorflow.org'),
    ({'dataset': ''}, 'unknown data set'),
    ({'dataset': 'nobody:nothing'}, 'unknown data set'),
    ({'dataset': 'tiny_pictures:9.9.9'}, 'tiny_pictures:9.9.9. cannot be opened: .*1.2.3'),
    ({'dataset': 'tiny_pictures/x'}, 'tiny_pictures/x. cannot be opened: .*x not found'),
    ({'dataset': 'only_text'}, 'only_text cannot be used: .* none'),
    ({'split': 'nope'}, "no split 'nope'; it has: train, test"),
    ({'split': 'train['}, "no split 'train\\['; it has: train, test"),
    ({'split': 'train[:0]'}, 'is empty'),
  ],
)
def test_one_line_for_what_is_wrong(data_dir, capfd, change, message):
  with pytest.raises(UserError, match=message) as error:
    data.build(**{'dataset': 'tiny_pictures', 'resolution': 16, 'data_dir': data_dir, **change})
  assert '\n' not in str(error.value)
  assert len(str(error.value)) < 300
  assert capfd.readouterr() == ('', '')


def test_not_prepared_and_no_network(tmp_path, capfd):
  with pytest.raises(UserError) as error:
    data.build(dataset='unreachable_pictures', resolution=16, data_dir=str(tmp_path))
  text = str(error.value)
  for part in (
    f'unreachable_pictures is not prepared in {tmp_path}',
    'refused',
    "Where there is a network: in the checkout, pip install '.[tfds]' && ",
    'tfds build unreachable_pictures --file_format=array_record',
    'python train.py --config configs/dcgan_emoji.py',
  ):
    assert part in text
  assert '\n' not in text
  out, err = capfd.readouterr()
  assert out == ''
  assert err.strip().count('\n') == 0


def tree(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


def test_a_failed_preparation_leaves_nothing(tmp_path, monkeypatch):
  """But what was there, and downloads that are whole."""
  (tmp_path / 'downloads/manual').mkdir(parents=True)
  before = tree(tmp_path)
  with pytest.raises(UserError, match='is not prepared'):
    data.build(dataset='unreachable_pictures', resolution=16, data_dir=str(tmp_path))
  assert tree(tmp_path) == before
  with pytest.raises(UserError, match='is not prepared'):
    data.build(dataset='unreachable_pictures', resolution=16, data_dir=str(tmp_path / 'new/deep'))
  assert tree(tmp_path) == before

  def download(self, url):
    folder = tmp_path / 'downloads/unreachable_pictures'
    (folder / 'half.tmp.1').mkdir(parents=True)
    (folder / 'half.tmp.1/file').write_text('half')
    (folder / 'whole').write_text('whole')
    raise OSError('broken off')

  monkeypatch.setattr(tfds.download.DownloadManager, 'download', download)
  with pytest.raises(UserError, match='broken off'):
    data.build(dataset='unreachable_pictures', resolution=16, data_dir=str(tmp_path))
  more = ['downloads/unreachable_pictures', 'downloads/unreachable_pictures/whole']
  assert tree(tmp_path) == sorted(before + more)


def test_no_lock_is_left_behind(tmp_path):
  data.build(dataset='tiny_pictures', resolution=16, data_dir=str(tmp_path))
  assert not list(tmp_path.glob('.*'))


def test_a_lock_that_its_holder_removed_is_made_again(tmp_path, monkeypatch):
  """Else two hold it: one the file that is gone, one the file that a third has made."""
  lock, flock, times = tmp_path / 'lock', fcntl.flock, []

  def remove_first(file, how):
    flock(file, how)
    if not times:
      lock.unlink()
    times.append(how)

  monkeypatch.setattr(fcntl, 'flock', remove_first)
  with lock_file(lock, 'testing') as held:
    assert len(times) == 2 and os.path.samestat(os.fstat(held.fileno()), lock.stat())


VERSION = 'tiny_pictures/1.2.3'
RECORDS = f'{VERSION}/tiny_pictures-train.array_record-00000-of-00001'


def zero(path):
  content = path.read_bytes()
  path.write_bytes(content[:200] + bytes(4000) + content[4200:])


@pytest.mark.parametrize('cache', [True, False])
@pytest.mark.parametrize(
  'file, damage',
  [
    (RECORDS, os.unlink),
    (RECORDS, lambda path: os.truncate(path, 0)),
    (RECORDS, lambda path: os.truncate(path, 70_000)),
    (RECORDS, zero),
    (f'{VERSION}/dataset_info.json', os.unlink),
    (f'{VERSION}/dataset_info.json', lambda path: os.truncate(path, 100)),
  ],
)
def test_a_copy_that_is_not_whole_is_named(data_dir, tmp_path, cache, file, damage):
  top = shutil.copytree(data_dir, tmp_path / 'copy')
  damage(top / file)
  before = tree(top)
  where = {'data_dir': str(top), 'split': 'test+train', 'cache': cache}
  with pytest.raises(UserError) as error:
    data.build(dataset='tiny_pictures', resolution=16, **where).read(np.arange(69))
  folder = top / VERSION
  assert str(error.value).startswith(f'{top / file} cannot be read (')
  assert str(error.value).endswith(f'copy it again, or remove {folder} for TFDS to prepare it')
  assert '\n' not in str(error.value) and tree(top) == before


@pytest.mark.parametrize('below', ['tiny_pictures', VERSION])
def test_the_folder_of_the_data_set_itself(data_dir, below):
  before = tree(pathlib.Path(data_dir))
  with pytest.raises(UserError, match=f'the one above it, --config.data.data_dir={data_dir}$'):
    data.build(dataset='tiny_pictures', resolution=16, data_dir=f'{data_dir}/{below}')
  assert tree(pathlib.Path(data_dir)) == before


@pytest.mark.parametrize('name', ['0.png', 'cat/0.jpg'])
def test_a_folder_of_pictures_is_none_of_data_sets(tmp_path, name):
  (tmp_path / name).parent.mkdir(exist_ok=True)
  (tmp_path / name).touch()
  line = f'for the pictures, --config.data.dataset=folder --config.data.data_dir={tmp_path}$'
  with pytest.raises(UserError, match=line):
    data.build(dataset='tiny_pictures', resolution=16, data_dir=str(tmp_path))
  assert tree(tmp_path) == sorted({name, *name.split('/')[:-1]})


class Labelled(tfds.core.GeneratorBasedBuilder):
  """Four pictures, whose labels are `labels`."""

  VERSION = tfds.core.Version('1.0.0')
  labels = {'train': [0, 0, 1, 1], 'rest': [-1, -1, -1, -1]}

  def _info(self):
    features = {
      'image': tfds.features.Image(shape=(16, 16, 3)),
      'label': tfds.features.ClassLabel(names=['cat', 'dog']),
    }
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split) for split in self.labels}

  def _generate_examples(self, split):
    for i, label in enumerate(self.labels[split]):
      yield i, {'image': png(picture(split, i)), 'label': label}


def test_a_version_made_again_with_other_labels_is_read_again(tmp_path, monkeypatch):
  """Its files have the names and sizes of those before, and may be given their times."""
  found = []
  for labels in [0, 0, 1, 1], [1, 1, 0, 0]:
    monkeypatch.setitem(Labelled.labels, 'train', labels)
    shutil.rmtree(tmp_path / 'labelled', ignore_errors=True)
    Labelled(data_dir=tmp_path, file_format='array_record').download_and_prepare()
    for path in (tmp_path / 'labelled/1.0.0').iterdir():
      os.utime(path, ns=(1, 1))
    found.append(data.build(dataset='labelled', resolution=16, data_dir=str(tmp_path)))
  first, second = (source.read(np.arange(4)) for source in found)
  np.testing.assert_array_equal(first['image'], second['image'])
  np.testing.assert_array_equal(first['label'], 1 - second['label'])
  assert found[0].content != found[1].content and found[0].info == found[1].info


def test_examples_without_a_label(tmp_path, monkeypatch):
  """A split of them has no labels, nor has one that has some, as stl10's `train+unlabelled`."""
  monkeypatch.setitem(Labelled.labels, 'some', [0, 1, 1, -1])
  Labelled(data_dir=tmp_path, file_format='array_record').download_and_prepare()
  build = lambda **more: data.build(
    dataset='labelled', resolution=16, data_dir=str(tmp_path), **more
  )
  for cache in True, False:
    for split in 'rest', 'train+rest':
      source = build(split=split, cache=cache)
      assert (source.num_classes, source.class_names) == (None, None)
      assert source.info['unlabelled'] and set(source.read(np.arange(4))) == {'image'}
    source = build(split='train', cache=cache)
    assert source.class_names == ('cat', 'dog') and 'unlabelled' not in source.info
  assert build(split='some').class_names is None
  with pytest.raises(UserError, match=r'without a label \(-1\): .*data.cache=True'):
    build(split='some', cache=False).read(np.arange(4))


ONCE = """
import io
import sys
import time

import PIL.Image
import tensorflow_datasets as tfds

from ganjax import data


class SlowPictures(tfds.core.GeneratorBasedBuilder):
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features.FeaturesDict({'image': tfds.features.Image(shape=(16, 16, 3))})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    with open(sys.argv[1] + '/generated', 'a') as log:
      log.write('once ')
    time.sleep(2)
    file = io.BytesIO()
    PIL.Image.new('RGB', (16, 16)).save(file, 'PNG')
    for i in range(3):
      yield i, {'image': io.BytesIO(file.getvalue())}


source = data.build(dataset='slow_pictures', resolution=16, data_dir=sys.argv[1])
print(source.num_examples)
"""


def test_one_of_several_processes_prepares(tmp_path):
  command = [sys.executable, '-c', ONCE, str(tmp_path)]
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
  outputs = [process.communicate() for process in processes]
  assert [out.split()[-1:] for out, _ in outputs] == [['3']] * 3, outputs
  assert (tmp_path / 'generated').read_text() == 'once '


@pytest.fixture
def tfrecord_dir(data_dir, tmp_path):
  """The pictures as TFRecord files, which are written here as the format has them: without TensorFlow."""
  top = shutil.copytree(data_dir, tmp_path / 'tfrecord')
  builder = tfds.builder('tiny_pictures', data_dir=top)
  for split in builder.info.splits:
    (name,) = builder.info.splits[split].filenames
    source = builder.as_data_source(
      split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    with (top / VERSION / name.replace('array_record', 'tfrecord')).open('wb') as file:
      for record in source:
        size = struct.pack('<Q', len(record))
        for part in size, record:
          file.write(part + struct.pack('<I', masked_crc32c(part)))
    (top / VERSION / name).unlink()
  info = top / VERSION / 'dataset_info.json'
  info.write_text(info.read_text().replace('array_record', 'tfrecord'))
  return str(top)


def as_dataset(builder, split, decoders, **how):
  """Reads TFRecord files as TFDS does, where there is no TensorFlow, and fails with its words."""
  place = '{{function_node __wrapped__IteratorGetNext}} %s [Op:IteratorGetNext] name:'

  def records(i):
    with open(i.filename, 'rb') as file:
      for number in range(i.skip + i.take):
        if not (size := file.read(12)):
          return
        record = file.read(int.from_bytes(size[:8], 'little') + 4)
        for part in size, record:
          if masked_crc32c(part[:-4]) != int.from_bytes(part[-4:], 'little'):
            raise RuntimeError(place % f'corrupted record at {file.tell()}')
        if number >= i.skip:
          yield builder.info.features.deserialize_example_np(record[:-4], decoders=decoders)

  def examples():
    count = 0
    for i in builder.info.splits[split].file_instructions:
      for example in records(i):
        count += 1
        yield example
    if count < builder.info.splits[split].num_examples:
      raise RuntimeError(place % f'Input dataset contained only {count} elements.')

  return types.SimpleNamespace(as_numpy_iterator=examples)


@pytest.fixture
def tensorflow(monkeypatch):
  """TensorFlow, or what stands in for it where it is not installed."""
  if importlib.util.find_spec('tensorflow') is None:
    module = types.ModuleType('tensorflow')
    module.__spec__ = importlib.machinery.ModuleSpec('tensorflow', None)
    module.config = types.SimpleNamespace(set_visible_devices=lambda devices, kind: None)
    monkeypatch.setitem(sys.modules, 'tensorflow', module)
    monkeypatch.setattr(tfds, 'ReadConfig', lambda **how: how)
    monkeypatch.setattr(tfds.core.DatasetBuilder, 'as_dataset', as_dataset)


def test_tfrecords_are_read_as_array_records_are(tensorflow, tfrecord_dir, data_dir):
  for split in 'train', 'test+train[10:30]':
    build = lambda where: data.build(
      dataset='tiny_pictures',
      resolution=16,
      data_dir=where,
      split=split,  # noqa: B023
    )
    ours, theirs = build(tfrecord_dir), build(data_dir)
    assert ours.info['file_formats'] == ['tfrecord'] and ours.num_examples == theirs.num_examples
    rows = np.arange(ours.num_examples)
    jax.tree.map(np.testing.assert_array_equal, ours.read(rows), theirs.read(rows))


def flip(path):
  content = bytearray(path.read_bytes())
  content[20_000] ^= 1
  path.write_bytes(content)


def cut_between(path):
  """Leaves thirty records, and no trace of the others."""
  content, end = path.read_bytes(), 0
  for _ in range(30):
    end += 16 + int.from_bytes(content[end : end + 8], 'little')
  path.write_bytes(content[:end])


@pytest.mark.parametrize('split', ['train+test', 'test+train'])
@pytest.mark.parametrize(
  'damage, why',
  [
    (os.unlink, 'No such file or directory'),
    (lambda path: os.truncate(path, 0), '0 of 60 examples are whole'),
    (lambda path: os.truncate(path, 20_000), '19 of 60 examples are whole'),
    (cut_between, '30 of 60 examples are whole'),
    (flip, 'corrupted record at [0-9]+'),
  ],
)
def test_a_tfrecord_file_that_is_not_whole_is_named(tensorflow, tfrecord_dir, damage, why, split):
  file = pathlib.Path(tfrecord_dir, RECORDS.replace('array_record', 'tfrecord'))
  damage(file)
  how = f'copy it again, or remove {file.parent} for TFDS to prepare it'
  with pytest.raises(UserError, match=rf'^{file} cannot be read \({why}\): .*{how}$'):
    data.build(dataset='tiny_pictures', resolution=16, data_dir=tfrecord_dir, split=split)


def test_tfrecords_cannot_be_read_by_index(tfrecord_dir):
  with pytest.raises(UserError, match='prepared as tfrecord.* leave data.cache=True'):
    data.build(dataset='tiny_pictures', resolution=16, data_dir=tfrecord_dir, cache=False)


@pytest.mark.skipif(
  importlib.util.find_spec('tensorflow') is not None, reason='TensorFlow is there'
)
def test_tfrecords_without_tensorflow_name_the_extra(tfrecord_dir):
  with pytest.raises(
    UserError, match=r"TFRecord .*in the checkout, pip install '\.\[tfds\]'"
  ) as error:
    data.build(dataset='tiny_pictures', resolution=16, data_dir=tfrecord_dir)
  assert '\n' not in str(error.value)
