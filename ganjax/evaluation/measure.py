"""Metrics of a side of fakes against a side of reals, under one or several presets, in one pass over the pictures."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import ganjax
from ganjax import UserError, data, features, run_record
from ganjax.devices import backend, processes
from ganjax.evaluation import classes, kinds, pixels, reference
from ganjax.evaluation.extract import FeaturePlan, pictures
from ganjax.evaluation.presets import MOVED, OF_KIND, PAIRED, PATHS, PIXELS, Metric, Preset
from ganjax.evaluation.sides import Side
from ganjax.features import Extractor
from ganjax.media import image as images
from ganjax.metrics import (
  class_shares,
  fid,
  inception_score,
  kid,
  lpips,
  neighbours,
  prdc,
  r_precision,
)

# Metrics of moments, and of which output; the others take whole rows.
_MOMENTS = {'fd': 'features', 'sfd': 'spatial', 'frame_fd': 'features', 'fvd': 'features'}
KID_SUBSETS, KID_SUBSET, KID_SEED = 100, 1000, 2020  # torch-fidelity's
FAKES_ALONE = ('is', *PATHS, *MOVED)  # look at no reals
ALONE = (*FAKES_ALONE, 'ms_ssim', 'pitch')  # need no reals
LABELLED = ('intra_fd', 'cas')  # compare classes


class Result(NamedTuple):
  record: dict  # JSON-able
  picture: np.ndarray | None = None  # uint8 [H, W, C]


class Extractors:
  """The feature networks of an evaluation, each loaded once.

  Args:
    weights: {network: path of its weight file}, for those not in the usual folders.
  """

  def __init__(self, weights: Mapping[str, str | Path] | tuple[()] = ()) -> None:
    self._weights, self._loaded = dict(weights), {}
    known = [
      *features.names(),
      *(f'lpips_{net}{part}' for net in lpips.NETS for part in ('', '_lin')),
    ]
    for name in self._weights:
      if name not in known:
        raise UserError(f'feature weights {name!r} are not of a network here: {", ".join(known)}')

  def get(self, network: str, preset: Preset) -> Extractor:
    """The extractor that a preset takes: it decides on resize and scale of the FID Inception alone."""
    dtype = preset.dtype if backend.has_bfloat16() else 'float32'
    pipeline = {'resize': preset.resize, 'scale': preset.scale} if network == 'inception' else {}
    key = (network, dtype, *pipeline.values())
    if key not in self._loaded:
      path = self._weights.get(network)
      self._loaded[key] = found = features.load(network, path, dtype=dtype, **pipeline)
      if not found.info['weights_verified']:
        processes.say(
          f'note: nothing says that the weights of {network} are the published file; records say so'
        )
    return self._loaded[key]

  def lpips(self, net: str) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]]:
    """(variables, info) of an LPIPS net, see `lpips.load`."""
    if net not in self._loaded:
      paths = self._weights.get(f'lpips_{net}'), self._weights.get(f'lpips_{net}_lin')
      self._loaded[net] = lpips.load(net, *paths)
    return self._loaded[net]


def measure(
  fake: Side,
  real: Side | Path | None,
  metrics: Sequence[Metric],
  presets: dict[str, Preset],
  *,
  extractors: Extractors,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  crop: int = 0,
  stop: Callable[[], bool] = lambda: False,
) -> list[Result]:
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
  labelled = any(metric.kind in LABELLED for metric in metrics)
  matched = classes.match(fake, real) if labelled else None
  plans, keys = _plan(metrics, presets, extractors, drawn=fake.sample is not None)
  real_plans, real_keys = _plan([m for m in metrics if m.kind != 'is'], presets, extractors)
  work = dict(mesh=mesh, batch_size=batch_size)
  known_real = {}
  if real:
    known_real = reference.learn(real, real_plans, stop=stop, **work)
  elif stored:
    for key, plan in real_plans.items():
      found = reference.read_statistics(stored, plan)
      known_real[key] = reference.SideFeatures({'features': found}, {}, {'features': str(stored)})
  # Fakes are measured once: nothing of theirs is kept on disk.
  known_fake = reference.learn(fake._replace(content=None), plans, stop=stop, **work)

  results = []
  for name, preset in presets.items():
    for metric in metrics:
      extra, picture = {}, None
      if metric.network is None and name != next(iter(presets)):
        continue  # pixels and sounds are the same under every preset
      if metric.kind in OF_KIND:
        values, extra = kinds.compute(metric.kind, fake, real, **work)
      elif metric.kind in PIXELS:
        more = {'crop': crop, 'matched': matched}
        values, extra = pixels.compute(metric.kind, fake, real, extractors, **more, **work)
      else:
        key = name, metric.network
        known = known_real.get(real_keys.get(key)), known_fake[keys[key]]
        values, extra = _values(metric, preset, matched, fake, real, *known)
        if metric.kind == 'neighbours':
          picture = _neighbours(fake, real, extra.pop('shown'), extra.pop('nearest'), **work)
        extra = plans[keys[key]].extractor.info | _settings(metric.kind, preset) | extra
        extra['reference'] = known[0] and known[0].files.get(_MOMENTS.get(metric.kind))
      if metric.network in fake.info.get('trained_on', ()):
        # In the value's name, so that it stands wherever the value does.
        values = {f'{name}_trained_on': value for name, value in values.items()}
        processes.say(
          f'WARNING {metric.name}: {fake.info["name"]} was trained on the features of {metric.network}, which makes '
          'this too good to be compared with others; take another network'
        )
      if metric.kind in LABELLED:
        extra['classes'] = matched.names
      quantiser = preset.quantiser if metric.network else 'round'
      extra |= {'quantiser': quantiser if fake.sample else None, 'batch_size': batch_size}
      of = name if metric.network else None
      record = _record(metric, of, values, extra, fake, real, stored, mesh, began)
      results.append(Result(record, picture))
  return results


def check(
  metrics: Sequence[Metric], fake: Side, real: Side | None, stored: Path | None = None
) -> None:
  """Raises UserError where a metric cannot be had of these sides, or hosts have others, before anything is computed."""
  for side in filter(None, (fake, real)):
    found = {'count': side.count, 'class_names': side.class_names}
    processes.check_same(f'pictures in {side.info.get("name", "the fakes")}', found)
  for metric in metrics:
    wanted = metric.of
    for side in filter(None, (fake, real)):
      if side.kind != wanted:
        what = 'pictures' if wanted == 'image' else f'{wanted}s'
        raise UserError(f'{metric.name} is for {what}, and {side.info["name"]} has {side.kind}s')
    if metric.kind not in ALONE and real is None and not (stored and metric.kind == 'fd'):
      has = f'{stored} holds statistics, not pictures' if stored else 'there is none'
      raise UserError(
        f'{metric.name} needs the pictures of a real side, and {has}: name one with --real'
      )
    if metric.kind in LABELLED:
      for what, side in ('fakes', fake), ('reals', real):
        if side.labels is None:
          raise UserError(
            f'{metric.name} needs labels, and the {what}, {side.info["name"]}, have none '
            '(a folder for each class; arr_1 in an .npz; a conditional generator)'
          )
    if metric.kind == 'classes' and (real.labels is None or (real.labels() >= 0).sum() < 2):
      raise UserError(f'{metric.name} needs reals with labels, and {real.info["name"]} has none')
    if metric.kind == 'kid' and min(fake.count, real.count) < KID_SUBSET:
      raise UserError(
        f'{metric.name} takes subsets of {KID_SUBSET:,}, and there are {fake.count:,} fakes and {real.count:,} reals: '
        f'take more, or {metric.name.replace("kid", "kid_full")}, which takes all'
      )
    if metric.kind in PAIRED and fake.count != real.count:
      raise UserError(
        f'{metric.name} compares pictures one by one: {fake.count:,} fakes and {real.count:,} reals are not pairs'
      )
    if metric.kind == 'r_precision':
      for what, side in ('fakes', fake), ('reals', real):
        if side.texts is None:
          raise UserError(
            f'{metric.name} is of pictures that go with texts, and the {what}, {side.info["name"]}, have none: give '
            '--workdir, a run that draws texts, and leave --real out'
          )
    if metric.kind in (*PATHS, *MOVED):
      _check_generator(metric.name, fake)


def _check_generator(name, fake):
  """Raises UserError where a metric cannot be had of what makes the fakes."""
  if fake.sample is None:
    raise UserError(f'{name} needs a generator, not its pictures: give --workdir')
  inputs = None if fake.from_examples else fake.inputs(np.arange(1))
  if name == 'ppl' and not isinstance(inputs, jax.Array):
    instead = ': take ppl_w' if fake.styles else ''
    raise UserError(
      f'ppl walks between latents z, and this generator takes more than that{instead}'
    )
  if name == 'ppl_w' and not fake.styles:
    raise UserError('ppl_w walks between styles w, which StyleGANs have, and this run has none')
  if name in MOVED and not (isinstance(inputs, dict) and 'transform' in inputs):
    raise UserError(
      f'{name} moves the input of a generator, and this one takes no transform: it is for networks.name=stylegan3'
    )


def _plan(metrics, presets, extractors, drawn=False):
  """({key: FeaturePlan}, {(preset, network): key}): presets that differ in nothing that a network sees share a plan.

  drawn: the pictures are a generator's, and quantisers matter.
  """
  plans, keys = {}, {}
  for name, preset in presets.items():
    for metric in metrics:
      if metric.network is None:
        continue
      extractor = extractors.get(metric.network, preset)
      info = extractor.info
      quantiser = preset.quantiser if drawn else 'round'
      key = f'{metric.network} {info["resize"]} {info["scale"]} {info["dtype"]} {quantiser}'
      keys[name, metric.network] = key
      plan = plans.get(key) or FeaturePlan(extractor, quantiser)
      if metric.kind in _MOMENTS:
        plan = plan._replace(moments=plan.moments | {_MOMENTS[metric.kind]})
      else:
        rows = preset.is_logits if metric.kind == 'is' else 'features'
        plan = plan._replace(rows=plan.rows | {rows})
      plans[key] = plan
  return plans, keys


def _values(metric, preset, matched, fake, real, known_real, known_fake):
  """({name of a value: float}, more for the record)."""
  s = metric.suffix
  if metric.kind in _MOMENTS:
    output = _MOMENTS[metric.kind]
    a, b = (k.moments[output].with_ddof(preset.ddof) for k in (known_real, known_fake))
    if len(a.mean) != len(b.mean):
      raise UserError(
        f'statistics of {len(a.mean)} features cannot be compared with {len(b.mean)} of {metric.network}'
      )
    value = fid.frechet_distance(a.mean, a.cov, b.mean, b.cov, a.factor)
    more = {'ddof': preset.ddof, 'ddof_real': a.ddof}
    more |= (
      {'frames_fake': b.n, 'frames_real': a.n}
      if metric.kind == 'frame_fd'
      else {'num_real': a.n or None}
    )
    return {metric.values[0]: value}, more
  if metric.kind == 'is':
    logits = known_fake.rows[preset.is_logits]
    splits = len(inception_score.edges(len(logits), preset.is_splits))
    mean, std = inception_score.score(
      logits,
      splits=preset.is_splits,
      ddof=preset.is_ddof,
      shuffle_seed=preset.is_shuffle_seed,
    )
    return dict(zip(metric.values, (mean, std))), {'is_splits': splits}
  a, b = known_real.rows['features'], known_fake.rows['features']
  if metric.kind == 'kid':
    mean, std = kid.subsets(a, b, subsets=KID_SUBSETS, size=KID_SUBSET, seed=KID_SEED)
    return dict(zip(metric.values, (mean, std))), {}
  if metric.kind == 'kid_full':
    return {metric.values[0]: kid.full(a, b)}, {}
  if metric.kind == 'prdc':
    if preset.real_limit and len(a) > preset.real_limit:
      a = a[np.sort(data.indices(0, 0, preset.real_limit, len(a)))]
    found = prdc.prdc(a, b, pr_k=preset.pr_k, pr_strict=preset.pr_strict)
    return {f'{k}{s}': v for k, v in found.items()}, {'num_real': len(a)}
  if metric.kind == 'r_precision':
    found = r_precision.measure(a, real.texts(), b, fake.texts())
    return dict(zip(metric.values, found)), {'candidates': r_precision.CANDIDATES}
  if metric.kind == 'classes':
    labels = np.asarray(real.labels())
    names = real.class_names or range(labels.max() + 1)
    moved, each = class_shares.measure(a, b, labels, names)
    return {metric.values[0]: moved}, {'by_class': each}
  if metric.kind == 'intra_fd':
    value, each = _intra(preset, a, b, matched)
    return {metric.values[0]: value}, {'by_class': each}
  shown = np.arange(min(8, len(b)))
  nearest, distances = neighbours.nearest(b, a, k=7 if len(a) > 7 else 1)
  typical = float(np.median(distances[:, 0]))
  return {metric.values[0]: typical}, {'shown': shown, 'nearest': nearest[shown]}


def _intra(preset, real, fake, matched):
  """The Frechet distance within a class, averaged over classes, and each (Miyato and Koyama 2018, arXiv:1802.05637)."""
  each = []
  for label, name in enumerate(matched.names):
    sides = []
    for rows, labels in (real, matched.real), (fake, matched.fake):
      chosen = rows[labels == label]
      if len(chosen) < 2:
        raise UserError(
          f'intra-class distance: class {name} has {len(chosen)} pictures on one side; take more'
        )
      moments = fid.Moments()
      moments.add(chosen)
      sides.append(moments)
    a, b = sides
    each.append(fid.frechet_distance(a.mean, a.cov(preset.ddof), b.mean, b.cov(preset.ddof)))
  return float(np.mean(each)), each


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
  if kind == 'intra_fd':
    return {'ddof': preset.ddof}
  if kind == 'is':
    names = ('is_logits', 'is_ddof', 'is_shuffle_seed')
    return {name: getattr(preset, name) for name in names}
  if kind == 'kid':
    return {'kid_subsets': KID_SUBSETS, 'kid_subset_size': KID_SUBSET, 'kid_seed': KID_SEED}
  if kind == 'prdc':
    return {'pr_k': preset.pr_k, 'pr_strict': preset.pr_strict, 'dc_k': 5, 'dc_strict': True}
  return {}


def _record(metric, preset, values, extra, fake, real, stored, mesh, began) -> dict:
  device = mesh.devices.flat[0]
  packages = ('jax', 'jaxlib', 'flax', 'numpy', 'pillow')
  numbers, reals = {}, {}
  if metric.kind not in FAKES_ALONE and (real or stored):
    numbers = {'num_real': real.count if real else None}
    reals = {'real': real.info if real else {'name': str(stored)}}
  return {
    'metric': metric.name,
    'preset': preset,
    # JSON has no infinity, which is the PSNR of equal pictures.
    'values': {name: value if np.isfinite(value) else None for name, value in values.items()},
    'num_fake': fake.count,
    **numbers,
    **extra,
    'fake': fake.info,
    **reals,
    'device': {'kind': device.device_kind, 'platform': device.platform, 'count': mesh.size},
    'x64': bool(jax.config.jax_enable_x64),
    'commit': run_record.commit(),
    'versions': {
      'ganjax': ganjax.__version__,
      'python': platform.python_version(),
      **{p: metadata.version(p) for p in packages},
    },
    'seconds': round(time.monotonic() - began, 1),
  }
