"""`ganjax sample --mark` and `ganjax marked`."""

import functools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ganjax import UserError, experiment
from ganjax.media import mark
from ganjax.sampling import marked, sample

load = functools.cache(experiment.load)  # and what was compiled of it


def run(*words):
  sample.COMMAND.read(['sample', *map(str, words)])
  sample.main(load)


def look(capsys, *words):
  marked.COMMAND.read(['marked', *map(str, words)])
  status = marked.main()
  return status, *capsys.readouterr()


def pixels(path):
  with Image.open(path) as picture:
    return np.asarray(picture.convert('RGB')), picture.text


def test_samples_are_marked_and_say_so_in_their_recipe(tmp_path, capsys):
  plain, held, again = (tmp_path / f'{name}.png' for name in ('plain', 'held', 'again'))
  run('emoji32', '--seeds=0-63', f'--out={plain}')
  run('emoji32', '--seeds=0-63', '--mark', f'--out={held}')
  run('emoji32', f'--recipe={held}', f'--out={again}')
  assert again.read_bytes() == held.read_bytes()
  (before, _), (after, text) = pixels(plain), pixels(held)
  assert json.loads(text['recipe'])['mark'] is True
  cells = before.reshape(8, 32, 8, 32, 3).swapaxes(1, 2)
  np.testing.assert_array_equal(
    after, mark.add(cells).swapaxes(1, 2).reshape(before.shape)
  )  # each sample from its own corner
  capsys.readouterr()
  shutil.move(again, tmp_path / 'sub.png')
  status, out, _ = look(capsys, tmp_path)
  assert status == 0
  lines = out.splitlines()
  assert lines[0].startswith('held.png: marked, chance ')
  assert lines[1].startswith('plain.png: no mark found, chance ')
  assert lines[-1] == '2 of 3 pictures are marked'


def test_pictures_of_ones_own_are_marked_too(tmp_path):
  source = tmp_path / 'small.png'
  rng = np.random.default_rng(0)
  Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(source)
  for name, words in ('plain', ()), ('held', ('--mark',)):
    run('emoji_upscaler', f'--source={source}', *words, f'--out={tmp_path / name}.png')
  (before, _), (after, _) = (pixels(tmp_path / f'{name}.png') for name in ('plain', 'held'))
  assert before.shape == (80, 96, 3)
  np.testing.assert_array_equal(after, mark.add(before))


def test_pictures_of_another_size_and_broken_ones(tmp_path, capsys):
  rng = np.random.default_rng(0)
  soft = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).resize((160, 160))
  Image.fromarray(mark.add(np.asarray(soft))).resize((120, 120)).save(tmp_path / 'a.png')
  (tmp_path / 'b.png').write_bytes(b'no picture')
  status, out, error = look(capsys, tmp_path / 'a.png', tmp_path / 'b.png')
  assert status == 1 and 'b.png cannot be decoded' in error
  assert 'a.png: no mark found' in out and '0 of 1 pictures are marked' in out
  _, out, _ = look(capsys, tmp_path / 'a.png', '--resized')
  assert 'a.png: marked, at 1.33 times its size' in out


def test_nothing_is_named_and_nothing_is_there(tmp_path):
  for words, line in (
    ((), 'name pictures, folders or zip archives of pictures'),
    ((str(tmp_path / 'x.png'),), r'PICTURE=.*x\.png is not there'),
  ):
    marked.COMMAND.read(['marked', *words])
    with pytest.raises(UserError, match=line):
      marked.main()
