"""What a method is: a list of stages; a stage is a list of phases; a phase is one loss and the networks it trains.

Losses and samples call networks by `apply`, on the state that training changes.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from ganjax import UserError
from ganjax.dtypes import widen


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
  metrics: dict[str, jax.Array]  # name -> scalar, named as they shall be logged
  carry: dict = {}  # arrays that later phases of the step find in their batch (CycleGAN: the generators' fakes)
  # A boolean scalar: at False parameters and optimizer stay; of microbatches one True will do.
  take: jax.Array | None = None


class Phase(NamedTuple):
  """One optimizer update."""

  name: str  # 'D', 'G', 'D_r1'
  loss: Callable  # (state, batch, key) -> (scalar, Aux)
  nets: tuple[str, ...]  # the networks whose parameters it trains
  opt: str  # the optimizer's name
  every: int = 1  # run at steps divisible by it, loss times it (lazy regularization)
  repeat: bool = False  # run once for each batch of the step (n_critic), instead of once
  # Layers of `nets` that stay as they are: parts of a parameter's path, 'D/Conv_0' or 'Conv_0'.
  frozen: tuple[str, ...] = ()


class Stage(NamedTuple):
  """A stretch of training with fixed shapes and phases."""

  phases: tuple[Phase, ...]
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
  nets: dict[str, nn.Module]  # name -> Linen module of that name
  inputs: Callable  # batch -> {network: the arguments it is initialised with}
  rows: Callable  # (seeds int [n], examples {field: [n, ...]}, **options) -> inputs of `sample`, a row a seed
  stages: tuple[Stage, ...]
  n_critic: int = 1  # batches a step
  ema: tuple[str, ...] = ()  # networks that are averaged
  extra: dict = {}
  frozen: dict[str, Frozen] = {}  # losses find these networks in the state, beside those trained
  num_classes: int = 0  # of the labels that it needs of the data, or 0: none
  makes: str = 'image'  # the field of the data that samples are like
  # Fields of the data that a sample starts from, as losses see them: ('source',).
  examples: tuple[str, ...] = ()
  derived: dict[str, Derived] = {}  # losses find these in their batch, samples may start from them
  multiple: int | None = None  # divides the sides of pictures it starts from; None: of one size
  style: str = ''  # of `examples`, the pictures whose style samples take, where there are such
  tiled: bool = True  # whether a large one of them may be made in tiles
  options: dict = {}  # what `rows` may be told of samples, and the defaults: {'truncation': 1.0}
  styles: Styles | None = None  # of a method with a style space w
  judge: Callable | None = (
    None  # (state, images, labels or None, key) -> D's logits, of images seen as in training
  )
  watch: dict = {}  # metric -> (limit, what it means that it stays at or above it)

  @property
  def phases(self) -> tuple[Phase, ...]:
    return tuple(phase for stage in self.stages for phase in stage.phases)

  @property
  def restores(self) -> bool:
    """Whether the source pictures are derived from the target's field, as in super-resolution.

    Then an output has its source's size (times the scale), and grey pictures stay grey.
    """
    return any(name in self.derived for name in self.examples)

  @property
  def trained_on(self) -> list[str]:
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
  def source(self) -> dict[str, Any]:
    """The fields of config.data that this stage replaces, such as its resolution."""
    return {k: v for k, v in self.stage.data.items() if k != 'batch_size'}

  def nimg(self, step: int | jax.Array) -> int | jax.Array:
    """Images that training has counted before `step`: batch_size per step of G, whatever n_critic is.

    An int for an int. float32 for a traced step, because int32 would overflow after a million steps of 2,048.
    """
    before, steps = self.start_images, step - self.start
    if not isinstance(step, int):
      before, steps = jnp.float32(before), steps.astype(jnp.float32)
    return before + steps * self.batch_size


def spans(method: Method, steps: int, batch_size: int) -> tuple[Span, ...]:
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


def named(key: jax.Array, purpose: str) -> jax.Array:
  """A key for the purpose of this name, such as 'dropout'."""
  return jax.random.fold_in(key, zlib.crc32(purpose.encode()))


def name_nets(nets: dict[str, nn.Module]) -> dict[str, nn.Module]:
  """Gives each module its network's name, by which `apply` finds its variables."""
  return {name: module.clone(name=name) for name, module in nets.items()}


def apply(
  net: nn.Module,
  state: TrainState,
  *args: Any,
  train: bool,
  method: str | Callable | None = None,
  key: jax.Array | None = None,
  standing: bool = False,
  **kwargs: Any,
) -> tuple[Any, TrainState]:
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
    return jax.tree.map(widen, net.apply(variables, *args, **call)), state
  mutable = [*stats, *(['standing'] if standing else [])]
  output, new = net.apply(variables, *args, mutable=mutable, **call)
  state = state.replace(stats={**state.stats, net.name: {**stats, **new}})
  return jax.tree.map(widen, output), state


def join(state: TrainState, frozen: dict) -> TrainState:
  """The state with the variables of frozen networks, {name: {'params', 'stats'}}, added to its own."""
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
