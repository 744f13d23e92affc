"""States of a run: fresh ones, the newest that it saved, and its generator for samples."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from ganjax import UserError, experiment, run_record, seeds
from ganjax import config as configs
from ganjax.devices import backend, processes, sharding
from ganjax.method import Frozen, TrainState, averaged, join
from ganjax.weights import generator_file
from ganjax.workdir import checkpoint


def start(run: experiment.Experiment, mesh: jax.sharding.Mesh) -> tuple[TrainState, int, dict]:
  """The start of a new run, (state, 0, {}): fresh networks, or the networks of the run `config.init_from`."""
  init = jax.jit(
    run.init,
    out_shardings=sharding.replicated(mesh),
    compiler_options=backend.quick_compilation(),
  )
  state = init(run.key)
  if run.config.init_from:
    state = sharding.replicate(_take_networks(run, jax.device_get(state)), mesh)
  return state, 0, {}


def _take_networks(run, state):
  """`state` with the networks and averages of another run's newest checkpoint."""
  configs.refuse_bucket('config.init_from', run.config.init_from)
  other, nets = Path(run.config.init_from).expanduser(), run.config.init_nets
  unknown = [n for n in nets if n not in run.method.nets]
  if unknown:
    raise UserError(
      f'config.init_nets holds {unknown[0]!r}; the networks here are {", ".join(run.method.nets)}'
    )
  saved, step, meta = checkpoint.read(other)
  if meta['config'].get('seeds', 1) > 1:
    raise UserError(f'init_from={other} holds several seeds: take a run of one')
  params, stats, ema = dict(state.params), dict(state.stats), dict(state.ema)
  shapes = lambda tree: {
    jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(tree)
  }
  for n in nets:
    new = {'params': saved['params'].get(n), 'stats': saved['stats'].get(n, {})}
    old = {'params': params[n], 'stats': stats[n]}
    if new['params'] is None:
      raise UserError(
        f'init_from={other} has no network {n!r}; it has {", ".join(saved["params"])}'
      )
    new = _for_seeds(new, run)
    a, b = shapes(old), shapes(new)
    differ = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
    if differ:
      k = differ[0]
      raise UserError(
        f'init_from={other}: network {n!r} differs at {k}: {b.get(k)} there, {a.get(k)} here'
      )
    params[n], stats[n] = new['params'], new['stats']
    if n in ema:
      ema[n] = _for_seeds(saved['ema'][n], run) if n in saved['ema'] else new
  processes.say(f'starting from {", ".join(nets)} of {other} at step {step}')
  return state.replace(params=params, stats=stats, ema=ema)


def _for_seeds(tree, run):
  """Host arrays once for each of several seeds."""
  count = run.config.seeds
  return jax.tree.map(lambda x: np.stack([x] * count), tree) if count > 1 else tree


def restore(
  run: experiment.Experiment, checkpoints: checkpoint.Checkpoints, mesh: jax.sharding.Mesh
) -> tuple[TrainState, int, dict] | None:
  """(state, step, meta) of the newest whole checkpoint, or None where there is none."""
  with run_record.newer_said(checkpoints.workdir):
    found = checkpoints.restore(run.template(mesh))
    if found is None:
      return None
    state, step, meta = found
    configs.compare(run.config, meta['config'])  # config.json may have been edited
  if step > run.config.steps:
    raise UserError(f'the run is at step {step} already, past config.steps={run.config.steps}')
  return state, step, meta


def to_state(
  run: experiment.Experiment, saved: dict, mesh: jax.sharding.Mesh, seed_index: int = 0
) -> TrainState:
  """A TrainState for sampling from a checkpoint's nested dicts: networks and averages of one seed, on the devices."""
  count = run.config.seeds
  if not 0 <= seed_index < count:
    raise UserError(f'--seed_index={seed_index}: the run has {count} seed(s), 0 to {count - 1}')
  parts = {k: saved[k] for k in ('step', 'params', 'stats', 'ema')}
  parts = seeds.take(parts, seed_index) if count > 1 else parts
  # A checkpoint keeps no empty dicts within a dict that holds nothing else.
  parts['stats'] = {name: parts['stats'].get(name, {}) for name in run.method.nets}
  step = np.asarray(parts.pop('step'))
  return TrainState(step=step, key=(), opt={}, extra={}, **sharding.replicate(parts, mesh))


