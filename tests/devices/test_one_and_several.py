"""One training run, however it is spread: over devices, over processes, or as `jax.pmap` would write it.

In float64 parameters are held to 1e-9 after 20 steps. In float32 Adam amplifies round-off, so there the first 3 steps
are held. All of it is the real DCGAN with few channels, with flips, two fakes a real image and an average of G.
"""

import json
import re
import runpy
from pathlib import Path

import command as commands
import device_run
import jax
import numpy as np
import PIL.Image
import pytest

from ganjax import data, experiment, run_state
from ganjax.devices import processes, sharding
from ganjax.evaluation import records
from ganjax.media import augment
from ganjax.method import averaged
from ganjax.sampling import latents, sampler
from ganjax.update import active
from ganjax.workdir import checkpoint

ROOT = Path(__file__).resolve().parents[2]
PMAP = runpy.run_path(str(ROOT / 'benchmarks/pmap_step.py'), run_name='pmap_step')


def mesh_of(count):
  return sharding.make_mesh(jax.devices()[:count])


def assert_close(a, b, **tolerance):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
    np.testing.assert_allclose(x, y, err_msg=jax.tree_util.keystr(path), **tolerance)


def exact(a, b):
  """float64 after 20 steps: parameters, statistics, optimizers, averages, the key, and all metrics."""
  assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope='module')
def double():
  """Devices -> (state, metrics) of 20 steps in float64; 0 -> the state at the start."""
  with jax.enable_x64(True):
    run = device_run.build('float64')
    return {
      count: device_run.train(run, device_run.Pictures(), mesh_of(max(count, 1)), steps)
      for count, steps in ((0, 0), (1, device_run.STEPS), (4, device_run.STEPS))
    }


@pytest.fixture(scope='module')
def single():
  """Devices -> (state, metrics of 3 steps, the compiled update) in float32."""
  run, out = device_run.build('float32'), {}
  span = run.spans[0]
  for count in (1, 4):
    mesh, shapes = mesh_of(count), run.template(mesh_of(count))
    images = device_run.Pictures().read(np.arange(span.batch_size))
    with jax.set_mesh(mesh):
      batches = (sharding.place_batch(images, mesh),)
      lowered = run.update(span).lower(shapes, batches, {}, phases=active(span.stage, 0))
    compiled = lowered.compile()
    update = lambda *args, phases, compiled=compiled: compiled(*args)
    state, metrics = device_run.train(run, device_run.Pictures(), mesh, 3, update)
    out[count] = state, metrics, compiled
  return out


# One process, one or four devices.


def test_float64_runs_agree_on_one_and_four_devices(double):
  exact(double[1], double[4])
  assert double[1][0].params['G']['Dense_0']['kernel'].dtype == np.float64


def test_float64_runs_have_moved(double):
  start, end = double[0][0], double[4][0]
  for kind in (lambda s: s.params, lambda s: s.stats, lambda s: s.ema):
    for (path, old), new in zip(
      jax.tree_util.tree_leaves_with_path(kind(start)), jax.tree.leaves(kind(end))
    ):
      # Biases that a batch norm takes away have no gradient.
      if 'Conv' not in (name := jax.tree_util.keystr(path)) or 'kernel' in name:
        assert np.abs(new - old).max() > 1e-4, name


def test_draws_do_not_depend_on_the_devices():
  def draws(key, images):
    batch = augment.prepare({'image': images}, key, flip=True)
    return {**batch, 'z': latents.normal(key, 16, 100)}

  found = {}
  for count in (1, 4):
    mesh = mesh_of(count)
    images = sharding.place_batch(device_run.Pictures().read(np.arange(16)), mesh)['image']
    with jax.set_mesh(mesh):
      found[count] = jax.jit(draws)(jax.random.key(3), images)
    assert {x.sharding.num_devices for x in jax.tree.leaves(found[count])} == {count}
  assert_close(found[1], found[4], rtol=0, atol=0)
  straight = augment.prepare({'image': np.asarray(images)}, None, flip=False)['image']
  flipped = [not np.allclose(a, b, atol=1e-5) for a, b in zip(found[4]['image'], straight)]
  assert 0 < sum(flipped) < 16


@pytest.mark.slow
def test_float32_losses_agree_on_one_and_four_devices(single):
  (_, one, _), (_, four, _) = single.values()
  assert {'loss_real', 'loss_fake', 'loss_G', 'D_real', 'grad_norm_G'} <= one[0].keys()
  assert_close(one, four, rtol=1e-4, atol=0)


@pytest.mark.slow
def test_work_is_split_over_the_devices(single):
  """Each of 4 devices does a quarter of the products, and sends sums alone: nothing is gathered or moved."""
  flops = {count: compiled.cost_analysis()['flops'] for count, (*_, compiled) in single.items()}
  assert flops[4] / flops[1] < 0.3, flops
  moves = re.findall(
    r'= (\S+) (all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter)(?:-start)?\(',
    single[4][2].as_text(),
  )
  assert not moves, moves
  assert ' all-reduce(' in single[4][2].as_text()


