"""Your own pictures, translated or enlarged one by one at their sizes."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ganjax import UserError, media
from ganjax.data import Source
from ganjax.layers.resample import resize_bicubic
from ganjax.media import image as images
from ganjax.method import Method, Stage, TrainState
from ganjax.sampling import own, sampler, tiles


class Translator(NamedTuple):
  """What a run makes of a picture of any size."""

  method: Method
  stage: Stage
  state: TrainState
  options: dict
  source: Source  # of all that samples start from, brought to the size of training
  mesh: jax.sharding.Mesh
  train: bool  # normalised by the statistics of the batch
  tile: int  # pixels, see `tiles.enlarge`

  @property
  def name(self) -> str:
    """The field of the pictures."""
    return self.method.examples[0]

  def translate(self, picture: own.Picture, index: int, seed: int) -> np.ndarray:
    """own.Picture, number `index` of the source -> uint8 [H, W, C], with its alpha if it has one."""
    others = (
      self.source.read(np.array([index]), self.method.examples[1:]) if self.method.style else {}
    )
    tile = self.tile if self.method.tiled else max(picture.colours.shape)

    def make(colours):
      examples = sampler.to_floats({self.name: colours[None], **others}, self.source.fields)
      rows = jax.device_get(self.method.rows(np.array([seed]), examples, **self.options))
      return sampler.start(self.stage, self.state, rows, train=self.train)[0]

    with jax.set_mesh(self.mesh):
      made = tiles.enlarge(make, picture.colours, multiple=self.method.multiple, tile=tile)
    made = media.find('image').to_stored(made)
    if picture.grey and self.method.restores:
      made = own.to_grey(made)
    if picture.alpha is None:
      return made
    factor = made.shape[0] / picture.alpha.shape[0]
    alpha = np.asarray(resize_bicubic(picture.alpha[None].astype(np.float32), factor))[0]
    return np.concatenate([made, np.clip(np.round(alpha), 0, 255).astype(np.uint8)], 2)


def write_each(
  out: Path,
  translator: Translator,
  mine: own.Own,
  indices: Iterable[int],
  names: Sequence[tuple[str, int]],
  text: Callable[[int], dict],
  finish: Callable[[np.ndarray], np.ndarray],
) -> int:
  """Writes a file for each of your own pictures, one by one. Returns how many could be decoded.

  A single picture may be written to a file that is named. `finish` is what is done last to a picture uint8 [H, W, C].
  """
  if out.suffix and len(names) > 1:
    raise UserError(f'--out={out}: {len(names)} pictures need a folder')
  began = said = time.monotonic()
  count = 0
  for i, (index, (stem, seed)) in enumerate(zip(indices, names)):
    try:
      picture = mine.load(index, translator.source.fields[translator.name].shape[2])
    except UserError as error:
      print(f'left out: {error}', file=sys.stderr)
      continue
    path = out if out.suffix else out / f'{stem}.png'
    images.make_folder(path.parent)
    images.save_png(path, finish(translator.translate(picture, index, seed)), text(seed))
    count += 1
    now = time.monotonic()
    if now - said > 10 and i + 1 < len(names):
      left = (now - began) / (i + 1) * (len(names) - i - 1)
      print(f'{i + 1} of {len(names)} pictures, {left:.0f} s left')
      said = now
  if not count:
    raise UserError('--source holds no picture that can be decoded')
  return count
