"""An experiment: networks, method, stages and optimizers built from a configuration. Every command starts here."""

import contextlib
import functools
import json
import platform
import re
import subprocess
import uuid
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import ganjax
from ganjax import UserError, component, data, media, seeds
from ganjax import config as configs
from ganjax.data import folder, provenance
from ganjax.devices import backend, processes, sharding
from ganjax.optim import optimizers as optim
from ganjax.optim import schedules
from ganjax.update import (
  Method,
  TrainState,
  averaged,
  count,
  derive,
  init,
  join,
  make_update,
  name_nets,
  spans,
)
from ganjax.weights import generator_file
from ganjax.workdir import checkpoint


class _Fields(dict):
  """The fields of a data set, {name: media.Field}. One that it lacks is a UserError, which says who asked."""

  def __init__(self, fields, dataset, asker):
    super().__init__(fields)
    self.dataset, self.asker = dataset, asker

  def __missing__(self, name):
    raise UserError(
      f'data.dataset={self.dataset} has no {name}, which {self.asker} needs; it has {", ".join(self)}'
    )


class Experiment(NamedTuple):
  config: ConfigDict
  method: Method
  spans: tuple  # where each stage lies, see update.Span
  optimizers: dict

  def span_at(self, step: int):
    """The span that `step` belongs to; the last one at the end of training."""
    return next((s for s in self.spans if step < s.stop), self.spans[-1])

  def stage_after(self, step: int):
    """The stage that made the state of `step`, whose pictures it makes."""
    return self.span_at(step - 1).stage

  def held_out(self, span) -> data.Source:
    """The data of `config.eval.split`: the reals of evaluations, and the examples that samples start from."""
    config = self.config
    split = config.eval.split or config.data.split
    source = data.whole({**config.data, **span.source}, split)
    own = {name: span.fields[name] for name in self.method.derived}
    return source.extend(own, _derive(self.method, source)) if own else source

  @property
  def activations(self) -> str:
    """The dtype of activations; `dtype='auto'` in the configuration leaves it to the devices."""
    return getattr(next(iter(self.method.nets.values())), 'dtype', 'float32')

  @property
  def key(self):
    """The PRNG key that training starts from; an array of keys [seeds] where config.seeds > 1."""
    keys = [jax.random.key(self.config.seed + k) for k in range(self.config.seeds)]
    return jnp.stack(keys) if len(keys) > 1 else keys[0]

  def init(self, key):
    """The state at step 0 from a key, or from an array of keys [seeds]. Call it under jit or eval_shape.

    Raises:
      UserError: networks or batches too large for any machine.
    """
    batch = example(self.spans[-1])
    check_size(f'a batch of config.batch_size={self.config.batch_size}', batch, 2**40)
    state = init(self.method, self.optimizers, key, batch)
    check_size('config.networks: the parameters', state.params, 2**36)  # whole on each device
    return state

  def template(self, mesh):
    """Shapes and placement of the state, for a restore."""
    shapes = jax.eval_shape(self.init, self.key)
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.replicated(mesh))
    return jax.tree.map(place, shapes)

  def update(self, span):
    """The jitted training step of a stage."""
    ema = self.config.ema.to_dict() if self.method.ema else None
    return make_update(
      self.method,
      span,
      self.optimizers,
      kinds={name: field.kind for name, field in span.fields.items()},
      flip=self.config.data.flip,
      ema=ema,
      microbatches=self.config.microbatches,
      own_batches=not isinstance(self.config.data.seed, int),
    )

  def images_per_step(self, span) -> int:
    """Real examples that a step reads."""
    return span.batch_size * self.method.n_critic


def build(config: ConfigDict) -> Experiment:
  """The Experiment of a configuration. Builds modules and schedules; computes no array.

  In a run of several processes call `processes.start` first.

  Raises:
    UserError: a value of the configuration is wrong, or two of them do not fit each other.
  """
  configs.check(config)
  place = config.data
  place.dataset, place.data_dir = folder.locate(place.dataset, place.data_dir)
  place.resolution = media.simplest(place.resolution)
  fields = data.fields(**place)
  size = {'resolution': place.resolution, 'channels': place.channels}
  networks = config.networks.to_dict()
  if networks.get('dtype') == 'auto':
    networks['dtype'] = backend.activations()
  named = lambda part: _Fields(fields, place.dataset, f'{part}.name={config[part].name}')
  nets = component.build('networks', networks, fields=named('networks'), **size)
  seen = named('method')
  of_data = dict(nets=name_nets(nets), fields=seen, batch_size=config.batch_size)
  method = component.build('methods', config.method, **of_data)
  for name in sorted({*method.examples, method.makes} - method.derived.keys()):
    seen[name]  # raises where the data lack it
  if not config.ema.half_life_images:
    method = method._replace(ema=())
  optimizers = optim.build(config.optim.to_dict(), method.phases, config.steps)
  return Experiment(config, method, lay_out(method, config), optimizers)


