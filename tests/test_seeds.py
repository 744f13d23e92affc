"""Several seeds trained together: each is the run that it would be alone, in the update and as the commands run it."""

import json
import re
import shutil

import command
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import dcgan_emoji
from ganjax import UserError, data, experiment, run_record, run_state, seeds
from ganjax import config as configs
from ganjax.devices import sharding
from ganjax.evaluation import compare, records
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm
from ganjax.layers.spectral import SpectralNorm
from ganjax.method import name_nets, spans
from ganjax.methods import gan
from ganjax.optim import optimizers as optim
from ganjax.training.feed import Feed
from ganjax.update import active, all_finite, init, init_opt, make_update
from ganjax.workdir import checkpoint, curves, writer

STEPS, BATCH, Z = 4, 8, 3


class ConvG(nn.Module):
  """z [B, Z] -> [B, 4, 4, 1], with batch norm."""

  @nn.compact
  def __call__(self, z, label=None, *, train):
    kinds = dict(dtype='float64', param_dtype='float64')
    x = nn.Dense(2 * 2 * 4, **kinds)(z).reshape(-1, 2, 2, 4)
    x = nn.relu(BatchNorm(**kinds)(x, train=train))
    return jnp.tanh(ConvTranspose(1, 4, stride=2, padding=1, **kinds)(x))


class ConvD(nn.Module):
  """[B, 4, 4, 1] -> [B], with spectral norm."""

  @nn.compact
  def __call__(self, x, label=None, *, train):
    kinds = dict(dtype='float64', param_dtype='float64')
    x = jnp.tanh(SpectralNorm(Conv(4, 4, stride=2, padding=1, **kinds))(x))
    return nn.Dense(1, **kinds)(x.reshape(len(x), -1))[:, 0]


class Mlp(nn.Module):
  """Rows to [B, *shape]; a discriminator's shape is ()."""

  shape: tuple

  @nn.compact
  def __call__(self, x, label=None, *, train):
    kinds = dict(dtype='float64', param_dtype='float64')
    x = jnp.tanh(nn.Dense(5, **kinds)(x.reshape(len(x), -1)))
    return nn.Dense(int(np.prod(self.shape)), **kinds)(x).reshape(-1, *self.shape)


NETS = {
  'conv': lambda: {'G': ConvG(), 'D': ConvD()},
  'mlp': lambda: {'G': Mlp((4, 4, 1)), 'D': Mlp(())},
}


def setup(kind, **how):
  """(method, optimizers, update) with an average, a penalty, and a mean that D's phase keeps.

  Of MLPs also n_critic, a lazy penalty and flips; convolutions go without, since they take so long to compile.
  """
  many = kind == 'mlp'
  made = gan.build(
    name_nets(NETS[kind]()),
    z_dim=Z,
    n_critic=1 + many,
    penalties={'gradient_penalty': 10.0},
    penalties_every=1 + many,
  )
  first, *rest = made.stages[0].phases

  def loss(state, batch, key):
    value, aux = first.loss(state, batch, key)
    mean = 0.9 * state.extra['mean'] + 0.1 * value
    return value, aux._replace(state=aux.state.replace(extra={'mean': mean}))

  stage = made.stages[0]._replace(phases=(first._replace(loss=loss), *rest))
  made = made._replace(stages=(stage,), extra={'mean': np.zeros(())})
  adam = dict(lr=1e-2, b1=0.5, b2=0.9, decay='linear')
  optimizers = optim.build({'G': adam, 'D': adam}, made.phases, 8)
  ema = {'half_life_images': 20, 'rampup': 0.5}
  (span,) = spans(made, 8, BATCH)
  return made, optimizers, make_update(made, span, optimizers, flip=many, ema=ema, **how)


def pictures(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (*shape, 4, 4, 1), np.uint8)


def keys(count):
  return jnp.stack([jax.random.key(5 + k) for k in range(count)])


