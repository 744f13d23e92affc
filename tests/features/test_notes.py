"""The network of notes: its spectrogram against SciPy's, its features against stored ones, and what its file says.

golden_notes.npz: `features` of `render()` by the network that comes along.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors
import scipy

from ganjax import features
from ganjax.data.sets import notes as data
from ganjax.features import notes

sys.path.append(str(Path(__file__).resolve().parents[2] / 'benchmarks'))
import notes_classifier  # noqa: E402

GOLDEN = Path(__file__).with_name('golden_notes.npz')


def render(pitches=(60, 67, 95), length=4096, rate=16_000):
  """A sine, a pluck and a drum, float32 [3, length]."""
  x = data.render(np.arange(3), 1, length, rate, np.array(pitches), np.arange(3))
  return x[..., 0] / np.float32(2**15)


def apply(x):
  return jax.device_get(jax.jit(notes.Classifier().apply)({'params': notes.load()[0]}, x))


@pytest.mark.parametrize('length', [4096, 4000, 1025])
def test_the_spectrogram_is_that_of_scipy(length):
  x = render(length=4096)[:, :length]
  window, hop = notes.WINDOW, notes.HOP
  how = dict(window='hann', nperseg=window, noverlap=window - hop, boundary='zeros')
  frequency, _, spectra = scipy.signal.stft(x.astype(np.float64), notes.RATE, **how)
  to_mel = lambda f: 2595 * np.log10(1 + f / 700)
  edges = np.linspace(0, to_mel(notes.RATE / 2), notes.BANDS + 2)
  bands = [np.interp(to_mel(frequency), edges[k : k + 3], [0, 1, 0]) for k in range(notes.BANDS)]
  wanted = np.log10(np.abs(spectra).swapaxes(1, 2) @ np.stack(bands, 1) + notes.FLOOR) + 2
  found = notes.spectrogram(x)
  assert found.shape == (3, 1 + -(-length // hop), notes.BANDS)
  np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_features_are_the_stored_ones():
  found = apply(render())['features']
  np.testing.assert_allclose(found, np.load(GOLDEN)['features'], rtol=1e-4, atol=1e-3)


def test_it_names_notes_of_both_rates():
  for rate in 16_000, 8000:
    found = apply(notes.resample(render(length=rate // 2, rate=rate), rate))
    assert (found['pitch'].argmax(1) + notes.LOWEST).tolist() == [60, 67, 95]
    assert found['instrument'].argmax(1).tolist() == [0, 1, 2]
  assert np.isfinite(apply(render()[:, :5])['features']).all()  # shorter than a window


def test_sounds_are_brought_to_its_rate():
  sine = lambda rate, n: np.sin(2 * np.pi * 440 * np.arange(n) / rate)[None]
  for rate, n in (8000, 1000), (16_000, 2000), (44_100, 5513):
    found = notes.resample(sine(rate, n), rate)
    assert found.dtype == np.float32 and abs(found.shape[1] - 2000) < 2
    np.testing.assert_allclose(found[:, 100:1900], sine(16_000, 2000)[:, 100:1900], atol=5e-3)


@pytest.mark.slow
def test_the_command_trains_it():
  sounds, labels = notes_classifier.read('train', 4, rates=(8000,))
  params, again = (notes_classifier.train(sounds, labels, steps=60) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, params, again)
  found = notes_classifier.accuracy(params, *notes_classifier.read('test', 1))
  assert found['instrument'] > 0.8 and found['pitch'] > 0.1  # by chance 1 of 48


def test_the_file_says_how_it_was_made():
  with safetensors.safe_open(notes.FILE, 'numpy') as file:
    about = json.loads(file.metadata()['ganjax'])
  assert about['command'] == 'python benchmarks/notes_classifier.py' and '+' not in about['commit']
  assert min(about['test_accuracy'].values()) > 0.99
  assert notes.FILE.stat().st_size < 300_000
  assert 'notes' not in features.names()  # which take pictures
