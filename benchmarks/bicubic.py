"""PSNR and SSIM of bicubic enlargement, which super-resolution is to beat: python benchmarks/bicubic.py --workdir W

Enlarges the small pictures of the run's held-out split as `ganjax evaluate --metrics psnr,ssim --crop 4` enlarges
them by the run's G, and judges them alike: Y channel and RGB, 4 pixels cropped on each side.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from ganjax import experiment
from ganjax.layers.resample import resize_bicubic
from ganjax.media import image
from ganjax.metrics import ssim


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--workdir', type=Path, required=True)
  parser.add_argument('--crop', type=int, default=4)
  flags = parser.parse_args()
  run = experiment.load(flags.workdir)
  held = run.held_out(run.spans[-1])
  found = held.read(np.arange(held.num_examples), ('low', 'image'))
  factor = found['image'].shape[1] / found['low'].shape[1]
  large = image.to_stored(resize_bicubic(image.to_float(found['low']), factor))
  for name, luma in (('Y', True), ('RGB', False)):
    how = dict(crop=flags.crop, luma=luma)
    psnr, similar = (f(large, found['image'], **how).mean() for f in (ssim.psnr, ssim.ssim))
    print(f'{held.num_examples} pictures, {name}: PSNR {psnr:.2f} dB, SSIM {similar:.3f}')


if __name__ == '__main__':
  main()
