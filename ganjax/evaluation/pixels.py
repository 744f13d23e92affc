"""Metrics that look at pixels, or at a generator, rather than at features of single pictures."""

import functools

import jax
import numpy as np

from ganjax import UserError, data
from ganjax.devices import backend, sharding
from ganjax.evaluation import classes
from ganjax.evaluation.extract import pictures
from ganjax.metrics import cas, lpips, ms_ssim, ppl, ssim

MS_SSIM_PAIRS = 1000
CAS_EPOCHS = 90  # as StudioGAN trains it


def compute(kind, fake, real, extractors, *, mesh, batch_size, crop=0, matched=None):
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
    'ppl': _ppl,
  }[kind]
  return compute(kind, fake, real, extractors, work)


def _batches(fake, real, work):
  """Yields (fakes, reals) uint8 [n, H, W, C] of one size."""
  for start in range(0, fake.count, work['batch_size']):
    chosen = np.arange(start, min(start + work['batch_size'], fake.count))
    a, b = (pictures(side, chosen, **work) for side in (fake, real))
    if a.shape != b.shape:
      raise UserError(
        f'fakes are {list(a.shape[1:])} and reals {list(b.shape[1:])}: pairs need one size'
      )
    yield a, b


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


def _ppl(kind, fake, real, extractors, work):
  """Path length in z, over whole paths (t uniform), VGG16 features, no crop."""
  half = fake.info.get('activations', 'float32')
  if half not in ('float32', 'float64'):
    raise UserError(f'ppl needs a float32 generator, not {half}: set networks.dtype in config.json')
  variables, info = extractors.lpips('vgg16')
  lengths = _lengths(fake.sample, fake.latents)
  mesh, done = work['mesh'], []
  size = -(-work['batch_size'] // mesh.size) * mesh.size
  variables = sharding.replicate(jax.tree.map(np.asarray, variables), mesh)
  with jax.set_mesh(mesh):
    for start in range(0, fake.count, size):
      seeds = fake.rows(np.arange(start, start + size))[sharding.local_rows(size, mesh)]
      found = lengths(fake.state, variables, sharding.place_batch(seeds, mesh))
      done.append(np.asarray(found)[: fake.count - start])
  settings = {'epsilon': 1e-4, 'space': 'z', 'sampling': 'full', 'crop': False, 'size': 256}
  return {kind: float(ppl.mean(np.concatenate(done)))}, info | settings


@functools.lru_cache
def _lengths(sample, latents):
  """The jitted (state, LPIPS variables, seeds [n]) -> squared lengths [n]; compiled once for all checkpoints."""

  @jax.jit
  def lengths(state, variables, seeds):
    t = jax.vmap(lambda s: jax.random.uniform(jax.random.fold_in(jax.random.key(s), 1)))(seeds)
    measure = functools.partial(lpips.distance, variables, net='vgg16')
    ends = latents(2 * seeds), latents(2 * seeds + 1)
    # A step of 1e-4 drowns in the rounding of TF32 or bfloat16 products.
    with jax.default_matmul_precision('highest'):
      return sharding.whole(ppl.lengths(lambda z: sample(state, z), measure, *ends, t))

  return lengths


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
