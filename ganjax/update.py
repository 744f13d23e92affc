"""The core: starts the state of a method, and makes its jitted training step. Nothing here knows a method."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ganjax import UserError, seeds
from ganjax.devices import backend, sharding
from ganjax.dtypes import wide
from ganjax.media import augment
from ganjax.method import Method, Phase, Span, Stage, TrainState, join
from ganjax.optim import averages
from ganjax.wording import closest


def init(
  method: Method,
  optimizers: dict[str, optax.GradientTransformationExtraArgs],
  key: jax.Array,
  batch: dict,
) -> TrainState:
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


def init_opt(
  method: Method, optimizers: dict[str, optax.GradientTransformationExtraArgs], params: dict
) -> dict:
  """Fresh optimizer states. All phases of an optimizer must train the same networks."""
  nets = {}
  for phase in method.phases:
    if set(nets.setdefault(phase.opt, phase.nets)) != set(phase.nets):
      raise ValueError(f'phases of optimizer {phase.opt!r} train different networks')
  return {opt: optimizers[opt].init({n: params[n] for n in names}) for opt, names in nets.items()}


def update_phase(
  phase: Phase,
  optimizer: optax.GradientTransformationExtraArgs,
  state: TrainState,
  batch: dict,
  key: jax.Array,
  microbatches: int = 1,
  lazy: float = 1.0,
  rate: float = 1.0,
) -> tuple[TrainState, dict[str, jax.Array], dict]:
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
    parts = jax.tree.map(lambda x: sharding.to_parts(x, microbatches), batch)
    # Each part adds to one sum, so that there is one gradient beside it, whatever the number of parts.
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, wide(x.dtype)), trained)

    def add(carried, batch_and_key):
      kept, total = carried
      kept, (grads, found, carry) = part(kept, batch_and_key)
      return (kept, jax.tree.map(jnp.add, total, grads)), (found, carry)

    (kept, total), ((metrics, take), carry) = backend.fold(add, (kept, zeros), (parts, keys))
    grads = jax.tree.map(lambda t, x: (t / microbatches).astype(x.dtype), total, trained)
    metrics = jax.tree.map(lambda x: jnp.mean(x, 0), metrics)
    take = None if take is None else jnp.any(take)
    carry = jax.tree.map(sharding.join_parts, carry)
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


def active(stage: Stage, step: int) -> tuple[str, ...]:
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
  optimizers: dict[str, optax.GradientTransformationExtraArgs],
  *,
  kinds: dict[str, str] | None = None,
  flip: bool = False,
  ema: dict[str, Any] | None = None,
  microbatches: int = 1,
  own_batches: bool = False,
  unrolled: bool | None = None,
) -> jax.stages.Wrapped:
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
    and holds no dead code. `metrics` are scalars, [N] of several seeds; metrics of a repeated phase are averaged.
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
      return sharding.keep_whole(seeds.each(one, state, batches, own=own_batches, unrolled=how))

    return step(state, batches) if steps == 1 else jax.lax.scan(step, state, batches, steps)

  return jax.jit(
    update,
    static_argnames=('phases', 'steps'),
    donate_argnames='state',
    compiler_options=backend.update_compilation(),
  )


def derive(method: Method, batch: dict, keys: jax.Array) -> dict[str, jax.Array]:
  """The method's derived fields of a batch: {name: array [B, ...]}. `keys` [B] has one key per example."""
  return {name: one.make(batch, keys) for name, one in method.derived.items()}


def all_finite(state: TrainState) -> jax.Array:
  """A boolean scalar: no NaN or infinity in any floating array of the state."""
  leaves = [
    x for x in jax.tree.leaves(state.replace(key=())) if jnp.issubdtype(x.dtype, jnp.floating)
  ]
  return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def count(params: Any) -> int:
  """Numbers in a pytree of (abstract) arrays."""
  return sum(x.size for x in jax.tree.leaves(params))