def train(kind, key, images, mesh=None, **how):
  """(state, [metrics]) of STEPS steps on images [STEPS, n_critic, ...]; without a key in the state."""
  method, optimizers, update = setup(kind, **how)
  example = {'image': jnp.zeros((BATCH, 4, 4, 1))}
  state, found = jax.jit(lambda key: init(method, optimizers, key, example))(key), []
  mesh = mesh or sharding.make_mesh(jax.devices()[:1])
  axis = 1 if how.get('own_batches') else 0
  with jax.set_mesh(mesh):
    state = sharding.replicate(state, mesh)
    for step in range(STEPS):
      batches = tuple(sharding.place_batch({'image': x}, mesh, axis) for x in images[step])[
        : method.n_critic
      ]
      state, metrics = update(state, batches, {}, phases=active(method.stages[0], step))
      found.append(metrics)
  return jax.device_get((state.replace(key=jax.random.key_data(state.key)), found))


def assert_close(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
    where = jax.tree_util.keystr(path)
    assert np.asarray(x).dtype == np.asarray(y).dtype, where
    np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9, err_msg=where)


WAYS = [('mlp', False), pytest.param('conv', True, marks=pytest.mark.slow)]


@pytest.mark.parametrize(('kind', 'unrolled'), WAYS)
def test_each_seed_is_a_run_of_its_own(kind, unrolled):
  """In float64: networks, statistics, optimizers, averages, what the method keeps, the keys, and all metrics."""
  with jax.enable_x64(True):
    images = pictures(STEPS, 2, BATCH)
    together = train(kind, keys(2), images, unrolled=unrolled)
    alone = [train(kind, key, images) for key in keys(2)]
  for k in range(2):
    assert_close(seeds.take(together, k), alone[k])
  losses = together[1][-1]['loss_G']
  assert losses.shape == (2,) and losses[0] != losses[1]
  assert together[0].extra['mean'].all()


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'unrolled'), [('mlp', True)])
def test_seeds_with_batches_of_their_own_on_one_and_four_devices(kind, unrolled):
  with jax.enable_x64(True):
    images = pictures(STEPS, 2, 2, BATCH)
    how = dict(own_batches=True, unrolled=unrolled)
    one, four = (
      train(kind, keys(2), images, sharding.make_mesh(jax.devices()[:count]), **how)
      for count in (1, 4)
    )
    alone = [train(kind, key, images[:, :, k]) for k, key in enumerate(keys(2))]
  assert_close(one, four)
  for k in range(2):
    assert_close(seeds.take(one, k), alone[k])


def lowered(kind, mesh=None, rows=BATCH, **how):
  """(shapes of the state, the lowered program) of a step of 3 seeds; nothing is compiled."""
  method, optimizers, update = setup(kind, **how)
  example = {'image': jnp.zeros((BATCH, 4, 4, 1))}
  state = jax.eval_shape(lambda key: init(method, optimizers, key, example), keys(3))
  mesh = mesh or sharding.make_mesh(jax.devices()[:1])
  place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.replicated(mesh))
  batch = sharding.place_batch({'image': pictures(rows)}, mesh)
  with jax.set_mesh(mesh):
    state = jax.tree.map(place, state)
    return state, update.lower(state, (batch,) * method.n_critic, {}, phases=('D', 'G'))


@pytest.mark.slow
def test_convolutions_are_unrolled_on_cpu_alone(monkeypatch):
  text = lambda *args, **how: lowered(*args, **how)[1].as_text()
  for kind, expected in ('mlp', False), ('conv', True):
    state, _ = lowered(kind)
    assert seeds.unrolls(state) is expected
    assert text(kind) == text(kind, unrolled=expected) != text(kind, unrolled=not expected)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert not seeds.unrolls(state)


