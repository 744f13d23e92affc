"""Several steps in one dispatch make the same training, whatever cuts it; and what shows what a run does."""

import collections
import contextlib
import importlib
import json
import os
import re
import signal
import time

import command
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, data, experiment, run_record, run_state
from ganjax import config as configs
from ganjax.devices import backend, sharding
from ganjax.losses import regularizers
from ganjax.method import Aux, Method, Phase, Span, Stage, apply, name_nets, spans
from ganjax.optim import optimizers as optim
from ganjax.training import diagnose, dispatch, loop, signals
from ganjax.training.feed import Feed
from ganjax.update import active, init, make_update
from ganjax.workdir import checkpoint

UNTIMED = ('images_per_second', 'compile_seconds', 'peak_host_memory_bytes')


def configure(**fields):
  """An MLP in float64 on 40 pictures of 8 pixels, with an average and decaying rates, n_critic 2 and a lazy penalty."""
  config = configs.base('mlp')
  config.update(steps=23, batch_size=8, steps_per_dispatch=4)
  config.update(log_every_steps=8, sample_every_steps=20, checkpoint_every_steps=10)
  config.data.update(
    dataset='folder', data_dir=str(command.pictures()), resolution=8, cache=False, flip=True
  )
  config.networks = dict(name='mlp', width=10, dtype='float64', param_dtype='float64')
  config.method = dict(
    name='gan',
    z_dim=4,
    loss='non_saturating',
    n_critic=2,
    penalties={'r1': 1.0},
    penalties_every=8,
  )
  config.optim = dict(G=configs.adam(lr=1e-3, decay='linear'), D=configs.adam(lr=1e-3))
  config.ema.update(half_life_images=50, rampup=0.5)
  config.update_from_flattened_dict(fields)
  return config


# No penalty, which takes long to compile, and no pattern of phases but one.
PLAIN = {'method.penalties': {}, 'method.penalties_every': 1}
SMALL = {**PLAIN, 'method.n_critic': 1}
# G's products overflow at its second step.
OVERFLOWS = {'optim.G.lr': 1e200, 'optim.G.decay': 'constant'}


# Which steps go together.


def starts(config, begin=0):
  """The dispatches of a run that begins at `begin`, as {first step: steps}."""
  run, found, step = experiment.build(config), {}, begin
  while step < config.steps:
    found[step] = dispatch.steps_at(run, run.span_at(step), 1, step)
    step += found[step]
  assert step == config.steps
  return found


def test_steps_go_together_where_nothing_comes_between():
  assert starts(configure(steps_per_dispatch=1)) == dict.fromkeys(range(23), 1)
  # The end does not divide, and checkpoints come at 10 and 20.
  found = starts(configure(**PLAIN))
  assert [s for s, n in found.items() if n == 4] == [0, 4, 12, 16]
  # The penalty of every eighth step takes its dispatch apart.
  assert [s for s, n in starts(configure()).items() if n == 4] == [4, 12]
  cuts = {
    'log_every_steps': 6,
    'sample_every_steps': 6,
    'checkpoint_every_steps': 6,
    'eval.every_steps': 6,
  }
  never = dict.fromkeys(('log_every_steps', 'sample_every_steps', 'checkpoint_every_steps'), 100)
  for name, number in cuts.items():
    found = starts(configure(**{**PLAIN, **never, name: number}))
    assert [s for s, n in found.items() if n == 4] == [0, 8, 12], name
  found = starts(configure(**PLAIN, **never, profile_steps='5:14'))
  assert [s for s, n in found.items() if n == 4] == [0, 8, 16]
  assert set(starts(configure(debug_nans=True)).values()) == {1}