def lay_out(method: Method, config: ConfigDict) -> tuple:
  """The Span of each stage: its steps, batch size and data fields."""
  return tuple(
    span._replace(fields=_fields(method, data.fields(**{**config.data, **span.source})))
    for span in spans(method, config.steps, config.batch_size)
  )


def _fields(method, fields) -> dict:
  """The fields of the data and the fields that the method derives: {name: Field}."""
  shape = lambda field: jax.ShapeDtypeStruct((1, *field.shape), field.dtype)
  stored = {name: shape(field) for name, field in fields.items()}
  found = jax.eval_shape(functools.partial(_make, method, fields), stored, np.zeros(1, np.int32))
  own = {name: media.Field(method.derived[name].kind, x.shape[1:]) for name, x in found.items()}
  return {**fields, **own}


def _make(method, fields, stored, seeds) -> dict:
  """The method's derived fields of stored examples: {name: array [n, ...]}. Traced; one seed per example."""
  seen = {name: media.find(fields[name].kind).to_float(x) for name, x in stored.items()}
  return derive(method, seen, jax.vmap(jax.random.key)(seeds))


def _derive(method, source) -> Callable:
  """A function: indices [n] -> the derived fields of those examples of `source`, stored, {name: [n, ...]}."""
  make = jax.jit(functools.partial(_make, method, source.fields))

  def derive(indices):
    found = jax.device_get(make(source.read(indices), np.asarray(indices, np.int32)))
    return {name: media.find(method.derived[name].kind).to_stored(x) for name, x in found.items()}

  return derive


def check_size(what: str, tree, most: int):
  """Raises UserError where arrays (or traced ones) have `most` bytes or more together."""
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
  if size >= most:
    raise UserError(f'{what} would take {size / 2**30:,.0f} GiB: take fewer or smaller ones')


def example(span) -> dict:
  """A batch of zeros for a stage, with the shapes and dtypes that losses see (after `augment.prepare`)."""
  zeros = lambda field: jnp.zeros((span.batch_size, *field.shape), field.dtype)
  return {name: media.find(f.kind).to_float(zeros(f)) for name, f in span.fields.items()}


def load(place) -> Experiment:
  """The Experiment of a trained run.

  Args:
    place: the run's workdir, or its generator in a file (`ganjax export --out NAME.safetensors`).

  Raises:
    UserError: nothing is there, or no run.
  """
  if not Path(place).exists():
    raise UserError(f'workdir {place} is not there')
  with _newer_said(place):
    return build(saved_config(place))


def saved_config(place) -> ConfigDict:
  """The configuration of a run, as `get_config()` and the command line made it."""
  return ConfigDict(configs.complete(saved_record(place)['config']))


def saved_record(place) -> dict:
  """What config.json says of a run's newest steps (`record`); an exported file holds the same."""
  place = Path(place)
  if place.is_file():
    about = generator_file.read_about(place)
    return {**about['run'], 'config': about['config']}
  saved = configs.load_json(place / 'config.json')
  if not (isinstance(saved, dict) and isinstance(saved.get('config'), dict)):
    raise UserError(f'{place}/config.json is not the config.json of a run')
  return newest(saved)


