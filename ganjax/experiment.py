"""An experiment: networks, method, stages and optimizers built from a configuration. Every command starts here."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from ganjax import UserError, component, data, media, run_record, seeds
from ganjax import config as configs
from ganjax.data import folder
from ganjax.devices import backend, sharding
from ganjax.method import Method, Span, Stage, TrainState, name_nets, spans
from ganjax.optim import optimizers as optim
from ganjax.optim import schedules
from ganjax.update import count, derive, init, make_update


class _Fields(dict):
  """The fields of a data set, {name: media.Field}. One that it lacks is a UserError, which says who asked."""

  def __init__(self, fields, dataset, asker):
    super().__init__(fields)
    self.dataset, self.asker = dataset, asker

  def __missing__(self, name):
    raise UserError(
      f'data.dataset={self.dataset} has no {name}, which {self.asker} needs; it has {", ".join(self)}'
    )


@contextlib.contextmanager
def _other_split_said(field, split, other):
  """Adds to an error over a split, which is that of a recipe's own data, how one's own are read: by another."""
  try:
    yield
  except UserError as error:
    if split == other or split not in str(error):
      raise
    hint = f'for data without {field}={split} say --config.{field}={other}'
    raise UserError(f'{error}; {hint}') from error


class Experiment(NamedTuple):
  config: ConfigDict
  method: Method
  spans: tuple[Span, ...]  # where each stage lies, see method.Span
  optimizers: dict[str, optax.GradientTransformationExtraArgs]

  def span_at(self, step: int) -> Span:
    """The span that `step` belongs to; the last one at the end of training."""
    return next((s for s in self.spans if step < s.stop), self.spans[-1])

  def stage_after(self, step: int) -> Stage:
    """The stage that made the state of `step`, whose pictures it makes."""
    return self.span_at(step - 1).stage

  def seen(self, span: Span) -> data.Source:
    """The data that a stage trains on."""
    with _other_split_said('data.split', self.config.data.split, 'train'):
      return data.build(**{**self.config.data, **span.source})

  def held_out(self, span: Span) -> data.Source:
    """The data of `config.eval.split`: the reals of evaluations, and the examples that samples start from."""
    config = self.config
    split = config.eval.split or config.data.split
    with _other_split_said('eval.split', split, config.data.split):
      source = data.whole({**config.data, **span.source}, split)
    own = {name: span.fields[name] for name in self.method.derived}
    return source.extend(own, _derive(self.method, source)) if own else source

  @property
  def activations(self) -> str:
    """The dtype of activations; `dtype='auto'` in the configuration leaves it to the devices."""
    return getattr(next(iter(self.method.nets.values())), 'dtype', 'float32')

  @property
  def key(self) -> jax.Array:
    """The PRNG key that training starts from; an array of keys [seeds] where config.seeds > 1."""
    keys = [jax.random.key(self.config.seed + k) for k in range(self.config.seeds)]
    return jnp.stack(keys) if len(keys) > 1 else keys[0]

  def init(self, key: jax.Array) -> TrainState:
    """The state at step 0 from a key, or from an array of keys [seeds]. Call it under jit or eval_shape.

    Raises:
      UserError: networks or batches too large for any machine.
    """
    batch = example(self.spans[-1])
    check_size(f'a batch of config.batch_size={self.config.batch_size}', batch, 2**40)
    state = init(self.method, self.optimizers, key, batch)
    check_size('config.networks: the parameters', state.params, 2**36)  # whole on each device
    return state

  def template(self, mesh: jax.sharding.Mesh) -> TrainState:
    """Shapes and placement of the state, for a restore."""
    shapes = jax.eval_shape(self.init, self.key)
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.replicated(mesh))
    return jax.tree.map(place, shapes)

  def update(self, span: Span) -> jax.stages.Wrapped:
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

  def images_per_step(self, span: Span) -> int:
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


def lay_out(method: Method, config: ConfigDict) -> tuple[Span, ...]:
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


def check_size(what: str, tree: Any, most: int) -> None:
  """Raises UserError where arrays (or traced ones) have `most` bytes or more together."""
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
  if size >= most:
    raise UserError(f'{what} would take {size / 2**30:,.0f} GiB: take fewer or smaller ones')


def example(span: Span) -> dict[str, jax.Array]:
  """A batch of zeros for a stage, with the shapes and dtypes that losses see (after `augment.prepare`)."""
  zeros = lambda field: jnp.zeros((span.batch_size, *field.shape), field.dtype)
  return {name: media.find(f.kind).to_float(zeros(f)) for name, f in span.fields.items()}


def load(place: str | Path) -> Experiment:
  """The Experiment of a trained run.

  Args:
    place: the run's workdir, or its generator in a file (`ganjax export --out NAME.safetensors`).

  Raises:
    UserError: nothing is there, or no run.
  """
  if not Path(place).exists():
    raise UserError(f'workdir {place} is not there')
  with run_record.newer_said(place):
    return build(run_record.saved_config(place))


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
