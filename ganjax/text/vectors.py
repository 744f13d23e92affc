"""Vectors that the user brings, of CLIP, T5 or any other encoder: an .npz with the texts and a vector for each."""

import hashlib
import os

import numpy as np

from ganjax import UserError
from ganjax.text import Encoder
from ganjax.wording import closest

SIZE = None


def open_at(path: str | None) -> Encoder:
  """The encoder that looks texts up in an .npz: `captions`, strings [n], and `vectors`, numbers [n, E].

  Raises:
    UserError: no such file, or another in it.
  """
  if not path:
    raise UserError('data.encoder=vectors needs data.encoder_path, an .npz of captions and vectors')
  path = os.path.expanduser(path)
  try:
    with np.load(path, allow_pickle=False) as file:
      captions, vectors = file['captions'], file['vectors']
  except FileNotFoundError:
    raise UserError(f'data.encoder_path={path} is not there') from None
  except KeyError as error:
    raise UserError(f'{path} must hold captions and vectors: {error.args[0]}') from None
  except Exception as error:  # noqa: BLE001 (whatever a damaged archive raises)
    raise UserError(f'{path} is not readable as an .npz file: {error}') from None
  good = captions.ndim == 1 and captions.dtype.kind == 'U' and vectors.dtype.kind == 'f'
  if not good or vectors.ndim != 2 or len(vectors) != len(captions):
    raise UserError(
      f'{path}: captions must be strings [n] and vectors numbers [n, E], not {captions.dtype} {list(captions.shape)} '
      f'and {vectors.dtype} {list(vectors.shape)}'
    )
  vectors = vectors.astype(np.float32)
  if not np.isfinite(vectors).all():
    raise UserError(f'{path}: its vectors hold NaN or infinity')
  rows = {caption: i for i, caption in enumerate(captions.tolist())}

  def encode(texts):
    for text in texts:
      if text not in rows:
        raise UserError(f'{path} has no vector of {text!r}{closest(text, rows)}')
    return vectors[[rows[text] for text in texts]]

  digest = hashlib.sha256(str(captions.tolist()).encode() + np.ascontiguousarray(vectors).tobytes())
  info = {'name': 'vectors', 'size': vectors.shape[1], 'file': os.path.basename(path)}
  return Encoder(info | {'sha256': digest.hexdigest()}, encode, lambda text: True)
