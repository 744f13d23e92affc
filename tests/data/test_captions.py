"""Pictures with captions: files of every form, one caption drawn a time, vectors kept by what they are made of."""

import json

import numpy as np
import pytest
from PIL import Image

from ganjax import UserError, data, text
from ganjax.data import captions, emoji, provenance, words
from ganjax.media import text as kind
from ganjax.text import ngrams

NAMES = 'a/one.png', 'a/two.png', 'b/three.png'


@pytest.fixture
def folder(tmp_path):
  """Three pictures in two class folders."""
  top = tmp_path / 'pictures'
  for i, name in enumerate(NAMES):
    (top / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 50 * i, np.uint8)).save(top / name)
  return top


def build(folder, **more):
  return data.build(dataset='captions', data_dir=str(folder), resolution=8, **more)


def beside(folder, texts=('a  red\ta\n\nan A', 'two', 'three')):
  for name, one in zip(NAMES, texts):
    (folder / name).with_suffix('.txt').write_text(one, 'utf-8')


FORMS = {
  'captions.csv': 'file,caption\na/one.png,a red a\na/one.png,an A\ntwo.png,two\nb/three.png,"three"\n',
  'captions.jsonl': '{"file": "a/one.png", "caption": ["a red a", "an A"]}\n'
  '{"file": "two.png", "caption": "two"}\n\n{"file": "b\\\\three.png", "caption": " three "}\n',
  'metadata.jsonl': '{"file_name": "a/one.png", "text": "a red a"}\n{"file_name": "a/one.png", "text": "an A"}\n'
  '{"file_name": "a/two.png", "text": "two"}\n{"file_name": "b/three.png", "text": "three"}',
}


@pytest.mark.parametrize('form', [*FORMS, 'beside', 'coco'])
def test_every_form_of_captions(folder, tmp_path, form):
  more = {}
  if form == 'beside':
    beside(folder)
  elif form == 'coco':
    path = tmp_path / 'captions_train.json'
    images = [{'id': i, 'file_name': name.split('/')[1]} for i, name in enumerate(NAMES)]
    said = [(0, 'a red a'), (2, 'three'), (0, 'an A'), (1, 'two')]
    said = [{'image_id': i, 'caption': one} for i, one in said]
    path.write_text(json.dumps({'images': images, 'annotations': said}))
    more['captions_path'] = str(tmp_path / 'captions_{split}.json')
  else:
    (folder / form).write_text(FORMS[form])
  source = build(folder, **more)
  assert source.class_names == ('a', 'b') and source.num_examples == 3
  found = source.read(np.arange(3))
  assert kind.to_str(found['text']) == ['a red a', 'two', 'three']
  np.testing.assert_array_equal(found['image'][:, 0, 0, 0], [0, 50, 100])
  np.testing.assert_array_equal(found['sentence'], ngrams.encode(['a red a', 'two', 'three']))
  every = source.read_rows(np.array([[0, 0], [0, 1]]))
  assert kind.to_str(every['text']) == ['a red a', 'an A']
  assert source.info['encoder'] == {'name': 'ngrams', 'size': 256, 'version': 1}


def test_words_are_numbers_by_their_letters(folder):
  found = words.numbers(['A red Taxi!', 'taxi, a red one', '\u2665', ''], 3)
  (a, red, taxi), (other, *rest) = found[:2]
  assert other == taxi and rest == [a, red] and len({a, red, taxi}) == 3
  assert (found[2:, 0] > 0).all() and not found[2:, 1:].any() and found.dtype == np.int32
  # For ever: a trained network knows them by these.
  assert red == 1_010_307_542
  beside(folder)
  source = build(folder, words=3)
  every = source.read_rows(np.array([[0, 0], [0, 1], [2, 0]]))
  np.testing.assert_array_equal(every['words'], words.numbers(['a red a', 'an A', 'three'], 3))
  assert source.fields['words'].shape == (3,) and 'words' not in build(folder).fields
  given = captions.of_texts(['Three'], text.load('ngrams'), 3).read(np.array([0]))
  np.testing.assert_array_equal(given['words'], every['words'][2:])
  with pytest.raises(UserError, match='data.words=-1 must be a whole number from 0 to 1000'):
    build(folder, words=-1)


def test_a_folder_of_each_split(folder):
  beside(folder)
  folder.rename(folder.with_name('train'))
  top = folder.parent
  assert build(top).num_examples == 3
  with pytest.raises(UserError, match='has no folder test: make it, or take another split'):
    build(top, split='test')


