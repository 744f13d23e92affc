"""Metrics of a side of fakes against a side of reals, under one or several presets, in one pass over the pictures."""

import platform
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import ganjax
from ganjax import UserError, data, features, images, parallel
from ganjax.evaluation import pixels, reference
from ganjax.evaluation.extract import Plan, pictures
from ganjax.evaluation.presets import PAIRED
from ganjax.metrics import fid, inception_score, kid, neighbours, prdc

# What a metric needs of each side: outputs as moments, outputs whole.
_MOMENTS = {'fd': 'features', 'sfd': 'spatial'}
_ROWS = ('kid', 'kid_full', 'prdc', 'intra_fd', 'neighbours')
KID_SUBSETS, KID_SUBSET, KID_SEED = 100, 1000, 2020  # torch-fidelity's
_PIXELS = (*PAIRED, 'ms_ssim', 'ppl', 'cas')


class Result(NamedTuple):
  record: dict  # JSON-able
  picture: np.ndarray | None = None  # uint8 [H, W, C]


class Extractors:
  """The feature networks of an evaluation, each loaded once.

  Args:
    weights: {network: path of its weight file}, for those not in the usual folders.
  """

  def __init__(self, weights=()):
    self._weights, self._loaded = dict(weights), {}

  def get(self, network, preset):
    """The extractor that a preset takes: it decides on resize and scale of the FID Inception alone."""
    dtype = preset.dtype if parallel.has_bfloat16() else 'float32'
    pipeline = {'resize': preset.resize, 'scale': preset.scale} if network == 'inception' else {}
    key = (network, dtype, *pipeline.values())
    if key not in self._loaded:
      path = self._weights.get(network)
      self._loaded[key] = features.load(network, path, dtype=dtype, **pipeline)
    return self._loaded[key]

  def path(self, network):
    """The weight file that the user named for a network, or None."""
    return self._weights.get(network)


def measure(
  fake, real, metrics, presets, *, extractors, mesh, batch_size, crop=0, stop=lambda: False
):
  """Measures.

  Args:
    fake: a `sides.Side`.
    real: a Side; the path of a statistics file, for FID-like metrics alone; or None, for metrics of the fakes alone.
    metrics: of `presets.parse_metrics`.
    presets: of `presets.parse_presets`.
    extractors: Extractors.
    mesh, batch_size, stop: as in `extract`.
    crop: pixels off each border, for psnr and ssim.

  Returns:
    A list of Result, in the order of presets, then metrics.

  Raises:
    UserError: what is asked for does not go with these sides; weights or statistics that do not fit.
    Stopped: `stop` returned True.
  """
  began = time.monotonic()
  stored = real if isinstance(real, Path) else None
  real = None if stored else real
  check(metrics, fake, real, stored)
  plans, keys = _plan(metrics, presets, extractors)
  work = dict(mesh=mesh, batch_size=batch_size)
  known_real = {}
  if plans and real:
    against = {
      k: p._replace(quantiser='round', rows=p.rows & {'features'}) for k, p in plans.items()
    }
    known_real = reference.learn(real, against, stop=stop, **work)
  elif stored:
    for key, plan in plans.items():
      found = reference.read_statistics(stored, plan)
      known_real[key] = reference.Known({'features': found}, {}, {'features': str(stored)})
  known_fake = reference.learn(fake, plans, stop=stop, **work) if plans else {}

  results = []
  for name, preset in presets.items():
    for metric in metrics:
      extra, picture = {}, None
      if metric.kind in _PIXELS:
        if name != next(iter(presets)):
          continue  # pixels are the same under every preset
        values, extra = pixels.compute(metric.kind, fake, real, extractors, crop=crop, **work)
      else:
        key = keys[name, metric.network]
        known = known_real.get(key), known_fake[key]
        values, extra = _values(metric, preset, real, fake, *known)
        if metric.kind == 'neighbours':
          picture = _neighbours(fake, real, extra.pop('shown'), extra.pop('nearest'), **work)
        extra |= plans[key].extractor.info | _settings(metric.kind, preset)
        extra |= {
          'quantiser': preset.quantiser,
          'reference': known[0] and known[0].files.get(_MOMENTS.get(metric.kind)),
        }
      results.append(
        Result(_record(metric, name, values, extra, fake, real, stored, mesh, began), picture)
      )
  return results


