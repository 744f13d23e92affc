"""Your own pictures, clips or texts, as inputs of samples."""

import collections
import functools
import io
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageMode
from ml_collections import ConfigDict

from ganjax import UserError, data, text
from ganjax.data import captions as of_captions
from ganjax.data import files, folder, pixels
from ganjax.data.sets import clips as moving
from ganjax.data.source import Source
from ganjax.media import Field
from ganjax.media import text as kind
from ganjax.method import Method

MOST_TEXTS = 100  # that metadata name


class Picture(NamedTuple):
  """A picture at its own size.

  Attributes:
    colours: uint8 [h, w, C], as a run takes it.
    alpha: uint8 [h, w, 1], or None where all is opaque, or opacity is one of the run's channels.
    grey: whether the file holds shades of grey.
  """

  colours: np.ndarray
  alpha: np.ndarray | None
  grey: bool


class Own(NamedTuple):
  """The pictures of a file, a folder or a zip archive.

  Attributes:
    read: path -> bytes.
    paths: of the pictures.
    names: what to call what is made of each: its file's name without the ending, where that is its own.
  """

  read: Callable[[str], bytes] | None
  paths: list[str]
  names: list[str]

  def load(self, index: int, channels: int) -> Picture:
    """Picture `index` at its own size, turned as EXIF says. Raises UserError where it cannot be decoded."""

    def decode(content):
      with PIL.Image.open(io.BytesIO(content)) as image:
        grey = PIL.ImageMode.getmode(image.mode).basemode == 'L'
        if not image.has_transparency_data or channels == 4:
          return Picture(pixels.prepare(image, None, channels, rotate=True), None, grey)
        both = pixels.prepare(image, None, 4, rotate=True)
      colours, alpha = np.split(both, [3], 2)
      return Picture(pixels.prepare(PIL.Image.fromarray(colours), None, channels), alpha, grey)

    return self._try(index, decode)

  def source(self, field: Field, name: str) -> Source:
    """All of them brought to the size of a media.Field, which is the only one, called `name`."""
    decode = lambda content: folder.decode_picture(content, field.shape[:2], field.shape[2])
    load = functools.cache(lambda i: self._try(i, decode))
    return Source(
      read_rows=lambda rows, names: {name: np.stack([load(i) for i in rows])},
      rows=np.arange(len(self.paths)),
      fields={name: field},
      class_names=None,
      info={'dataset': 'own'},
    )

  def _try(self, index, decode):
    try:
      return decode(self.read(self.paths[index]))
    except Exception as error:  # noqa: BLE001 (Pillow raises anything on a broken file)
      raise UserError(f'{self.paths[index]} cannot be decoded: {folder.reason(error)}') from None


def find(place: str, flag: str = '--source') -> Own:
  """The pictures of a place, which the `flag` names.

  Raises:
    UserError: nothing there.
  """
  top = Path(place).expanduser()
  if not top.exists():
    raise UserError(f'{flag}={place} is not there')
  if top.is_dir() or top.suffix == '.zip':
    read, paths = files.open_files(top).read, list(folder.find(top)[0])
  else:
    read, paths = lambda path: Path(path).read_bytes(), [str(top)]
  return Own(read, paths, _names(paths))


def _names(paths) -> list:
  stems = [Path(path).stem for path in paths]
  count = collections.Counter(stems)
  whole = [path.replace('/', '-') for path in paths]
  return [a if count[a] == 1 else b for a, b in zip(stems, whole)]


def start(
  place: str,
  style_place: str | None,
  method: Method,
  config: ConfigDict,
  fields: dict[str, Field],
  held_out: Callable[[], Source],
) -> tuple[Source, Own]:
  """(Source of your own pictures or clips, the Own that names them).

  Args:
    place: a file, folder or zip archive of these.
    style_place: one of pictures in whose styles each is made; None: in those of the held-out split, if in any.
    method, fields: of the run; `fields` of its data.
    config: config.data.
    held_out: opens the held-out split.

  Raises:
    UserError: as `find` and `clips`; the run starts from something else.
  """
  style = method.style
  name = field(fields, tuple(n for n in method.examples if n != style))
  if fields[name].kind == 'clip':
    of = dict(channels=config.channels, make=data.of_own(config.dataset))
    return clips(place, fields[name], name, **of)
  mine = find(place)
  if not style:
    return mine.source(fields[name], name), mine
  if style_place:
    mine, styles = in_styles(mine, find(style_place, '--style'))
    others = styles.source(fields[style], style)
  else:
    others = held_out()
  return beside(mine.source(fields[name], name), others), mine


