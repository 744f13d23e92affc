"""What a run says of its data, and what a resume refuses or says."""

import json
import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from ganjax import UserError, run_record
from ganjax import data as data_sets
from ganjax.data import Source, provenance


def make(classes=None, count=40, **info):
  info = {'dataset': 'folder', 'num_examples': count, 'listing_sha256': 'f', **info}
  return Source(read_rows=None, rows=np.arange(count), fields={}, class_names=classes, info=info)


def saved(source):
  return json.loads(json.dumps(provenance.entry(source)))


def test_one_line_describes_the_data():
  assert provenance.describe(make()) == 'data: 40 pictures without labels'
  line = provenance.describe(make(['cat', 'a\nb', 'dog\udcff'], 5416))
  assert line == r"data: 5,416 pictures in 3 classes: 0 cat, 1 'a\nb', 2 'dog\udcff'"
  line = provenance.describe(make([str(i) for i in range(1000)]))
  assert line.endswith(
    'in 1,000 classes: 0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 6 6, 7 7, 8 8, 9 9, ..., 999 999'
  )


@pytest.mark.parametrize(
  'now, message',
  [
    (['bird', 'cat', 'hound'], 'without dog and with hound; give it its own data'),
    (['bird', 'cat'], 'run began with: without dog;'),
    (['cat', 'bird', 'dog'], 'in another order, 0 was bird and is cat;'),
    (None, 'without bird, cat, dog;'),
  ],
)
def test_other_classes(now, message):
  """A conditional run has learned what the numbers mean; for another only the order of pictures changes."""
  before = saved(make(['bird', 'cat', 'dog']))
  with pytest.raises(UserError, match=message):
    provenance.compare(make(now), before, conditional=True)
  (line,) = provenance.compare(make(now), before, conditional=False)
  assert line.startswith('changed on resume: the classes of the data are not') and '\n' not in line


def test_a_class_folder_that_is_renamed_is_another_class(tmp_path):
  for name in ('cat', 'dog'):
    (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / '0.png')
  read = lambda: data_sets.build(dataset='folder', data_dir=str(tmp_path), resolution=8)
  before = saved(read())
  assert provenance.compare(read(), before, conditional=True) == []
  (tmp_path / 'cat').rename(tmp_path / 'zebra')
  with pytest.raises(UserError, match='without cat and with zebra; give it its own data'):
    provenance.compare(read(), before, conditional=True)


def test_what_else_changed_is_said():
  classes = ['bird', 'cat']
  before = saved(make(classes))
  compare = lambda now, entry=before: provenance.compare(now, entry, conditional=True)
  assert compare(make(classes)) == []
  assert compare(make(classes, 39, listing_sha256='g')) == [
    'changed on resume: number of pictures 40 -> 39'
  ]
  assert compare(make(classes, listing_sha256='g')) == [
    "changed on resume: files' names, sizes or times"
  ]
  assert compare(make(classes, dataset='mnist/3.0.2'), {**before, 'dataset': 'mnist/3.0.1'}) == [
    'changed on resume: data set mnist/3.0.1 -> mnist/3.0.2'
  ]
  del before['classes']  # a run of 0.4
  assert compare(make(['other'])) == []


def check(tmp_path, *sources, num_classes=0, **data):
  config = ConfigDict({'name': 'test', 'data': {'dataset': 'folder', 'data_dir': None, **data}})
  run = types.SimpleNamespace(config=config, method=types.SimpleNamespace(num_classes=num_classes))
  run_record.check_data(run, sources, tmp_path)


def test_training_says_what_it_reads_and_what_changed(tmp_path, capsys):
  entry = saved(make(['cat', 'dog']))
  (tmp_path / 'config.json').write_text(json.dumps({'data': [entry, entry]}))
  check(tmp_path, make(['cat', 'dog'], 39), make(['cat', 'dog'], 39), num_classes=2)
  lines = (
    'data: 39 pictures in 2 classes: 0 cat, 1 dog\nchanged on resume: number of pictures 40 -> 39\n'
  )
  assert capsys.readouterr().out == lines
  with pytest.raises(UserError, match='without dog and with hound'):
    check(tmp_path, make(['cat', 'hound']), num_classes=2)
  (tmp_path / 'config.json').write_text(json.dumps({'data': []}))  # imported weights
  check(tmp_path, make(['cat', 'hound']), num_classes=2)


@pytest.mark.parametrize(
  'dataset', ['emoji', 'emoji_pairs', 'emoji_captions', 'notes', 'chorales', 'moving']
)
@pytest.mark.parametrize('call', [data_sets.build, data_sets.fields])
def test_a_place_that_nothing_is_read_from_is_refused(dataset, call):
  if (dataset, call) == ('moving', data_sets.fields):
    return  # which sprites there are is known where it is opened
  with pytest.raises(UserError, match=r'ha(s|ve) no use for data.data_dir=/pics: leave that out'):
    call(dataset=dataset, data_dir='/pics', resolution=16)


@pytest.mark.parametrize(
  'source, data, message',
  [
    (make(), {}, 'conditional on 2 classes, and folder has no labels'),
    (make(unlabelled=True), {}, 'has pictures without a label'),
    (make(['one']), {}, 'one class only'),
    (make(['a', 'b', 'c']), {}, 'num_classes=3'),
  ],
)
def test_data_that_do_not_suit(tmp_path, source, data, message):
  with pytest.raises(UserError, match=message) as error:
    check(tmp_path, source, num_classes=2, **data)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'entry, begins',
  [
    ({'dataset': 'mnist/3.0.1'}, 'MNIST: CC BY-SA'),
    ({'dataset': 'sketches', 'version': '1.0.0', 'of': 'emoji'}, 'Noto Emoji'),
    ({'dataset': 'edges', 'of': 'moving', 'sprites': 'emoji'}, 'Noto Emoji'),
    ({'dataset': 'moving', 'sprites': 'mnist'}, 'MNIST'),
    ({'dataset': 'lines', 'version': '1.0.0'}, 'Noto Emoji'),
    ({'dataset': 'emoji_pairs'}, 'Noto Emoji'),
    ({'dataset': 'solids', 'version': 1}, 'Procedural'),
    ({'dataset': 'solids'}, None),
    ({'dataset': 'chorales', 'version': 1, 'bach': 'train'}, None),
    ({'dataset': 'lines', 'content_sha256': 'ab'}, None),
    ({'dataset': 'sketches', 'of': 'folder'}, None),
    ({'dataset': 'folder'}, None),
  ],
)
def test_licences_are_of_what_data_are_made_of(entry, begins):
  found = provenance.licence(entry)
  assert (found and begins and found.startswith(begins)) or found == begins