@pytest.mark.parametrize('unrolled', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_work_is_split_over_the_devices(unrolled):
  """Each of 4 devices does about a quarter of the work, most of which grows with the batch."""
  flops = [
    lowered('mlp', sharding.make_mesh(jax.devices()[:count]), rows=512, unrolled=unrolled)[1]
    .compile()
    .cost_analysis()['flops']
    for count in (4, 1)
  ]
  assert flops[0] / flops[1] < 0.35, flops


@pytest.mark.slow
def test_fresh_optimizers_and_finite_checks_of_each_seed():
  method, optimizers, _ = setup('mlp')
  state = init(method, optimizers, keys(3), {'image': jnp.zeros((BATCH, 4, 4, 1))})
  fresh = seeds.each(lambda one: init_opt(method, optimizers, one.params), state)
  assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, state.opt)
  kernel = state.params['D']['Dense_0']['bias'].at[1, 0].set(np.nan)
  params = {**state.params, 'D': {**state.params['D'], 'Dense_0': {'bias': kernel}}}
  finite = np.asarray(seeds.each(all_finite, state.replace(params=params)))
  assert finite.tolist() == [True, False, True]
  assert seeds.name(~finite) == ' in seed 1' and seeds.name(np.array(True)) == ''
  for k, one in enumerate(seeds.split(state)):
    assert_close(one.params, seeds.take(state.params, k))


# Data.


class Numbers:
  """A source whose pictures are their own numbers."""

  num_examples = 50

  def rows(self, seed, start, count):
    return data.indices(seed, start, count, self.num_examples)

  def read_rows(self, rows):
    return {'image': np.asarray(rows)}


def test_feed_of_several_orders_is_the_feeds_of_each():
  method, _, _ = setup('mlp')
  (span,), mesh, found = spans(method, 8, BATCH), sharding.make_mesh(), {}
  for seed in (3, 9), 3, 9:
    feed = Feed(Numbers(), span, 2, seed, mesh, 0)
    found[seed] = [[np.asarray(batch['image']) for batch in feed.next()] for _ in range(4)]
    feed.close()
  np.testing.assert_array_equal(found[3, 9], np.stack([found[3], found[9]], 2))
  assert not np.array_equal(found[3], found[9])


# What is written.


def test_lists_are_written_as_means_deviations_and_each(tmp_path):
  out = writer.Writer(tmp_path, 0)
  for step in range(1, 4):
    out.write(step, {'loss_G': [1.0, 2.0, 6.0], 'images_per_second': 7})
  out.close()
  line = json.loads((tmp_path / 'metrics.jsonl').read_text().splitlines()[0])
  assert line.pop('loss_G_std') == pytest.approx(np.sqrt(7))
  each = {'loss_G/0': 1.0, 'loss_G/1': 2.0, 'loss_G/2': 6.0}
  assert line == {'step': 1, 'loss_G': 3.0, 'images_per_second': 7.0, **each}
  shown = writer.progress(1, 3, 7, 0, {'loss_G': [1.0, 2.0, 6.0], 'D_real': 0.5})
  assert 'loss_G 3.000+-2.646' in shown and 'D_real 0.500' in shown and 'D_real 0.500+' not in shown
  assert records.number([1.0, 2.0, 6.0]) == '3 +- 2.65'


def test_curves_show_the_mean_and_a_band(tmp_path, monkeypatch):
  out = writer.Writer(tmp_path, 0)
  for step in range(1, 30):
    out.write(step, {'loss_G': [1.0, 3.0], 'loss_D': [0.0, 0.5]})
  out.close()
  seen = {}
  monkeypatch.setattr(
    curves,
    '_save',
    lambda lines, *rest, save=curves._save: seen.update(lines) or save(lines, *rest),
  )
  curves.draw(tmp_path)
  ((names, lines),) = seen.items()
  assert names == 'loss' and [line[0] for line in lines] == ['loss_G', 'loss_D']
  _, x, y, spread = lines[0]
  np.testing.assert_array_equal(y, np.full(29, 2.0))
  np.testing.assert_allclose(spread, np.full(29, np.sqrt(2)))
  with Image.open(tmp_path / 'curves.png') as picture:
    # The band's colour, between white and the line's.
    colours = np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)
  band = 255 - 0.18 * (255 - np.array([31, 119, 180]))
  assert abs(colours - band).max(1).min() <= 2
  assert compare.panels({'a': tmp_path}, {'a': {}}).keys() == {'loss_G', 'loss_D'}


