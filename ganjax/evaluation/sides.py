"""The two sides of an evaluation: pictures of a generator, a data set, a folder or an .npz file, read by index."""

import functools
import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageMode

from ganjax import UserError, data, media
from ganjax.data import folder, pixels
from ganjax.data.files import open_files

if TYPE_CHECKING:
  from ganjax.method import Method, Stage, TrainState


class Side(NamedTuple):
  """Pictures to measure.

  Attributes:
    count: how many.
    info: what they are, JSON-able; part of each record.
    rows: int64 [n] -> pytree of host arrays [n, ...], what `images` needs of those pictures. Takes indices beyond
      `count` too, so that a batch can be filled: a generator gives fresh latents, others their last picture.
    images: (state, rows) -> uint8 [n, H, W, C], or float in [-1, 1] yet to be quantised; traced, so pixels stay on the
      devices.
    state: pytree of device arrays that `images` needs.
    labels: () -> int [count], below 0 for a picture without a label, or None where there are none.
    class_names: names of the labels 0, 1, ..., or None where they are not known.
    content: what identifies the pictures for good, or None where statistics are not worth keeping.
    texts: () -> float32 [count, E], vectors of the captions, or None where there are none.
    sample: a generator's (state, inputs [n, ...]) -> float images, and `inputs`, seeds -> these; else None.
  """

  count: int
  info: dict
  rows: Callable
  images: Callable
  state: dict = {}
  labels: Callable | None = None
  class_names: tuple | None = None
  content: str | None = None
  sample: Callable | None = None
  inputs: Callable | None = None
  field: media.Field | None = None  # of samples that are no pictures
  from_examples: bool = False  # whether a generator's samples start from examples
  texts: Callable | None = None
  styles: Callable | None = None  # of a generator of styles: `method.Styles.map`

  @property
  def kind(self) -> str:
    return self.field.kind if self.field else 'image'

  def take(self, count: int | None) -> 'Side':
    """A random subset of a stored side, drawn with seed 0. Raises UserError where there are fewer."""
    if count in (None, 0, self.count):
      return self
    if count > self.count:
      what = 'pictures' if self.kind == 'image' else f'{self.kind}s'
      raise UserError(
        f'{self.info["name"]} has {self.count:,} {what}, fewer than the {count:,} asked for'
      )
    chosen = np.sort(data.indices(0, 0, count, self.count))
    rows, labels, texts = self.rows, self.labels, self.texts
    return self._replace(
      count=count,
      info={**self.info, 'subset': f'{count} of {self.count}, seed 0'},
      rows=lambda i: rows(chosen[np.minimum(i, count - 1)]),
      labels=None if labels is None else lambda: labels()[chosen],
      texts=None if texts is None else lambda: texts()[chosen],
      content=self.content and f'{self.content} {count} of {self.count}',
    )


def generator(
  stage: 'Stage',
  state: 'TrainState | dict',
  method: 'Method',
  *,
  num: int,
  seed: int = 0,
  batch_norm: str = 'running',
  info: dict[str, Any],
  class_names: Sequence[str] | None = None,
  source: data.Source | None = None,
  options: dict[str, float | str] | None = None,
  field: media.Field | None = None,
) -> Side:
  """Pictures of a generator, of the seeds seed * num to (seed + 1) * num - 1.

  Args:
    stage: whose `sample` makes them.
    state: prepared: `update.averaged`, `sampler.standing`; placed on the mesh.
    method: whose `rows` they are drawn by.
    num: pictures.
    seed: which run of `num` seeds.
    batch_norm: 'running', 'batch' or 'standing': how `state` is to be read.
    info: of the run, the checkpoint and the weights.
    class_names: of its labels, where they are known.
    source: data, of a method that asks for examples: picture i starts from example i, from the first again after the
      last.
    options: of the samples, see `Method.options`.
    field: the media.Field of the samples, where they are no pictures.
  """
  options = options or {}
  inputs = _inputs(method.rows, tuple(sorted(options.items())))
  kinds = {name: source.fields[name].kind for name in method.examples} if source else {}
  sample, images = _functions(
    stage.sample, inputs, batch_norm == 'batch', tuple(sorted(kinds.items()))
  )
  labels = None if kinds else _labels_of(inputs, seed * num, num)

  def rows(i):
    if not kinds:
      return seed * num + i
    return seed * num + i, source.read(i % source.num_examples, method.examples)

  return Side(
    count=num,
    info={
      **info,
      'num': num,
      'seed': seed,
      'batch_norm': batch_norm,
      'truncation': options.get('truncation'),
      **({'options': options} if options else {}),
      'classes': None if labels is None else np.bincount(labels).tolist(),
    },
    rows=rows,
    images=images,
    state=state,
    labels=None if labels is None else lambda: labels,
    class_names=class_names,
    sample=sample,
    inputs=inputs,
    from_examples=bool(kinds),
    field=_unless_picture(field),
    texts=_texts(source, np.arange(seed * num, seed * num + num)),
    styles=method.styles and method.styles.map,
  )


