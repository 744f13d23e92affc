"""Metrics of samples that are no pictures: of sounds, solids, lines, piano rolls, molecules, clips."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ganjax import UserError, media
from ganjax.data.sets import moving
from ganjax.devices import sharding
from ganjax.evaluation.extract import Progress
from ganjax.evaluation.sides import Side
from ganjax.features import notes
from ganjax.media import line, molecule
from ganjax.metrics import fid, molecules, motion, ngrams, pitch, rolls, voxels

MOST = 5000  # solids of a side that are held against each other


def compute(
  kind: str, fake: Side, real: Side | None, *, mesh: jax.sharding.Mesh, batch_size: int
) -> tuple[dict[str, float], dict[str, Any]]:
  """({name of a value: float}, more for the record) of one metric of `presets.OF_KIND`."""
  work = dict(mesh=mesh, batch_size=batch_size)
  functions = {'pitch': _pitch, 'fd_notes': _fd_notes, 'voxels': _voxels}
  functions |= {'ngrams': _ngrams, 'rolls': _rolls, 'molecules': _molecules}
  functions |= {'motion': _motion}
  return functions[kind](fake, real, work)


def samples(
  side: Side,
  each: Callable[[np.ndarray], np.ndarray] = np.asarray,
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> np.ndarray:
  """All samples of a side as their kind is stored, on the host; or what `each` makes of every batch of them."""
  size, done, progress = -(-batch_size // mesh.size) * mesh.size, [], Progress(side)
  mine = sharding.local_rows(size, mesh)
  run = jax.jit(lambda state, rows: sharding.keep_whole(side.images(state, rows)))
  with jax.set_mesh(mesh):
    for start in range(0, side.count, size):
      rows = sharding.place_batch(side.rows(np.arange(start, start + size)[mine]), mesh)
      found = np.asarray(run(side.state, rows))[: side.count - start]
      done.append(each(media.find(side.field.kind).to_stored(found) if side.sample else found))
      progress.tell(start + size)
  return np.concatenate(done)


def _pitch(fake, real, work):
  """How many sounds have the pitch of their label, by YIN; the data's own beside it."""
  values = {}
  for name, side in ('pitch_accuracy', fake), ('pitch_accuracy_real', real):
    if side:
      if side.labels is None or not side.class_names:
        raise UserError(f'pitch needs labels that are notes, and {side.info["name"]} has none')
      notes = np.array([pitch.midi(name) for name in side.class_names])
      heard = samples(side, **work).astype(np.float64).mean(-1) / 2**15
      values[name] = pitch.accuracy(heard, side.field.rate or 16_000, notes[side.labels()])
  return values, {'tracker': 'YIN', 'threshold': pitch.THRESHOLD}


def _fd_notes(fake, real, work):
  """The Frechet distance on the features of `features/notes.py`. Channels are mixed to one."""
  params, about = notes.load()
  moments = []
  for side in fake, real:
    x, rate = samples(side, **work), side.field.rate or 16_000
    moments.append(fid.Moments())
    for start in range(0, len(x), work['batch_size']):
      heard = x[start : start + work['batch_size']].astype(np.float32).mean(-1) / 2**15
      moments[-1].add(np.asarray(_features(params, notes.resample(heard, rate))))
  a, b = moments
  value = fid.frechet_distance(a.mean, a.cov(1), b.mean, b.cov(1))
  return {'fd_notes': value}, {**about, 'ddof': 1}


@jax.jit
def _features(params, x):
  return notes.Classifier().apply({'params': params}, x)['features']


def _voxels(fake, real, work):
  """Wholeness of both sides; how many of the data the fakes come near, and how near a fake is to the data."""
  for side in fake, real:
    if side.count > MOST:
      raise UserError(
        f'voxels holds at most {MOST:,} solids against each other, and there are {side.count:,}: take --num={MOST}'
      )
  a, b = (samples(side, **work).any(-1) for side in (fake, real))
  overlap = voxels.overlaps(a, b)
  values = {
    'voxels_valid': voxels.validity(a),
    'voxels_coverage': voxels.coverage(overlap),
    'voxels_overlap': float(overlap.max(1).mean()),
    'voxels_valid_real': voxels.validity(b),
  }
  return values, {'largest_piece': voxels.LEAST}


def _ngrams(fake, real, work):
  """Divergence of runs of 1 to 4 characters from the data's, and the share of lines that are the data's own."""
  a, b = ([line.decode(x) for x in samples(side, **work)] for side in (fake, real))
  values = {f'ngrams_js_{n}': ngrams.divergence(a, b, n) for n in (1, 2, 3, 4)}
  return {**values, 'ngrams_copied': ngrams.copied(a, b)}, {}


def _rolls(fake, real, work):
  """What MuseGAN counts, of the fakes and of the data."""
  values = {}
  for end, side in ('', fake), ('_real', real):
    x, steps = samples(side, **work), side.field.rate
    values |= {
      f'rolls_empty_bars{end}': rolls.empty_bars(x, steps),
      f'rolls_pitch_classes{end}': rolls.pitch_classes(x, steps),
      f'rolls_qualified{end}': rolls.qualified(x, steps),
      f'rolls_in_scale{end}': rolls.in_scale(x),
      f'rolls_tonal_distance{end}': rolls.tonal_distance(x, steps),
    }
  return values, {}


def _molecules(fake, real, work):
  """How many are valid, how many of these differ, and how many are not in the data; the validity of the data."""
  a, b = ([molecule.smiles(x) for x in samples(side, **work)] for side in (fake, real))
  values = {
    'molecules_valid': molecules.validity(a),
    'molecules_unique': molecules.uniqueness(a),
    'molecules_novel': molecules.novelty(a, b),
    'molecules_valid_real': molecules.validity(b),
  }
  return values, {}


def _motion(fake, real, work):
  """The motion of the drawing in the fakes, and in the data."""
  data = real.info
  if data.get('dataset') != 'moving' or data['number'] != 1:
    raise UserError(
      f'motion follows the one drawing of data.dataset=moving with data.number=1, and {data["name"]} is not such: '
      'take frame_fd_mobilenet_v2'
    )
  positions = functools.partial(motion.positions, ground=moving.SPRITES[data['sprites']])
  room = [n - data['size'] for n in real.field.shape[1:3]]
  values = {}
  for end, side in ('', fake), ('_real', real):
    paths = samples(side, positions, **work)
    if paths.shape[1] < 3:
      raise UserError(
        f'motion takes clips of 3 frames and more, and {side.info["name"]} has {paths.shape[1]}'
      )
    found = motion.measure(paths, room, data['speed'])
    values |= {f'motion_{name}{end}': value for name, value in found._asdict().items()}
  return values, {'steady_to': motion.STEADY, 'faint': motion.FAINT}
