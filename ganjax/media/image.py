"""Pictures on disk: quantising, grids, PNG, GIF and npz files, with metadata, written whole.

Images are float [N, H, W, C] in [-1, 1] as a generator gives them, or uint8 once quantised.
"""

import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, PngImagePlugin

from ganjax import UserError, __version__
from ganjax.media import xmp
from ganjax.workdir.files import replace_file

STORED, ENDING = np.uint8, '.png'


def to_float(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """uint8 -> float32 in [-1, 1], x / 127.5 - 1; floats stay."""
  return x.astype(jnp.float32) / 127.5 - 1 if x.dtype == jnp.uint8 else x


def mirror(x: jax.Array) -> jax.Array:
  """Left is right, [..., H, W, C]."""
  return jnp.flip(x, axis=-2)


def show(x: np.ndarray) -> np.ndarray:
  """The pictures themselves, uint8 [N, H, W, C]."""
  return x


def to_stored(images: jax.Array | np.ndarray) -> np.ndarray:
  """Quantises images [..., H, W, C] in [-1, 1] to uint8: floor(127.5 x + 128), clipped to 0..255.

  This is the rounding quantiser of the StyleGAN code, which FID presets assume: -1 -> 0, 0 -> 128,
  1 -> 255, and each level is 2/255 wide. Values beyond [-1, 1] saturate.

  Raises UserError if any image holds NaN or Inf, which a cast would silently turn black or white.
  """
  images = np.asarray(images).astype(np.float32)
  finite = np.isfinite(images)
  if not finite.all():
    bad = (~finite).reshape(-1, *images.shape[-3:]).any(axis=(1, 2, 3))
    raise UserError(
      f'{bad.sum()} of {bad.size} generated images hold NaN or Inf: the generator has diverged; '
      'take an earlier checkpoint, or train with a lower learning rate'
    )
  images *= 127.5
  images += 128
  return np.clip(images, 0, 255, out=images).astype(np.uint8)


def quantise(images: jax.Array, quantiser: str) -> jax.Array:
  """float [-1, 1] -> uint8, traced: 'round' as `to_stored`, 'truncate' as ADM's evaluation does."""
  x = images.astype(jnp.float32)
  x = x * 127.5 + 128 if quantiser == 'round' else (x + 1) * 127.5
  return jnp.clip(x, 0, 255).astype(jnp.uint8)


def save(path: Path, x: np.ndarray, text: dict, rate: int | None = None) -> None:
  """A PNG, see `save_png`."""
  save_png(path, x, text)


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
  """Lays images [N, H, W, C] out row by row, without gaps, as one [rows H, columns W, C].

  Image i is at row i // columns, column i % columns; cells that are left over are white. By default
  the number of columns makes the whole as near to square as it can be.
  """
  images = np.asarray(images)
  n, h, w, c = images.shape
  columns = columns or min(n, int(np.ceil(np.sqrt(n * h / w))))
  rows = -(-n // columns)
  cells = np.full((rows * columns, h, w, c), 255, images.dtype)
  cells[:n] = images
  return cells.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)


def describe(
  config: str, step: int, seed: int | str, kind: str = 'image', **more: Any
) -> dict[str, Any]:
  """The metadata that every file of samples of a `kind` has: a dict to pass as `text`."""
  return {
    'Software': f'ganjax {__version__}',
    'Description': f'synthetic {kind}',
    'DigitalSourceType': xmp.SYNTHETIC,
    'config': config,
    'step': step,
    'seed': seed,
    **more,
  }


def save_png(path: Path, image: np.ndarray, text: dict) -> None:
  """Writes image uint8 [H, W, C] (C of 1 to 4) as a PNG with one text chunk per item of `text`.

  A value that is not a string is written as JSON; one outside Latin-1 goes into an iTXt chunk.
  Raises UserError if the file cannot be written; `path` is never left half written.
  """
  with replace_file(path) as file:
    file.write(to_png(image, text))


def to_png(image: np.ndarray, text: dict) -> bytes:
  """The bytes of the PNG that `save_png` writes."""
  info = PngImagePlugin.PngInfo()
  for key, value in text.items():
    info.add_text(key, value if isinstance(value, str) else json.dumps(value))
  if about := xmp.packet(text):
    info.add_itxt('XML:com.adobe.xmp', about)
  file = io.BytesIO()
  _to_pil(image).save(file, 'PNG', pnginfo=info)
  return file.getvalue()


def save_gif(
  path: Path, frames: Iterable[np.ndarray], text: dict, milliseconds: float = 50
) -> None:
  """Writes frames uint8 [T, H, W, C] as an endless GIF; `text` becomes its comment, as JSON.

  Each frame lasts `milliseconds`, to the 10 ms that the format can say. Frames that equal the one
  before are merged with it (the duration is kept). Raises UserError as `save_png` does.
  """
  first, *rest = [_to_pil(frame) for frame in frames]
  comment = json.dumps(text).encode()
  with replace_file(path) as file:
    first.save(
      file, 'GIF', save_all=True, append_images=rest, duration=milliseconds, loop=0, comment=comment
    )
    file.seek(-1, 2)  # the mark of the end
    file.write(xmp.gif_block(text) + b';')


def save_mp4(path: Path, frames: np.ndarray, text: dict, fps: float = 20) -> None:
  """Writes frames uint8 [T, H, W, C] as an H.264 film of `fps` frames a second; `text` is its comment, as JSON.

  Opacity is shown on white; a side of an odd number of pixels gets a white one more, as H.264 halves the colours.

  Raises:
    UserError: the package imageio-ffmpeg, which brings ffmpeg, is not there; ffmpeg fails; or as `save_png` does.
  """
  try:
    import imageio_ffmpeg
  except ImportError:
    raise UserError(
      f"{path}: films in MP4 need ffmpeg: pip install imageio-ffmpeg (or 'ganjax[video]'); GIFs need nothing"
    ) from None
  frames = np.asarray(frames)
  if frames.shape[3] == 4:
    opaque = frames[..., 3:] / 255
    frames = (frames[..., :3] * opaque + 255 * (1 - opaque) + 0.5).astype(np.uint8)
  frames = np.repeat(frames, 3, 3) if frames.shape[3] == 1 else frames
  odd = [(0, n % 2) for n in frames.shape[1:3]]
  frames = np.pad(frames, [(0, 0), *odd, (0, 0)], constant_values=255)
  about = ['-metadata', f'comment={json.dumps(text)}', '-crf', '16', '-f', 'mp4']
  how = dict(fps=fps, codec='libx264', quality=None, macro_block_size=1, output_params=about)
  with replace_file(path) as file:
    writer = imageio_ffmpeg.write_frames(file.name, frames.shape[2:0:-1], **how)
    try:
      with warnings.catch_warnings():  # JAX warns of every fork; this child runs ffmpeg alone
        warnings.filterwarnings('ignore', message=r'os\.fork\(\) was called')
        writer.send(None)
      for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    except OSError as error:
      raise UserError(f'cannot write {path}: {str(error).strip().splitlines()[-1]}') from None
    finally:
      writer.close()
    file.seek(0, 2)
    file.write(xmp.mp4_box(text))


def save_npz(path: Path, images: np.ndarray, text: dict, labels: np.ndarray | None = None) -> None:
  """Writes a sample batch as evaluation suites read it (the convention of ADM, arXiv:2105.05233).

  `arr_0` is uint8 [N, H, W, C], or samples of another kind as they are stored; `arr_1` the labels [N] if
  there are any; `metadata` is `text` as a JSON string, which readers of `arr_0` never open.

  Raises UserError as `save_png` does.
  """
  images = np.asarray(images)
  if images.dtype.kind == 'f':
    raise ValueError(f'samples must be stored ones, not {images.dtype} {images.shape}')
  arrays = {'arr_0': images, 'metadata': np.array(json.dumps(text))}
  if labels is not None:
    arrays['arr_1'] = np.asarray(labels)
  with replace_file(path) as file:
    np.savez(file, **arrays)


def _to_pil(image):
  image = np.asarray(image)
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4):
    raise ValueError(f'an image must be uint8 [H, W, 1 to 4], not {image.dtype} {image.shape}')
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def make_folder(path: Path) -> None:
  """The folder and those above it. Raises UserError where it cannot be made."""
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}') from None
