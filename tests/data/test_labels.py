"""Labels from dataset.json and labels.csv beside the pictures."""

import json

import numpy as np
import PIL.Image
import pytest

from ganjax import UserError, data

PATHS = ['00000/img0.png', '00000/img1.png', '00001/img2.png', '00001/img3.png']


@pytest.fixture
def top(tmp_path):
  """Pictures in the folders of NVIDIA's dataset_tool.py, each of its own grey."""
  for i, path in enumerate(PATHS):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    PIL.Image.new('RGB', (8, 8), (50 * i, 0, 0)).save(tmp_path / path)
  return tmp_path


def read(top):
  source = data.build(dataset='folder', data_dir=str(top), resolution=8)
  batch = source.read(np.arange(source.num_examples))
  assert batch['image'][:, 0, 0, 0].tolist() == [0, 50, 100, 150]
  return source.class_names, batch.get('label', np.zeros(0)).tolist()


def nvidia(labels):
  return json.dumps({'labels': labels})


def test_folders_are_the_classes_where_no_file_says_otherwise(top):
  assert read(top) == (('00000', '00001'), [0, 0, 1, 1])


def test_nvidias_labels(top):
  """In another order, with pictures that are not there."""
  rows = [[path, label] for path, label in zip(PATHS, (3, 0, 1, 3))]
  (top / 'dataset.json').write_text(nvidia([['00002/more.png', 9], *rows[::-1]]))
  assert read(top) == (('0', '1', '2', '3'), [3, 0, 1, 3])
  (top / 'dataset.json').write_text(nvidia([[path, 1] for path in PATHS]))
  assert read(top) == (('0', '1'), [1, 1, 1, 1])  # not what the cache holds


def test_without_labels_shards_are_no_classes(top):
  (top / 'dataset.json').write_text(nvidia(None))
  assert read(top) == (None, [])
  PIL.Image.new('RGB', (8, 8)).save(top / 'loose.png')  # nor are pictures beside them an error
  assert data.build(dataset='folder', data_dir=str(top), resolution=8).num_examples == 5


@pytest.mark.parametrize('heading', ['', 'file,label\n', '\ufefffilename,class\r\n'])
def test_a_table_of_names_or_numbers(top, heading):
  names = ['dog', 'cat', '"ant, red"', 'cat']
  rows = [f'{path},{name}\n' for path, name in zip(PATHS, names)]
  (top / 'labels.csv').write_text(heading + ''.join(rows))
  assert read(top) == (('ant, red', 'cat', 'dog'), [2, 1, 0, 1])
  rows = [f'./{path}, {label}\n' for path, label in zip(PATHS, (10, 2, 0, 2))]
  (top / 'labels.csv').write_text(heading + ''.join(rows))
  assert read(top) == (tuple(map(str, range(11))), [10, 2, 0, 2])


CSV = ''.join(f'{path},a\n' for path in PATHS)


@pytest.mark.parametrize(
  'files, message',
  [
    ({'dataset.json': '{'}, 'dataset.json is not understood: .*; correct or remove it'),
    ({'dataset.json': '[1]'}, 'dataset.json is not understood: it is no object with "labels"'),
    ({'dataset.json': nvidia([['x.png']])}, r"'x.png'\] among its labels is no pair"),
    ({'dataset.json': nvidia([[p, [0.5, 1.5]] for p in PATHS])}, 'label of .*0.png, .*no whole'),
    ({'dataset.json': nvidia([[p, True] for p in PATHS])}, 'label of .*0.png, True, is no whole'),
    ({'dataset.json': nvidia([[p, -1] for p in PATHS])}, 'from -1 to -1: classes are numbered'),
    ({'dataset.json': nvidia([[p, 10**9] for p in PATHS])}, 'at most 1,000,000'),
    ({'dataset.json': nvidia([[p, 0] for p in PATHS[2:]])}, 'no label for 2 of 4 .* 00000/img0'),
    ({'labels.csv': CSV.replace('3.png,a', '3.png')}, 'line 4 is not file,label'),
    ({'labels.csv': CSV.replace('a', '-1')}, 'from -1 to -1'),
    ({'labels.csv': CSV + f'{PATHS[0]},b\n'}, 'gives 00000/img0.png two labels, a and b'),
    ({'labels.csv': CSV, 'dataset.json': nvidia(None)}, 'labels in dataset.json and labels.csv'),
  ],
)
def test_one_line_for_what_is_wrong(top, files, message):
  for name, text in files.items():
    (top / name).write_text(text)
  with pytest.raises(UserError, match=message) as error:
    read(top)
  assert '\n' not in str(error.value)
