"""The core: a method is a list of stages; a stage is a list of phases; a phase is one loss and the networks it trains.

Nothing here knows a method, and nothing but this file knows Flax's `init` and `apply`.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ganjax import UserError, seeds
from ganjax.commandline import closest
from ganjax.devices import backend, sharding
from ganjax.media import augment
from ganjax.optim import averages


class TrainState(struct.PyTreeNode):
  """Everything that training changes, which is what a checkpoint holds. `ganjax.seeds` stacks several of them."""

  step: jax.Array  # int32 [], steps done
  key: jax.Array  # base PRNG key; never advanced, folded with step, phase and repeat
  params: dict  # network -> parameters
  stats: dict  # network -> every other collection: batch statistics, spectral norm vectors, ...
  opt: dict  # optimizer name -> optax state
  ema: dict  # network -> {'params', 'stats'}, averaged as `ema.step` says
  extra: dict  # arrays that a method owns: path-length mean, ADA probability, image pools


class Aux(NamedTuple):
  """What a loss returns beside its scalar."""

  state: TrainState  # its `stats` and `extra` are kept
  metrics: dict  # name -> scalar, named as they shall be logged
  carry: dict = {}  # arrays that later phases of the step find in their batch (CycleGAN: the generators' fakes)
  take: Any = None  # a boolean scalar: at False parameters and optimizer stay; of microbatches one True will do


class Phase(NamedTuple):
  """One optimizer update."""

  name: str  # 'D', 'G', 'D_r1'
  loss: Callable  # (state, batch, key) -> (scalar, Aux)
  nets: tuple  # the networks whose parameters it trains
  opt: str  # the optimizer's name
  every: int = 1  # run at steps divisible by it, loss times it (lazy regularization)
  repeat: bool = False  # run once for each batch of the step (n_critic), instead of once
  frozen: tuple = ()  # layers of `nets` that stay as they are: parts of a parameter's path, 'D/Conv_0' or 'Conv_0'


class Stage(NamedTuple):
  """A stretch of training with fixed shapes and phases."""

  phases: tuple
  sample: Callable  # (state, rows of `Method.rows`, **mode of `apply`) -> (samples, state)
  steps: int | float | None = None  # a count, a fraction of all steps, or None: those that are left
  data: dict = {}  # what differs from config.data, and batch_size
  reset_opt: bool = False  # start with fresh optimizer states
  rate: float = 1.0  # learning rates are so many times those of config.optim
  begin: Callable | None = None  # state -> state of the same shapes, where the stage starts


class Frozen(NamedTuple):
  """A network that is neither trained nor in the state, such as a feature extractor."""

  network: str  # which it is, of `ganjax.features`
  variables: dict  # {'params', 'stats'}: shapes
  load: Callable  # () -> (arrays of these shapes, what a record says of them)
  samples: bool = False  # whether samples need it, not the losses alone


class Derived(NamedTuple):
  """A field that is computed on the devices from other fields, such as a low-resolution copy of a picture."""

  kind: str  # a file of `ganjax.media`
  make: Callable  # (batch as losses see it, keys [B]) -> array [B, ...], as losses see it


class Styles(NamedTuple):
  """The style space w of a method. The tools of `ganjax.sampling` mix styles, move along them and search them.

  `Stage.sample` takes the output of `map` in place of the output of `Method.rows`.
  """

  map: Callable  # (state, rows, centre=None) -> rows with 'w' [n, L, W], a style a layer, in place of what it follows
  # from; a 'w' that is there already is kept. Truncation is done, towards `centre` [n, W], or else the mean style.
  affines: Callable  # state -> for each of the L layers the weights [W, C] that its style goes through first
  still: dict = {}  # options under which a sample follows from w alone: {'noise': 'constant'}


class Method(NamedTuple):
  nets: dict  # name -> Linen module of that name
  inputs: Callable  # batch -> {network: the arguments it is initialised with}
  rows: Callable  # (seeds int [n], examples {field: [n, ...]}, **options) -> inputs of `sample`, a row a seed
  stages: tuple
  n_critic: int = 1  # batches a step
  ema: tuple = ()  # networks that are averaged
  extra: dict = {}
  frozen: dict = {}  # name -> Frozen; losses find these networks in the state, beside those trained
  num_classes: int = 0  # of the labels that it needs of the data, or 0: none
  makes: str = 'image'  # the field of the data that samples are like
  examples: tuple = ()  # fields of the data that a sample starts from, as losses see them: ('source',)
  derived: dict = {}  # name -> Derived; losses find these fields in their batch, samples may start from them
  multiple: int | None = None  # divides the sides of pictures it starts from; None: of one size
  style: str = ''  # of `examples`, the pictures whose style samples take, where there are such
  tiled: bool = True  # whether a large one of them may be made in tiles
  options: dict = {}  # what `rows` may be told of samples, and the defaults: {'truncation': 1.0}
  styles: Styles | None = None  # of a method whose samples go by way of styles
  judge: Callable | None = (
    None  # (state, images, labels or None, key) -> D's logits, of images seen as in training
  )
  watch: dict = {}  # metric -> (limit, what it means that it stays at or above it)

  @property
  def phases(self) -> tuple:
    return tuple(phase for stage in self.stages for phase in stage.phases)

  @property
  def restores(self) -> bool:
    """Whether the source pictures are derived from the target's field, as in super-resolution.

    Then an output has its source's size (times the scale), and grey pictures stay grey.
    """
    return any(name in self.derived for name in self.examples)

  @property
  def trained_on(self) -> list:
    """Names of the feature networks in the losses. A score on one of them is flagged: it is no fair judge."""
    return sorted({net.network for net in self.frozen.values()})


class Span(NamedTuple):
  """Where a stage lies in training."""

  stage: Stage
  start: int  # first step
  stop: int  # one past the last
  batch_size: int
  start_images: int  # batch_size summed over the steps before `start`
  fields: dict = {}  # {name: media.Field} of its data; labels may be missing in the data themselves

  @property
  def source(self) -> dict:
    """The fields of config.data that this stage replaces, such as its resolution."""
    return {k: v for k, v in self.stage.data.items() if k != 'batch_size'}

  def nimg(self, step):
    """Images that training has counted before `step`: batch_size per step of G, whatever n_critic is.

    An int for an int. float32 for a traced step, because int32 would overflow after a million steps of 2,048.
    """
    before, steps = self.start_images, step - self.start
    if not isinstance(step, int):
      before, steps = jnp.float32(before), steps.astype(jnp.float32)
    return before + steps * self.batch_size


def spans(method: Method, steps: int, batch_size: int) -> tuple:
  """Lays the stages out over `steps`. A stage's length is a count, a fraction of `steps`, or None: the rest.

  Raises:
    UserError: the stages do not fill the steps exactly.
  """
  lengths = [
    round(s.steps * steps) if isinstance(s.steps, float) else s.steps for s in method.stages
  ]
  rest = steps - sum(n for n in lengths if n is not None)
  lengths = [rest if n is None else n for n in lengths]
  if sum(lengths) != steps or min(lengths) < 1:
    raise UserError(
      f'steps={steps} cannot be laid out over the stages, which came to {lengths} steps: all need 1 at least'
    )
  out, start, images = [], 0, 0
  for stage, length in zip(method.stages, lengths):
    size = stage.data.get('batch_size', batch_size)
    out.append(Span(stage, start, start + length, size, images))
    start, images = start + length, images + length * size
  return tuple(out)


def name_nets(nets: dict) -> dict:
  """Gives each module its network's name, by which `apply` finds its variables."""
  return {name: module.clone(name=name) for name, module in nets.items()}


