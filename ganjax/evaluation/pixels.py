"""Metrics that look at pixels, or at a generator, rather than at features of single pictures."""

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError, data
from ganjax.devices import backend, sharding
from ganjax.evaluation import classes
from ganjax.evaluation.extract import Progress, pictures
from ganjax.evaluation.presets import MOVED
from ganjax.evaluation.sides import Side
from ganjax.metrics import cas, colours, equivariance, lpips, ms_ssim, parzen, ppl, ssim

if TYPE_CHECKING:
  from ganjax.evaluation.measure import Extractors


MS_SSIM_PAIRS = 1000
CAS_EPOCHS = 90  # as StudioGAN trains it


def compute(
  kind: str,
  fake: Side,
  real: Side | None,
  extractors: 'Extractors',
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  crop: int = 0,
  matched: classes.Matched | None = None,
) -> tuple[dict[str, float], dict[str, Any]]:
  """({name of a value: float}, more for the record) of one metric of `presets`.

  crop: see `ssim.psnr`. matched: of `classes.match`, where it is at hand.
  """
  work = dict(mesh=mesh, batch_size=batch_size)
  if kind in ('psnr', 'ssim'):
    return _psnr_and_ssim(kind, fake, real, crop, work)
  if kind == 'cas':
    return _cas(fake, real, matched or classes.match(fake, real), work)
  compute = {
    'lpips': _lpips,
    'ms_ssim': _ms_ssim,
    'colours': _colours,
    'parzen': _parzen,
    'ppl': _ppl,
    'ppl_w': _ppl,
    **dict.fromkeys(MOVED, _equivariance),
  }[kind]
  return compute(kind, fake, real, extractors, work)


def _batches(fake, real, work):
  """Yields (fakes, reals) uint8 [n, H, W, C] of one size."""
  progress = Progress(fake)
  for start in range(0, fake.count, work['batch_size']):
    chosen = np.arange(start, min(start + work['batch_size'], fake.count))
    a, b = (pictures(side, chosen, **work) for side in (fake, real))
    if a.shape != b.shape:
      raise UserError(
        f'fakes are {list(a.shape[1:])} and reals {list(b.shape[1:])}: pairs need one size'
      )
    yield a, b
    progress.tell(start + len(chosen))


def _psnr_and_ssim(kind, fake, real, crop, work):
  """Mean over pairs, on the Y channel of colour pictures, as super-resolution reports it."""
  measure = functools.partial(getattr(ssim, kind), crop=crop)
  values = [measure(a, b, luma=a.shape[3] == 3) for a, b in _batches(fake, real, work)]
  settings = {'channel': 'Y of BT.601 where there is colour', 'crop': crop}
  return {kind: float(np.concatenate(values).mean())}, settings


def _lpips(kind, fake, real, extractors, work):
  variables, info = extractors.lpips('alex')
  distance = functools.partial(lpips.distance, net='alex')
  distance = jax.jit(distance, compiler_options=backend.forward_compilation())
  unit = lambda x: x.astype(np.float32) / 127.5 - 1
  values = [distance(variables, unit(a), unit(b)) for a, b in _batches(fake, real, work)]
  return {kind: float(np.concatenate(values).mean())}, info


def _ms_ssim(kind, fake, real, extractors, work):
  """Mean similarity of pairs of fakes; of reals too where there are some: the fakes' should not be above theirs."""
  values = {}
  for name, side in ('ms_ssim', fake), ('ms_ssim_real', real):
    if side:
      chosen = data.indices(
        0, 0, min(side.count, 2 * MS_SSIM_PAIRS), side.count
      )  # sorted by class or not
      shown = pictures(side, chosen, **work)
      values[name] = ms_ssim.diversity(shown, MS_SSIM_PAIRS, seed=0)
  return values, {'pairs': MS_SSIM_PAIRS, 'pairs_seed': 0}


def _colours(kind, fake, real, extractors, work):
  """How far the colours of all fakes are from those of all reals, and which differ most."""
  found = []
  for side in (fake, real):
    starts = range(0, side.count, work['batch_size'])
    chosen = [np.arange(i, min(i + work['batch_size'], side.count)) for i in starts]
    each = [colours.shares(pictures(side, some, **work)) for some in chosen]
    found.append(np.average(each, 0, [len(some) for some in chosen]))
  if len(found[0]) != len(found[1]):
    raise UserError('colours compares grey pictures with grey ones, and colours with colours')
  return {'colours_moved': colours.distance(*found)}, {'differ_most': colours.largest(*found)}


def _parzen(kind, fake, real, extractors, work):
  """How likely the reals are under a Gaussian around each fake."""
  a, b = (pictures(side, np.arange(side.count), **work) for side in (fake, real))
  if a.shape[1:] != b.shape[1:] or min(len(a), len(b)) < 2:
    raise UserError(
      f'parzen takes two pictures or more on both sides, of one size: fakes are {list(a.shape)}, reals {list(b.shape)}'
    )
  mean, error, widths = parzen.measure(a, b)
  return {'parzen': mean, 'parzen_error': error}, {'widths': widths}