def summary(experiment: Experiment) -> str:
  """Networks, parameter counts, output shapes, phases, stages and images a step, as text."""
  config, method = experiment.config, experiment.method
  state = jax.eval_shape(experiment.init, jax.random.key(0))
  lines = [f'networks {config.networks.name}, method {config.method.name}']
  if config.seeds > 1:
    how = 'unrolled' if seeds.unrolls(state) else 'by vmap'
    lines.append(f'seeds: {config.seeds}, trained together {how}')
  inputs = jax.eval_shape(lambda: method.inputs(example(experiment.spans[-1])))
  for name, net in method.nets.items():
    variables = {'params': state.params[name], **state.stats[name]}
    call = functools.partial(net.apply, train=False)
    out = jax.eval_shape(call, variables, *inputs[name])
    shape = lambda tree: ', '.join(str(list(x.shape)) for x in jax.tree.leaves(tree))
    number = count(state.params[name])
    lines.append(f'  {name:<10} {number:>12,} parameters   {shape(inputs[name])} -> {shape(out)}')
  if method.ema:
    half_life = schedules.describe(config.ema.half_life_images, 'images')
    lines.append(f'  averaged: {", ".join(method.ema)}, half-life {half_life}')
  for i, span in enumerate(experiment.spans):
    of = span.fields[method.makes]
    size = span.source.get('resolution', config.data.resolution)
    size = f'resolution {size}' if of.kind == 'image' else f'{of.kind} {list(of.shape)}'
    lines.append(
      f'stage {i}: steps {span.start:,} to {span.stop:,}, {size}, batch {span.batch_size}, '
      f'{experiment.images_per_step(span):,} real {of.kind}s a step'
      + (f', learning rates times {span.stage.rate:g}' if span.stage.rate != 1 else '')
    )
    for phase in span.stage.phases:
      times = f'{method.n_critic} times a step' if phase.repeat else 'once a step'
      times = f'every {phase.every} steps' if phase.every > 1 else times
      lines.append(
        f'  {phase.name:<10} trains {", ".join(phase.nets)} with optimizer {phase.opt}, {times}'
      )
  for name, optimizer in sorted(config.optim.items()):
    fall = ', falling linearly to 0' if optimizer.get('decay') == 'linear' else ''
    lines.append(f'optimizer {name}: learning rate {schedules.describe(optimizer.lr)}{fall}')
  return '\n'.join(lines)


def to_json(config: ConfigDict) -> dict:
  """The configuration as JSON keeps it."""
  return json.loads(json.dumps(config.to_dict()))


@contextlib.contextmanager
def _newer_said(workdir):
  """Adds 'update ganjax' to an error, where a newer version of ganjax wrote the run in `workdir`."""
  try:
    yield
  except UserError as error:
    try:
      version = saved_record(workdir).get('versions', {}).get('ganjax', '')
    except UserError:
      version = ''
    numbers = lambda text: [int(number) for number in re.findall(r'\d+', text)]
    if numbers(version) <= numbers(ganjax.__version__):
      raise
    raise UserError(
      f'{workdir} is of ganjax {version}, newer than this {ganjax.__version__}: update this one ({error})'
    ) from None


def run_id(workdir: Path, meta: dict) -> str:
  """The id of the run in `workdir`: 32 hexadecimal digits, drawn at the first start. No computation depends on it.

  Args:
    workdir: the run's directory. Its config.json holds the id after the first start.
    meta: of the checkpoint that the run resumes from; {} without one.

  Returns:
    The same id in all processes. A run of ganjax 0.4.0, which had no ids, gets one when it resumes.

  Raises:
    UserError: config.json and the checkpoint belong to two runs.
  """
  path = Path(workdir, 'config.json')
  saved = configs.load_json(path).get('run') if path.exists() else None
  other = meta.get('run')
  if saved and other and saved != other:
    raise UserError(
      f'{path} is of run {saved}, and the checkpoints beside it are of run {other}: bring back the files of one run'
    )
  return processes.gather(saved or other or uuid.uuid4().hex)[0]


def record(run: Experiment, sources, mesh, saved=None, step=0, frozen=None) -> dict:
  """The contents of config.json: the configuration, and the code, versions, devices and data of every step.

  The top level describes the first steps. `history` is a list of later changes. An entry holds for the steps after
  its `step`, until the next entry.

  Args:
    run, sources, mesh: of this start.
    saved: the contents so far, of a run that resumes.
    step: where the run resumes. A finished run trains no step and gets no entry.
    frozen: the records of networks that are not trained, from `load_frozen`.
  """
  device = mesh.devices.flat[0]
  packages = 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy'
  versions = {package: metadata.version(package) for package in packages}
  described = {'name': run.config.name, 'config': to_json(run.config)}
  now = {
    'activations': run.activations,
    'versions': {'ganjax': ganjax.__version__, 'python': platform.python_version(), **versions},
    'commit': commit(),
    'devices': {'count': mesh.size, 'kind': device.device_kind, 'platform': device.platform},
    'processes': jax.process_count(),
    'data': [provenance.entry(source) for source in sources],
    **({'frozen': frozen} if frozen else {}),
  }
  if not (step and saved):
    return {**described, **now, 'history': []}
  saved = {'history': [], **saved, **described}
  if step < run.config.steps:
    # Later steps were lost with their checkpoints and are made again.
    saved['history'] = [entry for entry in saved['history'] if entry['step'] < step]
    now = json.loads(json.dumps(now))  # tuples as lists
    before = newest(saved)
    if any(before.get(name) != value for name, value in now.items()):
      saved['history'].append({'step': step, **now})
  return saved


def newest(saved: dict) -> dict:
  """The contents of config.json with the newest entry of `history` in place of the first steps' values."""
  return {**saved, **(saved.get('history') or [{}])[-1]}


