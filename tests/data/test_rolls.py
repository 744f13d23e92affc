"""Chorales, and windows of one's own MIDI files."""

import struct

import numpy as np
import pytest

from ganjax import UserError, data
from ganjax.data import midi
from ganjax.data.sets import chorales
from ganjax.media import roll
from ganjax.metrics import rolls


def build_chorales(**changes):
  return data.build(**{**dict(dataset='chorales', count=200), **changes})


def sung(x):
  """MIDI numbers int [N, T, V] of rolls in which each voice sings one note."""
  assert (x.sum(2) == 1).all()
  return x.argmax(2) + roll.lowest(x.shape[2])


def test_a_chorale_is_a_function_of_its_index_and_the_split():
  source = build_chorales()
  assert source.fields['roll'].shape == (32, 48, 4) and source.fields['roll'].rate == 4
  x = source.read(np.arange(200))['roll']
  np.testing.assert_array_equal(source.read(np.array([7, 3]))['roll'], x[[7, 3]])
  assert len(np.unique(x.reshape(200, -1), axis=0)) > 195
  other = build_chorales(split='test').read(np.arange(200))['roll']
  assert (other != x).any((1, 2, 3)).mean() > 0.95
  longer = build_chorales(bars=3, steps=8, count=5)
  assert longer.read(np.arange(5))['roll'].shape == (5, 96, 48, 4)


def test_chorales_keep_the_rules():
  """Voices in their ranges and order, chords of the scale, a cadence, and notes between beats that join two."""
  x = build_chorales(count=500).read(np.arange(500))['roll']
  pitch = sung(x)
  for voice, (low, high) in enumerate(chorales.RANGES):
    assert low <= pitch[..., voice].min() and pitch[..., voice].max() < high
  assert (np.diff(pitch, axis=2) >= 0).mean() < 0.01  # crossed
  assert rolls.in_scale(x) == 1 and np.isin(pitch % 12, chorales.SCALE).all()
  beats = pitch[:, ::4]
  classes = np.sort(beats % 12, -1)
  triads = {tuple(sorted({*chorales.SCALE[[d, (d + 2) % 7, (d + 4) % 7]]})) for d in range(7)}
  found = {tuple(sorted({*chord})) for chord in classes.reshape(-1, 4)}
  assert all(any({*chord} <= {*triad} for triad in triads) for chord in found)
  np.testing.assert_array_equal(beats[:, -1], beats[:, -2])
  assert (beats[:, -1, 0] % 12 == 0).all() and (beats[:, -1, 3] % 12 == 0).all()
  assert (beats[:, -3, 3] % 12 == 7).mean() > 0.6  # the bass of the dominant
  middle = pitch[:, 2::4]
  moved = middle[:, :-1] != beats[:, :-1]
  assert 0.05 < moved[..., 0].mean() < 0.4 and not moved[..., 1:3].any()
  between = (middle[:, :-1] - beats[:, :-1]) * (beats[:, 1:] - middle[:, :-1])
  assert (between[moved] > 0).all()


@pytest.mark.parametrize('changes, message', [
  (dict(split='dev'), "chorales has no split 'dev'; it has: train, test"),
  (dict(bars=0), 'data.bars=0 must be a whole number from 1 to 256'),
  (dict(steps=3), 'data.steps=3 must be even'),
  (dict(count=0), 'data.count=0 must be a whole number'),
])  # fmt: skip
def test_chorales_refuse(changes, message):
  with pytest.raises(UserError, match=message):
    build_chorales(**changes)


def test_bach_needs_his_package(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'music21', None)
  with pytest.raises(UserError, match='pip install music21'):
    build_chorales(bach=True)