def init(method: Method, optimizers: dict, key, batch: dict) -> TrainState:
  """The state at step 0. Keys [N] give a state of N seeds. Only the shapes of `batch` matter. Call it under jit."""
  if key.ndim:
    return jax.vmap(lambda key: init(method, optimizers, key, batch))(key)
  params, stats = {}, {}
  for name, args in method.inputs(batch).items():
    net_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    keys = dict(zip(('params', 'dropout', 'noise'), jax.random.split(net_key, 3)))
    variables = method.nets[name].init(keys, *args, train=False)
    params[name] = variables.pop('params', {})
    stats[name] = variables
  # Copies, since a buffer that stands in the state twice cannot be donated.
  average = {
    n: jax.tree.map(jnp.copy, {'params': params[n], 'stats': stats[n]}) for n in method.ema
  }
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=key,
    params=params,
    stats=stats,
    opt=init_opt(method, optimizers, params),
    ema=average,
    extra=jax.tree.map(jnp.asarray, method.extra),
  )


def init_opt(method: Method, optimizers: dict, params: dict) -> dict:
  """Fresh optimizer states. All phases of an optimizer must train the same networks."""
  nets = {}
  for phase in method.phases:
    if set(nets.setdefault(phase.opt, phase.nets)) != set(phase.nets):
      raise ValueError(f'phases of optimizer {phase.opt!r} train different networks')
  return {opt: optimizers[opt].init({n: params[n] for n in names}) for opt, names in nets.items()}


