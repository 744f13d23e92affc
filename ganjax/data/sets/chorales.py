"""Chorales for four voices: procedural, or Bach's from the package music21.

A procedural chorale is a pure function of its index and of the split, which is its seed. Each beat has a chord of C
major. Chords follow the usual progressions, with a cadence at the end. Each voice moves to the nearest note of the
chord in its range. Soprano or bass may sing a passing note between two beats.
"""

import functools
import pathlib

import numpy as np

from ganjax import UserError
from ganjax.data import domains, midi
from ganjax.data.source import Source
from ganjax.media import roll

SPLITS = 'train', 'test'
PITCHES = 48  # from the C two octaves below the middle one
VOICES = 'soprano', 'alto', 'tenor', 'bass'
RANGES = (62, 81), (57, 76), (50, 69), (40, 55)  # MIDI numbers, the last one excluded
SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
# To which degree from each; where there are fewer than four, some are likelier.
AFTER = np.array(
  [[3, 4, 5, 1], [4, 4, 4, 6], [5, 3, 5, 3], [4, 0, 1, 4], [0, 0, 0, 5], [1, 3, 4, 1], [0, 0, 0, 0]]
)
_CHORALES = 21  # a purpose of a random stream, see `data.source`


def fields(*, bars: int = 2, steps: int = 4) -> dict:
  """A roll of four octaves and four voices: `bars` bars of four beats of `steps` steps."""
  return midi.fields(bars=bars, steps=steps, pitches=PITCHES, voices=len(VOICES))


def build(
  *, split: str, cache: bool, bars: int = 2, steps: int = 4, count: int = 4096, bach: bool = False
) -> Source:
  """Procedural chorales, computed on the fly; or windows of Bach's, from the cache.

  Args:
    split: 'train' or 'test': procedural chorales have other seeds; every tenth of Bach's is 'test'.
    cache: of Bach's, see `ganjax.data.build`.
    bars, steps: bars of an example, and steps of a beat. Procedural chorales need an even number of steps, for notes
      between beats.
    count: number of procedural chorales.
    bach: whether to take Bach's chorales: those for four voices in 4/4, transposed to C major or A minor.

  Raises:
    UserError: another split, numbers out of bounds, the package music21 is not there.
  """
  known = fields(bars=bars, steps=steps)
  if split not in SPLITS:
    raise UserError(f'chorales has no split {split!r}; it has: {", ".join(SPLITS)}')
  if bach:
    return _bach(split, known, cache)
  if not isinstance(count, int) or count < 1:
    raise UserError(f'data.count={count!r} must be a whole number from 1')
  if steps % 2:
    raise UserError(f'data.steps={steps} must be even for procedural chorales')
  info = dict(dataset='chorales', bars=bars, steps=steps, count=count, version=1)

  def read_rows(rows, names):
    return {'roll': compose(rows, SPLITS.index(split), bars, steps)}

  return Source(
    read_rows=read_rows, rows=np.arange(count), fields=known, class_names=None, info=info
  )