def test_stages_end_between_dispatches():
  phases = (Phase('D', None, ('D',), 'D'), Phase('G', None, ('G',), 'G'))
  run = experiment.build(
    configure(log_every_steps=100, sample_every_steps=100, checkpoint_every_steps=100)
  )
  first, second = (
    Span(Stage(phases, None), start, stop, 8, 0, run.spans[0].fields)
    for start, stop in ((0, 9), (9, 23))
  )
  at = lambda span: [dispatch.steps_at(run, span, 1, s) for s in range(span.start, span.stop)]
  assert at(first) == [4, 1, 1, 1, 4, 1, 1, 1, 1]
  assert at(second) == [1, 1, 1, 4, 1, 1, 1, 4, 1, 1, 1, 1, 1, 1]


def test_long_steps_go_alone_on_accelerators(monkeypatch):
  """Ten small steps together; fewer where their pictures would fill the device while they wait."""
  monkeypatch.setattr(backend, 'platform', lambda: 'tpu')
  mib = 2**20
  found = {n: backend.steps_per_dispatch(n * mib) for n in (0.8, 0.9, 1.6, 1.7, 4, 4.1, 24)}
  assert found == {0.8: 10, 0.9: 5, 1.6: 5, 1.7: 2, 4: 2, 4.1: 1, 24: 1}
  # 128 pictures of 32 x 32 are 0.4 MiB: 24 seeds that share them take ten steps, with batches of their own five. 2,048
  # of 128 x 128 are 96 MiB, over 8 devices or over 256.
  own = {'seeds': 24, 'data.seed': tuple(range(24))}
  for name, fields, devices, first in (
    ('dcgan_cifar', {}, 8, 10),
    ('dcgan_cifar', {'seeds': 24}, 8, 10),
    ('dcgan_cifar', own, 8, 5),
    ('dcgan_cifar', own, 1, 1),
    ('biggan_imagenet128', {}, 8, 1),
    ('biggan_imagenet128', {}, 256, 10),
  ):
    config = importlib.import_module(f'configs.{name}').get_config()
    with config.ignore_type():
      config.update_from_flattened_dict(fields)
    run = experiment.build(config)
    assert dispatch.steps_at(run, run.spans[0], devices, 0) == first
  monkeypatch.setattr(backend, 'platform', lambda: 'cpu')
  assert backend.steps_per_dispatch(1) == 1


def test_programs_of_a_stage_have_their_share_of_its_steps():
  shares = lambda config: dispatch.programs(run := experiment.build(config), run.spans[0], 1)
  far = {f'{what}_every_steps': 80 for what in ('log', 'sample', 'checkpoint')}
  plain, lazy = ('D', 'G'), ('D', 'D_penalty', 'G')
  config = configure(**PLAIN, **far, steps=1000, steps_per_dispatch=10)
  assert shares(config) == {(10, plain): 1}
  # Of 80 steps, whole tens begin at 20, 50 and 70: the others hold a multiple of 16.
  config = configure(**far, steps=1000, steps_per_dispatch=10)
  config.method.penalties_every = 16
  assert shares(config) == {(1, lazy): 5 / 80, (1, plain): 45 / 80, (10, plain): 30 / 80}
  # A log line at every 6th of 12 steps: 0 to 3 and 8 to 11 go together.
  config = configure(**{**PLAIN, **far, 'log_every_steps': 6}, steps=240)
  assert shares(config) == {(4, plain): 2 / 3, (1, plain): 1 / 3}
  assert shares(configure(**PLAIN, steps=3)) == {(1, plain): 1}  # shorter than its period


def test_resumed_runs_dispatch_what_undisturbed_ones_do():
  whole = starts(configure())
  for step in whole:
    assert starts(configure(), step) == {s: n for s, n in whole.items() if s >= step}
  changed = configure(steps_per_dispatch=8, profile_steps='3:5', debug_nans=True)
  lines = configs.compare(changed, run_record.to_json(configure()))
  assert 'changed on resume: steps_per_dispatch 4 -> 8' in lines and len(lines) == 3


def test_devices_decide_where_the_config_does_not(monkeypatch):
  config = configure(steps_per_dispatch=None, log_every_steps=5, **PLAIN)
  assert set(starts(config).values()) == {1}
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  assert set(starts(config).values()) == {1}
  config.log_every_steps = 10
  assert starts(config) == {0: 10, 10: 10, 20: 1, 21: 1, 22: 1}


