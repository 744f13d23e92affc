"""Piano rolls: notes, pictures, sound, and MIDI files that come back."""

import json

import numpy as np
import pytest
import scipy.io.wavfile

from ganjax import UserError
from ganjax.data import midi
from ganjax.media import roll
from ganjax.metrics import pitch


def tune(steps, voices, *notes):
  """A roll of four octaves of notes (voice, pitch from 0, first step, end)."""
  x = np.zeros((steps, 48, voices), bool)
  for voice, key, start, end in notes:
    x[start:end, key, voice] = True
  return x


def test_notes_of_a_roll():
  given = [(0, 0, 0, 4), (0, 0, 5, 6), (0, 7, 2, 16), (1, 47, 15, 16)]
  np.testing.assert_array_equal(roll.notes(tune(16, 2, *given)), given)
  assert roll.notes(tune(16, 2)).shape == (0, 4)


def test_a_roll_begins_with_a_c_about_the_middle():
  # 84 pitches from 24 on are MuseGAN's.
  assert {p: roll.lowest(p) for p in (24, 48, 60, 84, 120)} == {
    24: 48,
    48: 36,
    60: 36,
    84: 24,
    120: 0,
  }
  for pitches in range(12, 121, 12):
    low = roll.lowest(pitches)
    assert low % 12 == 0 <= low and low + pitches <= 128


@pytest.mark.parametrize(('voices', 'rate'), [(1, 4), (4, 4), (5, 12), (15, 2)])
def test_midi_files_come_back(voices, rate):
  pytest.importorskip('mido')
  # Of 15 voices two share a channel: they are parts all the same.
  rng = np.random.default_rng(0)
  x = rng.random((8 * rate, 48, voices)) < 0.05
  x[-1, 0] = x[0, 0] = True  # each voice has notes, to the end
  read = midi.read(roll.to_midi(x, {'seed': 7}, rate), rate, 48, voices)
  np.testing.assert_array_equal(read, x)


def test_files_say_what_they_are(tmp_path):
  mido = pytest.importorskip('mido')
  x = tune(16, 5, (0, 0, 0, 2), (1, 33, 0, 8), (3, 4, 8, 16))
  about = {'Description': 'synthetic', 'seed': 7}
  roll.save(tmp_path / 'a.mid', x, about, 4)
  file = mido.MidiFile(tmp_path / 'a.mid')
  first, *tracks = file.tracks
  assert json.loads(first[0].text) == about and file.length == pytest.approx(4 * 60 / roll.TEMPO)
  assert [track.name for track in tracks] == list(roll.FAMILIES)
  program = {t.name: (t[1].channel, t[1].program) for t in tracks}
  assert program['drums'] == (9, 0) and program['bass'] == (3, 33)
  rate, wave = scipy.io.wavfile.read(tmp_path / 'a.wav')
  assert b'"seed": 7' in (tmp_path / 'a.wav').read_bytes()
  assert len(wave) == rate * (4 * 60 / roll.TEMPO + 1)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['a.mid', 'a.wav']


def test_what_is_heard():
  """An A and a C after it, by the tracker of pitch; silence before notes; nothing is too loud."""
  beat = round(60 / roll.TEMPO * roll.RATE)
  x = tune(16, 1, (0, 33, 4, 8), (0, 24, 8, 12))
  wave = roll.render(x, 4)[:, 0] / 2**15
  assert not wave[:beat].any() and 0.5 < np.abs(wave).max() <= 0.9
  heard = [wave[beat:][: beat // 2], wave[2 * beat + 4000 :][: beat // 2]]
  np.testing.assert_allclose(pitch.track(np.array(heard), roll.RATE), [440, 261.63], rtol=0.02)
  loud = roll.render(np.ones((4, 48, 5), bool), 4)
  assert np.abs(loud / 2**15).max() == pytest.approx(0.9, abs=1e-3)


def test_pictures_of_rolls():
  """Time to the right, pitch up, a colour a voice."""
  shown = roll.show(tune(64, 4, (0, 0, 0, 32), (3, 47, 32, 64))[None])
  assert shown.shape == (1, 144, 192, 3) and shown.dtype == np.uint8
  assert roll.show(np.zeros((1, 192, 84, 5), bool)).shape == (1, 84, 192, 3)
  (shown,) = shown
  low, high = shown[-1], shown[0]
  assert (low[:96] == low[0]).all() and (low[96:] == low[96]).all() and low[0].max() == 255
  assert high[-1].max() == 255 and (high[-1] != low[0]).any() and high[0].max() < 100


def test_without_the_package(monkeypatch, tmp_path):
  monkeypatch.setitem(__import__('sys').modules, 'mido', None)
  with pytest.raises(
    UserError, match=r"MIDI files need mido: pip install mido \(or 'ganjax\[music\]'\)"
  ):
    roll.save(tmp_path / 'a.mid', tune(16, 1), {})
  assert not list(tmp_path.iterdir())
