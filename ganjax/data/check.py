"""Checks a folder or zip file of pictures before training: ganjax check my_pictures/

It prints how many pictures there are, their sizes, modes, classes and pairs, which are broken or duplicate, and the
command that trains on them. It draws some of them as training sees them. It changes nothing in the folder.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'FOLDER')
OUT = COMMAND.string('out', None, 'The contact sheet, a PNG file; by default next to the folder.')
RESOLUTION = COMMAND.integer(
  'resolution', 64, 'Side in pixels of each picture in the contact sheet.'
)

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import collections
import hashlib
import io
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ganjax import UserError
from ganjax import config as configs
from ganjax.data import folder, pixels
from ganjax.data.files import Archive, Folder, open_files
from ganjax.devices import cpu
from ganjax.media import image as images

SHEET = 64  # pictures in the contact sheet
FEW = 10_000  # pictures, below which D learns them by heart: arXiv:2006.10738, figure 1


def main() -> None:
  if len(COMMAND.arguments) != 1:
    raise UserError('name one folder or zip file of pictures: ganjax check my_pictures/')
  if not 1 <= RESOLUTION.value <= 1024:
    raise UserError(f'--resolution={RESOLUTION.value} must be from 1 to 1024')
  top = Path(COMMAND.arguments[0])
  out = Path(OUT.value) if OUT.value else top.absolute().with_name(f'{top.stem}-contact.png')
  if OUT.value:
    commandline.check_ending(OUT, '.png', 'ganjax check')
  files, (paths, classes, numbers) = open_files(top), folder.find(top)
  seen = look(files, paths)
  whole = [i for i, one in enumerate(seen) if not isinstance(one, str)]
  for line in describe(paths, seen, classes, numbers):
    print(line)
  if not whole:
    raise UserError(f'no picture in {top} can be decoded')
  chosen = [
    paths[whole[i]] for i in np.linspace(0, len(whole) - 1, min(SHEET, len(whole)), dtype=int)
  ]
  sheet = np.stack([prepare(files, path, RESOLUTION.value) for path in chosen])
  images.save_png(
    out, images.grid(sheet), {'Description': f'pictures of {top}, as training sees them'}
  )
  print(f'some of them, as training sees them: {out}')
  print(f'to train on them: {advise(top, len(whole), classes)}')


def prepare(
  files: Folder | Archive, path: str, resolution: int | Sequence[int], channels: int = 3
) -> np.ndarray:
  """One picture as training sees it, uint8 [resolution, resolution, channels]."""
  with Image.open(io.BytesIO(files.read(path))) as image:
    return pixels.prepare(image, resolution, channels, rotate=True)


def look(files: Folder | Archive, paths: Sequence[str]) -> list:
  """Of each path (digest of the bytes, (width, height), mode), or why it cannot be decoded."""

  def one(path):
    try:
      content = files.read(path)
      with Image.open(io.BytesIO(content)) as image:
        found = image.size, image.mode
        pixels.prepare(image, 8, 3, rotate=True)
      return hashlib.sha256(content).digest(), *found
    except Exception:  # noqa: BLE001 (Pillow raises anything on a broken file)
      return folder.explain(lambda path: prepare(files, path, 8), path)

  with ThreadPoolExecutor(cpu.cores()) as pool:
    return list(pool.map(one, paths))


def describe(
  paths: Sequence[str],
  seen: Sequence[tuple | str],
  classes: Sequence[str] | None,
  numbers: np.ndarray | None,
) -> Iterator[str]:
  """Lines that say what was found; `seen` as `look` returns it, `classes` and `numbers` as `folder.find` does."""
  whole = [(path, one) for path, one in zip(paths, seen) if not isinstance(one, str)]
  broken = [f'{path} ({one})' for path, one in zip(paths, seen) if isinstance(one, str)]
  yield f'pictures    {len(whole):,}'
  sizes = collections.Counter(size for _, (_, size, _) in whole)
  if sizes:
    yield f'sizes       {_count(f"{w}x{h}" for _, (_, (w, h), _) in whole)}'
    yield f'sides       {min(map(min, sizes))} to {max(map(max, sizes))} pixels; the middle square is used'
    yield f'modes       {_count(mode for _, (_, _, mode) in whole)}'
  if classes:
    counts = collections.Counter(numbers.tolist())
    each = [f'{i} {name} ({counts[i]:,})' for i, name in enumerate(classes)]
    yield f'classes     {len(classes):,}: {_few(each)}'
  if pairs := _pairs(paths, classes):
    yield pairs
  if broken:
    many = len(broken) > 0.01 * len(paths)  # as for `folder.select_whole`
    fate = 'to be mended or removed before training' if many else 'left out'
    yield f'broken      {len(broken):,}, {fate}: {_few(broken)}'
  first, double = {}, []
  for path, (digest, *_) in whole:
    if (other := first.setdefault(digest, path)) != path:
      double.append(f'{path} = {other}')
  if double:
    yield f'double      {len(double):,}: {_few(double)}'


def advise(top: str | Path, count: int, classes: Sequence[str] | None) -> str:
  """The command that trains on so many pictures of so many classes."""
  words = ['ganjax train dcgan_emoji --workdir runs/mine']
  words.append(f'--config.data.dataset={shlex.quote(_as_path(top))}')
  if count < FEW:
    words.append('--config.method.diffaugment=color,translation,cutout')
  text = ' '.join(words)
  if classes and len(classes) > 1:
    text += (
      f'\nwith its classes, at 32 pixels: ganjax train biggan_cifar --workdir runs/classes {words[1]} '
      f'--config.networks.num_classes={len(classes)}'
    )
  return text


def _as_path(top) -> str:
  """A name that data.dataset takes for a path."""
  text = str(top)
  return text if text.startswith(('/', '.', '~')) or text.endswith('.zip') else f'./{text}'


def _pairs(paths, classes):
  """A line where two folders hold files of the same names, as data of pairs do."""
  if not classes or len(classes) != 2:
    return None
  names = [
    {path.partition('/')[2].rpartition('.')[0] for path in paths if path.startswith(f'{c}/')}
    for c in classes
  ]
  both, alone = names[0] & names[1], names[0] ^ names[1]
  if len(both) < len(alone):
    return None
  without = f'; without a partner: {_few(sorted(alone))}' if alone else ''
  return f'pairs       {len(both):,} names are in both {classes[0]}/ and {classes[1]}/{without}'


def _count(values) -> str:
  """'512x512 (1,000), 640x480 (20), 7 others'"""
  common = collections.Counter(values).most_common()
  text = ', '.join(f'{value} ({count:,})' for value, count in common[:4])
  return f'{text}, {len(common) - 4:,} others' if len(common) > 4 else text


def _few(items) -> str:
  return ', '.join(items[:6]) + (', ...' if len(items) > 6 else '')


if __name__ == '__main__':
  configs.run(main)