# Configurations.


@pytest.mark.parametrize(
  ('fields', 'line'),
  [
    ({'seeds': 0}, 'config.seeds=0 must be at least 1'),
    ({'seeds': 3, 'data.seed': (1, 2)}, 'a tuple of one for each of several seeds=3'),
    ({'data.seed': (1,)}, 'a tuple of one for each of several seeds=1'),
    ({'seeds': 2, 'data.seed': (1, 'b')}, r"config.data.seed=\(1, 'b'\) must be"),
    ({'seeds': 2, 'data.seed': (1, 2), 'data.fraction': 0.5}, 'takes one data.seed'),
  ],
)
def test_bad_seeds_are_one_line(fields, line):
  config = configs.base('test')
  config.update_from_flattened_dict({'data.dataset': 'emoji', **fields})
  with pytest.raises(UserError, match=line):
    configs.check(config)


def test_runs_of_older_versions_have_one_seed_and_it_may_not_change():
  config = configs.base('test')
  old = config.to_dict()
  del old['seeds']
  assert configs.compare(config, old) == []
  config.seeds = 2
  with pytest.raises(UserError, match=r'seeds \(was 1, now 2\)'):
    configs.compare(config, old)


# As the commands run it.


VALUE = 'fd_efficientnet_lite0'
FIELDS = {
  'seeds': 2,
  'seed': 4,
  'data.seed': '(3,9)',
  'networks.name': 'mlp',
  'networks.width': 20,
  'steps': 20,
  'sample_every_steps': 10,
  'checkpoint_every_steps': 10,
  'keep_checkpoints': 9,
  'eval.every_steps': 20,
  'eval.metrics': VALUE,
  'eval.num': 16,
}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """(workdir, output) of a run of two seeds in orders of their own."""
  workdir = tmp_path_factory.mktemp('seeds') / 'run'
  return workdir, command.succeed('train.py', *command.tiny(FIELDS), '--workdir', workdir).stdout


def test_a_run_leaves_what_each_seed_did(trained):
  workdir, output = trained
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  losses = [line for line in lines if 'loss_G' in line]
  assert [line['step'] for line in losses] == [*range(1, 21)]
  for line in losses:
    for name in 'loss_G', 'D_real', 'grad_norm_D', 'sample_diversity':
      each = [line[f'{name}/{k}'] for k in (0, 1)]
      assert each[0] != each[1]
      assert line[name] == pytest.approx(np.mean(each))
      assert line[f'{name}_std'] == pytest.approx(np.std(each, ddof=1))
  assert re.search(r'step 20/20  .*  loss_G \d\.\d{3}\+-\d\.\d{3}', output)
  names = [f'{step:08}-seed{k}.png' for step in (0, 10, 20) for k in (0, 1)]
  assert sorted(f.name for f in (workdir / 'samples').iterdir()) == names
  grids = [Image.open(workdir / 'samples' / name) for name in names[-2:]]
  assert grids[0].tobytes() != grids[1].tobytes() and grids[1].text['seed_index'] == '1'


