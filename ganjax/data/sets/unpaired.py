"""Pictures of two domains that need not match, each in a separate order (CycleGAN, arXiv:1703.10593)."""

import os
import shlex
from collections.abc import Sequence

from ganjax import UserError
from ganjax.data import domains, folder, pixels
from ganjax.data.sets import catalogue
from ganjax.data.sets import folder as pictures
from ganjax.data.source import Source


def fields(*, resolution: int | Sequence[int], channels: int) -> dict:
  """A picture of each domain."""
  return domains.fields(resolution, channels)


def build(
  *,
  data_dir: str | None,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  cache: bool,
  flip: bool = False,
  source: str | None = None,
  target: str | None = None,
  jitter: int = 0,
) -> Source:
  """Pictures below `data_dir`, A in the folder trainA and B in trainB, or of two data sets.

  An epoch has each picture of the larger domain once. Which pictures meet differs from epoch to epoch.

  Args:
    data_dir: a folder with the folders trainA and trainB (testA and testB for the split 'test', and so on); with
      `source` and `target` the folder of the TFDS data sets.
    resolution, channels, cache: see `ganjax.data.build`.
    split: see `data_dir`.
    flip: mirrors with probability 1/2, each domain separately.
    source, target: a data set for each domain, instead of folders in `data_dir`: a folder or zip archive, which begins
      with `./`, `/` or `~`; or a TFDS name with its split, 'cycle_gan/horse2zebra:{split}A'. {split} stands for
      `split`.
    jitter: training resizes pictures to a size larger by so many pixels, and cuts a random window out of each: 30 for
      256 pixels in the paper.

  Raises:
    UserError: any error that the user can fix, in one line.
  """
  if bool(source) != bool(target) or not (source or data_dir):
    raise UserError(
      'unpaired takes data.data_dir, a folder with trainA and trainB, or both of data.source and data.target'
    )
  places = [source, target]
  if not source:
    places = [os.path.join(folder.place(data_dir), f'{split}{letter}') for letter in 'AB']
    for one in places:
      if not os.path.isdir(one):
        raise UserError(
          f'{one} is not there: data.data_dir must hold the folders {split}A and {split}B'
        )
  places = [one.replace('{split}', split) for one in places]
  if source and data_dir and not folder.is_path(places[0]):
    _check_unread(source, target, data_dir, split)

  def open_at(size):
    more = dict(resolution=size, channels=channels, cache=cache)
    found = [_open(one, data_dir if source else None, **more) for one in places]
    return {name: _Renamed(one, name) for name, one in zip(domains.NAMES, found)}

  return domains.build(
    open_at,
    resolution=resolution,
    channels=channels,
    paired=False,
    jitter=jitter,
    flip=flip,
    info={'dataset': 'unpaired', 'places': [os.path.basename(one.rstrip('/')) for one in places]}
    | pixels.describe(resolution, channels),
  )


def _check_unread(source, target, data_dir, split):
  """Raises UserError where `data_dir`, which is TFDS's, has folders of the two domains."""
  if os.path.isdir(os.path.join(folder.place(data_dir), f'{split}A')):
    a, b = (shlex.quote(os.path.join(data_dir, f'{{split}}{letter}')) for letter in 'AB')
    raise UserError(
      f'data.source={source} and data.target={target} are read, not the folders in data.data_dir={data_dir}: for '
      f'these say --config.data.source={a} --config.data.target={b}'
    )


def _open(place, data_dir, **more):
  """The Source of a folder, an archive, or a data set of TFDS with its split."""
  if folder.is_path(place):
    return pictures.build(data_dir=place, split='train', **more)
  name, colon, split = place.rpartition(':')
  if not colon or split[:1].isdigit():  # a version
    folder_is = 'there is no folder of that name' if '/' in place else f'for a folder, ./{place}'
    raise UserError(
      f'{place!r} names no split: write it after a colon, such as cycle_gan/horse2zebra:trainA; {folder_is}'
    )
  return catalogue.build(dataset=name, data_dir=data_dir, split=split, **more)


class _Renamed:
  """A Source whose pictures are called by the name of their domain."""

  def __init__(self, source, name):
    self.num_examples, self.content = source.num_examples, source.content
    self.read = lambda rows, names: {name: source.read(rows, ('image',))['image']}
