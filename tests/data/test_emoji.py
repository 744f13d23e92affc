import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ganjax import UserError, data
from ganjax.data import emoji

HERE = pathlib.Path(emoji.__file__).parent


def test_what_is_shipped():
  source = data.build(dataset='emoji', resolution=64)
  batch = source.read(np.arange(source.num_examples))
  assert source.num_examples == 5416
  assert {name: value.dtype.name for name, value in batch.items()} == {
    'image': 'uint8',
    'label': 'int32',
    'style': 'int32',
    'category': 'int32',
    'emoji_id': 'int32',
  }
  for name, field in source.fields.items():
    assert batch[name].shape == (5416, *field.shape)
    assert batch[name].dtype == field.dtype
  assert source.fields == data.fields(dataset='emoji', resolution=64)
  assert np.bincount(batch['style']).tolist() == [1911, 1911, 1594]
  assert np.bincount(batch['label']).tolist() == [255, 476, 10, 548, 392, 790, 1114, 506, 671, 654]
  assert source.class_names[7] == 'Smileys & Emotion'
  assert source.num_classes == 10
  # The pixels as they were drawn: this sum was taken when they were compared with the originals.
  digest = hashlib.sha256(batch['image'].tobytes()).hexdigest()
  assert digest == 'cfb85b68ff1677330cd00918bd2f27e73c4f417b8a9be25c7d0a644325dad221'
  shell = emoji.load()['captions'].index('spiral shell, shell')
  row = int(np.flatnonzero(batch['emoji_id'] == shell)[0])
  assert source.class_names[batch['label'][row]] == 'Animals & Nature'


def test_only_permissive_styles_with_their_notices():
  table = json.loads((HERE / 'emoji.json').read_text('utf-8'))
  assert list(table['styles']) == ['noto', 'twemoji', 'fluent_flat']
  sheets = {path.stem.rsplit('-', 1)[0] for path in HERE.glob('*.webp')}
  assert sheets == set(table['styles'])
  notice = (HERE / 'ATTRIBUTION.md').read_text('utf-8')
  for line in [
    '| `noto` | 1,911 |',
    '| `twemoji` | 1,911 |',
    '| `fluent_flat` | 1,594 |',
    'Apache License, Version 2.0',
    'https://creativecommons.org/licenses/by/4.0/',
    'Copyright (c) Microsoft Corporation',
    'Copyright (c) 2013 Cal Henderson',
    'Permission is hereby granted, free of charge',
    'Changes made',
  ]:
    assert line in notice, line
  assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) < 11e6


def test_captions_come_from_names_and_short_names():
  table = json.loads((HERE / 'emoji.json').read_text('utf-8'))
  captions = emoji.load()['captions']
  assert len(captions) == len(table['emoji']) == 1911
  for caption, (_, name, short_names, _) in zip(captions, table['emoji']):
    assert caption.startswith(name)
    allowed = {s.replace('_', ' ').replace('-', ' ') for s in short_names}
    assert {p for p in caption[len(name) :].split(', ') if p} <= allowed


def test_other_sizes_and_grey():
  rows = np.array([0, 2000, 5000])
  full = data.build(dataset='emoji', resolution=64).read(rows)['image']
  small = data.build(dataset='emoji', resolution=32).read(rows)['image']
  grey = data.build(dataset='emoji', resolution=64, channels=1).read(rows)['image']
  assert small.shape == (3, 32, 32, 3)
  assert grey.shape == (3, 64, 64, 1)
  box = full.reshape(3, 32, 2, 32, 2, 3).astype(float).mean((2, 4))
  assert np.abs(small - box).mean() < 4
  luma = full @ np.array([0.299, 0.587, 0.114])
  assert np.abs(grey[..., 0] - luma).max() <= 1


