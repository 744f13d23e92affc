"""Stacked MNIST from a TFDS 'mnist' of 40 digits, each grey level of which says which digit it is."""

import hashlib
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from ganjax import UserError, data
from ganjax.data.sets import stacked_mnist
from ganjax.media import Field

NUM = 40  # digits of the train split; the test split has half as many


class MNIST(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Named as the catalogue's, which then reads what this one prepared."""

  name = 'mnist'
  VERSION = tfds.core.Version('3.0.1')

  def _info(self):
    features = {
      'image': tfds.features.Image(shape=(28, 28, 1)),
      'label': tfds.features.ClassLabel(num_classes=10),
    }
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

  def _split_generators(self, dl_manager):
    return {
      'train': self._generate_examples(0, NUM),
      'test': self._generate_examples(100, NUM // 2),
    }

  def _generate_examples(self, start, count):
    for i in range(start, start + count):
      file = io.BytesIO()
      PIL.Image.fromarray(np.full((28, 28), i, np.uint8)).save(file, 'PNG')
      yield i, {'image': io.BytesIO(file.getvalue()), 'label': i % 10}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp('tfds')
  MNIST(data_dir=data_dir, file_format='array_record').download_and_prepare()
  return str(data_dir)


def build(data_dir, **more):
  return data.build(**{'dataset': 'stacked_mnist', 'resolution': 28, 'data_dir': data_dir, **more})


def test_channels_are_digits_and_the_label_is_all_three(data_dir):
  source = build(data_dir)
  assert source.num_examples == 128_000
  assert source.fields == {
    'image': Field('image', (28, 28, 3)),
    'label': Field('label', ()),
  }
  assert (source.num_classes, source.class_names[0], source.class_names[987]) == (
    1000,
    '000',
    '987',
  )
  batch = source.read(np.arange(2000))
  assert batch['image'].shape == (2000, 28, 28, 3)
  assert (batch['image'].dtype, batch['label'].dtype) == (np.uint8, np.int32)
  members = batch['image'][:, 0, 0].astype(int)  # a digit's grey level is its number
  np.testing.assert_array_equal(
    batch['image'], np.broadcast_to(members[:, None, None], (2000, 28, 28, 3))
  )
  np.testing.assert_array_equal(batch['label'], members % 10 @ [100, 10, 1])
  # Channels are independent and each digit equally frequent: 50 times in 2,000, within 5 sigma.
  for channel in members.T:
    assert np.abs(np.bincount(channel, minlength=NUM) - 50).max() < 35
  assert abs(np.corrcoef(members.T)[[0, 0, 1], [1, 2, 2]]).max() < 0.11
  some = source.read(np.array([5, 1999, 5]), ['label'])
  assert list(some) == ['label']
  np.testing.assert_array_equal(some['label'], batch['label'][[5, 1999, 5]])


def test_the_stacks_are_pinned(data_dir):
  """A change of this value is another data set under the same name."""
  labels = build(data_dir).read(np.arange(stacked_mnist.COUNT), ['label'])['label']
  assert hashlib.sha256(labels.astype('<i4').tobytes()).hexdigest()[:16] == 'ce2dbbe2e5c867bb'


def test_cache_fraction_seed_and_split_mean_what_they_do_elsewhere(data_dir, cache_dir):
  rows = np.arange(50)
  direct = build(data_dir, cache=False, resolution=32)
  assert not cache_dir.exists()
  cached = build(data_dir, resolution=32)
  for name, value in cached.read(rows).items():
    np.testing.assert_array_equal(direct.read(rows)[name], value)
  # The cache holds the digits, not their stacks.
  assert sum(file.stat().st_size for file in cache_dir.glob('*/image.npy')) < 2 * NUM * 32 * 32
  small, other = build(data_dir, fraction=1 / 64), build(data_dir, fraction=1 / 64, seed=1)
  assert small.num_examples == other.num_examples == 2000
  everything = np.arange(2000)
  assert (small.read(everything)['label'] != other.read(everything)['label']).mean() > 0.9
  test = build(data_dir, split='test')
  assert test.num_examples == 128_000
  assert set(np.unique(test.read(everything)['image'])) == set(range(100, 100 + NUM // 2))
  contents = {build(data_dir).info['key_sha256'], test.info['key_sha256']}
  assert len(contents) == 2
  assert test.info['dataset'] == 'stacked_mnist/3.0.1'
  assert test.info['channels'] == 3


@pytest.mark.parametrize(
  'change, message',
  [
    ({'channels': 1}, 'a digit in each of 3 channels'),
    ({'split': 'nope'}, "mnist has no split 'nope'; it has: train, test"),
    ({'dataset': 'stacked_mnis'}, 'unknown data set .stacked_mnis.: did you mean stacked_mnist'),
  ],
)
def test_one_line_for_what_is_wrong(data_dir, change, message):
  with pytest.raises(UserError, match=message) as error:
    build(data_dir, **change)
  assert '\n' not in str(error.value)