def _ppl(kind, fake, real, extractors, work):
  """Path length with VGG16 features and no crop: in z over whole paths (t uniform), or in w at their ends (t 0).

  The latter as stylegan2's ppl2_wend has it (Karras et al. 2019, arXiv:1912.04958).
  """
  _check_float32(kind, fake)
  variables, info = extractors.lpips('vgg16')
  variables = sharding.replicate(jax.tree.map(np.asarray, variables), work['mesh'])
  styles = fake.styles if kind == 'ppl_w' else None
  found = _of_seeds(_lengths(fake.sample, fake.inputs, styles), fake, work, variables)
  settings = {'space': 'w', 'sampling': 'end'} if styles else {'space': 'z', 'sampling': 'full'}
  settings |= {'epsilon': 1e-4, 'crop': False, 'size': 256}
  return {kind: float(ppl.mean(found))}, info | settings


def _equivariance(kind, fake, real, extractors, work):
  """Of each seed, with a shift or a turn of its own."""
  _check_float32(kind, fake)
  found = _of_seeds(_differences(kind, fake.sample, fake.inputs), fake, work)
  return {kind: equivariance.decibels(*found.T)}, {'largest_shift': equivariance.LARGEST_SHIFT}


def _check_float32(kind, fake):
  half = fake.info.get('activations', 'float32')
  if half not in ('float32', 'float64'):
    raise UserError(
      f'{kind} needs a float32 generator, not {half}: set networks.dtype in config.json'
    )


def _of_seeds(function, fake, work, *variables) -> np.ndarray:
  """The jitted (state, *variables, seeds [n]) -> [n, ...] of all seeds of a generator."""
  mesh, done, progress = work['mesh'], [], Progress(fake)
  size = -(-work['batch_size'] // mesh.size) * mesh.size
  with jax.set_mesh(mesh):
    for start in range(0, fake.count, size):
      seeds = fake.rows(np.arange(start, start + size))[sharding.local_rows(size, mesh)]
      found = function(fake.state, *variables, sharding.place_batch(seeds, mesh))
      done.append(np.asarray(found)[: fake.count - start])
      progress.tell(start + size)
  return np.concatenate(done)


@functools.lru_cache
def _lengths(sample, inputs, styles):
  """The jitted (state, LPIPS variables, seeds [n]) -> squared lengths [n]; compiled once for all checkpoints."""

  @jax.jit
  def lengths(state, variables, seeds):
    measure = functools.partial(lpips.distance, variables, net='vgg16')
    ends = inputs(2 * seeds), inputs(2 * seeds + 1)
    # A step of 1e-4 drowns in the rounding of TF32 or bfloat16 products.
    with jax.default_matmul_precision('highest'):
      if styles:
        rows, other = (styles(state, one) for one in ends)
        make = lambda w: sample(state, {**rows, 'w': w})  # with the noise of the first
        found = ppl.lengths(
          make, measure, rows['w'], other['w'], jnp.zeros(len(seeds)), path=ppl.lerp
        )
        return sharding.keep_whole(found)
      t = jax.vmap(lambda s: jax.random.uniform(jax.random.fold_in(jax.random.key(s), 1)))(seeds)
      return sharding.keep_whole(ppl.lengths(lambda z: sample(state, z), measure, *ends, t))

  return lengths


@functools.lru_cache
def _differences(kind, sample, inputs):
  """The jitted (state, seeds [n]) -> [n, 2] of `equivariance.differences`."""

  @jax.jit
  def differences(state, seeds):
    draw = lambda s: jax.random.uniform(jax.random.fold_in(jax.random.key(s), 2), (2,), minval=-1)
    draws, rows = jax.vmap(draw)(seeds), inputs(seeds)
    with jax.default_matmul_precision('highest'):
      here = jnp.broadcast_to(jnp.eye(3), rows['transform'].shape)
      still = sample(state, {**rows, 'transform': here})
      there = equivariance.transforms(kind, draws, still.shape[1])
      moved = sample(state, {**rows, 'transform': there})
      return sharding.keep_whole(jnp.stack(equivariance.differences(kind, still, moved, draws), 1))

  return differences


def _cas(fake, real, matched, work):
  """Trains on the fakes, tests on the reals, of the classes that both have."""
  shown = []
  for side, labels in (fake, matched.fake), (real, matched.real):
    (chosen,) = np.nonzero(labels >= 0)
    shown += [pictures(side, chosen, **work), labels[chosen]]
  found = cas.classification_accuracy(
    *shown, mesh=work['mesh'], num_classes=len(matched.names), epochs=CAS_EPOCHS
  )
  return found, {'epochs': CAS_EPOCHS}
