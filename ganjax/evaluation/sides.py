"""The two sides of an evaluation: pictures of a generator, a data set, a folder or an .npz file, read by index."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image

from ganjax import UserError, data
from ganjax.data.folder import EXTENSIONS


class Side(NamedTuple):
  """Pictures to measure.

  Attributes:
    count: how many.
    info: what they are, JSON-able; part of each record.
    rows: int64 [n] -> pytree of host arrays [n, ...], what `images` needs of those pictures. A generator takes indices
      beyond `count` too (fresh latents), so that a batch can always be filled.
    images: (state, rows, quantiser) -> uint8 [n, H, W, C]; traced, so pixels stay on the devices.
    state: pytree of device arrays that `images` needs.
    labels: int [count], or None where there are none.
    content: what identifies the pictures for good, or None where statistics are not worth keeping.
    sample: a generator's (state, latents [n, Z]) -> float images, and its `latents`; else None.
  """

  count: int
  info: dict
  rows: Callable
  images: Callable
  state: dict = {}
  labels: np.ndarray | None = None
  content: str | None = None
  sample: Callable | None = None
  latents: Callable | None = None

  def take(self, count) -> 'Side':
    """The first `count` pictures of a generator, else a random subset drawn with seed 0. Raises UserError: too few."""
    if count in (None, 0, self.count):
      return self
    if count > self.count:
      raise UserError(
        f'{self.info["name"]} has {self.count:,} pictures, fewer than the {count:,} asked for'
      )
    chosen = np.sort(data.indices(0, 0, count, self.count))
    rows, labels = self.rows, self.labels
    return self._replace(
      count=count,
      info={**self.info, 'subset': f'{count} of {self.count}, seed 0'},
      rows=lambda i: rows(chosen[np.minimum(i, count - 1)]),
      labels=None if labels is None else labels[chosen],
      content=self.content and f'{self.content} {count} of {self.count}',
    )


def generator(stage, state, latents, *, num, seed=0, batch_norm='running', info) -> Side:
  """Pictures of a generator, of the seeds seed * num to (seed + 1) * num - 1.

  Args:
    stage: whose `sample` makes them.
    state: prepared: `update.averaged`, `sampler.standing`; placed on the mesh.
    latents: `method.latents`.
    num: pictures.
    seed: which run of `num` seeds.
    batch_norm: 'running', 'batch' or 'standing': how `state` is to be read.
    info: of the run, the checkpoint and the weights.
  """
  sample = lambda state, z: stage.sample(state, z, train=batch_norm == 'batch')[0]
  labels = _labels_of(latents, seed * num, num)
  return Side(
    count=num,
    info={
      **info,
      'num': num,
      'seed': seed,
      'batch_norm': batch_norm,
      'truncation': None,
      'classes': None if labels is None else np.bincount(labels).tolist(),
    },
    rows=lambda i: seed * num + i,
    images=lambda state, seeds, quantiser: quantise(sample(state, latents(seeds)), quantiser),
    state=state,
    labels=labels,
    sample=sample,
    latents=latents,
  )


def _labels_of(latents, start, num):
  """The labels among a method's latents, if it draws any: a leaf named 'label'."""
  first = latents(np.arange(1))
  if not (isinstance(first, dict) and 'label' in first):
    return None
  return np.asarray(latents(np.arange(start, start + num))['label'])


def quantise(images, quantiser):
  """float [-1, 1] -> uint8, traced: 'round' as `images.to_uint8`, 'truncate' as ADM's evaluation does."""
  x = images.astype(jnp.float32)
  x = x * 127.5 + 128 if quantiser == 'round' else (x + 1) * 127.5
  return jnp.clip(x, 0, 255).astype(jnp.uint8)


def dataset(**arguments) -> Side:
  """A data set as training reads it; arguments of `ganjax.data.build`."""
  source = data.build(**arguments)
  info = {k: v for k, v in source.info.items() if k not in ('pillow', 'file_formats', 'broken')}
  labels = source.read(np.arange(source.num_examples))['label'] if source.num_classes else None
  read = lambda i: source.read(np.minimum(i, source.num_examples - 1))['image']
  name = f'{info["dataset"]}:{info["split"]}'
  return _stored(source.num_examples, {'name': name, **info}, read, labels, json.dumps(info))


