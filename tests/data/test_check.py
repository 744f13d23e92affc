"""ganjax check: what it says of folders, and what it leaves as it was."""

import sys

import numpy as np
import pytest
from PIL import Image

from ganjax import UserError
from ganjax.data import check


def save(path, colour, size=(40, 30), mode='RGB'):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new(mode, size, colour).save(path)


def run(monkeypatch, capsys, *arguments) -> list:
  """The lines that it prints."""
  monkeypatch.setattr(sys, 'argv', ['ganjax check', *map(str, arguments)])
  check.COMMAND.read(sys.argv)
  check.main()
  return capsys.readouterr().out.splitlines()


@pytest.fixture
def pictures(tmp_path):
  top = tmp_path / 'my pictures'
  for i in range(3):
    save(top / 'cat' / f'{i}.png', (i, 0, 0))
  save(top / 'dog' / '0.png', 'white', (64, 64), 'L')
  save(top / 'dog' / '1.png', (0, 0, 0))
  (top / 'dog' / '2.png').write_bytes(b'no picture')
  return top


def test_everything_is_said(pictures, monkeypatch, capsys):
  before = {path: path.stat().st_mtime_ns for path in pictures.rglob('*')}
  lines = run(monkeypatch, capsys, pictures)
  sheet = pictures.with_name('my pictures-contact.png')
  assert lines == [
    'pictures    5',
    'sizes       40x30 (4), 64x64 (1)',
    'sides       30 to 64 pixels; the middle square is used',
    'modes       RGB (4), L (1)',
    'classes     2: 0 cat (3), 1 dog (3)',
    'pairs       3 names are in both cat/ and dog/',
    'broken      1, to be mended or removed before training: dog/2.png (no picture, or of a kind that Pillow does not '
    'know)',
    'double      1: dog/1.png = cat/0.png',
    f'some of them, as training sees them: {sheet}',
    f"to train on them: ganjax train dcgan_emoji --workdir runs/mine --config.data.dataset='{pictures}' "
    '--config.method.diffaugment=color,translation,cutout',
    'with its classes, at 32 pixels: ganjax train biggan_cifar --workdir runs/classes '
    f"--config.data.dataset='{pictures}' "
    '--config.networks.num_classes=2',
  ]
  cells = np.asarray(Image.open(sheet))
  assert cells.shape == (2 * 64, 3 * 64, 3)
  assert cells[0, 0].tolist() == [0, 0, 0] and cells[-1, -1].tolist() == [255, 255, 255]
  assert {path: path.stat().st_mtime_ns for path in pictures.rglob('*')} == before


def test_partners_that_are_missing_are_named(tmp_path, monkeypatch, capsys):
  for name in ('a/0.png', 'a/1.png', 'a/2.png', 'b/0.jpg', 'b/1.jpg'):
    save(tmp_path / 'pairs' / name, (len(name), 0, 0))
  lines = run(monkeypatch, capsys, tmp_path / 'pairs')
  assert 'pairs       2 names are in both a/ and b/; without a partner: 2' in lines


def test_the_commands_that_it_names_are_taken(pictures):
  """By the configurations and by the data set, so by training."""
  from ganjax import commandline, data

  for line in check.advise(pictures, 5, ['cat', 'dog']).splitlines():
    name = line.partition('ganjax train ')[2].split()[0]
    assert commandline.find_config(name).endswith(f'{name}.py')
  assert data.folder.locate(check._as_path(pictures), None) == ('folder', str(pictures))
  assert check._as_path('here') == './here'


@pytest.mark.parametrize(
  'arguments, line',
  [
    ([], 'name one folder'),
    (['nowhere'], 'nowhere is not there'),
    (['.', '--out=a.jpg'], 'name it a.png'),
    (['.', '--resolution=0'], 'must be from 1'),
  ],
)
def test_bad_input_is_one_line(arguments, line, monkeypatch, capsys, tmp_path):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=line) as error:
    run(monkeypatch, capsys, *arguments)
  assert '\n' not in str(error.value)