def _texts(source, indices) -> Callable | None:
  """Vectors of the captions of a data set's examples, from the first again after the last."""
  if source is None or 'sentence' not in source.fields:
    return None
  return lambda: source.read(indices % source.num_examples, ('sentence',))['sentence']


@functools.lru_cache
def _inputs(rows, options):
  """(seeds, examples) -> inputs of `sample`."""
  return lambda seeds, examples=None: rows(seeds, examples or {}, **dict(options))


@functools.lru_cache
def _functions(sample, inputs, train, kinds):
  """(state, inputs) -> images and (state, seeds) -> images: the same ones each time, which are compiled once.

  With `kinds` of examples, the latter takes (seeds, stored examples).
  """
  images = lambda state, z: sample(state, z, train=train)[0]
  if not kinds:
    return images, lambda state, seeds: images(state, inputs(seeds))

  def of_examples(state, given):
    seeds, examples = given
    floats = {name: media.find(kind).to_float(examples[name]) for name, kind in kinds}
    return images(state, inputs(seeds, floats))

  return images, of_examples


def _labels_of(inputs, start, num):
  """The labels among the inputs of samples, if a method draws any: a leaf named 'label'."""
  first = inputs(np.arange(1))
  if not (isinstance(first, dict) and 'label' in first):
    return None
  return np.asarray(inputs(np.arange(start, start + num))['label'])


def dataset(**arguments: Any) -> Side:
  """The pictures of a data set as training reads them; arguments of `ganjax.data.build`."""
  return of_source(data.build(**arguments), 'image')


def _unless_picture(field):
  return None if field is None or field.kind == 'image' else field


def of_source(source: data.Source, field: str) -> Side:
  """The pictures, or samples of another kind, of a field of an open data set. Raises UserError where there are none."""
  if field not in source.fields or not hasattr(media.find(source.fields[field].kind), 'show'):
    raise UserError(
      f'{source.info["dataset"]} has no pictures {field!r}; its fields are {", ".join(source.fields)}'
    )
  everything = np.arange(source.num_examples)
  labels = lambda: source.read(everything, ('label',))['label']
  read = lambda i: source.read(i, (field,))[field]
  info = {k: v for k, v in source.info.items() if k not in ('pillow', 'file_formats', 'broken')}
  info = {'name': f'{info["dataset"]}:{info["split"]}', **info}
  side = _stored(
    source.num_examples, info, read, labels if source.num_classes else None, source.content
  )
  texts = _texts(source, everything)
  shown = _unless_picture(source.fields[field])
  return side._replace(class_names=source.class_names, field=shown, texts=texts)


def is_file(text: str) -> bool:
  """Whether a side's name is that of a file or a folder, rather than of a data set."""
  path = Path(text).expanduser()
  return path.suffix == '.npz' or path.exists() or folder.is_path(text)


def parse(
  text: str,
  *,
  size: tuple[int | Sequence[int], int | None] | None = None,
  data_dir: str | None = None,
) -> Side:
  """A side by name: an .npz file (uint8 `arr_0` [N, H, W, C]), a folder of images, or a TFDS name with its split.

  Args:
    text: 'samples.npz', 'runs/a/generated', 'cifar10:test', 'cifar10:train[:10000]', 'mnist:3.0.1:test';
      the split is 'train' by default.
    size: (pixels, channels) that the pictures of a data set or folder are brought to, as for training; channels may be
      None: those of a folder, 3 of a data set. By default those of a folder keep their size. An .npz keeps it always.
    data_dir: of TFDS.

  Raises:
    UserError: nothing there, mixed sizes where no size is given, not uint8.
  """
  path = Path(text).expanduser()
  if path.suffix == '.npz':
    return _npz(path)
  if path.is_dir() or path.suffix == '.zip':
    return _folder(path, *(size or (None, None)))
  if is_file(text):
    if path.exists():
      raise UserError(f'{text} is neither a folder nor a .zip or .npz file of pictures')
    raise UserError(f'{text} is not there')
  if size is None:
    raise UserError(f'{text}: say --resolution, the side in pixels to bring its images to')
  # TFDS has name:version; ours is name:split, or name:version:split.
  name, split = re.fullmatch(r'([^:]*(?::\d+(?:\.[\d*]+){2})?)(?::(.*))?', text, re.DOTALL).groups()
  return dataset(
    dataset=name,
    split=split or 'train',
    data_dir=data_dir,
    resolution=size[0],
    channels=size[1] or 3,
  )


def size_of(side: Side) -> tuple:
  """(pixels, channels) of the pictures of a file or folder."""
  shape = side.rows(np.arange(1)).shape
  return shape[1], shape[3]


