"""What the invisible mark of `ganjax sample --mark` survives: python benchmarks/mark.py

Marks the shipped emoji as they are (64 pixels), enlarged to 256, and in grids of 8x8 (512 pixels). Prints the share
that `ganjax marked` still finds after each change, how much the mark changes the pictures, and how many pictures
without a mark are called marked.
"""

import argparse
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from PIL import Image

from ganjax import data
from ganjax.media import image as images
from ganjax.media import mark


def resize(x, side):
  return np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC))


def jpeg(x, quality):
  file = io.BytesIO()
  Image.fromarray(x).save(file, 'JPEG', quality=quality)
  return np.asarray(Image.open(file))


def crop(x, share, rng):
  side = round(len(x) * share)
  top, left = rng.integers(0, len(x) - side + 1, 2)
  return x[top : top + side, left : left + side]


def noise(x, level, rng):
  return np.clip(np.round(x + level * rng.standard_normal(x.shape)), 0, 255).astype(np.uint8)


def make_changes(rng):
  """{name: (function, whether other sizes are searched)}."""
  return {
    'none': (lambda x: x, False),
    'JPEG of quality 75': (lambda x: jpeg(x, 75), False),
    'JPEG of quality 50': (lambda x: jpeg(x, 50), False),
    'cropped to two thirds of its sides': (lambda x: crop(x, 2 / 3, rng), False),
    'noise of 8 grey levels': (lambda x: noise(x, 8, rng), False),
    'half the size and back': (lambda x: resize(resize(x, len(x) // 2), len(x)), False),
    'three quarters of the size (--resized)': (lambda x: resize(x, 3 * len(x) // 4), True),
    'cropped, 1.3 times, JPEG 75 (--resized)': (
      lambda x: jpeg(resize(crop(x, 0.8, rng), round(1.04 * len(x))), 75),
      True,
    ),
  }


def psnr(a, b):
  """Of all pictures together, in dB."""
  error = np.mean([((x.astype(np.float64) - y) ** 2).mean() for x, y in zip(a, b)])
  return 10 * np.log10(255**2 / error)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--num', type=int, default=100, help='pictures of 64 and of 256 pixels')
  args = parser.parse_args()
  source, rng = data.build(dataset='emoji', resolution=64), np.random.default_rng(0)
  order = rng.permutation(source.num_examples)
  emoji = source.read(order)['image']
  sets = {
    '64 px': list(emoji[: args.num]),
    '256 px': [resize(x, 256) for x in emoji[: args.num]],
    'grid of 512 px': [images.grid(emoji[i : i + 64]) for i in range(0, len(emoji) - 63, 64)],
  }
  print(f'{len(emoji)} emoji; chance of a false alarm {mark.CHANCE:g} each')
  print(f'{"change":<42}' + ''.join(f'{name:>16}' for name in sets))
  marked = {name: [mark.add(x) for x in some] for name, some in sets.items()}
  for change, (function, resized) in make_changes(rng).items():
    shares = [
      np.mean([mark.find(function(x), resized).marked for x in some]) for some in marked.values()
    ]
    print(f'{change:<42}' + ''.join(f'{share:>16.1%}' for share in shares), flush=True)
  changed = [psnr(marked[name], sets[name]) for name in sets]
  print(f'{"PSNR of the marked ones, dB":<42}' + ''.join(f'{value:>16.1f}' for value in changed))
  alarms = [sum(mark.find(x).marked for x in some) for some in (emoji, *list(sets.values())[1:])]
  counts = [len(emoji), *(len(some) for some in list(sets.values())[1:])]
  print(
    f'{"without the mark, called marked":<42}'
    + ''.join(f'{f"{n} of {count:,}":>16}' for n, count in zip(alarms, counts))
  )


if __name__ == '__main__':
  main()