def check(metrics, fake, real, stored=None):
  """Raises UserError where a metric cannot be had of these sides, before anything is computed."""
  for metric in metrics:
    alone = metric.kind in ('is', 'ms_ssim', 'ppl')
    if not alone and real is None and not (stored and metric.kind == 'fd'):
      has = f'{stored} holds statistics, not pictures' if stored else 'there is none'
      raise UserError(
        f'{metric.name} needs the pictures of a real side, and {has}: name one with --real'
      )
    if metric.kind in ('intra_fd', 'cas'):
      for what, side in ('fakes', fake), ('reals', real):
        if side.labels is None:
          raise UserError(
            f'{metric.name} needs labels, and the {what}, {side.info["name"]}, have none '
            '(a folder for each class; arr_1 in an .npz; a conditional generator)'
          )
    if metric.kind == 'kid' and min(fake.count, real.count) < KID_SUBSET:
      raise UserError(
        f'{metric.name} takes subsets of {KID_SUBSET:,}, and there are {fake.count:,} fakes and {real.count:,} reals: '
        f'take more, or {metric.name.replace("kid", "kid_full")}, which takes all'
      )
    if metric.kind in PAIRED and fake.count != real.count:
      raise UserError(
        f'{metric.name} compares pictures one by one: {fake.count:,} fakes and {real.count:,} reals are not pairs'
      )
    if metric.kind == 'ppl' and fake.sample is None:
      raise UserError('ppl needs a generator, not its pictures: give --workdir')


def _plan(metrics, presets, extractors):
  """({key: Plan}, {(preset, network): key}): presets that differ in nothing that a network sees share a plan."""
  plans, keys = {}, {}
  for name, preset in presets.items():
    for metric in metrics:
      if metric.network is None:
        continue
      extractor = extractors.get(metric.network, preset)
      info = extractor.info
      key = f'{metric.network} {info["resize"]} {info["scale"]} {info["dtype"]} {preset.quantiser}'
      keys[name, metric.network] = key
      plan = plans.get(key) or Plan(extractor, preset.quantiser)
      if metric.kind in _MOMENTS:
        plan = plan._replace(moments=plan.moments | {_MOMENTS[metric.kind]})
      else:
        rows = preset.is_logits if metric.kind == 'is' else 'features'
        plan = plan._replace(rows=plan.rows | {rows})
      plans[key] = plan
  return plans, keys


def _values(metric, preset, real, fake, known_real, known_fake):
  """({name of a value: float}, more for the record)."""
  s = metric.suffix
  if metric.kind in _MOMENTS:
    output = _MOMENTS[metric.kind]
    a, b = (k.moments[output].with_ddof(preset.ddof) for k in (known_real, known_fake))
    if len(a.mean) != len(b.mean):
      raise UserError(
        f'statistics of {len(a.mean)} features cannot be compared with {len(b.mean)} of {metric.network}'
      )
    name = {'fd': f'fd{s}' if s else 'fid', 'sfd': 'sfid'}[metric.kind]
    return {name: fid.frechet_distance(a.mean, a.cov, b.mean, b.cov, a.factor)}, {}
  if metric.kind == 'is':
    mean, std = inception_score.score(
      known_fake.rows[preset.is_logits],
      splits=preset.is_splits,
      ddof=preset.is_ddof,
      shuffle_seed=preset.is_shuffle_seed,
    )
    return {'is': mean, 'is_std': std}, {}
  a, b = known_real.rows['features'], known_fake.rows['features']
  if metric.kind == 'kid':
    mean, std = kid.subsets(a, b, subsets=KID_SUBSETS, size=KID_SUBSET, seed=KID_SEED)
    return {f'kid{s}': mean, f'kid_std{s}': std}, {}
  if metric.kind == 'kid_full':
    return {f'kid_full{s}': kid.full(a, b)}, {}
  if metric.kind == 'prdc':
    if preset.real_limit and len(a) > preset.real_limit:
      a = a[np.sort(data.indices(0, 0, preset.real_limit, len(a)))]
    found = prdc.prdc(a, b, pr_k=preset.pr_k, pr_strict=preset.pr_strict)
    return {f'{k}{s}': v for k, v in found.items()}, {'num_real': len(a)}
  if metric.kind == 'intra_fd':
    return _intra(s, preset, a, b, real.labels, fake.labels)
  shown = np.arange(min(8, len(b)))
  nearest, distances = neighbours.nearest(b, a, k=7 if len(a) > 7 else 1)
  typical = float(np.median(distances[:, 0]))
  return {f'nearest_distance{s}': typical}, {'shown': shown, 'nearest': nearest[shown]}


