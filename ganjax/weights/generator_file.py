"""Generators in one file: what `ganjax export --out G.safetensors` writes, read back as a run to sample from."""

import json
from pathlib import Path

import jax
import safetensors
import safetensors.numpy
from safetensors import SafetensorError

from ganjax import UserError
from ganjax.workdir.files import replace_file

FORMAT, VERSION = 'ganjax generator', 1
KEY = 'ganjax'  # of the metadata: one entry, as those of several come in any order


def write(path: str | Path, tensors: dict, about: dict) -> None:
  """Writes {name: array} as safetensors, with `about` as JSON in the metadata 'ganjax'. The same input, the same bytes.

  Raises:
    UserError: `path` cannot be written.
  """
  data = safetensors.numpy.save(tensors, {KEY: json.dumps(about)})
  with replace_file(path) as file:
    file.write(data)


def read_about(path: str | Path) -> dict:
  """What `write` stored beside the arrays.

  Raises:
    UserError: the file is missing, damaged, or not made by `ganjax export`.
  """
  with _open(path) as file:
    try:
      about = json.loads((file.metadata() or {})[KEY])
    except (KeyError, ValueError):
      about = None
  known = isinstance(about, dict) and (about.get('format'), about.get('version'))
  if known != (FORMAT, VERSION):
    raise UserError(
      f'{path} is not a generator that this version reads: make one by ganjax export --out NAME.safetensors'
    )
  return about


def read_arrays(path: str | Path, shapes: dict) -> dict:
  """The arrays in the file, as nested dicts: {'params': {'G': ...}, 'stats': {'G': ...}}.

  Args:
    path: the file.
    shapes: {'params': {network: ...}, 'stats': ...} of arrays or their shapes; more networks than in the file may be
      there. Arrays get these dtypes: a file may hold narrower numbers.

  Raises:
    UserError: the file lacks an array of one of its networks, or an array has another name or shape.
  """
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')
  wanted = {name(where): x for where, x in jax.tree_util.tree_leaves_with_path(shapes)}
  found = {}
  with _open(path) as file:
    there = {*file.keys()}  # noqa: SIM118
    nets = {one.split('/')[1] for one in there if one.count('/')}
    expected = {one for one in wanted if one.split('/')[1] in nets}
    if there != expected:
      raise UserError(
        f'{path} does not fit its configuration: {min(there ^ expected)} is in one of them alone'
      )
    for one in there:
      shape = (*file.get_slice(one).get_shape(),)
      if shape != wanted[one].shape:
        raise UserError(f'{path}: {one} has shape {shape} in place of {wanted[one].shape}')
      *folders, leaf = one.split('/')
      inner = found
      for folder in folders:
        inner = inner.setdefault(folder, {})
      inner[leaf] = file.get_tensor(one).astype(wanted[one].dtype)
  return found


def _open(path):
  try:
    return safetensors.safe_open(path, 'flax')  # whose arrays may be bfloat16
  except (OSError, SafetensorError) as error:
    raise UserError(f'cannot read {Path(path)}: {error}') from None
