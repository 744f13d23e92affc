"""Pairs of pictures in files: side by side in one file, as in pix2pix, or in two folders with equal file names."""

import os
from collections.abc import Sequence

import numpy as np
import PIL.Image
from absl import logging

from ganjax import UserError, media
from ganjax.data import domains, folder, pixels
from ganjax.data.cache import Examples
from ganjax.data.files import Archive, Folder, open_files
from ganjax.data.source import Source, decoded
from ganjax.wording import closest

DIRECTIONS = 'AtoB', 'BtoA'


def fields(*, resolution: int | Sequence[int], channels: int) -> dict:
  """A picture, and the one that it is to be translated into."""
  return domains.fields(resolution, channels)


def build(
  *,
  data_dir: str | None,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  cache: bool,
  source: str | None = None,
  target: str | None = None,
  direction: str = 'AtoB',
  jitter: int = 0,
) -> Source:
  """Pictures below `data_dir` with A in the left half and B in the right, or those of two folders.

  Args:
    data_dir: a folder or zip archive of pictures side by side. If it has a folder named as the split (train, val,
      test), that is the split; else all of it is 'train'.
    resolution, channels, cache: see `ganjax.data.build`. Smaller pictures are refused.
    split: see `data_dir`; the same for `source` and `target`.
    source, target: two folders or archives, instead of `data_dir`. Pictures of a pair have the same name, except for
      the suffix.
    direction: 'AtoB' or 'BtoA': which half, or folder, is the input.
    jitter: training resizes pictures to a size larger by so many pixels, and cuts out a random window, the same in
      both: 30 for 256 pixels in the paper.

  Raises:
    UserError: any error that the user can fix, in one line. Up to 1 % of pairs that cannot be used are left out.
  """
  if direction not in DIRECTIONS:
    raise UserError(
      f'data.direction={direction!r} is neither AtoB nor BtoA{closest(str(direction), DIRECTIONS)}'
    )
  if bool(source) != bool(target) or bool(source) == bool(data_dir):
    raise UserError(
      'pairs are side by side in data.data_dir, or in two folders data.source and data.target: give one of both'
    )
  if source:
    names, load, identity, where = _two_folders(source, target, split, channels)
  else:
    names, load, identity, where = _side_by_side(data_dir, split, channels)
  least = media.sides(resolution)

  def open_at(size):
    table = _table(names, load, identity, where, size, channels, direction, least)
    info = {'dataset': 'pairs', 'class_names': None}
    found = decoded(table, info, domains.fields(size, channels), cache)
    return dict.fromkeys(domains.NAMES, found)

  info = {'dataset': 'pairs', 'direction': direction, 'listing_sha256': identity[0]}
  return domains.build(
    open_at,
    resolution=resolution,
    channels=channels,
    paired=True,
    jitter=jitter,
    flip=False,  # the training step mirrors both alike
    info=info | pixels.describe(resolution, channels),
  )


def _side_by_side(data_dir, split, channels):
  """(names, row -> A and B uint8 [h, w, C], identity, where) of pictures with both halves."""
  top = folder.place(data_dir)
  files, paths = list_split(top, split)

  def load(row):
    both = folder.decode_picture(files.read(paths[row]), None, channels)
    if both.shape[1] % 2:
      raise ValueError(f'a width of {both.shape[1]} pixels has no two halves')
    return np.split(both, 2, 1)

  return paths, load, folder.identify((files, paths)), top


