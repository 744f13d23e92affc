"""Spectra against SciPy, phases by Griffin and Lim, and sounds there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from ganjax.data.sets import notes
from ganjax.layers import spectrum
from ganjax.layers.spectrum import Spectrum
from ganjax.metrics import pitch

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def test_transforms_are_those_of_scipy():
  x = RNG.normal(size=(2, 256))
  window = scipy.signal.get_window('hann', 32)
  padded = np.pad(x, ((0, 0), (0, 16)))
  how = dict(window=window, nperseg=32, noverlap=16)
  *_, theirs = scipy.signal.stft(padded, boundary=None, padded=False, **how)
  found = spectrum.stft(jnp.asarray(x), 32)
  assert found.shape == (2, 16, 17)
  np.testing.assert_allclose(found, theirs.swapaxes(1, 2) * window.sum(), atol=1e-6)
  back = np.asarray(spectrum.istft(found, 32))
  np.testing.assert_allclose(back[:, 16:], x[:, 16:], atol=1e-6)
  assert (np.abs(back[:, :16]) <= np.abs(x[:, :16]) + 1e-6).all()  # fades in
  other = RNG.normal(size=(2, 16, 17)) + 1j * RNG.normal(size=(2, 16, 17))
  # SciPy divides by what windows there are, which is less at both ends.
  ends = np.pad(other, ((0, 0), (1, 1), (0, 0)))
  _, back = scipy.signal.istft(ends.swapaxes(1, 2) / window.sum(), boundary=False, **how)
  np.testing.assert_allclose(
    spectrum.istft(jnp.asarray(other), 32)[:, 16:], back[:, 32:272], atol=1e-5
  )


@pytest.mark.parametrize('rounds', [0, 1, 5])
def test_griffin_and_lim_are_those_of_scipys_transforms(rounds):
  window = scipy.signal.get_window('hann', 32)
  how = dict(window=window, nperseg=32, noverlap=16, boundary=None)

  def forward(x):
    *_, found = scipy.signal.stft(np.pad(x, ((0, 0), (0, 16))), padded=False, **how)
    return found.swapaxes(1, 2) * window.sum()

  def back(spectra):
    ends = np.pad(spectra, ((0, 0), (1, 1), (0, 0))) / window.sum()
    how = dict(window=window, nperseg=32, noverlap=16, boundary=False)
    return scipy.signal.istft(ends.swapaxes(1, 2), **how)[1][:, 16:272]

  wanted = np.abs(forward(np.sin(np.cumsum(RNG.uniform(0.2, 0.9, (2, 256)), 1))))
  spectra = wanted.astype(complex)
  for _ in range(rounds):
    found = forward(back(spectra))
    spectra = wanted * np.exp(1j * np.angle(found))
  found = spectrum.griffin_lim(jnp.asarray(wanted), 32, rounds)
  np.testing.assert_allclose(found, back(spectra), atol=1e-6)


def test_griffin_and_lim_come_nearer_with_every_round():
  x = np.sin(np.cumsum(RNG.uniform(0.2, 0.9, (2, 512)), 1))
  wanted = jnp.abs(spectrum.stft(jnp.asarray(x), 64))

  def error(rounds):
    found = jnp.abs(spectrum.stft(spectrum.griffin_lim(wanted, 64, rounds), 64))
    return float(jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted))

  errors = [error(n) for n in (0, 1, 4, 16)]
  assert all(a > b for a, b in zip(errors, errors[1:])) and errors[-1] < 0.7 * errors[0]
  # A round by hand.
  start = spectrum.istft(wanted.astype(complex), 64)
  turned = spectrum.stft(start, 64)
  by_hand = spectrum.istft(wanted * turned / jnp.abs(turned), 64)
  np.testing.assert_allclose(spectrum.griffin_lim(wanted, 64, 1), by_hand, atol=1e-8)


@pytest.mark.slow
def test_sounds_become_pictures_and_come_back_with_their_pitch():
  """Moments of each frequency are those of all sounds, batch by batch."""
  rows = np.arange(0, 36, 3)
  x = notes.render(rows, 0, 4096, 8000, 72 + rows % 12, rows // 12)
  x = jnp.asarray(x / 2**15)
  codec = Spectrum(64, rounds=64)
  encode = lambda stats, x: codec.apply(stats, x, train=True, method='encode', mutable=['spectrum'])
  stats = codec.init(jax.random.key(0), x[:1], train=False, method='encode')
  assert float(stats['spectrum']['count']) == 0
  _, stats = encode(stats, x[:5])
  pictures, stats = encode(stats, x[5:])
  level = np.log(np.abs(spectrum.stft(x[..., 0], 128))[..., :-1] + 1e-6)
  np.testing.assert_allclose(stats['spectrum']['mean'], level.mean((0, 1)), rtol=1e-6)
  np.testing.assert_allclose(stats['spectrum']['var'], level.var((0, 1)), rtol=1e-6)
  assert pictures.shape == (7, 64, 64, 1) and np.abs(pictures).max() <= 1
  whole = codec.apply(stats, x, train=False, method='encode')
  np.testing.assert_allclose(whole[5:], pictures)
  assert abs(float(whole.mean())) < 0.05 and 0.25 < float(whole.std()) < 0.4
  back = codec.apply(stats, whole, method='decode')[..., 0]
  assert back.shape == (12, 4096)
  assert pitch.accuracy(np.asarray(back), 8000, 72 + rows % 12) == 1