# The update.


def place(rows, mesh, several):
  """Pictures [steps, n_critic, ...] as the tuples of batches of each step, and as those of all steps at once."""
  axis = 1 if several else 0
  batch = lambda x, axis: sharding.place_batch({'image': x}, mesh, axis)
  single = [tuple(batch(x, axis) for x in step) for step in rows]
  return single, tuple(batch(rows[:, r], axis + 1) for r in range(rows.shape[1]))


@pytest.mark.parametrize('seeds', [2])
def test_steps_in_one_program_are_the_same_steps(seeds):
  """In float64 on 4 devices: the state, what a method keeps, metrics of every step; seeds of orders of their own."""
  config = configure(seeds=seeds, **PLAIN)
  config.method.lecam = dict(weight=0.3, decay=0.9, start_steps=2)
  config.data.seed = (3, 4) if seeds == 2 else 3
  mesh, shape = sharding.make_mesh(), (4, 2, *[2] * (seeds - 1), 8, 8, 8, 3)
  rows = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  with jax.enable_x64(True), jax.set_mesh(mesh):
    run = experiment.build(config)
    update, phases = run.update(run.spans[0]), active(run.spans[0].stage, 0)
    batches, stacked = place(rows, mesh, seeds > 1)
    one, four = (run_state.start(run, mesh)[0] for _ in range(2))
    seen = []
    for batch in batches:
      one, metrics = update(one, batch, {}, phases=phases)
      seen.append(metrics)
    old = jax.device_get(four.params)
    four, metrics = update(four, stacked, {}, phases=phases, steps=4)
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(four))
  words = lambda state: state.replace(key=jax.random.key_data(state.key))
  expected = jax.device_get((words(one), jax.tree.map(lambda *x: np.stack(x), *seen)))
  found = jax.device_get((words(four), metrics))
  assert jax.tree.structure(expected) == jax.tree.structure(found)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found)):
    name = jax.tree_util.keystr(path)
    assert x.dtype == y.dtype and x.shape == y.shape and np.isfinite(x).all(), name
    np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12, err_msg=name)
  assert (np.ravel(four.step) == 4).all()
  kernels = [jax.tree.leaves(tree)[1] for tree in (old, found[0].params)]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-4


class Rows:
  """A source whose pictures are their own numbers."""

  num_examples = 50

  def __init__(self):
    self.reads = 0

  def rows(self, seed, start, count):
    return data.indices(seed, start, count, self.num_examples)

  def read_rows(self, rows):
    self.reads += 1
    return {'image': np.tile(np.asarray(rows, np.uint8)[:, None, None, None], (1, 8, 8, 3))}


def test_feed_stacks_the_same_batches():
  """Of two batches a step, and of several orders; split over the devices along the batch."""
  (span,), mesh = experiment.build(configure()).spans, sharding.make_mesh()
  plan = {0: 1, 1: 1, 2: 4, 6: 1, 7: 1, 8: 4}
  for seed in 5, (5, 6):
    single = Feed(Rows(), span, 2, seed, mesh, 0)
    stacked = Feed(Rows(), span, 2, seed, mesh, 0, steps_at=lambda step: plan.get(step, 1))
    for steps in plan.values():
      expected = [single.next() for _ in range(steps)]
      found = stacked.next()
      assert len(found) == 2
      for r, batch in enumerate(found):
        want = np.stack([step[r]['image'] for step in expected])
        np.testing.assert_array_equal(batch['image'], want if steps > 1 else want[0])
        axis = (steps > 1) + (seed != 5)
        shard = batch['image'].sharding.shard_shape(batch['image'].shape)
        assert shard[axis] == 2 and shard[:axis] == batch['image'].shape[:axis]
    single.close()
    stacked.close()


