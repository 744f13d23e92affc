"""Your own solids in files: .npz of NumPy, .binvox (patrickmin.com/binvox)."""

import io
import os
import re
from typing import Any

import numpy as np

from ganjax import UserError
from ganjax.data import folder
from ganjax.data.files import open_files

EXTENSIONS = '.npz', '.npy', '.binvox'
MOST_SIDE = 1024


def read_all(
  data_dir: str, resolution: int
) -> tuple[dict[str, np.ndarray], list[str] | None, dict[str, Any], str]:
  """Every solid below a folder or in a zip archive, brought to `resolution` voxels a side.

  Returns:
    ({'solid': bool [N, S, S, S, 1], 'label': int32 [N] where folders are classes}, names of the classes or None, what
    is recorded, what tells the files from others on this host).

  Raises:
    UserError: no such files, or one that is no solid.
  """
  top = folder.place(data_dir)
  files = open_files(top)
  paths = [path for path in files.names if path.lower().endswith(EXTENSIONS)]
  if not paths:
    raise UserError(f'no solids in {top}: looked for {" ".join(EXTENSIONS)} in it and below')
  names, numbers = folder.classes_of(paths, top, 'solids')
  solids, labels = [], []
  for i, path in enumerate(paths):
    try:
      found = read(files.read(path), path)
      if not found.any((1, 2, 3)).all():
        raise ValueError('a solid without any voxel')
    except Exception as e:  # noqa: BLE001 (whatever a damaged file raises)
      raise UserError(
        f'{os.path.join(top, path)} does not read as a solid: {e}; repair or remove it'
      ) from None
    solids += [fit(one, resolution) for one in found]
    labels += [numbers[i] if names else 0] * len(found)
  arrays = {'solid': np.stack(solids)[..., None]}
  if names:
    arrays['label'] = np.array(labels, np.int32)
  content, here = folder.identify((files, paths))
  return arrays, names, {'listing_sha256': content, 'num_examples': len(solids)}, here


def read(content: bytes, path: str) -> np.ndarray:
  """Solids bool [n, X, Y, Z] of a file: the array [X, Y, Z] or [n, X, Y, Z] of an .npz or .npy, or a .binvox.

  Numbers count as inside above half of the greatest. Raises ValueError where it is neither.
  """
  if path.lower().endswith('.binvox'):
    return read_binvox(content)[None]
  try:
    found = np.load(io.BytesIO(content), allow_pickle=False)
    arrays = [found] if isinstance(found, np.ndarray) else [*found.values()]
  except Exception:  # noqa: BLE001 (NumPy raises anything on a damaged file, and advises to unpickle others)
    raise ValueError('it is damaged, or no file of numbers by NumPy') from None
  found = next((x for x in arrays if x.ndim in (3, 4, 5)), None)
  if found is None:
    raise ValueError(f'it has no array of three axes or more, but {[x.shape for x in arrays]}')
  if found.ndim == 5 and found.shape[-1] == 1:
    found = found[..., 0]
  if found.ndim not in (3, 4) or found.dtype.kind not in 'buif' or not found.size:
    raise ValueError(f'{found.dtype} {list(found.shape)} is not [X, Y, Z] or [n, X, Y, Z]')
  if max(found.shape[-3:]) > MOST_SIDE:
    raise ValueError(f'{list(found.shape)} has sides above {MOST_SIDE}')
  found = found.reshape(-1, *found.shape[-3:])
  return found if found.dtype == bool else found > found.max() / 2


def read_binvox(content: bytes) -> np.ndarray:
  """bool [X, Y, Z] of a .binvox file: a header in lines, then pairs (value, number of times), x slowest and y fastest.

  Its y points up; here z does.
  """
  head, data, rest = content.partition(b'data\n')
  if not head.startswith(b'#binvox') or not data:
    raise ValueError('it does not begin as a .binvox file')
  sides = re.search(rb'^dim\s+(\d+)\s+(\d+)\s+(\d+)\s*$', head, re.MULTILINE)
  if not sides:
    raise ValueError('its header has no line of three sides, such as dim 32 32 32')
  x, z, y = map(int, sides.groups())
  if not all(0 < n <= MOST_SIDE for n in (x, y, z)):
    raise ValueError(f'it has sides of {x}, {z} and {y}')
  pairs = np.frombuffer(rest[: len(rest) // 2 * 2], np.uint8).reshape(-1, 2)
  total = int(pairs[:, 1].sum(dtype=np.int64))
  if total != x * y * z:  # before a small file asks for much memory
    raise ValueError(f'it holds {total:,} voxels of {x * y * z:,}')
  values = np.repeat(pairs[:, 0] > 0, pairs[:, 1])
  # Depth comes before height in the file: [x, z, y] with y upwards.
  return values.reshape(x, z, y)


def fit(solid: np.ndarray, resolution: int) -> np.ndarray:
  """bool [X, Y, Z] -> [S, S, S]: padded to a cube about its middle, then each voxel's share of inside, above a half."""
  side = max(solid.shape)
  if solid.shape == (resolution,) * 3:
    return solid
  pads = [((side - n) // 2, side - n - (side - n) // 2) for n in solid.shape]
  # So many points of a voxel along each axis, that none of the solid is passed over.
  points = -(-side // resolution)
  at = ((np.arange(resolution * points) + 0.5) * side / (resolution * points)).astype(int)
  cube = np.pad(solid, pads)[np.ix_(at, at, at)]
  return cube.reshape((resolution, points) * 3).mean((1, 3, 5)) > 0.5
