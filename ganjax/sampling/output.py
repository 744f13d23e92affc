"""What samples are written as: a grid, files, an array, a strip, a film."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ganjax import media
from ganjax.media import image as images
from ganjax.sampling import grid

MANY = 'files', 'folders'  # a file for each sample
# What each format writes; those write a folder.
ENDINGS = {
  'grid': '.png',
  'strip': '.png',
  'files': '',
  'folders': '',
  'npz': '.npz',
  'gif': '.gif',
  'mp4': '.mp4',
}
OF_FILES = '.png', '.jpg', '.jpeg', '.npz', '.gif', '.mp4'  # which a folder's name has not
MOVING = 'strip', 'gif', 'mp4'


def short(text: str) -> str:
  """A part of a file's name: what was typed, and of what is too long for one the beginning and a digest."""
  text = re.sub(r'[^\w.,+-]+', '_', text)
  return (
    text if len(text) <= 80 else f'{text[:60]}...{hashlib.sha256(text.encode()).hexdigest()[:8]}'
  )


def write_files(
  folder: Path,
  samples: np.ndarray,
  field: media.Field,
  names: Iterable[tuple[str, int | str]],
  text: Callable[[int | str], dict],
  folders: Sequence[str] | None = None,
) -> None:
  """Writes a file for each sample.

  Args:
    folder: where to.
    samples: stored form [n, ...] of a media.Field `field`.
    names: n times (name of the file, what `text` is told of it).
    text: what was told -> metadata.
    folders: n names of folders in `folder` for the files, or None.
  """
  kind = media.find(field.kind)
  for place in {folder, *(folder / one for one in folders or ())}:
    images.make_folder(place)
  for i, ((name, what), sample) in enumerate(zip(names, samples)):
    place = folder / folders[i] if folders else folder
    kind.save(place / f'{name}{kind.ENDING}', sample, text(what), field.rate)


def write(
  out: Path,
  format: str,
  samples: np.ndarray,
  field: media.Field,
  text: dict,
  *,
  labels: np.ndarray | None,
  columns: int | None,
  paths: int,
  fps: int,
  corner: bool,
) -> None:
  """Writes all samples in one file of a format of `ENDINGS`.

  Args:
    out, format, samples, field: where to, as what, and what, as of `write_files`.
    text: the metadata.
    labels: of the samples, for an array; or None.
    columns: of a grid or strip; None: a square.
    paths: of a film, side by side.
    fps: frames a second of a film.
    corner: whether a grid begins with an empty cell.
  """
  images.make_folder(out.parent)
  if format == 'npz':
    images.save_npz(out, samples, text, labels)
    return
  shown = grid.show(samples, field)
  if format in ('gif', 'mp4'):
    cells = shown.reshape(paths, -1, *shown.shape[1:]).swapaxes(0, 1)
    frames = np.stack([images.grid(x) for x in cells])
    if format == 'mp4':
      images.save_mp4(out, frames, text, fps)
    else:
      images.save_gif(out, frames, text, 1000 / fps)
    return
  if corner:
    shown = np.concatenate([np.full_like(shown[:1], 255), shown])
  images.save_png(out, images.grid(shown, columns), text)