@pytest.mark.slow
def test_nothing_moves_between_host_and_devices_within_a_dispatch():
  """Batches are there before they are asked for; the update runs where every transfer that is not asked for fails."""
  kinds = {f'networks.{kind}': 'float32' for kind in ('dtype', 'param_dtype')}
  config, source, mesh = configure(**PLAIN, **kinds), Rows(), sharding.make_mesh()
  run = experiment.build(config)
  (span,) = run.spans
  phases, steps_at = active(span.stage, 0), lambda step: 4 if step % 8 == 0 else 1
  feed = Feed(source, span, 2, 0, mesh, 0, steps_at=steps_at)
  with jax.set_mesh(mesh):
    state, _, _ = run_state.start(run, mesh)
    update = run.update(span)
    for steps in (4, 1, 1, 1, 1, 4):
      batches = feed.next()
      assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(batches))
      with jax.transfer_guard('disallow'):
        state, metrics = update(state, batches, {}, phases=phases, steps=steps)
    jax.block_until_ready(metrics)
    with pytest.raises(Exception, match='Disallowed'), jax.transfer_guard('disallow'):
      update(state, jax.device_get(batches), {}, phases=phases, steps=steps)
  for _ in range(200):
    if source.reads == 9:
      break
    feed._closed.wait(0.01)
  # Six were taken; two lie ready and the thread holds one, placed.
  assert source.reads == 9 and feed._ready.full()
  feed.close()


# The loop of train.py.


@pytest.fixture
def train(tmp_path):
  """Trains a config by train.py's loop on 4 devices in float64 -> (status, end state, metrics without times)."""
  before = {number: signal.getsignal(number) for number in signals.NUMBERS}
  mesh = sharding.make_mesh()

  def work(name, config, make=experiment.build):
    workdir = tmp_path / name
    workdir.mkdir(exist_ok=True)
    profile = diagnose.Profile(configs.window(config.profile_steps), workdir)
    with jax.enable_x64(True), jax.set_mesh(mesh), contextlib.closing(profile):
      run_record.check_resume(run := make(config), workdir)
      with checkpoint.Checkpoints(workdir) as checkpoints:
        status = loop.train(run, workdir, mesh, checkpoints, profile)
    lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
    lines = [{k: v for k, v in line.items() if k not in UNTIMED} for line in lines]
    return status, checkpoint.read(workdir)[0], lines

  yield work
  for number, handler in before.items():
    signal.signal(number, handler)
  signal.set_wakeup_fd(-1)


def test_the_first_dispatch_is_compiled_once(train, caplog, monkeypatch):
  """Beside the state at the start and the first grid; training waits for it and finds it."""
  compile = jax.stages.Lowered.compile
  monkeypatch.setattr(
    jax.stages.Lowered, 'compile', lambda *args: (time.sleep(3), compile(*args))[1]
  )
  jax.config.update('jax_log_compiles', True)  # in all threads
  train('run', configure(steps=1, steps_per_dispatch=1, **SMALL))
  jax.config.update('jax_log_compiles', False)
  done = [m for m in caplog.messages if m.startswith('Finished XLA compilation of jit(update)')]
  assert len(done) == 1
  where = [r.threadName for r in caplog.records if r.getMessage() == done[0]]
  assert where != ['MainThread']


class Signalled(experiment.Experiment):
  """An experiment that gets SIGTERM within the dispatch of the step before `last`."""

  last = 9

  def update(self, span):
    update = super().update(span)

    def signalled(state, *args, **static):
      if int(state.step) == self.last - 1:
        os.kill(os.getpid(), signal.SIGTERM)
      return update(state, *args, **static)

    signalled.trace = update.trace
    return signalled


