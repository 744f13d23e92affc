"""Procedural notes: sines, plucked strings and drums at each pitch of a scale.

A note is a pure function of its index and of the split, which is its seed. The pitch changes fastest, then the
instrument. Loudness, phase and timbre are random.
"""

import numpy as np

from ganjax import UserError, media
from ganjax.data import domains
from ganjax.data.cache import Examples
from ganjax.data.source import Source, decoded
from ganjax.media import sound

SPLITS = 'train', 'test'
INSTRUMENTS = 'sine', 'pluck', 'drum'
NAMES = 'C', 'C#', 'D', 'D#', 'E', 'F', 'F#', 'G', 'G#', 'A', 'A#', 'B'
PARTIALS = 16
# Zeros of Bessel functions over the first: overtones of a round membrane.
MEMBRANE = np.array([1, 1.5933, 2.1355, 2.2954, 2.6531, 2.9173, 3.1555, 3.5001])
_NOTES = 12  # a purpose of a random stream, see `data.source`


def fields(*, length: int = 16_384, rate: int = 16_000) -> dict:
  """A sound of `length` samples, `rate` a second; its pitch as the label, and its instrument."""
  for name, value, most in ('length', length, 2**20), ('rate', rate, 2**20):
    if not isinstance(value, int) or not 16 <= value <= most:
      raise UserError(f'data.{name}={value!r} must be a whole number from 16 to {most:,}')
  return {
    'sound': media.Field('sound', (length, 1), rate),
    'label': media.Field('label', ()),
    'instrument': media.Field('label', ()),
  }


def build(
  *,
  split: str,
  cache: bool,
  length: int = 16_384,
  rate: int = 16_000,
  lowest: int = 60,
  pitches: int = 12,
  count: int = 4608,
) -> Source:
  """Notes of `pitches` semitones from the MIDI number `lowest` on; 60 is the C of 261.6 Hz.

  Args:
    split: 'train' or 'test', with different seeds.
    cache: see `ganjax.data.build`.
    length, rate: samples of a note, and samples per second.
    lowest, pitches: lowest note as a MIDI number, and number of semitones. The highest note must be below a quarter of
      the rate.
    count: number of notes.

  Raises:
    UserError: another split, or numbers out of these bounds.
  """
  known = fields(length=length, rate=rate)
  if split not in SPLITS:
    raise UserError(f'notes has no split {split!r}; it has: {", ".join(SPLITS)}')
  scale = lowest, pitches, count
  whole = all(isinstance(n, int) for n in scale)
  if not whole or pitches < 1 or count < 1 or lowest < 0 or lowest + pitches > 128:
    raise UserError(
      f'data.lowest={lowest!r} and data.pitches={pitches!r} must be MIDI numbers from 0 to 127, data.count={count!r} '
      'at least 1'
    )
  if frequency(lowest + pitches - 1) >= rate / 4:
    raise UserError(
      f'the highest note has {frequency(lowest + pitches - 1):.0f} Hz: data.rate={rate} must be above four times that'
    )

  def decode(rows):
    pitch, instrument = label(rows)
    return {
      'sound': render(rows, SPLITS.index(split), length, rate, lowest + pitch, instrument),
      'label': pitch.astype(np.int32),
      'instrument': instrument.astype(np.int32),
    }

  def label(rows):
    rows = np.asarray(rows, np.int64)
    return rows % pitches, rows // pitches % len(INSTRUMENTS)

  key = dict(dataset='notes', split=split, length=length, rate=rate, lowest=lowest)
  key |= dict(pitches=pitches, count=count, version=1)
  table = Examples(
    title=f'notes {split} {length}',
    key=key,
    count=count,
    fields={name: (field.shape, field.dtype) for name, field in known.items()},
    fetch=lambda rows: rows,
    decode=decode,
    what='notes',
  )
  names = [name_of(lowest + pitch) for pitch in range(pitches)]
  return decoded(table, key | {'class_names': names}, known, cache)


def frequency(midi: int | np.ndarray) -> np.ndarray | np.float64:
  """Hertz of MIDI numbers in equal temperament."""
  return 440 * 2 ** ((np.asarray(midi) - 69) / 12)


def name_of(midi: int) -> str:
  """69 -> 'A4'."""
  return f'{NAMES[midi % 12]}{midi // 12 - 1}'


def render(
  rows: np.ndarray, seed: int, length: int, rate: int, midi: np.ndarray, instrument: np.ndarray
) -> np.ndarray:
  """Notes int16 [n, length, 1] of indices, MIDI numbers and instruments [n]; draws follow from (seed, index)."""
  words = np.concatenate([domains.draws(seed, int(row), 1, _NOTES) for row in rows])
  loud, phase, manner, decay = (words / 2**64).T[:, :, None]
  time = np.arange(length) / rate
  cycles = frequency(midi)[:, None] * time
  tones = np.empty((len(rows), length))
  for number, tone in enumerate((_sine, _pluck, _drum)):
    of = instrument == number
    tones[of] = tone(cycles[of], time, phase[of], manner[of], decay[of])
  tones *= (0.5 + 0.45 * loud) / np.abs(tones).max(1, keepdims=True)
  return sound.to_stored(tones[..., None])


def _sine(cycles, time, phase, manner, decay):
  """A tone that swells for up to 60 ms and fades slowly."""
  swell = 1 - np.exp(-time / (0.01 + 0.02 * manner))
  return swell * np.exp(-time * (1 + decay)) * np.sin(2 * np.pi * (cycles + phase))


def _pluck(cycles, time, phase, manner, decay):
  """An ideal string, plucked at a share `manner` of its length: partial k has sin(k pi share) / k^2."""
  share, total = 0.1 + 0.4 * manner, 0
  # Partial k, which fades the faster the higher it is, is the first to the power k.
  first = np.exp(2j * np.pi * cycles - 0.8 * time)
  partial = np.exp(-time * (1.5 + 2 * decay)) + 0j
  for k in range(1, PARTIALS + 1):
    heard = k * cycles[:, -1:] / time[-1] < 0.5 / time[1]
    partial *= first
    total = total + heard * np.sin(k * np.pi * share) / k**2 * partial.real
  return total


def _drum(cycles, time, phase, manner, decay):
  """A round membrane, struck: its overtones are out of tune and die soon."""
  total = 0
  for k, ratio in enumerate(MEMBRANE):
    heard = ratio * cycles[:, -1:] / time[-1] < 0.5 / time[1]
    fade = np.exp(-time * (5 + 4 * decay + 10 * k))
    strength = (0.3 + 0.5 * manner) ** k
    total = total + heard * strength * fade * np.sin(2 * np.pi * (ratio * cycles + phase * k))
  return total