def compose(rows: np.ndarray, seed: int, bars: int, steps: int) -> np.ndarray:
  """Chorales bool [n, T, PITCHES, 4] of indices [n]."""
  beats, n = bars * roll.BEATS, len(rows)
  # Four words a beat.
  words = [domains.draws(seed, int(row) * beats, beats, _CHORALES) for row in rows]
  words = np.array(words, np.uint64).reshape(n, beats, 4) / 2**64
  degrees = np.zeros((n, beats), int)
  for beat in range(1, beats):
    degrees[:, beat] = AFTER[degrees[:, beat - 1], (4 * words[:, beat, 0]).astype(int)]
  degrees[:, -4:] = 3, 4, 0, 0  # subdominant, dominant, tonic
  pitch, before = np.zeros((n, beats, 4), int), np.tile((72, 64, 55, 48), (n, 1))
  for beat in range(beats):
    before = _chord(degrees[:, beat], before, words[:, beat, 1:], last=beat == beats - 2)
    if beat == beats - 1:
      before = pitch[:, -2]  # the last chord is held
    pitch[:, beat] = before
  between, coin = pitch.copy(), words[:, :-1, 3] < 0.5
  for voice, passes in (0, coin), (3, ~coin):
    between[:, :-1, voice] = _passing(pitch[:, :-1, voice], pitch[:, 1:, voice], passes)
  halves = np.stack([pitch, between], 2).reshape(n, 2 * beats, 4)
  sung = np.repeat(halves, steps // 2, 1) - roll.lowest(PITCHES)
  return sung[:, :, None] == np.arange(PITCHES)[:, None]


def _chord(degree, before, words, last):
  """MIDI numbers int [n, 4] of soprano to bass, for a chord on `degree` [n] after the numbers `before` [n, 4]."""
  tones = SCALE[(degree[:, None] + (0, 2, 4)) % 7]
  out = np.zeros_like(before)

  def nearest(voice, wanted, allowed, also):
    """The pitch nearest to `wanted` [n] among `allowed` tones [n, k]; `also` [n, pitches] is a cost beside steps."""
    pitches = np.arange(*RANGES[voice])
    of_chord = (pitches[None, :, None] % 12 == allowed[:, None]).any(2)
    cost = abs(pitches - wanted[:, None]) + np.where(of_chord, 0, 1000) + also(pitches)
    out[:, voice] = pitches[cost.argmin(1)]

  # The bass sings the root, sometimes the third; the soprano moves by up to four semitones.
  root = last or (words[:, 0] < 0.75)
  low = np.where(root, tones[:, 0], tones[:, 1])[:, None]
  nearest(3, before[:, 3], low, lambda p: 0 * p)
  wanted = before[:, 0] + np.round(8 * words[:, 1] - 4) + (70 - before[:, 0]) / 8
  nearest(0, tones[:, 0] + 72 if last else wanted, tones[:, :1] if last else tones, lambda p: 0 * p)
  for voice in 1, 2:
    sung = out[:, [0, 3] if voice == 1 else [0, 3, 1]]

    def also(pitches, voice=voice, sung=sung):
      # Nobody crosses the voice above or the bass; tones that nobody sings come first.
      crossed = (pitches >= out[:, voice - 1, None]) | (pitches <= out[:, 3, None])
      doubled = (pitches[None, :, None] % 12 == sung[:, None] % 12).any(2)
      return 100 * crossed + 6 * doubled

    nearest(voice, before[:, voice], tones, also)
  return out


def _passing(now, then, passes):
  """What is sung between two beats: where it `passes`, the note of the scale between two that are a third apart."""
  low, third = np.minimum(now, then), np.isin(abs(now - then), (3, 4))
  middle = np.where(np.isin((low + 2) % 12, SCALE), low + 2, low + 1)
  return np.where(third & passes, middle, now)


def _bach(split, known, cache):
  """Windows of Bach's chorales."""
  try:
    import music21
  except ImportError:
    raise UserError(
      "Bach's chorales are in music21: pip install music21 (or 'ganjax[music]')"
    ) from None
  steps = known['roll'].rate
  paths = sorted(map(str, music21.corpus.getComposer('bach')))
  paths = [p for i, p in enumerate(paths) if (i % 10 == 9) == (split == 'test')]

  @functools.cache
  def load(row):
    return _roll_of(music21.converter.parse(paths[row]), steps)

  key = dict(dataset='chorales', bach=split, music21=music21.__version__, steps=steps, version=1)
  key |= dict(bars=known['roll'].shape[0])
  more = dict(key=key, here='')
  names = [pathlib.Path(path).name for path in paths]
  counts = midi.bars_of(load, len(paths), known, title=f'lengths of chorales {split}', **more)
  if not counts.any():
    raise UserError(f'none of the {len(names)} pieces by Bach in music21 reads as a chorale')
  info = {k: v for k, v in key.items() if k != 'bars'} | {'pieces': int((counts > 0).sum())}
  title = f'chorales {split} {steps}'
  return midi.pieces(load, counts, known, title=title, info=info, cache=cache, **more)


def _roll_of(score, steps):
  """The roll of a score of music21, from its first whole bar on, in C major or A minor.

  Raises ValueError of one that is not for four voices in 4/4, or not of one key signature.
  """
  parts = list(score.parts)
  notes = [list(part.flatten().notes) for part in parts]
  if len(parts) != len(VOICES) or not all(notes):
    raise ValueError('it is not for four voices')
  every = score.recurse()
  times = {t.ratioString for t in every.getElementsByClass('TimeSignature')}
  sharps = {k.sharps for k in every.getElementsByClass('KeySignature')}
  if times != {'4/4'} or len(sharps) != 1:
    raise ValueError('it is not in 4/4, or not in one key')
  # A sharp more is a fifth up: down again by seven semitones, to the nearest of its octaves.
  down = sharps.pop() * 7 % 12
  down = down if down <= 6 else down - 12
  first = parts[0].getElementsByClass('Measure')[0]
  skip = 4 - first.paddingLeft if first.paddingLeft else 0
  beats = int((parts[0].flatten().highestTime - skip) // roll.BEATS) * roll.BEATS
  out = np.zeros((beats * steps, PITCHES, len(VOICES)), bool)
  for voice, of_voice in enumerate(notes):
    for note in of_voice:
      start = round((float(note.offset) - skip) * steps)
      end = max(start + 1, round((float(note.offset + note.quarterLength) - skip) * steps))
      for pitch in note.pitches:
        number = pitch.midi - down - roll.lowest(PITCHES)
        if 0 <= number < PITCHES and end > 0:
          out[max(start, 0) : end, number, voice] = True
  return out