@pytest.mark.slow
def test_each_seed_is_evaluated(trained):
  workdir, output = trained
  found = records.read(workdir)
  assert [(r['step'], r['fake']['seed_index']) for r in found] == [(20, 0), (20, 1)]
  values = [r['values'][VALUE] for r in found]
  assert values[0] != values[1] and found[0]['sample_diversity'] != found[1]['sample_diversity']
  (line,) = (
    line
    for line in map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
    if f'{VALUE}_monitor' in line
  )
  assert [line[f'{VALUE}_monitor/{k}'] for k in (0, 1)] == values
  assert line[f'{VALUE}_monitor'] == pytest.approx(np.mean(values))
  assert f'{VALUE} {records.number(values)}' in output
  done = command.succeed(
    'evaluate',
    '--workdir',
    workdir,
    '--metrics',
    VALUE,
    '--num=16',
    '--seed_index=1',
  )
  again = records.read(workdir)[-1]
  assert again['fake']['seed_index'] == 1 and VALUE in done.stdout
  assert again['values'][VALUE] == pytest.approx(values[1], rel=1e-3)


def test_a_stopped_run_goes_on_bit_for_bit(trained, tmp_path):
  workdir, _ = trained
  cut = shutil.copytree(workdir, tmp_path / 'cut')
  shutil.rmtree(cut / 'checkpoints/20')
  done = command.succeed('train.py', *command.tiny(FIELDS), '--workdir', cut)
  assert 'resuming at step 10 of 20' in done.stdout
  (a, _, _), (b, _, _) = checkpoint.read(workdir), checkpoint.read(cut)
  assert {jax.tree.leaves(a['params'])[0].shape[0], len(a['key']), len(a['step'])} == {2}
  jax.tree.map(np.testing.assert_array_equal, a, b)
  other = command.run('train.py', *command.tiny({**FIELDS, 'seeds': 1}), '--workdir', cut)
  assert other.returncode == 2


@pytest.mark.slow
def test_pictures_of_one_seed(trained):
  """Those of the run's own grids, by its number; a number that is not there is one line."""
  workdir, _ = trained
  for k in 0, 1:
    command.succeed('sample.py', '--workdir', workdir, f'--seed_index={k}')
    made = Image.open(workdir / f'generated/grid-00000020-seed{k}-seeds0-63.png')
    grid = Image.open(workdir / f'samples/00000020-seed{k}.png')
    assert made.text['seed_index'] == str(k)
    assert abs(np.asarray(made, int) - np.asarray(grid, int)).max() <= 1
  done = command.run('sample.py', '--workdir', workdir, '--seed_index=2')
  assert done.returncode == 2
  assert done.stderr == 'error: --seed_index=2: the run has 2 seed(s), 0 to 1\n'


@pytest.mark.slow
def test_nan_names_the_seed(tmp_path):
  fields = {**FIELDS, 'eval.every_steps': 0, 'optim.D.lr': 1e30}
  done = command.run('train.py', *command.tiny(fields), '--workdir', tmp_path)
  assert done.returncode == 2
  assert re.fullmatch(r'error: .* became NaN or infinite at step \d+ in seed [01].*\n', done.stderr)


@pytest.mark.slow
def test_all_seeds_start_from_another_run(trained):
  workdir, _ = trained
  other, _, _, _ = command.finished()
  config = run_record.saved_config(other)
  config.update(seeds=2, init_from=str(other), init_nets=['G'])
  mesh = sharding.make_mesh(jax.devices()[:1])
  state, _, _ = run_state.start(experiment.build(config), mesh)
  saved, _, _ = checkpoint.read(other)
  for k in 0, 1:
    for part in 'params', 'stats', 'ema':
      mine = seeds.take(getattr(state, part)['G'], k)
      jax.tree.map(np.testing.assert_array_equal, mine, saved[part]['G'])
  D = state.params['D']['Dense_0']['kernel']
  assert not np.array_equal(D[0], D[1])
  config.init_from = str(workdir)
  with pytest.raises(UserError, match='holds several seeds: take a run of one'):
    run_state.start(experiment.build(config), mesh)


def test_summary_says_how():
  config = dcgan_emoji.get_config()
  config.seeds = 8
  text = experiment.summary(experiment.build(config))
  assert 'seeds: 8, trained together unrolled' in text