def apply(net, state, *args, train: bool, method=None, key=None, standing=False, **kwargs):
  """Runs a network with the parameters of a state. Losses, sampling, evaluation and export all call networks so.

  Args:
    net: a Linen module named by `name_nets`.
    state: TrainState; its `params` and `stats` are read.
    *args: inputs of the module; keyword arguments too.
    train: True: normalise by this batch's statistics and return updated ones. False: normalise by the running
      statistics and change nothing.
    method: a Linen method of the module other than `__call__` (`'map'`, `'synthesize'`).
    key: for modules that draw (dropout, noise).
    standing: with `train`, also sums batch statistics up over calls; see `layers.norm.use_standing`.

  Returns:
    (output in float32 or wider, state with the new statistics). To keep the old statistics, drop the new state.
  """
  keys = None if key is None else dict(zip(('dropout', 'noise'), jax.random.split(key)))
  stats = state.stats[net.name]
  variables = {'params': state.params[net.name], **stats}
  call = dict(train=train, method=method, rngs=keys, **kwargs)
  if not train:
    return _widen(net.apply(variables, *args, **call)), state
  mutable = [*stats, *(['standing'] if standing else [])]
  output, new = net.apply(variables, *args, mutable=mutable, **call)
  return _widen(output), state.replace(stats={**state.stats, net.name: {**stats, **new}})


def _widen(tree):
  """Widens bfloat16 and float16 outputs to float32, in which losses and penalties are computed."""
  return jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree)


def join(state: TrainState, frozen: dict) -> TrainState:
  """The state with the variables of networks that are not trained, {name: {'params', 'stats'}}, beside its own."""
  pick = lambda kind: {name: variables[kind] for name, variables in frozen.items()}
  return state.replace(
    params={**state.params, **pick('params')}, stats={**state.stats, **pick('stats')}
  )


def averaged(state: TrainState) -> TrainState:
  """The state with averaged parameters and statistics in place of the trained ones, for networks with an average."""
  pick = lambda kind: {name: average[kind] for name, average in state.ema.items()}
  return state.replace(
    params={**state.params, **pick('params')}, stats={**state.stats, **pick('stats')}
  )