def test_a_score_becomes_a_roll():
  """In D major after an upbeat: from the first whole bar on, a tone lower."""
  music21 = pytest.importorskip('music21')
  score = music21.stream.Score()
  for number in (74, 69, 62, 50):
    part = music21.stream.Part()
    upbeat, *bars = (music21.stream.Measure(number=i) for i in range(3))
    upbeat.append([music21.key.KeySignature(2), music21.meter.TimeSignature('4/4')])
    upbeat.append(music21.note.Note(number + 2))
    upbeat.paddingLeft = 3
    bars[0].append([music21.note.Note(number, quarterLength=q) for q in (1, 1.5, 0.5, 1)])
    bars[1].append(
      [music21.note.Rest(quarterLength=2), music21.note.Note(number + 7, quarterLength=2)]
    )
    part.append([upbeat, *bars])
    score.insert(0, part)
  x = chorales._roll_of(score, 4)
  assert x.shape == (32, 48, 4)
  found = [[n - 2 - 36, n + 5 - 36] for n in (74, 69, 62, 50)]
  for voice, (first, second) in enumerate(found):
    np.testing.assert_array_equal(np.flatnonzero(x[:, first, voice]), np.arange(16))
    np.testing.assert_array_equal(np.flatnonzero(x[:, second, voice]), np.arange(24, 32))
  assert x.sum() == 4 * (16 + 8)
  score.remove(score.parts[0])
  with pytest.raises(ValueError, match='not for four voices'):
    chorales._roll_of(score, 4)


@pytest.fixture
def folder(tmp_path):
  """A piece of five bars, each with its number as a note of a voice, and one of three."""
  pytest.importorskip('mido')
  (tmp_path / 'music/deep').mkdir(parents=True)
  for name, bars in ('a.mid', 5), ('deep/b.MIDI', 3):
    x = np.zeros((16 * bars, 48, 2), bool)
    for bar in range(bars):
      x[16 * bar :][:16, bar + (12 if bars == 3 else 0), 0] = True
      x[16 * bar + 3, 20, 1] = True
    (tmp_path / 'music' / name).write_bytes(roll.to_midi(x, {}, 4))
  (tmp_path / 'music/notes.txt').write_text('no music')
  return tmp_path / 'music'


def build(folder, **changes):
  given = dict(dataset='rolls', data_dir=str(folder), bars=2, steps=4, pitches=48, voices=2)
  return data.build(**{**given, **changes})


@pytest.mark.parametrize('cache', [True, False])
def test_windows_begin_at_any_bar_and_lie_in_one_piece(folder, cache):
  source = build(folder, cache=cache)
  assert source.num_examples == 4 + 2 and source.class_names is None
  epoch = source.read_rows(source.rows(0, 0, 6))['roll']
  first = sorted(x[0, :, 0].argmax() for x in epoch)
  assert first == [0, 1, 2, 3, 12, 13]
  for x in epoch:
    low = x[0, :, 0].argmax()
    assert x[:16, low, 0].all() and x[16:, low + 1, 0].all() and x[..., 0].sum() == 32
    np.testing.assert_array_equal(np.flatnonzero(x[:, 20, 1]), [3, 19])
  # A function of seed and position.
  np.testing.assert_array_equal(source.read_rows(source.rows(0, 4, 2))['roll'], epoch[4:])
  longer = build(folder, bars=3, cache=cache)
  assert longer.num_examples == 3 + 1


def message_bytes(*events):
  """A MIDI file of one track, 96 ticks a beat, of (delta time below 128, bytes)."""
  track = b''.join(bytes([time]) + content for time, content in events) + b'\0\xff\x2f\0'
  head = b'MThd' + struct.pack('>IHHH', 6, 0, 1, 96)
  return head + b'MTrk' + struct.pack('>I', len(track)) + track