@pytest.mark.slow
def test_runs_are_the_same_however_dispatched_and_stopped(train, tmp_path, capsys):
  """K = 4 against K = 1, some of it traced, to 1e-12; stopped at step 9 and resumed: bit for bit what K = 4 makes."""
  config = configure()
  _, one, lines_one = train('one', configure(steps_per_dispatch=1, profile_steps='20:22'))
  (trace,) = (tmp_path / 'one/profile').rglob('*.xplane.pb')
  assert trace.stat().st_size > 1000 and capsys.readouterr().out.count('traced into') == 1
  _, four, lines_four = train('four', config)
  status, _, _ = train('stopped', config, lambda c: Signalled(*experiment.build(c)))
  assert status == 143 and 'stopped by SIGTERM at step 9, saved' in capsys.readouterr().out
  status, resumed, lines = train('stopped', config)
  assert status == 0
  assert [line['step'] for line in lines_four] == [8, 16, 20, 23]
  assert lines == lines_four
  jax.tree.map(np.testing.assert_array_equal, resumed, four)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
  jax.tree.map(close, one, four)
  for a, b in zip(lines_one, lines_four, strict=True):
    assert a.keys() == b.keys() and {'loss_G', 'loss_r1', 'grad_norm_D_D_penalty'} <= a.keys()
    jax.tree.map(close, a, b)


def two_stages(config):
  """The run in two stages of the same phases, the second from step 8 on with fresh optimizers."""
  run = experiment.build(config)
  (stage,) = run.method.stages
  made = stage._replace(steps=8), stage._replace(reset_opt=True)
  method = run.method._replace(stages=made)
  return run._replace(method=method, spans=experiment.lay_out(method, config))


@pytest.mark.slow
def test_a_stage_starts_with_fresh_optimizers_once(train, monkeypatch, capsys):
  """Stopped before, at or after the border and resumed: Adam has counted the updates since the border and no more."""
  config = configure(steps=11, steps_per_dispatch=1, sample_every_steps=11, **SMALL)
  _, whole, _ = train('whole', config, two_stages)
  assert [int(whole['opt'][name]['0']['count']) for name in 'GD'] == [3, 3]
  for last in 8, 9:
    monkeypatch.setattr(Signalled, 'last', last)
    status, _, _ = train('stopped', config, lambda c: Signalled(*two_stages(c)))
    assert status == 143 and f'stopped by SIGTERM at step {last}, saved' in capsys.readouterr().out
  status, resumed, _ = train('stopped', config, two_stages)
  assert status == 0
  jax.tree.map(np.testing.assert_array_equal, resumed, whole)


@pytest.mark.slow
def test_nan_within_a_dispatch_names_its_step(train):
  """Metrics of all four steps of a dispatch are looked at."""
  with pytest.raises(
    UserError, match='became NaN or infinite at step 2; there is no checkpoint before that'
  ):
    train('run', configure(**SMALL, **OVERFLOWS))


# What shows what a run does.


def test_traces_after_a_resume(tmp_path):
  """Begun within the window: the rest of it. Past it: nothing. Ended within it: what there was.

  What comes between two steps, as a checkpoint does, is traced within the window alone.
  """
  cases = ('rest', 6, 9, [6, 7], [7]), ('past', 8, 9, [], []), ('end', 0, 6, [5], [6])
  for name, first, last, steps, between in cases:
    profile, traced, saved = diagnose.Profile(range(5, 8), tmp_path / name), [], []
    for step in range(first, last):
      profile.start(step, jnp.ones(3))
      traced += [step] if profile._on else []
      profile.stop(step + 1, jnp.ones(3))
      saved += [step + 1] if profile._on else []
    profile.close()
    assert (traced, saved) == (steps, between) and not profile._on
    assert bool([*tmp_path.glob(f'{name}/**/*.xplane.pb')]) == bool(steps)


@pytest.mark.slow
def test_a_trace_outlives_an_error(tmp_path):
  fields = command.tiny({'optim.G.lr': 1e30, 'optim.G.decay': 'constant', 'profile_steps': '1:90'})
  done = command.run('train.py', *fields, '--workdir', tmp_path)
  assert done.returncode == 2 and 'became NaN' in done.stderr, done
  line = f'traced into {tmp_path}/profile: pip install xprof && xprof --logdir {tmp_path}/profile\n'
  assert line in done.stdout and list(tmp_path.glob('profile/**/*.xplane.pb'))


