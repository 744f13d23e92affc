"""Piano rolls: bool [T, P, V], which of P pitches each of V voices sounds at each step; -1 and 1 in losses.

A roll begins with a bar, and a bar is four beats. Its lowest pitch is a C, see `lowest`. Five voices are drums, piano,
guitar, bass and strings, as in MuseGAN (Dong et al. 2018, arXiv:1709.06298, section 4); any other number of them are
parts of one instrument. A note ends where the pitch stops sounding: two in a row are one long note.
"""

import colorsys
import io
import json
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.media import sound
from ganjax.media.label import mirror  # noqa: F401
from ganjax.workdir.files import replace_file

STORED, ENDING = np.bool_, '.mid'
BEATS = 4  # of a bar
TEMPO = 100  # beats a minute in files, as in MuseGAN's code
FAMILIES = 'drums', 'piano', 'guitar', 'bass', 'strings'
PROGRAMS = 0, 0, 25, 33, 48  # of General MIDI, from 0
DRUMS = 9  # the channel
SIDE = 192  # pixels of a picture's longer side, at most, where a pixel a step and a pitch are fewer
RATE = 16_000  # samples a second of the sound


def to_float(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """bool -> float32, 1 where a pitch sounds and -1 elsewhere; floats stay."""
  return jnp.where(x, 1.0, -1.0) if x.dtype == jnp.bool_ else x


def to_stored(x: jax.Array | np.ndarray) -> np.ndarray:
  """float [..., T, P, V] -> bool: above 0 a pitch sounds. Raises UserError at NaN or infinity."""
  x = np.asarray(x, np.float32)
  if not np.isfinite(x).all():
    raise UserError('generated rolls hold NaN or Inf: the generator has diverged')
  return x > 0


def lowest(pitches: int) -> int:
  """The MIDI number of a roll's first pitch: the C that brings its middle nearest to that of all 128."""
  return 12 * int((128 - pitches) / 24 + 0.5)


def names(voices: int) -> tuple[str, ...]:
  """What the voices are called."""
  if voices == len(FAMILIES):
    return FAMILIES
  return tuple(f'voice {i + 1}' for i in range(voices))


def pitched(x: np.ndarray) -> np.ndarray:
  """The voices [..., V'] of rolls [..., V] whose pitches are heard as such: all but drums."""
  return x[..., 1:] if x.shape[-1] == len(FAMILIES) else x


def show(x: np.ndarray) -> np.ndarray:
  """Time to the right, pitch upwards, a colour a voice, uint8 [N, P k, T k, 3]; Cs have a grey line."""
  count, steps, pitches, voices = x.shape
  out = np.full((count, pitches, steps, 3), 24, np.uint8)
  out[:, ::12] = 60
  for v in range(voices):
    colour = 255 * np.array(colorsys.hsv_to_rgb(v / voices, 0.6, 1))
    out = np.where(x[..., v].swapaxes(1, 2)[..., None], colour.astype(np.uint8), out)
  factor = max(1, SIDE // max(steps, pitches))
  return out[:, ::-1].repeat(factor, 1).repeat(factor, 2)


def notes(x: np.ndarray) -> np.ndarray:
  """int [n, 4] of a roll [T, P, V]: voice, pitch from 0, first step, and the step at which it is over."""
  change = np.diff(np.pad(x, ((1, 1), (0, 0), (0, 0))).astype(np.int8), axis=0)
  # Steps last, so that the k-th start and the k-th end of a pitch are of one note.
  start, end = (np.argwhere(change.transpose(2, 1, 0) == sign) for sign in (1, -1))
  return np.concatenate([start, end[:, 2:]], 1)


def save(path: Path, x: np.ndarray, text: dict, rate: int | None = None) -> None:
  """A MIDI file of `rate` steps a beat (by default 4), and beside it its sound as a WAV; `text` is in both, as JSON.

  Raises:
    UserError: one cannot be written, or the package mido is not there.
  """
  rate = rate or 4
  with replace_file(path) as file:
    file.write(to_midi(x, text, rate))
  sound.save(path.with_suffix('.wav'), render(x, rate), text, RATE)


def to_midi(x: np.ndarray, text: dict, rate: int) -> bytes:
  """A MIDI file of a roll [T, P, V] of `rate` steps a beat: a track a voice, `text` as JSON in a track before them."""
  mido, ticks = load_mido(), 24  # of a step
  file = mido.MidiFile(type=1, ticks_per_beat=ticks * rate)
  file.add_track().extend(
    [
      mido.MetaMessage('text', text=json.dumps(text)),
      mido.MetaMessage('set_tempo', tempo=mido.bpm2tempo(TEMPO)),
      mido.MetaMessage('time_signature', numerator=BEATS, denominator=4),
    ]
  )
  found, voices = notes(x), x.shape[-1]
  for v, name in enumerate(names(voices)):
    family = voices == len(FAMILIES)
    channel = DRUMS if family and v == 0 else (v if v < DRUMS else v + 1) % 16
    track = file.add_track(name)
    track.append(
      mido.Message('program_change', channel=channel, program=PROGRAMS[v] if family else 0)
    )
    mine = found[found[:, 0] == v]
    # At one time notes end before others begin.
    events = [(end, 'note_off', pitch) for _, pitch, _, end in mine]
    events += [(start, 'note_on', pitch) for _, pitch, start, _ in mine]
    now = 0
    for step, kind, pitch in sorted(events, key=lambda e: (e[0], e[1] == 'note_on', e[2])):
      note, time = int(pitch) + lowest(x.shape[1]), int(step - now) * ticks
      track.append(mido.Message(kind, channel=channel, note=note, velocity=80, time=time))
      now = step
    track.append(mido.MetaMessage('end_of_track', time=int(len(x) - now) * ticks))
  content = io.BytesIO()
  file.save(file=content)
  return content.getvalue()


def render(x: np.ndarray, rate: int) -> np.ndarray:
  """The sound of a roll [T, P, V] of `rate` steps a beat, int16 [samples, 1]: strings that are struck, and noise.

  A pitch has six partials, which fade the faster the higher they are. Drums are bursts of noise.
  """
  step = 60 / TEMPO / rate
  out = np.zeros(round((len(x) * step + 1) * RATE))
  drums = names(x.shape[-1])[0] == 'drums'
  noise = np.random.default_rng(0).normal(size=RATE)
  for voice, pitch, start, end in notes(x):
    length = (end - start) * step
    time = np.arange(round((length + 0.3) * RATE)) / RATE
    hertz = 440 * 2 ** ((lowest(x.shape[1]) + pitch - 69) / 12)
    if drums and voice == 0:
      tone = np.exp(-20 * time) * np.resize(noise, len(time))
    else:
      partial = np.exp((2j * np.pi * hertz - 1) * time)
      heard = [k for k in range(1, 7) if k * hertz < RATE / 2]
      tone = np.exp(-time) * sum((partial**k).imag / k**1.5 for k in heard)
      tone *= np.minimum(1, time / 0.005) * np.exp(-15 * np.maximum(0, time - length))
    at = round(start * step * RATE)
    out[at : at + len(tone)] += tone[: len(out) - at]
  return sound.to_stored(0.9 * out[:, None] / max(1.0, np.abs(out).max()))


def load_mido() -> ModuleType:
  """The package mido, which reads and writes MIDI files. Raises UserError where it is not there."""
  try:
    import mido
  except ImportError:
    raise UserError("MIDI files need mido: pip install mido (or 'ganjax[music]')") from None
  return mido
