"""Sounds: notes by formula, and windows of one's own files."""

import io
import re
import zipfile

import numpy as np
import pytest

from ganjax import UserError, data
from ganjax.data.sets import notes, sounds

soundfile = pytest.importorskip('soundfile')

RATE = 8000


def build_notes(**changes):
  return data.build(**{**dict(dataset='notes', length=512, rate=RATE, count=72), **changes})


def test_a_note_is_a_function_of_its_index_and_the_split(capsys):
  source = build_notes()
  assert re.search(r'72 of 72 \([\d,]+ notes/s\)', capsys.readouterr().err)
  assert {n: (f.shape, f.dtype) for n, f in source.fields.items()} == {
    'sound': ((512, 1), np.int16),
    'label': ((), np.int32),
    'instrument': ((), np.int32),
  }
  found = source.read(np.arange(72))
  np.testing.assert_array_equal(found['label'], np.arange(72) % 12)
  np.testing.assert_array_equal(found['instrument'], np.arange(72) // 12 % 3)
  assert source.class_names[::9] == ('C4', 'A4')
  alone = build_notes(cache=False, count=10).read(np.array([7, 3]))
  np.testing.assert_array_equal(alone['sound'], found['sound'][[7, 3]])
  other = build_notes(split='test').read(np.arange(72))['sound']
  assert all((a != b).any() for a, b in zip(other, found['sound']))
  peaks = np.abs(found['sound'].astype(int)).max((1, 2)) / 2**15
  assert 0.49 < peaks.min() < 0.6 and 0.85 < peaks.max() < 0.96


def test_notes_are_their_formulas():
  """The strongest partial lies at the pitch; overtones of the string are multiples, those of the drum are not."""
  rows, instruments = np.arange(3), np.arange(3)
  x = notes.render(rows, 0, RATE, RATE, np.full(3, 69), instruments)[..., 0] / 2**15
  level = np.abs(np.fft.rfft(x * np.hanning(RATE)))  # a bin is a Hertz
  assert abs(level.argmax(1) - 440).max() <= 1
  string, drum = level[1], level[2]
  second = lambda own: own[600:1000].argmax() + 600
  assert abs(second(string) - 880) <= 2 and abs(second(drum) - 440 * 1.5933) <= 6
  assert level[0, 600:].max() < 1e-2 * level[0].max()
  assert notes.frequency(60) == pytest.approx(261.6256, rel=1e-6)


@pytest.mark.parametrize('changes, message', [
  (dict(split='val'), "notes has no split 'val'; it has: train, test"),
  (dict(length=3), 'data.length=3 must be a whole number from 16'),
  (dict(lowest=120, pitches=12), 'must be MIDI numbers from 0 to 127'),
  (dict(lowest=96), 'the highest note has 3951 Hz: data.rate=8000 must be above four times'),
  (dict(lenght=4), 'lenght'),
])  # fmt: skip
def test_notes_refuse(changes, message):
  with pytest.raises(UserError, match=message):
    build_notes(**changes)


@pytest.fixture
def folder(tmp_path):
  """Two classes: ramps whose samples say where they are, 2,000 of them; and 70 samples of stereo at half the rate."""
  for name in 'low', 'high':
    (tmp_path / 'mine' / name).mkdir(parents=True)
  ramp = np.arange(2000, dtype=np.int16)
  soundfile.write(tmp_path / 'mine/high/a.wav', ramp, RATE)
  soundfile.write(tmp_path / 'mine/low/b.flac', 10_000 + ramp[:300], RATE)
  t = np.arange(350) / RATE * 2
  stereo = np.stack([np.sin(2 * np.pi * 300 * t), np.zeros_like(t)], 1)
  soundfile.write(tmp_path / 'mine/low/c.wav', stereo, RATE // 2, subtype='FLOAT')
  return tmp_path / 'mine'


def build(folder, **changes):
  given = dict(
    dataset='sounds', data_dir=str(folder), length=128, rate=RATE, normalize=False, seed=0
  )
  return data.build(**{**given, **changes})


@pytest.mark.parametrize('cache', [True, False])
def test_windows_are_whole_and_a_function_of_seed_and_position(folder, cache):
  source = build(folder, cache=cache)
  assert source.class_names == ('high', 'low') and source.num_examples == 16 + 3 + 6
  read = lambda *where: source.read_rows(source.rows(*where))
  many = read(3, 0, 500)
  np.testing.assert_array_equal(read(3, 40, 5)['sound'], many['sound'][40:45])
  assert (read(4, 0, 500)['sound'] != many['sound']).any()
  x, label = many['sound'][..., 0].astype(int), many['label']
  # Each window is a stretch of one file, without a seam.
  of_a, of_b = x[label == 0], x[(label == 1) & (x.min(1) >= 10_000)]
  assert (np.diff(of_a, axis=1) == 1).all() and (np.diff(of_b, axis=1) == 1).all()
  assert of_a.min() == 0 and 1990 < of_a.max() <= 1999 and len({*of_a[:, 0]}) > 200
  assert of_b.max() <= 10_299 and len(of_b) > 20
  epoch = read(0, 0, 25)['label']
  assert sorted(epoch) == [0] * 16 + [1] * 9
  side_by_side = source.read(np.arange(16))['sound'][:, 0, 0]
  np.testing.assert_array_equal(side_by_side, [*range(0, 1920, 128), 1872])


def test_a_second_start_reads_no_header(folder, monkeypatch, capsys):
  counted = []
  count = sounds._count
  monkeypatch.setattr(sounds, '_count', lambda *args: counted.append(args) or count(*args))
  first, files = build(folder), len(counted)
  assert files > 1
  assert re.search(r'3 of 3 \([\d,]+ files/s\)', said := capsys.readouterr().err)
  assert re.search(r'25 of 25 \([\d,]+ windows/s\)', said)
  again = build(folder)
  assert len(counted) == files and again.num_examples == first.num_examples


def test_files_are_mixed_resampled_and_made_loud(folder):
  source = build(folder, normalize=True)
  x = source.read(np.arange(19, 25))['sound'][..., 0] / 2**15
  assert np.abs(x).max() == pytest.approx(1, abs=1e-3)
  whole = np.concatenate([*x[:5], x[5][-60:]])  # 700 samples, the last window ends with the file
  t = np.arange(700) / RATE
  np.testing.assert_allclose(whole[50:-50], np.sin(2 * np.pi * 300 * t)[50:-50], atol=0.02)
  plain = build(folder).read(np.arange(19, 25))['sound'] / 2**15
  assert np.abs(plain).max() == pytest.approx(0.5, abs=0.01)


def test_an_archive_is_a_folder(folder, tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
    for path in folder.rglob('*.*'):
      archive.write(path, path.relative_to(folder))
  a, b = build(folder), build(tmp_path / 'a.zip')
  for name, x in a.read(np.arange(25)).items():
    np.testing.assert_array_equal(b.read(np.arange(25))[name], x)


def test_short_files_are_filled_up_where_that_is_asked_for(folder):
  with pytest.raises(
    UserError,
    match=r'2 of 4 windows .*b.flac \(300 samples, fewer than data.length=1024: take data.pad',
  ):
    build(folder, length=1024)
  source = build(folder, length=1024, pad=True)
  x = source.read(np.arange(source.num_examples))['sound'][..., 0]
  assert (x[2, :300] >= 10_000).all() and not x[2, 300:].any()


@pytest.mark.parametrize('changes, message', [
  (dict(data_dir=None), 'needs data.data_dir'),
  (dict(split='test'), "sounds has no split 'test'"),
  (dict(data_dir='/nowhere'), '/nowhere is not there'),
  (dict(rate=0), 'data.rate=0 must be a whole number'),
])  # fmt: skip
def test_sounds_refuse(folder, changes, message):
  with pytest.raises(UserError, match=message):
    build(folder, **changes)


def test_what_is_no_sound(tmp_path, monkeypatch):
  with pytest.raises(UserError, match=r'no sounds in .*: looked for .wav'):
    build(tmp_path)
  (tmp_path / 'a.wav').write_bytes(b'nothing')
  with pytest.raises(
    UserError, match=r'1 of 1 windows in .*: a.wav \(damaged, or no sound of a kind'
  ):
    build(tmp_path)
  empty = io.BytesIO()
  soundfile.write(empty, np.zeros(0), RATE, format='WAV')
  (tmp_path / 'a.wav').write_bytes(empty.getvalue())
  with pytest.raises(UserError, match=r'a.wav \(it has no samples'):
    build(tmp_path)
  # A file of many windows is named once.
  soundfile.write(tmp_path / 'a.wav', np.full(2000, np.nan), RATE, subtype='FLOAT')
  with pytest.raises(UserError, match=r'16 of 16 .* used: a.wav \(it holds NaN or Inf\); repair'):
    build(tmp_path)
  monkeypatch.setitem(__import__('sys').modules, 'soundfile', None)
  with pytest.raises(UserError, match='pip install soundfile'):
    build(tmp_path)