def update_phase(
  phase: Phase, optimizer, state: TrainState, batch: dict, key, microbatches=1, lazy=1.0, rate=1.0
):
  """One optimizer update: gradients for `phase.nets` alone. Returns (state, metrics, carry).

  `microbatches` saves memory: the batch is cut into that many parts, and the gradient is the mean of the parts'
  gradients. Statistics and `extra` pass from part to part. Batch norm, minibatch deviations and contrastive losses
  then see one part at a time. `lazy` is the phase's `lazy_ratio`, `rate` the stage's learning-rate factor.
  """
  trained = {name: state.params[name] for name in phase.nets}

  def part(kept, batch_and_key):
    """Gradients of one part; `kept` are statistics and `extra`."""
    batch, key = batch_and_key

    def loss(trained):
      stats, extra = kept
      trained = _of_layers(jax.lax.stop_gradient, trained, phase.frozen)
      now = state.replace(params={**state.params, **trained}, stats=stats, extra=extra)
      value, aux = phase.loss(now, batch, key)
      return value * phase.every, aux

    grads, aux = jax.grad(loss, has_aux=True)(trained)
    return (aux.state.stats, aux.state.extra), (grads, (aux.metrics, aux.take), aux.carry)

  kept = (state.stats, state.extra)
  if microbatches == 1:
    kept, (grads, (metrics, take), carry) = part(kept, (batch, key))
  else:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(microbatches))
    parts = jax.tree.map(lambda x: sharding.deal(x, microbatches), batch)
    # Each part adds to one sum, so that there is one gradient beside it, whatever the number of parts.
    wide = lambda x: jnp.promote_types(x.dtype, jnp.float32)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, wide(x)), trained)

    def add(carried, batch_and_key):
      kept, total = carried
      kept, (grads, found, carry) = part(kept, batch_and_key)
      return (kept, jax.tree.map(jnp.add, total, grads)), (found, carry)

    (kept, total), ((metrics, take), carry) = backend.fold(add, (kept, zeros), (parts, keys))
    grads = jax.tree.map(lambda t, x: (t / microbatches).astype(x.dtype), total, trained)
    metrics = jax.tree.map(lambda x: jnp.mean(x, 0), metrics)
    take = None if take is None else jnp.any(take)
    carry = jax.tree.map(sharding.collect, carry)
  how = dict(step=state.step, lazy=lazy, rate=rate)
  changes, opt = optimizer.update(grads, state.opt[phase.opt], trained, **how)
  changes = _of_layers(jnp.zeros_like, changes, phase.frozen)
  if take is not None:
    changes = jax.tree.map(lambda x: jnp.where(take, x, 0), changes)
    opt = jax.tree.map(lambda new, old: jnp.where(take, new, old), opt, state.opt[phase.opt])
  suffix = '' if phase.every == 1 else f'_{phase.name}'
  norms = {f'grad_norm_{name}{suffix}': optax.tree.norm(grads[name]) for name in phase.nets}
  state = state.replace(
    params={**state.params, **optax.apply_updates(trained, changes)},
    stats=kept[0],
    extra=kept[1],
    opt={**state.opt, phase.opt: opt},
  )
  return state, {**metrics, **norms}, carry