def test_a_nan_of_no_line_of_ours_is_said_all_the_same():
  def update(state):
    return jnp.log(state.x - 1)

  checked, state = diagnose.find_nans(jax.jit(update)), collections.namedtuple('State', 'x, step')
  with pytest.raises(UserError, match='^NaN at step 1, first from log at no line of ours$'):
    checked(state(jnp.zeros(()), np.zeros((), int)))


@pytest.mark.parametrize('text', ['10:5', '5:5', 'a:b', '7', '1:2:3', '-1:5', '23:30'])
def test_bad_windows_are_one_line(text):
  with pytest.raises(UserError, match=f'config.profile_steps=.*{text}'):
    experiment.build(configure(profile_steps=text))


def test_bad_steps_per_dispatch():
  with pytest.raises(UserError, match='config.steps_per_dispatch=0 must be at least 1'):
    experiment.build(configure(steps_per_dispatch=0))


@pytest.mark.slow
def test_debug_nans_names_the_step_and_the_line(train):
  with pytest.raises(UserError) as found:
    train('run', configure(debug_nans=True, microbatches=2, **SMALL, **OVERFLOWS))
  source = (command.ROOT / 'ganjax/networks/mlp.py').read_text().splitlines()
  said = re.fullmatch(
    r'NaN at step 2, first from dot_general in the gradient of ganjax/networks/mlp.py:(\d+), '
    r'called at ganjax/methods/gan.py:\d+, ganjax/devices/backend.py:\d+, ganjax/update.py:\d+',
    str(found.value),
  )
  assert said, found.value
  assert 'dense(' in source[int(said[1]) - 1]


class Constant(nn.Module):
  """Images that do not depend on the styles."""

  @nn.compact
  def __call__(self, w, *, train):
    return w[:, :1, :1, None] * self.param('zero', nn.initializers.zeros, ())


@pytest.mark.slow
def test_debug_nans_names_the_line_of_a_gradient(capsys):
  """The square root of path lengths that are 0 has no gradient; nothing is donated, so that the state stays whole."""
  net = name_nets({'G': Constant()})['G']

  def loss(state, batch, key):
    synthesize = lambda w: apply(net, state, w, train=True)[0]
    value, _ = regularizers.path_length(synthesize, batch['image'], key, 1.0)
    return value, Aux(state, {'loss': value})

  stage = Stage((Phase('G', loss, ('G',), 'G'),), None)
  method = Method({'G': net}, lambda batch: {'G': (batch['image'],)}, None, (stage,))
  optimizers = optim.build({'G': configs.adam()}, method.phases, 5)
  batch = {'image': jnp.ones((4, 3, 2))}
  state = init(method, optimizers, jax.random.key(0), batch)
  (span,) = spans(method, 5, 4)
  update = diagnose.find_nans(make_update(method, span, optimizers))
  with pytest.raises(UserError) as found:
    update(state, (batch,), {}, phases=('G',))
  said = re.match(
    r'NaN at step 1, first from \w+ in the gradient of ganjax/losses/regularizers.py:(\d+), called at ',
    str(found.value),
  )
  assert said, found.value
  source = (command.ROOT / 'ganjax/losses/regularizers.py').read_text().splitlines()
  assert 'jnp.sqrt' in source[int(said[1]) - 1]
  assert int(state.step) == 0 and not capsys.readouterr().out


def test_costs_of_compilation_and_memory():
  def inner(x):
    for _ in range(300):
      x = jnp.sin(x)
    return x

  def outer(x):
    with jax.ensure_compile_time_eval():  # compiled while this is traced
      return x + jax.jit(inner)(1.0)

  before = diagnose.costs()
  began = time.monotonic()
  jax.jit(outer).lower(jnp.ones(())).compile()
  took, after = time.monotonic() - began, diagnose.costs()
  spent = after['compile_seconds'] - before['compile_seconds']
  assert 0.5 * took < spent <= took, (spent, took)
  assert after.keys() == {'compile_seconds', 'peak_host_memory_bytes'}
  assert 1e8 < before['peak_host_memory_bytes'] <= after['peak_host_memory_bytes'] < 1e12
