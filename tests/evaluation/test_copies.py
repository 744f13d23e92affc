"""Copies of training pictures are found, and held against held-out pictures."""

import command
import numpy as np
import pytest
from PIL import Image

from ganjax import UserError, data
from ganjax.evaluation import copies

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (50, 20, 24, 3), np.uint8)


def bank():
  made = copies.Bank.__new__(copies.Bank)
  made._small, made._read = copies.small(PICTURES), lambda rows: PICTURES[rows]
  return made


def test_blocks_are_means():
  x = RNG.integers(0, 256, (3, 32, 48, 2), np.uint8)
  expected = x.reshape(3, 16, 2, 16, 3, 2).mean((2, 4)) / 255
  np.testing.assert_allclose(copies.small(x), expected.reshape(3, -1), atol=1e-6)
  assert copies.small(x[:, :8, :8]).shape == (3, 8 * 8 * 2)


def test_a_copy_is_found_whatever_is_around_it():
  noisy = np.clip(PICTURES[[31, 7]].astype(int) + RNG.integers(-9, 10, (2, 20, 24, 3)), 0, 255)
  indices, distances = bank().nearest(noisy.astype(np.uint8), 3)
  assert indices[:, 0].tolist() == [31, 7] and (distances[:, 0] < distances[:, 1] / 4).all()
  drawn = bank().draw(PICTURES[[31, 7]]).reshape(2, 20, 7, 24, 3).swapaxes(1, 2)
  np.testing.assert_array_equal(drawn[:, 0], PICTURES[[31, 7]])
  np.testing.assert_array_equal(drawn[:, 1], PICTURES[[31, 7]])


def test_the_sentence_counts_what_is_nearer_than_all_but_one_in_a_hundred():
  reals = np.linspace(1, 2, 1001)  # its first hundredth ends at 1.01
  text = copies.sentence(np.array([0.0, 1.005, 1.015, 3.0]), reals)
  assert text.startswith(
    '2 of 4 samples (50.0%) are nearer to a training picture than 99% of 1,001'
  )
  assert 'held-out pictures are;' in text and 'samples 1.01, these 1.5' in text
  assert '1,001 training pictures are to another one;' in copies.sentence(reals, reals, False)


def test_the_command(tmp_path, monkeypatch, capsys):
  """Samples that are training pictures are all nearer than held-out ones; the picture shows the nearest first."""
  workdir, out = command.finished()[0], tmp_path / 'copies.png'
  pictures = np.stack([np.asarray(Image.open(p)) for p in sorted(command.pictures().iterdir())])

  def sample(self, seeds):
    """Copies, but for the first two, which are far from all."""
    return np.concatenate([255 - pictures[seeds[:2]], pictures[seeds[2:]]])

  monkeypatch.setattr('ganjax.pretrained.Generator.sample', sample)
  copies.COMMAND.read(['copies', str(workdir), '--num=10', f'--out={out}'])
  copies.main()
  line, path = capsys.readouterr().out.splitlines()[-2:]
  # Trained on all there is: training pictures are held against each other.
  assert path == str(out) and line.startswith('8 of 10 samples (80.0%) are nearer')
  assert 'of 10 training pictures are to another one; 1% would be chance. Median' in line
  assert float(line.rpartition(' ')[2]) > 0
  cells = np.asarray(Image.open(out)).reshape(8, 32, 7, 32, 3).swapaxes(1, 2)
  np.testing.assert_array_equal(cells[:, 0], cells[:, 1])


def test_pictures_that_are_not_held_out_are_said(monkeypatch):
  """All splits of a folder are all of it."""
  monkeypatch.setattr('ganjax.data.whole', lambda config, split: data.build(**config))
  copies.COMMAND.read(['copies', str(command.finished()[0]), '--num=10', '--split=test'])
  with pytest.raises(UserError, match='of --split=test are training pictures: name others'):
    copies.main()


def test_held_out_pictures_are_the_measure(monkeypatch, capsys, tmp_path):
  others = data.build(
    dataset='folder', data_dir=str(make_others(tmp_path)), resolution=32, channels=3
  )
  monkeypatch.setattr('ganjax.data.whole', lambda config, split: others)
  copies.COMMAND.read(['copies', str(command.finished()[0]), '--num=5', '--split=test'])
  copies.main()
  assert 'than 99% of 3 held-out pictures are;' in capsys.readouterr().out


def make_others(folder):
  for i in range(3):
    noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(folder / f'{i}.png')
  return folder


def test_bad_input(tmp_path):
  copies.COMMAND.read(['copies', str(tmp_path), '--num=0'])
  with pytest.raises(UserError, match='--num must be at least 1'):
    copies.main()
