"""Pictures of the TFDS catalogue (tensorflow.org/datasets), and of your own prepared TFDS data sets."""

from collections.abc import Sequence

from ganjax.data import pixels
from ganjax.data.sets.folder import fields
from ganjax.data.source import Source, decoded


def build(
  *,
  dataset: str,
  resolution: int | Sequence[int],
  channels: int,
  data_dir: str | None,
  split: str,
  cache: bool,
) -> Source:
  """See `ganjax.data.build`; `data_dir` is where TFDS keeps its data sets (by default $TFDS_DATA_DIR)."""
  from ganjax.data import catalogue  # imports TFDS, which takes a second

  size = {'resolution': resolution, 'channels': channels}
  known = fields(**size)
  examples, info = catalogue.examples(
    dataset=dataset, data_dir=data_dir, split=split, cache=cache, **size
  )
  return decoded(examples, info | pixels.describe(**size), known, cache)