def clips(
  place: str, field: Field, name: str, channels: int, make: Callable[[np.ndarray], np.ndarray]
) -> tuple[Source, Own]:
  """(Source of the clips of a place, Own of their names): GIFs, films and folders of frames.

  Args:
    place: a file or a folder.
    field: media.Field of what samples start from. A clip is brought to its sides, and has its first frames.
    name: of that field.
    channels: of the frames that `make` takes.
    make: uint8 [T, H, W, channels] -> uint8 [T, H, W, C]: what the data set makes of a clip.

  Raises:
    UserError: nothing there; a clip that cannot be decoded, or is shorter than the field.
  """
  top = Path(place).expanduser()
  if not top.exists():
    raise UserError(f'--source={place} is not there')
  base, paths = (top, files.open_files(top).names) if top.is_dir() else (top.parent, [top.name])
  table = moving.find(paths)
  if not table:
    raise UserError(
      f'no clips in --source={place}: looked for {" ".join(moving.MOVING + moving.FILMS)} and folders of frames'
    )
  length, *sides, _ = field.shape

  @functools.cache
  def decode(clip):
    try:
      some = itertools.islice(moving.read(str(base), table[clip]), length)
      found = [pixels.prepare(frame, sides, channels, rotate=True) for frame in some]
    except UserError:
      raise
    except Exception as error:  # noqa: BLE001 (whatever the readers raise)
      raise UserError(f'{clip} cannot be decoded: {folder.reason(error)}') from None
    if len(found) < length:
      raise UserError(f'{clip} has {len(found)} frames, and clips of this run have {length}')
    return make(np.stack(found))

  names = list(table)
  source = Source(
    read_rows=lambda rows, _: {name: np.stack([decode(names[i]) for i in rows])},
    rows=np.arange(len(names)),
    fields={name: field},
    class_names=None,
    info={'dataset': 'own'},
  )
  return source, Own(None, names, _names(names))


def decodable(source: Source, indices: np.ndarray) -> np.ndarray:
  """bool [n]: whether the examples `indices` can be decoded. Prints which are left out.

  Raises:
    UserError: none can.
  """
  wrong = {}
  for index in dict.fromkeys(indices.tolist()):
    try:
      source.read(np.array([index]))
    except UserError as error:
      wrong[index] = str(error)
  whole = ~np.isin(indices, [*wrong])
  if not whole.any():
    raise UserError(next(iter(wrong.values())))
  for error in wrong.values():
    print(f'left out: {error}', file=sys.stderr)
  return whole


def in_styles(mine: Own, styles: Own) -> tuple[Own, Own]:
  """Two Own of equal length that have each picture of the first beside each of the second."""
  names = [f'{a}-in-{b}' for a in mine.names for b in styles.names]
  paths = [path for path in mine.paths for _ in styles.paths]
  return Own(mine.read, paths, names), Own(styles.read, styles.paths * len(mine.paths), names)


def beside(source: Source, others: Source) -> Source:
  """`source` with the fields that `others` has beside it, from the first example again after the last."""
  own = set(source.fields)
  more = {name: field for name, field in others.fields.items() if name not in own}
  return source.extend(more, lambda rows: others.read(rows % others.num_examples, tuple(more)))


def to_grey(colours: np.ndarray) -> np.ndarray:
  """uint8 [H, W, C] -> [H, W, 1], luma of the colours."""
  image = PIL.Image.fromarray(colours[..., 0] if colours.shape[2] == 1 else colours)
  return pixels.prepare(image, None, 1)


def field(fields: dict[str, Field], examples: Sequence[str]) -> str:
  """The one field of pictures, or clips, that samples of a run start from.

  Raises:
    UserError: there is another number, or kind, of them.
  """
  if len(examples) != 1 or fields[examples[0]].kind not in ('image', 'clip'):
    raise UserError(
      f'--source gives one picture or clip a sample, and this run starts from {", ".join(examples)}'
    )
  return examples[0]


def texts(
  given: list[str],
  config: ConfigDict,
  fields: dict[str, Field],
  examples: Sequence[str],
  known: dict | None = None,
) -> Source:
  """Texts, with what the run's encoder makes of them.

  Args:
    given: the texts.
    config: of the run.
    fields, examples: of its data, and which of them samples start from.
    known: what the run's record says of its encoder, or None where it does not.

  Raises:
    UserError: samples of the run do not start from texts; one that is empty, or that the encoder knows no word of;
      another encoder than the run was trained with.
  """
  if 'text' not in [fields[name].kind for name in examples]:
    raise UserError(f'--text={given[0]}: samples of this run do not start from a text')
  of = config.data
  encoder = text.load(of.get('encoder', 'ngrams'), of.get('encoder_path'), of.get('text_size'))
  if known:
    text.check_same(known, encoder.info)
  return of_captions.of_texts(given, encoder, of.get('words', 0))


def captions(source: Source | None, indices: np.ndarray | None) -> dict[str, list[str]]:
  """{'texts': the first MOST_TEXTS texts that samples start from, each once}, or {} where they start from none."""
  for name, field in source.fields.items() if source else ():
    if field.kind == 'text':
      found = kind.to_str(source.read(indices, (name,))[name])
      return {'texts': list(dict.fromkeys(found))[:MOST_TEXTS]}
  return {}