def parse(text: str, *, size=None, data_dir=None) -> Side:
  """A side by name: an .npz file (uint8 `arr_0` [N, H, W, C]), a folder of images, or a TFDS name with its split.

  Args:
    text: 'samples.npz', 'runs/a/generated', 'cifar10:test', 'cifar10:train[:10000]'; the split is 'train' by default.
    size: (pixels, channels) that a data set is brought to; files are taken as they are.
    data_dir: of TFDS.

  Raises:
    UserError: nothing there, mixed sizes, not uint8.
  """
  path = Path(text).expanduser()
  if path.suffix == '.npz':
    return _npz(path)
  if path.is_dir():
    return _folder(path)
  name, _, split = text.partition(':')
  if '/' in name and len(name.split('/')) > 2 or name.startswith(('.', '/', '~')):
    raise UserError(f'{text} is not there')
  if size is None:
    raise UserError(f'{text}: say --resolution, the side in pixels to bring its images to')
  return dataset(
    dataset=name, split=split or 'train', data_dir=data_dir, resolution=size[0], channels=size[1]
  )


def size_of(text: str):
  """(pixels, channels) of the pictures of a folder or an .npz file, or None for the name of a data set."""
  path = Path(text).expanduser()
  if path.suffix != '.npz' and not path.is_dir():
    return None
  side = parse(text)
  shape = side.rows(np.arange(1)).shape
  return shape[1], shape[3]


def _stored(count, info, read, labels, content) -> Side:
  return Side(
    count=count,
    info=info,
    rows=lambda i: read(np.minimum(i, count - 1)),
    images=_as_they_are,
    labels=labels,
    content=content,
  )


def _as_they_are(state, rows, quantiser):
  return rows


def _npz(path) -> Side:
  try:
    with np.load(path, allow_pickle=False) as file:
      names = file.files
      images = file['arr_0'] if 'arr_0' in names else None
      labels = file['arr_1'] if 'arr_1' in names else None
  except FileNotFoundError:
    raise UserError(f'{path} is not there') from None
  except (OSError, ValueError, EOFError, KeyError) as error:
    raise UserError(f'{path} is not readable as an .npz file: {error}') from None
  except Exception as error:  # zipfile.BadZipFile and what else a damaged archive raises
    raise UserError(f'{path} is not readable as an .npz file: {error}') from None
  if (
    images is None or images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3)
  ):
    what = (
      'holds ' + ', '.join(names) if images is None else f'is {images.dtype} {list(images.shape)}'
    )
    raise UserError(f'{path}: images must be uint8 [N, H, W, 1 or 3] in arr_0; it {what}')
  digest = hashlib.sha256(images.tobytes()).hexdigest()
  info = {
    'name': str(path),
    'images_sha256': digest,
    'num_examples': len(images),
    'resolution': list(images.shape[1:3]),
  }
  return _stored(len(images), info, lambda i: images[i], labels, digest)


def _folder(path) -> Side:
  """Every picture under a folder, as it is; folders in it are classes."""
  files = sorted(
    p.relative_to(path).as_posix()
    for p in path.rglob('*')
    if p.suffix.lower() in EXTENSIONS
    and not any(part.startswith('.') for part in p.relative_to(path).parts)
  )
  if not files:
    raise UserError(f'no images in {path}: looked for {" ".join(EXTENSIONS)} in it and below')

  def load(name):
    try:
      with Image.open(path / name) as image:
        if image.mode[0] in 'IF':  # Pillow would cut 16 bits off at 255
          raise ValueError('more than 8 bits a channel')
        if image.mode in ('1', 'L', 'LA'):
          return np.asarray(image.convert('L'))[..., None]
        return np.asarray(image.convert('RGB'))
    except Exception as error:  # Pillow raises anything on a broken file
      raise UserError(f'{path / name} cannot be decoded: {error}') from None

  shape = load(files[0]).shape

  def load_alike(name):
    image = load(name)
    if image.shape != shape:
      raise UserError(
        f'mixed sizes in {path}: {files[0]} is {list(shape)}, {name} {list(image.shape)}; '
        'bring them to one size first, since how they are resized is part of the number'
      )
    return image

  def read(indices):
    with ThreadPoolExecutor() as pool:
      return np.stack(list(pool.map(load_alike, [files[i] for i in indices])))

  classes = [name.split('/')[0] if '/' in name else None for name in files]
  known = sorted({c for c in classes if c is not None})
  labels = np.array([known.index(c) for c in classes]) if known and None not in classes else None
  stats = [(path / name).stat() for name in files]
  listing = ''.join(f'{n}\0{s.st_size}\0{s.st_mtime_ns}\n' for n, s in zip(files, stats))
  digest = hashlib.sha256(listing.encode(errors='surrogateescape')).hexdigest()
  info = {
    'name': str(path),
    'files_sha256': digest,
    'num_examples': len(files),
    'resolution': list(shape[:2]),
    'class_names': known or None,
  }
  return _stored(len(files), info, read, labels, digest)
