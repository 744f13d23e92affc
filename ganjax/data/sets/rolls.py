"""Your own music: all MIDI files under a folder or in a zip archive, as piano rolls.

Training sees windows of a number of bars. They begin at any bar of a piece. A bar is four beats, in every time
signature.
"""

import functools
import os

from ganjax import UserError
from ganjax.data import folder, midi
from ganjax.data.files import open_files
from ganjax.data.source import Source
from ganjax.media import roll

EXTENSIONS = '.mid', '.midi'


def fields(*, bars: int = 4, steps: int = 12, pitches: int = 84, voices: int = 5) -> dict:
  """A roll of `bars` bars of four beats of `steps` steps; the sizes are MuseGAN's."""
  return midi.fields(bars=bars, steps=steps, pitches=pitches, voices=voices)


def build(
  *,
  data_dir: str | None,
  split: str,
  cache: bool,
  bars: int = 4,
  steps: int = 12,
  pitches: int = 84,
  voices: int = 5,
) -> Source:
  """Windows of the MIDI files below `data_dir`; an epoch has each of them once.

  Args:
    data_dir: a folder or zip archive.
    split: 'train', the only one.
    cache: see `ganjax.data.build`.
    bars, steps: bars of a window, and steps per beat.
    pitches: number of pitches, whole octaves around the middle of the piano, see `roll.lowest`.
    voices: number of voices. 5: drums, piano, guitar, bass and strings. Otherwise the parts of the file. See
      `midi.read`.

  Raises:
    UserError: any error that the user can fix, in one line. Up to 1 % of files that cannot be used are left out.
  """
  known = fields(bars=bars, steps=steps, pitches=pitches, voices=voices)
  if split != 'train':
    raise UserError(f'rolls has no split {split!r}; it has: train')
  if not data_dir:
    raise UserError(
      'data.dataset=rolls needs data.data_dir=DIRECTORY: the folder of your MIDI files'
    )
  top = folder.place(data_dir)
  files = open_files(top)
  paths = [path for path in files.names if path.lower().endswith(EXTENSIONS)]
  if not paths:
    raise UserError(f'no MIDI files in {top}: looked for {" ".join(EXTENSIONS)} in it and below')
  roll.load_mido()

  @functools.lru_cache(8)
  def load(row):
    found = midi.read(files.read(paths[row]), steps, pitches, voices)
    there = len(found) // (roll.BEATS * steps)
    if there < bars:
      raise ValueError(f'it has {there} bars, fewer than data.bars={bars}')
    return found

  content, here = folder.identify((files, paths))
  key = dict(dataset='rolls', files=content, steps=steps, pitches=pitches, voices=voices)
  key |= dict(bars=bars, version=1)
  name = os.path.basename(top)
  counts = midi.bars_of(
    load, len(paths), known, title=f'lengths of the music in {name}', key=key, here=here
  )
  whole, broken = folder.select_whole(
    counts > 0, paths, lambda row: folder.explain(load, row), top, 'MIDI files'
  )
  info = dict(dataset='rolls', listing_sha256=content, steps=steps, broken=broken)
  return midi.pieces(
    lambda piece: load(whole[piece]),
    counts[whole],
    known,
    title=f'rolls {name} {steps}x{pitches}x{voices}',
    key=key,
    here=here,
    info=info,
    cache=cache,
  )