@functools.cache
def commit():
  """The git commit of this checkout, '+' where files differ from it; None outside a checkout."""
  git = ['git', '-C', str(Path(__file__).parent)]
  try:
    out = lambda *a: subprocess.run(
      [*git, *a], capture_output=True, text=True, check=True
    ).stdout.strip()
    # An installed package may lie inside some other project's checkout.
    if not out('ls-files', 'experiment.py'):
      return None
    return out('rev-parse', 'HEAD') + ('+' if out('status', '--porcelain', '-uno') else '')
  except (OSError, subprocess.CalledProcessError):
    return None


def check_resume(run: Experiment, workdir: Path):
  """Compares the configuration with the other processes' and with the saved run's. Prints what a resume changes.

  Raises UserError for a difference that would make it another run.
  """
  fields = configs.flatten(run.config.to_dict())
  shared = {k: v for k, v in fields.items() if k != 'data.cache' and not configs.is_place(k)}
  processes.check_same('settings', shared)
  if not (workdir / 'config.json').exists():
    if checkpoint.list_steps(workdir):
      raise UserError(
        f'{workdir} holds checkpoints but no config.json: it is not a run of ganjax, or it is damaged'
      )
    return
  with _newer_said(workdir):
    changes = configs.compare(run.config, saved_config(workdir).to_dict())
  for line in changes:
    processes.say(line)
  before = newest(configs.load_json(workdir / 'config.json')).get('activations', 'float32')
  if before != run.activations:
    processes.say(f'activations were {before}, and are {run.activations} from here on')


def check_data(run: Experiment, sources, workdir: Path):
  """Prints what the data of each stage are and what changed since the saved run.

  Raises UserError where the processes' data differ, or where data do not fit the run or the one saved in `workdir`.
  """
  for source in sources:
    processes.check_same('data', source.identity)
  source, wanted = sources[-1], run.method.num_classes
  provenance.check(source, run.config, wanted)
  path = workdir / 'config.json'
  saved = path.exists() and newest(configs.load_json(path)).get('data')
  changed = provenance.compare(source, saved[-1], wanted > 0) if saved else []
  for line in (provenance.describe(source), *changed):
    processes.say(line)


def restore(run: Experiment, checkpoints, mesh):
  """(state, step, meta) of the newest whole checkpoint, or None where there is none."""
  with _newer_said(checkpoints.workdir):
    found = checkpoints.restore(run.template(mesh))
    if found is None:
      return None
    state, step, meta = found
    configs.compare(run.config, meta['config'])  # config.json may have been edited
  if step > run.config.steps:
    raise UserError(f'the run is at step {step} already, past config.steps={run.config.steps}')
  return state, step, meta


def to_state(run: Experiment, saved: dict, mesh, seed_index=0) -> TrainState:
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


def read_generator(run: Experiment, place, mesh, *, step, weights: str, seed_index=0):
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
  with _newer_said(place):
    saved, step, meta = checkpoint.read(place, step)
    configs.compare(run.config, meta['config'])
  run_id(place, meta)
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


def generated(place, name: str) -> Path:
  """Where samples of a run go by default: into its workdir; of an exported file into the current folder."""
  place = Path(place)
  return Path(f'{place.stem}-{name}') if place.is_file() else place / 'generated' / name


def about(run: Experiment, seed_index: int) -> dict:
  """What a record or a picture says of its generator beside the usual: which of several it is; activations that are not
  float32; `trained_on`, the networks whose features it was trained on, which therefore cannot judge it.
  """
  seed = {'seed_index': seed_index} if run.config.seeds > 1 else {}
  kind = {'activations': run.activations} if run.activations != 'float32' else {}
  networks = run.method.trained_on
  return seed | kind | ({'trained_on': networks} if networks else {})


def load_frozen(run: Experiment, place: Path, nets=None) -> tuple:
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
  saved = saved_record(place).get('frozen', {}) if begun else {}
  for name in infos.keys() & saved.keys():
    there, here = saved[name].get('weights_sha256'), infos[name]['weights_sha256']
    if there != here:
      raise UserError(
        f'the run in {place} is trained on the weights of {infos[name]["network"]} with sha256 {there}, and those '
        f'here have {here}: bring back the file, or take another --workdir'
      )
  return {name: variables for name, (variables, _) in found.items()}, infos


def start(run: Experiment, mesh):
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


def _for_seeds(tree, run):
  """Host arrays once for each of several seeds."""
  count = run.config.seeds
  return jax.tree.map(lambda x: np.stack([x] * count), tree) if count > 1 else tree


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