@pytest.mark.parametrize('files, message', [
  ({}, '3 of 3 pictures have no caption, or an empty one, such as a/one.png'),
  ({'a/one.txt': 'x', 'a/two.txt': ' \n', 'b/three.txt': 'z'}, '1 of 3 .* such as a/two.png'),
  ({'captions.csv': 'a/one.png,x\ntwo.png,y\n'}, '1 of 3 .* such as b/three.png .*captions.csv'),
  ({'captions.csv': 'a/one.png,x,y\n'}, 'captions.csv is not understood: line 1 is not file,caption'),
  ({'captions.jsonl': '{"file": "a/one.png"}'}, 'captions.jsonl is not understood: line 1 has no file and caption'),
  ({'captions.jsonl': '{"file": 3, "caption": "x"}'}, 'are not strings'),
  ({'captions.jsonl': '[1]'}, 'captions.jsonl is not understood'),
  ({'captions.csv': b'a/one.png,\xff\n'}, 'captions.csv is not text in UTF-8'),
])  # fmt: skip
def test_captions_that_are_missing_or_not_understood(folder, files, message):
  for name, content in files.items():
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(UserError, match=message):
    build(folder)


def test_one_caption_is_drawn_a_time_whatever_the_process():
  """Emoji have one name or more: all are seen, evenly, and positions decide."""
  source = data.build(dataset='emoji_captions', resolution=64)
  names = emoji.names()
  ids = source.read(np.arange(source.num_examples), ('emoji_id',))['emoji_id']
  rows = source.rows(3, 0, 20 * source.num_examples)
  np.testing.assert_array_equal(rows[70:75], source.rows(3, 70, 5))
  assert (rows != source.rows(4, 0, len(rows))).any(0).all()
  counts = np.array([len(names[i]) for i in ids])
  assert (rows[:, 1] < counts[rows[:, 0]]).all()
  two = rows[counts[rows[:, 0]] == 2, 1]
  assert len(two) > 10_000 and abs(two.mean() - 0.5) < 0.02
  few = source.read_rows(rows[:5])
  wanted = [names[ids[i]][k] for i, k in rows[:5]]
  assert kind.to_str(few['text']) == wanted
  np.testing.assert_array_equal(few['sentence'], ngrams.encode(wanted))
  held_out = data.build(dataset='emoji_captions', resolution=64, split='test')
  rest = data.build(dataset='emoji_captions', resolution=64, split='rest')
  emoji_of = lambda s: {*s.read(np.arange(s.num_examples), ('emoji_id',))['emoji_id'].tolist()}
  assert not emoji_of(held_out) & emoji_of(rest) and len(emoji_of(held_out)) == 191


def test_vectors_are_computed_once(folder, cache_dir):
  """And again where captions or the encoder differ."""
  asked = []

  def encode(texts):
    asked.extend(texts)
    return ngrams.encode(texts)

  encoder = lambda version: text.Encoder(
    {'name': 'ngrams', 'size': 256, 'version': version}, encode, bool
  )
  pictures = data.build(dataset='folder', data_dir=str(folder), resolution=8)
  of = lambda some, version=1: captions.build(pictures, some, encoder(version)).read([1])[
    'sentence'
  ]
  of([['x', 'y'], ['y'], ['z']])
  assert asked == ['x', 'y', 'z']  # each once
  np.testing.assert_array_equal(of([['x', 'y'], ['y'], ['z']]), ngrams.encode(['y']))
  assert len(asked) == 3
  of([['x'], ['w'], ['z']])
  of([['x', 'y'], ['y'], ['z']], 2)
  assert len(asked) == 9


def test_a_run_says_its_encoder_and_goes_on_with_it_alone(folder):
  beside(folder)
  source = build(folder)
  assert (
    '3 pictures with 4 captions, read by the encoder ngrams, in 2 classes'
    in provenance.describe(source)
  )
  saved = json.loads(json.dumps(provenance.entry(source)))
  assert provenance.compare(source, saved, False) == []
  (line,) = provenance.compare(source, {**saved, 'captions_sha256': 'x'}, False)
  assert line == 'changed on resume: captions'
  with pytest.raises(
    UserError, match='learned texts as the encoder .*minilm.* use another --workdir'
  ):
    provenance.compare(source, {**saved, 'encoder': {'name': 'minilm'}}, False)