# The same update in jax.pmap.


@pytest.mark.slow
def test_update_equals_one_written_with_pmap_and_pmean(double):
  with jax.enable_x64(True):
    run, source, mesh = device_run.build('float64'), device_run.Pictures(), mesh_of(4)
    size = run.config.batch_size
    first, _, _ = run_state.start(run, mesh)
    start, step = PMAP['make_pmap_step'](run.config, run.method.nets, jax.devices())
    state, losses = start(first), []
    for i in range(device_run.STEPS):
      rows = data.indices(run.config.data.seed, i * size, size, source.num_examples)
      images = source.read(rows)['image']
      state, new = step(state, images.reshape(4, size // 4, *images.shape[1:]))
      losses.append(new)
  state, losses = jax.device_get(({k: state[k] for k in ('params', 'stats', 'ema')}, losses))
  ours, metrics = double[4]
  mine = {
    'params': ours.params,
    'stats': {name: ours.stats[name]['batch_stats'] for name in ours.stats},
    'ema': {
      'params': ours.ema['G']['params'],
      'stats': ours.ema['G']['stats']['batch_stats'],
    },
  }
  for device in range(4):
    exact(jax.tree.map(lambda x, d=device: x[d], state), mine)
    mine_losses = [{name: found[name] for name in losses[0]} for found in metrics]
    exact(jax.tree.map(lambda x, d=device: x[d], losses), mine_losses)


# Several processes.


# Slow: by default tests/devices/test_hosts.py has four processes equal one, of an MLP.
@pytest.mark.slow
def test_float64_runs_agree_on_one_and_two_processes(double, tmp_path):
  command = [ROOT / 'tests/device_run.py', f'{tmp_path}/{{process}}.npz']
  commands.launch(2, 2, command, tmp_path, JAX_ENABLE_X64='1')
  reads = []
  for i in range(2):
    with np.load(tmp_path / f'{i}.npz') as found:
      read, processes, devices, *leaves = found.values()
    assert (processes, devices) == (2, 4)
    assert_close(leaves, jax.tree.leaves(double[1]), rtol=1e-9, atol=1e-9)
    reads.append(read.reshape(device_run.STEPS, 4))
  # Each process has read its own half of each batch, and no more.
  whole = data.indices(0, 0, 8 * device_run.STEPS, device_run.Pictures.num_examples)
  np.testing.assert_array_equal(np.concatenate(reads, 1).reshape(-1), whole)


@pytest.mark.slow
def test_two_processes_write_a_checkpoint_that_one_continues(tmp_path, monkeypatch):
  """Four steps in two processes, then two in one process, are six steps of an uninterrupted run (float64)."""
  pictures, workdir = tmp_path / 'pictures', tmp_path / 'run'
  pictures.mkdir()
  for i, image in enumerate(device_run.Pictures().read(np.arange(20))['image']):
    PIL.Image.fromarray(image).save(pictures / f'{i:02}.png')
  run = device_run.build('float64')
  config = run.config
  config.update(steps=6, log_every_steps=1, sample_every_steps=2, checkpoint_every_steps=2)
  config.data.update(dataset='folder', data_dir=str(pictures))
  for optimizer in config.optim.values():
    optimizer.decay = 'constant'
  config.eval.update(every_steps=2, metrics='fd_efficientnet_lite0', num=10, batch_size=4)
  text = json.dumps(config.to_dict())
  file = tmp_path / 'config.py'
  file.write_text(
    f'import json\nfrom ml_collections import ConfigDict\n\n\n'
    f'def get_config():\n  return ConfigDict(json.loads({text!r}))\n'
  )
  command = [ROOT / 'train.py', '--config', file, '--workdir', workdir]
  environment = {'JAX_ENABLE_X64': '1', 'GANJAX_CACHE_DIR': str(tmp_path / 'cache')}

  first, second = commands.launch(2, 2, [*command, '--config.steps=4'], tmp_path, **environment)
  assert 'finished 4 steps' in first
  assert 'starting at' in first and 'starting at' not in second and 'step' not in second
  assert [p.name for p in sorted((workdir / 'samples').iterdir())] == [
    f'{step:08}.png' for step in (0, 2, 4)
  ]
  assert json.loads((workdir / 'config.json').read_text())['processes'] == 2
  assert checkpoint.list_steps(workdir) == [2, 4]
  found = {r['step']: r for r in records.read(workdir)}
  assert list(found) == [2, 4] and found[4]['device']['count'] == 4
  (alone,) = commands.launch(1, 1, command, tmp_path, **environment)
  assert 'resuming at step 4 of 6' in alone

  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  evaluations = [line['step'] for line in lines if 'loss_G' not in line]
  assert evaluations == [2, 4, 6]
  lines = [line for line in lines if 'loss_G' in line]
  assert [line['step'] for line in lines] == [1, 2, 3, 4, 5, 6]
  assert checkpoint.list_steps(workdir)[-1] == 6
  saved, _, _ = checkpoint.read(workdir)
  monkeypatch.setenv('GANJAX_CACHE_DIR', environment['GANJAX_CACHE_DIR'])
  with jax.enable_x64(True):
    run = experiment.build(config)
    state, metrics = device_run.train(run, data.build(**config.data), mesh_of(4), 6)
  for kind in ('params', 'stats', 'ema'):
    exact(saved[kind], getattr(state, kind))
  exact([line['loss_G'] for line in lines], [float(found['loss_G']) for found in metrics])


# Pictures.


@pytest.mark.slow
@pytest.mark.parametrize('mode', sampler.BATCH_NORM_MODES)
def test_pictures_of_seeds_do_not_depend_on_the_devices(double, mode):
  """Nor, but for `batch`, on how many are made at a time: equal in uint8 from float64 networks."""
  with jax.enable_x64(True):
    found = draw_pictures('float64', double[1][0], mode)
  for (_, size), pictures in found.items():
    np.testing.assert_array_equal(pictures, found[1, size if mode == 'batch' else 4])


@pytest.mark.slow
def test_float32_pictures_of_seeds_do_not_depend_on_the_devices(single):
  """A value in 1000 may be rounded to its neighbour: products of 1, 2 and 8 rows sum in different orders."""
  found = draw_pictures('float32', single[1][0], 'running')
  for pictures in found.values():
    differ = np.abs(pictures.astype(int) - found[1, 4].astype(int))
    assert differ.max() <= 1 and differ.mean() <= 1e-3


def draw_pictures(dtype, state, mode):
  """(devices, batch size) -> uint8 pictures of 10 seeds."""
  run, state = device_run.build(dtype), averaged(state)
  stage, found = run.spans[0].stage, {}
  # After so few steps all pictures are grey: contrast lets differences show.
  last = state.params['G']['ConvTranspose_3']
  contrast = 1e5 if mode == 'running' else 1e2
  G = {**state.params['G'], 'ConvTranspose_3': {**last, 'kernel': contrast * last['kernel']}}
  z = jax.device_get(run.method.rows(np.arange(10), {}))
  for count in (1, 4):
    mesh = mesh_of(count)
    placed = sharding.replicate(state.replace(params={'G': G}, opt={}, key=()), mesh)
    if mode == 'standing':
      placed = sampler.standing(stage, placed, run.method, mesh=mesh)
    for size in (4, 8):
      found[count, size] = sampler.generate(
        stage, placed, z, mesh=mesh, batch_size=size, batch_norm=mode
      )
  assert found[1, 4].shape == (10, 32, 32, 3) and found[1, 4].dtype == np.uint8
  assert sampler.diversity(found[1, 4]) > 0.05
  return found


def test_compiled_programs_are_kept(tmp_path, monkeypatch):
  """In the user's own cache, in ganjax's, or where JAX_COMPILATION_CACHE_DIR, which JAX reads itself, says."""
  before = jax.config.jax_compilation_cache_dir
  home = str(tmp_path / '.cache/ganjax/xla')
  monkeypatch.setenv('HOME', str(tmp_path))
  try:
    for given, ours, kept in ((None, '', home), (None, '/c', '/c/xla'), ('/d', '/c', '/d')):
      monkeypatch.setenv('GANJAX_CACHE_DIR', ours)
      jax.config.update('jax_compilation_cache_dir', given)
      processes.start()
      assert jax.config.jax_compilation_cache_dir == kept
  finally:
    jax.config.update('jax_compilation_cache_dir', before)


COMPILE = """
import jax
import jax.numpy as jnp

from ganjax.devices import processes

found = []
jax.monitoring.register_event_listener(lambda event, **unused: found.append(event.split('/')[-1]))
processes.start()
jax.jit(lambda x: jnp.tanh(x @ x))(jnp.ones((8, 8)))
print(found.count('cache_hits'), found.count('cache_misses'))
"""


def test_a_process_reads_the_programs_of_the_one_before(tmp_path):
  (tmp_path / 'compile.py').write_text(COMPILE)
  unset = dict.fromkeys(('JAX_COMPILATION_CACHE_DIR', 'GANJAX_CACHE_DIR'), '')
  env = {**unset, 'HOME': str(tmp_path), 'PYTHONPATH': str(ROOT)}
  first, second = [
    [int(n) for n in commands.succeed(tmp_path / 'compile.py', env=env).stdout.split()]
    for _ in range(2)
  ]
  assert first[0] == 0 < first[1] and second == first[::-1]
  assert list((tmp_path / '.cache/ganjax/xla').iterdir())