@pytest.mark.slow
def test_the_tfds_builder_needs_neither_tensorflow_nor_network(
  tmp_path, monkeypatch, tensorflow_trap
):
  monkeypatch.syspath_prepend(tensorflow_trap)
  builder = emoji.Emoji(data_dir=tmp_path)
  builder.download_and_prepare()
  source = builder.as_data_source('train')
  table = emoji.load()
  assert len(source) == 5416
  by_id = {(s, i): row for row, (s, i) in enumerate(zip(table['style'], table['emoji_id']))}
  for example in source.__getitems__(list(range(0, 5416, 400))):
    row = by_id[example['style'], example['emoji_id']]
    np.testing.assert_array_equal(example['image'], table['image'][row])
    assert example['category'] == table['category'][row]
    assert example['caption'].decode() == table['captions'][example['emoji_id']]


def test_training_on_it_needs_no_tfds():
  text = """
import sys
from ganjax import data
from ganjax.data import emoji
print(data.build(dataset='emoji', resolution=64).num_examples, hasattr(emoji, 'builder'))
print(*sorted({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'tensorflow_datasets'}))
print(hasattr(emoji, 'Nothing'), emoji.Emoji.__name__, 'tensorflow_datasets' in sys.modules)
"""
  command = [sys.executable, '-c', text]
  out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
  assert out.splitlines() == ['5416 False', '', 'False Emoji True']


def test_a_tenth_is_held_out_by_emoji():
  """In all styles, and the same tenth as of pairs of styles."""
  read = lambda split: data.build(dataset='emoji', resolution=64, split=split)
  ids = {}
  for split in ('train', 'test', 'rest'):
    source = read(split)
    found = source.read(np.arange(source.num_examples), ('emoji_id', 'image'))
    ids[split] = {*found['emoji_id'].tolist()}
    assert len(found['image']) == len(found['emoji_id'])
  assert len(ids['test']) == 191 and not ids['test'] & ids['rest']
  assert ids['train'] == ids['test'] | ids['rest']
  pairs = data.build(dataset='emoji_pairs', resolution=64, split='test')
  first = pairs.read(np.array([0]), ('source',))['source'][0]
  everything = read('test')
  assert (
    (everything.read(np.arange(everything.num_examples))['image'] == first).all((1, 2, 3)).any()
  )
  with pytest.raises(UserError, match="no split 'val'; it has: train, test, rest"):
    read('val')


@pytest.mark.parametrize('fraction, kept', [(0.1, 542), (0.0001, 1), (1.0, 5416)])
def test_fraction_is_a_seeded_subset(fraction, kept):
  def ids(seed, fraction):
    source = data.build(dataset='emoji', resolution=64, fraction=fraction, seed=seed)
    assert source.info['fraction'] == fraction
    assert source.info['seed'] == seed
    assert source.info['num_examples'] == source.num_examples
    batch = source.read(np.arange(source.num_examples))
    return set((10000 * batch['style'] + batch['emoji_id']).tolist())

  subset = ids(5, fraction)
  assert len(subset) == kept
  assert subset == ids(5, fraction)
  assert subset <= ids(5, min(1.0, 2 * fraction))
  if fraction < 1:
    assert subset != ids(6, fraction)


@pytest.mark.parametrize(
  'change, message',
  [
    ({'fraction': 0}, 'data.fraction must be above 0'),
    ({'fraction': 1.5}, 'data.fraction must be above 0'),
    ({'resolution': 0}, 'data.resolution=.* must be a number of pixels from 1'),
    ({'resolution': -32}, 'data.resolution=.* must be a number of pixels from 1'),
    ({'channels': 2}, 'data.channels must be 1'),
  ],
)
def test_bad_arguments(change, message):
  with pytest.raises(UserError, match=message):
    data.build(**{'dataset': 'emoji', 'resolution': 64, **change})


def test_styles_as_labels():
  source = data.build(dataset='emoji', resolution=64, labels='style')
  assert source.class_names == ('noto', 'twemoji', 'fluent_flat')
  found = source.read(np.arange(0, source.num_examples, 500), ('label', 'style', 'category'))
  np.testing.assert_array_equal(found['label'], found['style'])
  assert (found['label'] != found['category']).any()
  with pytest.raises(UserError, match="data.labels='styles' is not known .did you mean style"):
    data.build(dataset='emoji', resolution=64, labels='styles')
