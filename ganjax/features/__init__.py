"""Feature networks: images or clips in, features of a published frozen network out.

A network is one file here that defines
  Network   a Linen module, Network(dtype=...): scaled images [B, SIZE, SIZE, 3] -> dict of arrays, with 'features'
  FILE      its weights.File
  SIZE      the resolution it takes, in pixels
  RESIZE    how images come to that, one of resize.KINDS
  SCALE     (offset, factor), numbers or three of them: pixel values x in 0..255 become (x - offset) * factor
  convert   tensors of the file -> the module's variables
  KIND      'clip' where it takes clips [B, T, SIZE, SIZE, 3], not images
`notes.py` differs: it takes sounds, and ganjax ships its weights.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.features import resize as resizing
from ganjax.weights import files as weights
from ganjax.wording import closest

DTYPES = 'float32', 'bfloat16'


class Extractor(NamedTuple):
  name: str
  variables: dict  # arrays on the host; the caller places them
  # (variables, images uint8 or float 0..255 [B, H, W, 1 or 3]) -> dict of float32 arrays; jittable. Of clips
  # [B, T, H, W, 1 or 3] those of each clip, or of a network of images those of each frame, [B, T, ...].
  apply: Callable
  info: dict  # what it is, for records: network, weights_*, resize, scale, size, dtype


def names(kind: str | None = None) -> list[str]:
  """The networks that there are, or those that take a kind: 'image', 'clip'."""
  files = (m.name for m in pkgutil.iter_modules(__path__))
  found = sorted(n for n in files if hasattr(module(n), 'Network'))
  return [n for n in found if kind in (None, _kind(module(n)))]


def _kind(network):
  return getattr(network, 'KIND', 'image')


def mapped() -> list[str]:
  """The networks whose maps losses may take: `Network(taps=...)` gives those of the blocks in `TAPS`."""
  return [n for n in names() if hasattr(module(n), 'TAPS')]


def module(name: str) -> ModuleType:
  """The file of a network."""
  return importlib.import_module(f'{__name__}.{name}')


def see(name: str, images: jax.Array) -> jax.Array:
  """Pictures [B, H, W, 1 or 3] in [-1, 1] as a network takes them: three channels, scaled by its SCALE."""
  images = jnp.repeat(images, 3 // images.shape[-1], -1)
  offset, factor = (jnp.array(x, images.dtype) for x in module(name).SCALE)
  return ((images + 1) * 127.5 - offset) * factor


def frozen(name: str) -> tuple[dict, Callable[[], tuple[dict, dict]]]:
  """(shapes of a network's variables, () -> (arrays of these shapes, what a record says of them)), for `method.Frozen`.

  Raises:
    UserError: no network of `mapped`.
  """
  if name not in mapped():
    raise UserError(
      f'method.network={name!r} is not known{closest(name, mapped())}; there are {", ".join(mapped())}'
    )
  image = jax.ShapeDtypeStruct((1, module(name).SIZE, module(name).SIZE, 3), jnp.float32)

  def read():
    extractor = load(name)
    return {'params': extractor.variables['params'], 'stats': {}}, extractor.info

  shapes = jax.eval_shape(module(name).Network().init, jax.random.key(0), image)['params']
  return {'params': shapes, 'stats': {}}, read


def load(
  name: str,
  path: str | Path | None = None,
  *,
  resize: str | None = None,
  scale: tuple | None = None,
  dtype: str = 'float32',
) -> Extractor:
  """A feature network with its weights.

  Args:
    name: one of `names()`.
    path: its weight file; None looks in the usual places (see `weights.load`).
    resize: one of resize.KINDS; None for the network's own.
    scale: (offset, factor) of pixel values; None for the network's own.
    dtype: of the activations, 'float32' or 'bfloat16'.

  Raises:
    UserError: an unknown name, resize or dtype; no weights, or those of another network.
  """
  if name not in (known := names()):
    raise UserError(f'feature network {name!r} is not known; there are {", ".join(known)}')
  if dtype not in DTYPES:
    raise UserError(f'dtype {dtype!r} of a feature network is not one of {", ".join(DTYPES)}')
  own = module(name)
  kind, (offset, factor) = resize or own.RESIZE, scale or own.SCALE
  if kind not in resizing.KINDS:
    raise UserError(f'resize {kind!r} is not known; there are {", ".join(resizing.KINDS)}')
  network = own.Network(dtype=jnp.dtype(dtype))
  tensors, found = weights.load(own.FILE, path)

  def apply(variables, images):
    if images.shape[-1] == 1:
      images = jnp.repeat(images, 3, -1)
    whole = images.shape[:-3]  # [B], or of clips [B, T]
    x = resizing.resize(images.reshape(-1, *images.shape[-3:]), own.SIZE, kind)
    x = (x - jnp.array(offset)) * jnp.array(factor)
    if _kind(own) == 'clip':
      x, whole = x.reshape(*whole, *x.shape[1:]), whole[:1]
    outputs = network.apply(variables, x)
    return {k: y.reshape(*whole, *y.shape[1:]).astype(jnp.float32) for k, y in outputs.items()}

  info = {
    'network': name,
    **{f'weights_{key}': value for key, value in found.items()},
    'resize': kind,
    'scale': [np.asarray(offset).tolist(), np.asarray(factor).tolist()],
    'size': own.SIZE,
    'dtype': dtype,
  }
  return Extractor(name, own.convert(tensors), apply, info)