def _two_folders(source, target, split, channels):
  """As `_side_by_side`, of two folders."""
  tops = [folder.place(path) for path in (source, target)]
  found = [list_split(top, split) for top in tops]
  stems = []
  for top, (_, paths) in zip(tops, found):
    stems.append({_stem(path, split): path for path in paths})
    if len(stems[-1]) < len(paths):
      twice = sorted({*paths} - {*stems[-1].values()})[0]
      raise UserError(
        f'{top} has two pictures named {_stem(twice, split)}: pairs go by their names'
      )
  for i, top in enumerate(tops):
    alone = sorted({*stems[1 - i]} - {*stems[i]})
    if alone:
      few = ', '.join(alone[:5]) + (', ...' if len(alone) > 5 else '')
      raise UserError(
        f'{len(alone):,} of {len(stems[1 - i]):,} pictures in {tops[1 - i]} have no partner in {top}: {few}'
      )
  names = sorted(stems[0])

  def load(row):
    return [
      folder.decode_picture(files.read(own[names[row]]), None, channels)
      for (files, _), own in zip(found, stems, strict=True)
    ]

  ordered = [(files, [own[name] for name in names]) for (files, _), own in zip(found, stems)]
  return names, load, folder.identify(*ordered), ' and '.join(tops)


def list_split(top: str, split: str) -> tuple[Folder | Archive, list[str]]:
  """(files, paths of the pictures of a split)."""
  files = open_files(top)
  paths = [path for path in files.names if path.lower().endswith(folder.EXTENSIONS)]
  own = [path for path in paths if path.startswith(f'{split}/')]
  if not own and split != 'train':
    there = sorted({path.split('/')[0] for path in paths if '/' in path})
    raise UserError(
      f'{top} has no pictures in a folder {split}{closest(split, there)}; its folders: {", ".join(there) or "none"}'
    )
  if not paths:
    raise UserError(f'no pictures in {top}: looked for {" ".join(folder.EXTENSIONS)}')
  if len(paths) < len(files.names):
    logging.warning('%d files in %s are no pictures', len(files.names) - len(paths), top)
  return files, own or paths


def _stem(path, split):
  """What partners have in common: the name below the split's folder, without its ending."""
  return os.path.splitext(path.removeprefix(f'{split}/'))[0]


def _table(names, load, identity, where, size, channels, direction, least) -> Examples:
  """Both pictures of each pair at `size`, and whether they could be had; none may be smaller than `least`."""
  kept = {name: ((*size, channels), np.dtype(np.uint8)) for name in domains.NAMES}
  kept['whole'] = ((), np.dtype(np.uint8))
  step = 1 if direction == 'AtoB' else -1

  def pair(row):
    a, b = load(row)[::step]
    if a.shape != b.shape:
      text = [f'{x.shape[1]}x{x.shape[0]}' for x in (a, b)]
      raise ValueError(
        f'the source has {text[0]} pixels and the target {text[1]}: a pair is of one size'
      )
    if a.shape[0] < least[0] or a.shape[1] < least[1]:
      raise ValueError(
        f'{a.shape[1]}x{a.shape[0]} pixels, smaller than data.resolution, {least[1]}x{least[0]}'
      )
    return [_fit(x, size, channels) for x in (a, b)]

  def decode(rows):
    arrays = {name: np.zeros((len(rows), *shape), dtype) for name, (shape, dtype) in kept.items()}
    for i, row in enumerate(rows):
      try:
        arrays['source'][i], arrays['target'][i] = pair(row)
        arrays['whole'][i] = 1
      except Exception as e:  # noqa: BLE001, PERF203 (Pillow raises anything on a broken file)
        logging.debug('%s: %s', names[row], e)
    return arrays

  return Examples(
    title=f'pairs {os.path.basename(where)} {pixels.size_name(size, channels)}',
    key={
      'dataset': 'pairs',
      'files': identity[0],
      'size': pixels.key(size, channels),
      'least': list(least),
      'direction': direction,
      'preprocessing': pixels.NAME,
    },
    here=identity[1],
    count=len(names),
    fields=kept,
    fetch=lambda rows: rows,
    decode=decode,
    names=tuple(names),
    explain=lambda row: folder.explain(pair, row),
    place=where,
  )


def _fit(x, size, channels):
  """uint8 [h, w, C] -> [*size, C]."""
  image = PIL.Image.fromarray(x[..., 0] if channels == 1 else x)
  return pixels.prepare(image, size, channels)