def test_notes_of_a_file():
  """Rounded to steps, one at least; a velocity of 0 ends a note, and so does its beginning again."""
  pytest.importorskip('mido')
  on = lambda note, velocity=64, channel=0: bytes([0x90 + channel, note, velocity])
  content = message_bytes(
    (10, on(60)), (2, on(60, 0)), (98, on(62)), (72, on(62)), (40, on(62, 0)), (0, on(40, 64, 9)),
    (0, on(20)), (0, on(20, 0)), (24, on(40, 0, 9)),
  )  # fmt: skip
  x = midi.read(content, 4, 48, 1)
  np.testing.assert_array_equal(roll.notes(x), [(0, 24, 0, 1), (0, 26, 5, 9)])
  x = midi.read(content, 4, 48, 5)  # with drums
  np.testing.assert_array_equal(roll.notes(x), [(0, 4, 9, 10), (1, 24, 0, 1), (1, 26, 5, 9)])


def test_instruments_are_voices_by_their_programs():
  pytest.importorskip('mido')
  events = []
  for channel, program in enumerate((4, 24, 39, 40, 8)):
    events += [(0, bytes([0xC0 + channel, program])), (0, bytes([0x90 + channel, 48 + channel, 9]))]
  content = message_bytes(*events, *((24, bytes([0x80 + c, 48 + c, 0])) for c in range(5)))
  voice = {n[1] + 36 - 48: n[0] for n in roll.notes(midi.read(content, 4, 48, 5))}
  assert {c: roll.FAMILIES[v] for c, v in voice.items()} == {
    0: 'piano', 1: 'guitar', 2: 'bass', 3: 'strings', 4: 'strings'
  }  # fmt: skip
  parts = {n[1] + 36 - 48: n[0] for n in roll.notes(midi.read(content, 4, 48, 3))}
  assert parts == {0: 0, 1: 1, 2: 2, 3: 2, 4: 2}


@pytest.mark.parametrize('changes, message', [
  (dict(data_dir=None), 'needs data.data_dir=DIRECTORY: the folder of your MIDI files'),
  (dict(data_dir='/nowhere'), '/nowhere is not there'),
  (dict(split='test'), "rolls has no split 'test'"),
  (dict(pitches=50), 'data.pitches=50 must be whole octaves'),
  (dict(voices=16), 'data.voices=16 must be a whole number from 1 to 15'),
  (dict(bars=4), r'1 of 2 MIDI files .*b.MIDI \(it has 3 bars, fewer than data.bars=4\)'),
])  # fmt: skip
def test_rolls_refuse(folder, changes, message):
  with pytest.raises(UserError, match=message):
    build(folder, **changes)


def test_what_is_no_music(tmp_path, monkeypatch):
  pytest.importorskip('mido')
  with pytest.raises(UserError, match=r'no MIDI files in .*: looked for .mid .midi'):
    build(tmp_path)
  drum = [(0, bytes([0x99, 40, 9])), (24, bytes([0x89, 40, 0]))]
  high = [(0, bytes([0x90, 120, 9])), (24, bytes([0x80, 120, 0]))]
  years = [(127, bytes([0x90, 60, 9]))] * 2
  for content, message in (
    (b'nothing', r'1 of 1 MIDI files in .* cannot be used: a.mid \(damaged, or no MIDI file\)'),
    (message_bytes(), r'a.mid \(it has no notes\)'),
    (message_bytes(*drum), r'a.mid \(it has no notes that are within data.pitches=48 and no drums'),
    (message_bytes(*high), r'within data.pitches=48'),
    (message_bytes(*years).replace(b'\0\x60', b'\0\1'), 'it has 64 bars, fewer'),
    (message_bytes(*years).replace(b'\0\x60', b'\xe7\x28'), 'its times are not in beats'),
  ):
    (tmp_path / 'a.mid').write_bytes(content)
    with pytest.raises(UserError, match=message):
      build(tmp_path, bars=65)
  monkeypatch.setattr(midi, 'MOST_BARS', 7)
  (tmp_path / 'a.mid').write_bytes(message_bytes(*years).replace(b'\0\x60', b'\0\1'))
  with pytest.raises(UserError, match='it lasts for 64 bars'):
    build(tmp_path)
  monkeypatch.setitem(__import__('sys').modules, 'mido', None)
  with pytest.raises(UserError, match='pip install mido'):
    build(tmp_path)
