"""Distances of pictures by name, for losses and metrics: LPIPS, similar ones on other networks, and pixels."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from ganjax import UserError, features
from ganjax.layers.resample import interpolate
from ganjax.metrics import lpips
from ganjax.weights import files as weights
from ganjax.wording import closest


class Distance(NamedTuple):
  """A distance of pictures."""

  variables: dict
  apply: Callable  # (variables, a, b), pictures [B, H, W, 3] in [-1, 1] -> [B]
  info: dict  # what it is, for records


def distances() -> list[str]:
  """The names of distances: LPIPS, the feature networks that give maps, and pixels."""
  return [*(f'lpips_{net}' for net in lpips.NETS), *features.mapped(), 'pixels']


def distance(name: str) -> Distance:
  """A distance by its name.

  `lpips_vgg16` is the published one. A feature network's is made like LPIPS, without its fitted weights: maps of unit
  length at every pixel, of pictures enlarged to the network's size; squared differences are averaged over pixels and
  summed over maps. `pixels` is the mean squared difference, and needs no weights.

  Raises:
    UserError: an unknown name, or no weights.
  """
  if name not in (known := distances()):
    raise UserError(
      f'--distance={name} is not known{closest(name, known)}; there are {", ".join(known)}'
    )
  if name == 'pixels':
    return Distance({}, lambda _, a, b: jnp.mean((a - b) ** 2, (1, 2, 3)), {'distance': name})
  if name.startswith('lpips_'):
    net = name.removeprefix('lpips_')
    variables, info = lpips.load(net)
    apply = lambda variables, a, b: lpips.distance(variables, a, b, net)
    return Distance(variables, apply, {'distance': name} | info)
  module = features.module(name)
  tensors, info = weights.load(module.FILE)
  net, (offset, factor) = module.Network(taps=tuple(module.TAPS)), module.SCALE

  def maps(variables, x):
    scale = max(module.SIZE / min(x.shape[1:3]), 1)
    x = interpolate(x, [round(scale * n) for n in x.shape[1:3]])
    x = ((x + 1) * 127.5 - jnp.array(offset)) * jnp.array(factor)
    return [
      y / (jnp.linalg.norm(y, axis=-1, keepdims=True) + 1e-10) for y in net.apply(variables, x)
    ]

  def apply(variables, a, b):
    pairs = zip(maps(variables, a), maps(variables, b))
    return sum(jnp.mean(jnp.sum((x - y) ** 2, -1), (1, 2)) for x, y in pairs)

  return Distance(
    module.convert(tensors), apply, {'distance': name, 'weights_sha256': info['sha256']}
  )
