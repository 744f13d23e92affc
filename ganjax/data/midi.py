"""MIDI files as piano rolls, and pieces of music as runs of bars."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from ganjax import UserError, media
from ganjax.data.cache import Examples, open_arrays
from ganjax.data.source import Source, decoded
from ganjax.media import roll

MOST_BARS = 2**14  # of a piece: a damaged file may say that it lasts for years


def fields(*, bars: int, steps: int, pitches: int, voices: int) -> dict:
  """{'roll': media.Field} of `bars` bars of four beats of `steps` steps. Raises UserError out of bounds."""
  bounds = {'bars': (bars, 256), 'steps': (steps, 96), 'voices': (voices, 15)}
  for name, (value, most) in bounds.items():
    if not isinstance(value, int) or not 1 <= value <= most:
      raise UserError(f'data.{name}={value!r} must be a whole number from 1 to {most}')
  if not isinstance(pitches, int) or not 12 <= pitches <= 120 or pitches % 12:
    raise UserError(f'data.pitches={pitches!r} must be whole octaves, from 12 to 120')
  return {'roll': media.Field('roll', (bars * roll.BEATS * steps, pitches, voices), steps)}


def read(content: bytes, steps: int, pitches: int, voices: int) -> np.ndarray:
  """The roll of a MIDI file, bool [T, pitches, voices]: whole bars, the last filled up with silence.

  Five voices are the instruments of `roll.FAMILIES`, by their programs, all others strings; any other number of them
  are the parts in their order, what is beyond them in the last, without drums. A part is a channel of a track. Notes
  begin and end at the nearest step and last for one at least; pitches out of range are left out.

  Raises:
    UserError: the package mido is not there.
    ValueError: it does not read, has no notes, or lasts too long.
  """
  mido = roll.load_mido()
  try:
    file = mido.MidiFile(file=io.BytesIO(content), clip=True)
  except Exception:  # noqa: BLE001 (mido raises anything on a damaged file)
    raise ValueError('damaged, or no MIDI file') from None
  beat = file.ticks_per_beat
  if not 0 < beat < 2**15:
    raise ValueError('its times are not in beats')
  found, programs = [], {}
  for number, track in enumerate(file.tracks):
    now, begun = 0, {}
    for message in track:
      now += message.time
      if message.type == 'program_change':
        programs[message.channel] = message.program
      if message.type not in ('note_on', 'note_off'):
        continue
      key = message.channel, message.note
      if key in begun:  # a note that begins again is over
        found.append(((number, message.channel), message.note, *begun.pop(key), now))
      if message.type == 'note_on' and message.velocity:
        begun[key] = programs.get(message.channel, 0), now
  if not found:
    raise ValueError('it has no notes')
  family = voices == len(roll.FAMILIES)
  if not family:
    found = [note for note in found if note[0][1] != roll.DRUMS]
  found = [note for note in found if 0 <= note[1] - roll.lowest(pitches) < pitches]
  if not found:
    raise ValueError(f'it has no notes that are within data.pitches={pitches} and no drums')
  parts = {part: i for i, part in enumerate(sorted({note[0] for note in found}))}
  bar = steps * roll.BEATS
  last = max(end for *_, end in found) * steps / beat
  if last > MOST_BARS * bar:
    raise ValueError(f'it lasts for {last / bar:,.0f} bars')
  out = np.zeros((max(1, -(-round(last) // bar)) * bar, pitches, voices), bool)
  for part, note, program, start, end in found:
    # Families of General MIDI are eight programs each: pianos, ..., guitars, basses.
    voice = min(parts[part], voices - 1)
    if family:
      voice = 0 if part[1] == roll.DRUMS else {0: 1, 3: 2, 4: 3}.get(program // 8, 4)
    first = min(round(start * steps / beat), len(out) - 1)
    out[first : max(first + 1, round(end * steps / beat)), note - roll.lowest(pitches), voice] = 1
  return out


def pieces(
  load: Callable[[int], np.ndarray],
  counts: np.ndarray,
  known: dict[str, media.Field],
  *,
  title: str,
  key: dict[str, Any],
  here: str,
  info: dict[str, Any],
  cache: bool,
) -> Source:
  """Windows of pieces of music that begin at any bar and lie within one piece.

  Args:
    load: number of a piece -> bool [T, P, V], whole bars.
    counts: bars of each piece, int [n]; those shorter than a window are left out.
    known: of `fields`.
    title, key, here: of `cache.Examples`.
    info: of the Source.
    cache: see `ganjax.data.build`.
  """
  field = known['roll']
  bar = field.rate * roll.BEATS
  length, bars = field.shape[0], field.shape[0] // bar
  of_piece = np.repeat(np.arange(len(counts)), counts)
  number = np.concatenate([np.arange(n) for n in counts])

  def decode(rows):
    out, last = np.zeros((len(rows), bar, *field.shape[1:]), bool), None
    for i, row in enumerate(rows):
      if of_piece[row] != last:
        last = of_piece[row]
        whole = load(last)
      out[i] = whole[number[row] * bar :][:bar]
    return {'bar': out}

  table = Examples(
    title=title,
    key=key,
    here=here,
    count=len(of_piece),
    fields={'bar': ((bar, *field.shape[1:]), np.dtype(bool))},
    fetch=np.asarray,
    decode=decode,
    what='bars',
  )
  stored = decoded(
    table,
    info | {'class_names': None},
    {'bar': media.Field('roll', (bar, *field.shape[1:]))},
    cache,
  )

  def read_rows(rows, names):
    each = (np.asarray(rows)[:, None] + np.arange(bars)).ravel()
    found = stored.read(each, ('bar',))['bar']
    return {'roll': found.reshape(len(rows), length, *field.shape[1:])}

  starts = np.flatnonzero(number + bars <= counts[of_piece])
  info = stored.info | {'num_examples': len(starts)}
  return Source(
    read_rows=read_rows, rows=starts, fields=known, class_names=None, info=info, here=here
  )


def bars_of(
  load: Callable[[int], np.ndarray],
  count: int,
  known: dict[str, media.Field],
  *,
  title: str,
  key: dict[str, Any],
  here: str,
) -> np.ndarray:
  """Bars of each of `count` pieces, int64 [count], from the cache; 0 of those that `load` raises at."""
  field = known['roll']
  bar = field.rate * roll.BEATS

  def measure(piece):
    try:
      return len(load(piece)) // bar
    except UserError:
      raise
    except Exception:  # noqa: BLE001 (whatever a damaged file raises)
      return 0

  examples = Examples(
    title=title,
    key=key | {'what': 'bars'},
    here=here,
    count=count,
    fields={'bars': ((), np.dtype(np.int64))},
    fetch=np.asarray,
    decode=lambda rows: {'bars': np.array([measure(piece) for piece in rows], np.int64)},
    what='pieces',
  )
  return np.array(open_arrays(examples, ['bars'])['bars'])