def _of_layers(change, params, layers: tuple):
  """Applies `change` to the arrays of the named layers of {network: parameters}. Other arrays stay.

  Raises:
    UserError: a network has no layer of that name.
  """
  if not layers:
    return params
  name = lambda path: f'/{jax.tree_util.keystr(path, simple=True, separator="/")}/'
  paths = [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  for one in layers:
    if not any(f'/{one}/' in path for path in paths):
      known = sorted({'/'.join(path.split('/')[1:3]) for path in paths})
      raise UserError(
        f'there is no layer {one!r} to freeze{closest(one, known)}; there are {", ".join(known)}'
      )
  chosen = lambda path: any(f'/{one}/' in name(path) for one in layers)
  return jax.tree.map_with_path(lambda path, x: change(x) if chosen(path) else x, params)


def active(stage: Stage, step: int) -> tuple:
  """The names of the phases that run at `step`: a function of the step alone, so a resume finds the same."""
  return tuple(phase.name for phase in stage.phases if step % phase.every == 0)


def lazy_ratio(stage: Stage, opt: str) -> float:
  """The factor k / (k + 1) of an optimizer with a main phase and a regularizer every k steps in this stage; else 1.

  Source: StyleGAN2, arXiv:1912.04958, appendix B. Such an optimizer makes 1 + 1/k updates per step. The factor scales
  its learning rate and the logarithms of its betas.
  """
  every = [phase.every for phase in stage.phases if phase.opt == opt]
  return every.count(min(every)) / min(every) / sum(1 / k for k in every)


def make_update(
  method: Method,
  span: Span,
  optimizers: dict,
  *,
  kinds=None,
  flip=False,
  ema=None,
  microbatches=1,
  own_batches=False,
  unrolled=None,
):
  """The jitted training step of one stage.

  Args:
    method, span, optimizers: what to train.
    kinds: {field of a batch: its kind}, see `augment.prepare`.
    flip: mirror examples with probability 1/2.
    ema: None, or {'half_life_images', 'rampup', 'start_steps'} of `ema.decay`.
    microbatches: parts that a phase's gradient is taken over, see `update_phase`.
    own_batches: each of several seeds has batches of its own, [N, B, ...]; else all see the same.
    unrolled: how several seeds are trained, see `seeds.each`; None: as `seeds.unrolls` says.

  Returns:
    update(state, batches, frozen, phases, steps=1) -> (state, metrics). `state` is donated: do not use it again.
    `batches` is a tuple of `method.n_critic` batches; phases that do not repeat see the last. `frozen` is the variables
    of `method.frozen` by name, placed. `phases` is `active(...)`, static: each pattern of lazy phases is compiled once
    and holds no dead code. `metrics` are scalars, [N] of several seeds; those of a repeated phase are averaged.
    `steps`, static, makes so many steps of the same phases in one program: arrays of `batches` and `metrics` then begin
    with that axis.
  """

  def look(batch, key):
    """A batch as losses see it."""
    batch = augment.prepare(batch, key, flip=flip, kinds=kinds)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(next(iter(batch.values()))))
    return batch | derive(method, batch, keys)

  def train(state, batches, frozen, phases):
    # Frozen networks join the trained ones for the length of the step, so that a loss calls both alike.
    own = state
    state = join(own, frozen)
    step_key = jax.random.fold_in(state.key, state.step)
    data_key = jax.random.fold_in(step_key, len(span.stage.phases))
    batches = [
      look(batch, jax.random.fold_in(data_key, number)) for number, batch in enumerate(batches)
    ]
    metrics, carry = {}, {}
    for number, phase in enumerate(span.stage.phases):
      if phase.name not in phases:
        continue
      seen, key = [], jax.random.fold_in(step_key, number)
      for r, batch in enumerate(batches if phase.repeat else batches[-1:]):
        seen_batch, own_key = {**batch, **carry}, jax.random.fold_in(key, r)
        with jax.named_scope(phase.name):  # names what a profile or a compiled program shows
          state, found, carried = update_phase(
            phase,
            optimizers[phase.opt],
            state,
            seen_batch,
            own_key,
            microbatches,
            lazy_ratio(span.stage, phase.opt),
            span.stage.rate,
          )
        seen.append(found)
      carry |= carried
      if metrics.keys() & found.keys():
        raise ValueError(
          f'phase {phase.name!r} repeats the metrics {metrics.keys() & found.keys()}'
        )
      metrics |= jax.tree.map(lambda *x: sum(x) / len(x), *seen)

    if ema:
      factor = averages.decay(span.nimg(state.step), span.batch_size, step=state.step, **ema)
      new = {n: {'params': state.params[n], 'stats': state.stats[n]} for n in method.ema}
      state = state.replace(ema={n: averages.step(state.ema[n], new[n], factor) for n in new})
    state = state.replace(
      step=state.step + 1,
      params={n: state.params[n] for n in own.params},
      stats={n: state.stats[n] for n in own.stats},
    )
    return state, metrics

  def update(state, batches, frozen, phases, steps=1):
    one = lambda state, batches: train(state, batches, frozen, phases)
    how = seeds.unrolls(state) if unrolled is None else unrolled

    def step(state, batches):
      return sharding.whole(seeds.each(one, state, batches, own=own_batches, unrolled=how))

    return step(state, batches) if steps == 1 else jax.lax.scan(step, state, batches, steps)

  return jax.jit(
    update,
    static_argnames=('phases', 'steps'),
    donate_argnames='state',
    compiler_options=backend.update_compilation(),
  )


def derive(method: Method, batch: dict, keys) -> dict:
  """The method's derived fields of a batch: {name: array [B, ...]}. `keys` [B] has one key per example."""
  return {name: one.make(batch, keys) for name, one in method.derived.items()}


def all_finite(state: TrainState):
  """A boolean scalar: no NaN or infinity in any floating array of the state."""
  leaves = [
    x for x in jax.tree.leaves(state.replace(key=())) if jnp.issubdtype(x.dtype, jnp.floating)
  ]
  return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def count(params) -> int:
  """Numbers in a pytree of (abstract) arrays."""
  return sum(x.size for x in jax.tree.leaves(params))