def read_generator(
  run: experiment.Experiment,
  place: str | Path,
  mesh: jax.sharding.Mesh,
  *,
  step: int | None,
  weights: str,
  seed_index: int = 0,
) -> tuple[TrainState, int, str]:
  """Reads a checkpoint, or a generator in a file, for sampling, evaluation or export.

  Args:
    run: the Experiment of `load(place)`.
    place: the run's workdir or file.
    step: of the checkpoint; None: the newest.
    weights: 'ema' (the averaged ones, where the run keeps an average) or 'raw'.
    seed_index: which seed of a run with config.seeds > 1.

  Returns:
    (state for `stage.sample`, its step, 'ema' or 'raw': what the state holds). Frozen networks that samples need are
    in the state.

  Raises:
    UserError: no such checkpoint or seed; or config.json was edited, or belongs to another run than the checkpoint; or
      weights of a frozen network that samples need are missing, or others.
  """
  place = Path(place)
  read = _read_file if place.is_file() else _read_checkpoint
  state, *what = read(run, place, mesh, step, weights, seed_index)
  frozen, _ = load_frozen(
    run, place, {n: net for n, net in run.method.frozen.items() if net.samples}
  )
  return join(state, sharding.replicate(frozen, mesh)), *what


def _read_checkpoint(run, place, mesh, step, weights, seed_index):
  with run_record.newer_said(place):
    saved, step, meta = checkpoint.read(place, step)
    configs.compare(run.config, meta['config'])
  run_record.run_id(place, meta)
  state = to_state(run, saved, mesh, seed_index)
  return (averaged(state), step, 'ema') if weights == 'ema' and state.ema else (state, step, 'raw')


def _read_file(run, path, mesh, step, weights, seed_index):
  """As `read_generator`, of a file, which holds one step of one seed."""
  about = generator_file.read_about(path)
  if (
    step not in (None, about['step']) or seed_index or (weights, about['weights']) == ('raw', 'ema')
  ):
    raise UserError(
      f'{path} holds {about["weights"]} weights of step {about["step"]} alone: leave --step and --weights out'
    )
  state = jax.eval_shape(run.init, jax.random.key(0))
  arrays = generator_file.read_arrays(path, {'params': state.params, 'stats': state.stats})
  saved = {'params': {}, 'stats': {}, 'ema': {}, 'step': about['step'], **arrays}
  return to_state(run, saved, mesh), about['step'], about['weights']


def load_frozen(
  run: experiment.Experiment, place: Path, nets: dict[str, Frozen] | None = None
) -> tuple[dict[str, dict], dict[str, dict]]:
  """The networks that a method uses but does not train: ({name: variables}, {name: record of the weights}).

  Args:
    run: their run.
    place: its workdir or file.
    nets: those of `run.method.frozen` that are asked for; None: all.

  Raises:
    UserError: the weights are missing, or differ from the weights that the run began with.
  """
  nets = run.method.frozen if nets is None else nets
  found = {name: net.load() for name, net in nets.items()}
  infos = {name: info for name, (_, info) in found.items()}
  begun = found and (place.is_file() or (place / 'config.json').exists())
  saved = run_record.saved_record(place).get('frozen', {}) if begun else {}
  for name in infos.keys() & saved.keys():
    there, here = saved[name].get('weights_sha256'), infos[name]['weights_sha256']
    if there != here:
      raise UserError(
        f'the run in {place} is trained on the weights of {infos[name]["network"]} with sha256 {there}, and those '
        f'here have {here}: bring back the file, or take another --workdir'
      )
  return {name: variables for name, (variables, _) in found.items()}, infos


def generated(place: str | Path, name: str) -> Path:
  """Where samples of a run go by default: into its workdir; of an exported file into the current folder."""
  place = Path(place)
  return Path(f'{place.stem}-{name}') if place.is_file() else place / 'generated' / name


def about(run: experiment.Experiment, seed_index: int) -> dict[str, Any]:
  """What a record or a picture says of its generator beside the usual: which of several it is; activations that are not
  float32; `trained_on`, the networks whose features it was trained on, which therefore cannot judge it.
  """
  seed = {'seed_index': seed_index} if run.config.seeds > 1 else {}
  kind = {'activations': run.activations} if run.activations != 'float32' else {}
  networks = run.method.trained_on
  return seed | kind | ({'trained_on': networks} if networks else {})
