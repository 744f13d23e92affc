"""Layers of sound, pictures and solids, with both gradients, against PyTorch: python benchmarks/convolutions.py

Needs the extra `bench`. WaveGAN's (Donahue et al. 2018, arXiv:1802.04208, tables 3 and 4) and 3D-GAN's (Wu et al. 2016,
arXiv:1610.07584, section 3.1), those of vid2vid's discriminators whose output is larger than their input, the narrow
ones of MoCoGAN, and some of ESRGAN's generator, of few features on one picture, at a batch for CPUs. Outputs and
gradients are compared first; then both take turns.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from ganjax.devices import backend
from ganjax.layers.conv import conv, conv_transpose

# Name -> (axes, kernel, stride, padding, batch, (size, channels, features) of each layer of D; G's go from y to x).
NETWORKS = {
  'WaveGAN': (
    (1, 25, 4, 11, 16),
    ((16384, 1, 64), (4096, 64, 128), (1024, 128, 256), (256, 256, 512), (64, 512, 1024)),
  ),
  'vid2vid': ((2, 4, 1, 2, 4), ((17, 32, 64), (9, 64, 128))),
  'MoCoGAN': ((2, 4, 2, 1, 128), ((64, 3, 16), (32, 16, 32), (16, 32, 64))),
  'ESRGAN': ((2, 3, 1, 1, 1), ((32, 64, 32), (32, 192, 64), (128, 64, 32))),
  '3D-GAN': ((3, 4, 2, 1, 4), ((64, 1, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512))),
}
TORCH = {
  1: (functional.conv1d, functional.conv_transpose1d),
  2: (functional.conv2d, functional.conv_transpose2d),
  3: (functional.conv3d, functional.conv_transpose3d),
}


def measure(shape, layer, transposed, rounds):
  """(Seconds of ganjax, seconds of torch) of a layer, round by round."""
  (axes, kernel, stride, padding, batch), (size, channels, features) = shape, layer
  small, rng = (size + 2 * padding - kernel) // stride + 1, np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape, np.float32)
  extra = size - ((small - 1) * stride + kernel - 2 * padding) if transposed else 0
  x, y = draw(batch, *[size] * axes, channels), draw(batch, *[small] * axes, features)
  x, ct = (y, x) if transposed else (x, y)
  w = draw(*[kernel] * axes, channels, features) / (kernel**axes * channels) ** 0.5

  def run(x, w):
    if transposed:
      return conv_transpose(x, w, stride, padding, extra)
    return conv(x, w, stride, padding)

  def gradients(x, w, ct):
    out, back = jax.vjp(run, x, w)
    return out, *back(ct)

  step, arrays = jax.jit(gradients), [jnp.asarray(a) for a in (x, w, ct)]
  ours = lambda: jax.block_until_ready(step(*arrays))
  first = lambda a, n: torch.from_numpy(
    np.moveaxis(a, range(-1, -1 - n, -1), range(2 - n, 2)).copy()
  )
  tx, tct, tw = first(x, 1), first(ct, 1), first(w, 2)
  how = dict(stride=stride, padding=padding, **({'output_padding': extra} if transposed else {}))

  def twin():
    leaves = [a.detach().requires_grad_() for a in (tx, tw)]
    out = TORCH[axes][transposed](*leaves, **how)
    return out, *torch.autograd.grad(out, leaves, tct)

  for n, a, b in zip((1, 1, 2), ours(), twin()):
    a, b = first(np.asarray(a), n).numpy(), b.detach().numpy()
    if not np.abs(a - b).max() < 1e-3 * np.abs(b).max():
      raise SystemExit('the twins differ: this would not compare like with like')
  times = [], []
  for _ in range(rounds):
    for found, side in zip(times, (ours, twin)):
      start = time.perf_counter()
      side()
      found.append(time.perf_counter() - start)
  return times


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--networks', default=','.join(NETWORKS))
  args = parser.parse_args()
  rounds = args.rounds
  cores = len(os.sched_getaffinity(0))
  torch.set_num_threads(cores)
  print(f'{backend.platform()}, {cores} cores; ms, the shortest of {rounds} rounds')
  for name in args.networks.split(','):
    shape, layers = NETWORKS[name]
    for transposed in (False, True):
      whole = np.zeros(2)
      for layer in layers:
        times = measure(shape, layer, transposed, rounds)
        shortest = np.array([min(side) for side in times]) * 1e3
        whole += shortest
        ratio = statistics.median(b / a for a, b in zip(*times))
        print(
          f'  {name} {"G" if transposed else "D"}, {layer[1]:>4} x {layer[0]:<6}'
          f'ganjax {shortest[0]:>8.1f}   torch {shortest[1]:>8.1f}   {ratio:.2f} times as fast',
          flush=True,
        )
      print(f'  all {whole[0]:.0f} for {whole[1]:.0f}: {whole[1] / whole[0]:.2f} times as fast')


if __name__ == '__main__':
  main()