def _stored(count, info, read, labels, content) -> Side:
  if not count:
    raise UserError(f'{info["name"]} holds no pictures')
  return Side(
    count=count,
    info=info,
    rows=lambda i: read(np.minimum(i, count - 1)),
    images=_as_they_are,
    labels=labels,
    content=content,
  )


def _as_they_are(state, rows):
  return rows


def _npz(path) -> Side:
  try:
    with np.load(path, allow_pickle=False) as file:
      names = file.files
      # Of a member that is no array np.load gives the bytes.
      images, labels, text = (
        np.asarray(file[name]) if name in names else None for name in ('arr_0', 'arr_1', 'metadata')
      )
  except FileNotFoundError:
    raise UserError(f'{path} is not there') from None
  except Exception as error:  # noqa: BLE001 (whatever a damaged archive raises)
    raise UserError(f'{path} is not readable as an .npz file: {error}') from None
  good = images is not None and images.dtype == np.uint8 and images.ndim == 4
  if not good or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
    what = 'holds ' + ', '.join(names)
    what = what if images is None else f'is {images.dtype} {list(images.shape)}'
    raise UserError(f'{path}: images must be uint8 [N, H, W, 1 or 3] in arr_0; it {what}')
  if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu'):
    raise UserError(
      f'{path}: arr_1 is {labels.dtype} {list(labels.shape)}, not a label for each of {len(images)} pictures'
    )
  digest = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
  info = {'name': str(path), 'images_sha256': digest, 'num_examples': len(images)}
  info['resolution'] = list(images.shape[1:3])
  info |= _trained_on(text)
  labels = None if labels is None else (lambda labels=labels: labels)
  return _stored(len(images), info, lambda i: images[i], labels, digest)


def _trained_on(metadata) -> dict:
  """What pictures that `ganjax sample` made say of the feature networks that their generator was trained on."""
  try:
    networks = json.loads(str(metadata)).get('trained_on')
  except (ValueError, AttributeError):
    return {}
  return {'trained_on': networks} if isinstance(networks, list) else {}


def _folder(path, resolution, channels) -> Side:
  """Every picture that training would find in a folder, prepared as training does; up to 1 % may be broken.

  Without a resolution pictures are neither cut nor resized. Without channels grey pictures stay grey if all are.
  """
  files = open_files(path)
  if files.names and not any(name.lower().endswith(folder.EXTENSIONS) for name in files.names):
    raise UserError(
      f'{path} holds no pictures but files such as {files.names[0]}: of folders only pictures are measured; for '
      'samples of another kind name the run that makes them, ganjax evaluate RUN'
    )
  paths, names, numbers = folder.find(path)

  def load(row, channels=channels or 3):
    return folder.decode_picture(files.read(paths[row]), resolution, channels)

  def look(row):
    """(digest of the file, [height, width] once prepared, whether it is grey), or None where it is broken."""
    try:
      content = files.read(paths[row])
      with Image.open(io.BytesIO(content)) as image:
        grey = ImageMode.getmode(image.mode).basemode == 'L'
      return hashlib.sha256(content).digest(), load(row).shape[:2], grey
    except Exception:  # noqa: BLE001 (Pillow raises anything on a broken file)
      return None

  with ThreadPoolExecutor() as pool:
    seen = list(pool.map(look, range(len(paths))))
  whole = np.array([one is not None for one in seen])
  rows, broken = folder.select_whole(whole, paths, lambda row: folder.explain(load, row), path)
  digests, shapes, greys = zip(*(seen[row] for row in rows))
  for row, shape in zip(rows, shapes):
    if shape != shapes[0]:
      one, other = (f'{width}x{height}' for height, width in (shapes[0], shape))
      raise UserError(
        f'mixed sizes in {path}: {paths[rows[0]]} is {one}, {paths[row]} {other}; '
        'say --resolution, and all are cut and resized as for training'
      )
  channels = channels or (1 if all(greys) else 3)

  def read(indices):
    try:
      with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(lambda i: load(rows[i], channels), indices)))
    except Exception as error:  # noqa: BLE001
      raise UserError(f'{path}: a picture that could be decoded no longer can: {error}') from None

  info = {
    'name': str(path),
    'content_sha256': hashlib.sha256(b''.join(digests)).hexdigest(),
    'num_examples': len(rows),
    'resolution': list(shapes[0]),
    'channels': channels,
    'preprocessing': pixels.NAME + ('' if resolution else '; but neither cut nor resized'),
    'class_names': names,
    **({'broken': broken} if broken else {}),
  }
  content = {**info, 'name': None, 'class_names': None, 'pillow': PIL.__version__}
  labels = (lambda: numbers[rows]) if names else None
  side = _stored(len(rows), info, read, labels, json.dumps(content, sort_keys=True))
  return side._replace(class_names=names)