def _intra(suffix, preset, real, fake, real_labels, fake_labels):
  """Mean over classes of the Frechet distance within one (Miyato and Koyama 2018, arXiv:1802.05637, section 4)."""
  each = []
  for label in np.unique(real_labels):
    sides = []
    for rows, labels in (real, real_labels), (fake, fake_labels):
      chosen = rows[labels == label]
      if len(chosen) < 2:
        raise UserError(
          f'intra-class distance: class {label} has {len(chosen)} pictures on one side; take more'
        )
      moments = fid.Moments()
      moments.add(chosen)
      sides.append(moments)
    a, b = sides
    each.append(fid.frechet_distance(a.mean, a.cov(preset.ddof), b.mean, b.cov(preset.ddof)))
  name = f'intra_fd{suffix}' if suffix else 'intra_fid'
  return {name: float(np.mean(each))}, {'by_class': each}


def _neighbours(fake, real, shown, nearest, *, mesh, batch_size):
  """Rows of a picture: a fake, then its nearest reals, nearest first."""
  work = dict(mesh=mesh, batch_size=batch_size)
  left = pictures(fake, shown, **work)
  right = pictures(real, nearest.ravel(), **work)
  if left.shape[1:] != right.shape[1:]:
    raise UserError(
      f'fakes are {list(left.shape[1:])} and reals {list(right.shape[1:])}: a picture of both needs one size'
    )
  right = right.reshape(*nearest.shape, *right.shape[1:])
  cells = np.concatenate([left[:, None], right], 1)
  return images.grid(cells.reshape(-1, *cells.shape[2:]), cells.shape[1])


def _settings(kind, preset) -> dict:
  """What of the preset this metric read."""
  if kind in ('fd', 'sfd', 'intra_fd'):
    return {'ddof': preset.ddof}
  if kind == 'is':
    names = ('is_splits', 'is_logits', 'is_ddof', 'is_shuffle_seed')
    return {name: getattr(preset, name) for name in names}
  if kind == 'kid':
    return {'kid_subsets': KID_SUBSETS, 'kid_subset_size': KID_SUBSET, 'kid_seed': KID_SEED}
  if kind == 'prdc':
    return {'pr_k': preset.pr_k, 'pr_strict': preset.pr_strict, 'dc_k': 5, 'dc_strict': True}
  return {}


def _record(metric, preset, values, extra, fake, real, stored, mesh, began) -> dict:
  device = mesh.devices.flat[0]
  packages = ('jax', 'jaxlib', 'flax', 'numpy', 'pillow')
  return {
    'metric': metric.name,
    'preset': preset,
    'values': values,
    'num_fake': fake.count,
    'num_real': real.count if real else None,
    **extra,
    'fake': fake.info,
    'real': {'name': str(stored)} if stored else real and real.info,
    'device': {'kind': device.device_kind, 'platform': device.platform, 'count': mesh.size},
    'x64': bool(jax.config.jax_enable_x64),
    'versions': {
      'ganjax': ganjax.__version__,
      'python': platform.python_version(),
      **{p: metadata.version(p) for p in packages},
    },
    'seconds': round(time.monotonic() - began, 1),
  }
