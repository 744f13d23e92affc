"""The emoji that ganjax ships in two drawing styles: pairs of the same emoji, with a held-out tenth."""

import functools
from collections.abc import Sequence

import numpy as np
import PIL.Image

from ganjax import UserError
from ganjax.data import domains, emoji, pixels
from ganjax.data.source import Source, gather, picture
from ganjax.wording import closest


def fields(*, resolution: int | Sequence[int], channels: int) -> dict:
  """The emoji in the one style and in the other."""
  return domains.fields(resolution, channels)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  flip: bool = False,
  source: str = 'noto',
  target: str = 'fluent_flat',
  paired: bool = True,
  jitter: int = 0,
) -> Source:
  """Emoji that both styles have, in memory.

  Args:
    resolution, channels: see `ganjax.data.build`; the drawings have 64x64 pixels.
    split: 'train', or 'test': a fixed random tenth of the emoji, which is held out in all styles.
    flip: mirrors with probability 1/2; without pairs each style by itself.
    source, target: names of two styles: 'noto', 'twemoji' or 'fluent_flat'.
    paired: whether training sees pairs. If not, each style has a separate order. Read by index they are pairs.
    jitter: see `sets/pairs.py`.

  Raises:
    UserError: a style or split that is not there.
  """
  if split not in ('train', 'test'):
    raise UserError(f'emoji_pairs has no split {split!r}; it has: train, test')
  table = emoji.load()
  styles = table['styles']
  for name, style in ('source', source), ('target', target):
    if style not in styles:
      raise UserError(
        f'data.{name}={style!r} is no style{closest(str(style), styles)}; there are {", ".join(styles)}'
      )
  if source == target:
    raise UserError(f'data.source and data.target are both {source}: take two styles')
  rows = [_rows(table, style) for style in (source, target)]
  held_out = emoji.held_out(len(table['captions']))
  ids = [i for i in sorted(rows[0].keys() & rows[1].keys()) if (i in held_out) == (split == 'test')]

  def open_at(size):
    found = {}
    for name, own in zip(domains.NAMES, rows):
      images = table['image'][[own[i] for i in ids]]
      if (*size, channels) != images.shape[1:]:
        images = np.stack([pixels.prepare(PIL.Image.fromarray(x), size, channels) for x in images])
      found[name] = _source(name, images, picture(size, channels))
    return found

  info = {'dataset': 'emoji_pairs', 'version': emoji.VERSION, 'styles': [source, target]}
  return domains.build(
    open_at,
    resolution=resolution,
    channels=channels,
    paired=paired,
    jitter=jitter,
    flip=flip,
    info=info | {'paired': paired} | pixels.describe(resolution, channels),
  )


def _rows(table, style) -> dict:
  """{emoji id: row of its drawing in a style}."""
  rows = np.flatnonzero(table['style'] == table['styles'].index(style))
  return dict(zip(table['emoji_id'][rows].tolist(), rows.tolist()))


def _source(name, images, field) -> Source:
  return Source(
    read_rows=functools.partial(gather, {name: images}),
    rows=np.arange(len(images)),
    fields={name: field},
    class_names=None,
    info={'dataset': 'emoji_pairs', 'num_examples': len(images)},
  )
