"""ganjax evaluate, ganjax.evaluation.compare and evaluation while training, as users run them.

On EfficientNet-Lite0 with its real weights.
"""

import json
import shutil
import signal
import time

import command
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, experiment, run_state
from ganjax.devices.sharding import make_mesh
from ganjax.evaluation import evaluate, records, sides
from ganjax.evaluation.extract import FeaturePlan, extract
from ganjax.evaluation.monitor import Monitor
from ganjax.features import Extractor
from ganjax.method import averaged
from ganjax.sampling import sampler
from ganjax.workdir import checkpoint

NET = 'efficientnet_lite0'
METRICS = f'fd_{NET},prdc_{NET},neighbours_{NET}'
FOUR_DEVICES = {'XLA_FLAGS': '--xla_force_host_platform_device_count=4'}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return shutil.copytree(command.finished()[0], tmp_path_factory.mktemp('moved') / 'run')


@pytest.fixture(scope='module')
def evaluated(workdir):
  """(what it printed, the records) of both checkpoints of the finished run."""
  done = command.succeed(
    'evaluate',
    '--workdir',
    workdir,
    '--metrics',
    METRICS,
    '--num=24',
    '--step=all',
    '--preset=monitor',
  )
  return done.stdout, records.read(workdir)


def test_how_many_samples_are_drawn_is_said_where_nobody_chose(workdir):
  """By a metric that these reals are too few for: 50,000 samples take long."""
  done = command.run('evaluate', workdir, '--metrics', f'kid_{NET}', '--step=all')
  said, error = done.stderr.splitlines()
  assert said == 'drawing 50,000 samples of each of 2 checkpoints; --num N draws fewer'
  assert 'there are 50,000 fakes and 40 reals' in error


def test_pairs_are_as_many_as_the_held_out_pictures(tmp_path, monkeypatch, capsys):
  """Each of them once: 50,000 samples would be compared with other pictures' originals."""
  seen = []
  monkeypatch.setattr(
    evaluate, 'measure', lambda fake, real, *_, **__: seen.append((fake, real)) or []
  )
  evaluate.COMMAND.read(
    ['evaluate', 'emoji_upscaler', '--metrics=psnr', f'--out={tmp_path / "r.jsonl"}']
  )
  evaluate.main()
  ((fake, real),) = seen
  assert fake.count == real.count == 546
  assert capsys.readouterr().err.startswith('drawing 546 samples; ')
  evaluate.COMMAND.read(['evaluate', 'emoji_upscaler', '--metrics=psnr', '--num_real=8'])
  with pytest.raises(UserError, match='psnr compares pairs: leave it out'):
    evaluate.main()


def test_every_value_is_printed_and_recorded(workdir, evaluated):
  printed, found = evaluated
  assert [(r['step'], r['metric']) for r in found] == [
    (s, m) for s in (90, 100) for m in METRICS.split(',')
  ]
  for record in found:
    assert record['by'] == 'command' and record['preset'] == 'monitor'
    assert (record['num_fake'], record['num_real']) == (24, 40)
    assert record['fake']['weights'] == 'ema' and record['fake']['batch_norm'] == 'running'
    assert record['network'] == NET and record['weights_verified'] is True
    assert record['real']['dataset'] == 'folder' and record['real']['listing_sha256']
    assert record['real']['split'] == 'train'
    for name, value in record['values'].items():
      assert name.endswith(NET), 'what is not on the Inception says so'
      assert f'{value:.6g}' in printed
  assert 'metric' in printed.splitlines()[0] and 'evaluations.jsonl' in printed
  distances = [r['values'][f'fd_{NET}'] for r in found if r['metric'] == f'fd_{NET}']
  assert distances[0] != distances[1] and min(distances) > 1
  picture = next(r['picture'] for r in found if 'picture' in r)
  assert picture.startswith(str(workdir)) and picture.endswith('.png')


@pytest.mark.slow
def test_files_on_four_devices_give_what_the_run_gives(workdir, evaluated, tmp_path):
  npz = tmp_path / 'fakes.npz'
  command.succeed('sample.py', '--workdir', workdir, '--seeds=0-23', '--format=npz', '--out', npz)
  done = command.succeed(
    'evaluate',
    *(
      '--fake',
      npz,
      '--real',
      command.pictures(),
      '--metrics',
      f'fd_{NET}',
      '--batch=10',
      '--preset=monitor',
    ),
    env=FOUR_DEVICES,
  )
  record = json.loads(done.stdout.splitlines()[0])
  expected = next(r for r in evaluated[1] if r['step'] == 100 and r['metric'] == f'fd_{NET}')
  # Twenty-four fakes of 1,280 features: the distance is ill-conditioned, and float32 differs between batches.
  np.testing.assert_allclose(
    record['values'][f'fd_{NET}'], expected['values'][f'fd_{NET}'], rtol=1e-4
  )
  assert record['device']['count'] == 4 and record['step'] is None

  # A data set by name and split, at the size of the files.
  names = '--fake', npz, '--real', 'emoji:train', '--num_real=30', '--preset=monitor'
  done = command.succeed('evaluate', *names, '--metrics', f'fd_{NET}')
  record = json.loads(done.stdout.splitlines()[0])
  assert (record['num_fake'], record['num_real']) == (24, 30)
  assert (record['real']['dataset'], record['real']['split']) == ('emoji', 'train')


@pytest.mark.slow
def test_a_split_of_the_data_in_place_of_samples(workdir, tmp_path):
  """The split that the reals are from is at no distance."""
  out = tmp_path / 'floor.jsonl'
  arguments = '--workdir', workdir, '--fake=train', '--metrics', f'fd_{NET}', '--preset=monitor'
  command.succeed('evaluate', *arguments, '--out', out)
  (record,) = records.read(out)
  assert abs(record['values'][f'fd_{NET}']) < 1e-3 and record['step'] is None
  assert record['num_fake'] == record['num_real'] == 40 and record['fake'] == record['real']


@pytest.mark.slow
def test_two_processes_give_what_one_gives(workdir, tmp_path):
  """Standing statistics among it, on 4 devices or one, at 10 pictures at a time or 8."""
  arguments = ['--workdir', workdir, '--metrics', f'fd_{NET}', '--num=24', '--preset=monitor']
  arguments += ['--batch_norm=standing', '--out']
  command.succeed('evaluate', *arguments, tmp_path / 'one.jsonl')
  module = ['-m', 'ganjax', 'evaluate', *arguments, tmp_path / 'two.jsonl', '--batch=10']
  cache = {'GANJAX_CACHE_DIR': str(tmp_path / 'cache')}
  first, second = command.launch(2, 2, module, tmp_path, **cache)
  (one,), (two,) = (records.read(tmp_path / f'{name}.jsonl') for name in ('one', 'two'))
  name = f'fd_{NET}'
  np.testing.assert_allclose(two['values'][name], one['values'][name], rtol=1e-4)
  assert (one['device']['count'], two['device']['count']) == (1, 4)
  assert 'metric' in first and 'metric' not in second  # one process speaks


@pytest.mark.slow
def test_batch_norm_modes_and_weights_are_different_generators(workdir):
  """The three modes differ on a batch-norm generator; standing statistics under averaged weights are re-estimated."""
  run, mesh = experiment.load(workdir), make_mesh()
  saved, step, _ = checkpoint.read(workdir)
  state = run_state.to_state(run, saved, mesh)
  stage = run.span_at(step).stage
  matrix = np.random.default_rng(0).normal(size=(32 * 32 * 3, 6)).astype(np.float32)
  look = lambda v, x: {'features': x.reshape(len(x), -1).astype(jnp.float32) / 255 @ v['m']}
  plan = {
    'm': FeaturePlan(Extractor('m', {'m': matrix}, look, {}), 'round', rows=frozenset({'features'}))
  }
  found, states = {}, {}
  for weights in ('ema', 'raw'):
    for mode in sampler.BATCH_NORM_MODES:
      chosen = averaged(state) if weights == 'ema' else state
      work = dict(mesh=mesh, batch_size=16)
      chosen = sampler.prepare(stage, chosen, run.method, mesh=mesh, batch_norm=mode)
      side = sides.generator(stage, chosen, run.method, num=16, batch_norm=mode, info={'name': 'g'})
      assert side.info['batch_norm'] == mode
      found[weights, mode] = extract(side, plan, **work)['m'].rows['features']
      states[weights, mode] = chosen
  values = list(found.values())
  for i in range(6):
    for j in range(i):
      assert np.abs(values[i] - values[j]).max() > 1e-3, (list(found)[i], list(found)[j])
  # Pooled over batches that the averaged weights made: not the average's own statistics, and not the raw ones'.
  flat = lambda key: np.concatenate([np.ravel(x) for x in jax.tree.leaves(states[key].stats['G'])])
  assert np.abs(flat(('ema', 'standing')) - flat(('ema', 'running'))).max() > 1e-4
  assert np.abs(flat(('ema', 'standing')) - flat(('raw', 'standing'))).max() > 1e-4


EVAL = {
  'steps': 60,
  'sample_every_steps': 20,
  'eval.every_steps': 20,
  'eval.metrics': f'fd_{NET},prdc_{NET}',
  'eval.num': 16,
  'eval.batch_size': 16,
  'keep_checkpoints': 1,
}


@pytest.fixture(scope='module')
def watched(tmp_path_factory):
  """(workdir, what was printed) of a run that evaluates."""
  workdir = tmp_path_factory.mktemp('watched') / 'run'
  return workdir, command.succeed('train.py', *command.tiny(EVAL), '--workdir', workdir)


def test_training_evaluates_and_keeps_the_best(watched):
  whole, done = watched
  found = records.read(whole)
  assert sorted({r['step'] for r in found}) == [20, 40, 60]
  points = [(r['step'], r['values'][f'fd_{NET}']) for r in found if r['metric'] == f'fd_{NET}']
  best = min(points, key=lambda p: p[1])[0]
  assert checkpoint.list_steps(whole) == sorted({best, 60})
  assert (
    f'at the last step evaluated, 60; best {min(v for _, v in points):.6g} at {best}' in done.stdout
  )
  lines = [json.loads(line) for line in (whole / 'metrics.jsonl').read_text().splitlines()]
  logged = {x['step']: x[f'fd_{NET}_monitor'] for x in lines if f'fd_{NET}_monitor' in x}
  assert logged == dict(points)
  assert all(
    {'flag_diverging', 'flag_collapsing'} <= x.keys() for x in lines if f'fd_{NET}_monitor' in x
  )


@pytest.mark.slow
def test_an_evaluation_that_was_stopped_is_done_again(watched, tmp_path):
  """A signal during an evaluation: the state is saved, the resumed run does it again."""
  whole, cut = watched[0], tmp_path / 'cut'
  process = command.start('train.py', *command.tiny({**EVAL, 'eval.num': 5000}), '--workdir', cut)
  while 20 not in checkpoint.list_steps(cut):
    assert process.poll() is None
    time.sleep(0.05)
  process.send_signal(signal.SIGTERM)
  stopped = command.finish(process)
  assert stopped.returncode == 143 and 'stopped by SIGTERM at step 20, saved' in stopped.stdout
  assert records.read(cut) == []
  command.succeed('train.py', *command.tiny(EVAL), '--workdir', cut)
  again = records.read(cut)
  values = lambda all_: [(r['step'], r['metric'], r['values']) for r in all_]
  assert values(again) == values(records.read(whole))
  # What is evaluated does not change what is trained.
  a, b = (checkpoint.read(folder, 60)[0]['params'] for folder in (whole, cut))
  jax.tree.map(np.testing.assert_array_equal, a, b)

  # A run that was far better before is flagged: in its progress lines, its log and its records.
  path = cut / records.NAME
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  lines[0]['values'][f'fd_{NET}'] = 1.0
  lines[0]['sample_diversity'] = 1e6
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  done = command.succeed('train.py', *command.tiny({**EVAL, 'steps': 61}), '--workdir', cut)
  assert [line for line in done.stdout.splitlines() if line.startswith('step 61/61')][0].endswith(
    '  DIVERGING  COLLAPSING'
  )
  assert f'WARNING diverging: fd_{NET}' in done.stdout
  assert 'WARNING collapsing: sample_diversity' in done.stdout
  assert sorted({r['step'] for r in records.read(cut)}) == [20, 40, 60, 61]
  last = json.loads((cut / 'metrics.jsonl').read_text().splitlines()[-1])
  assert last['step'] == 61 and last['flag_diverging'] == last['flag_collapsing'] == 1
  assert 20 in checkpoint.list_steps(cut) or 'best 1 at 20' in done.stdout


def test_a_resumed_monitor_remembers_what_is_alike(workdir, tmp_path, monkeypatch):
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(command.files() / 'cache'))
  run = experiment.load(workdir)
  run.config.data.data_dir = str(command.pictures())
  run.config.eval.update(every_steps=10, metrics=f'fd_{NET},prdc_{NET}', num=16)
  reals = json.loads(json.dumps(Monitor(run, tmp_path, make_mesh(), 0)._real.info))
  fake = {'batch_norm': 'running', 'weights': 'ema'}
  make = lambda step, value, **more: {
    'by': 'training',
    'step': step,
    'preset': 'monitor',
    'num_fake': 16,
    'fake': fake,
    'real': reals,
    'values': {f'fd_{NET}': value},
    **more,
  }
  written = [make(10, 90.0), make(20, 80.0), make(30, 300.0), make(40, 50.0)]
  written += [make(20, 1.0, by='command'), make(25, 2.0, num_fake=999)]
  written += [make(28, 3.0, fake={**fake, 'activations': 'bfloat16'})]
  records.append(tmp_path / records.NAME, written)

  at = Monitor(run, tmp_path, make_mesh(), 30)  # restored at 30: what was found at 40 comes again
  assert [at.due(step) for step in (0, 10, 20, 25, 30, 40, 41, 100)] == [
    *(False, False, False, False, False),
    *(True, False, True),
  ]
  assert at.best_step == 20 and at.flags == ['diverging']
  assert '300 at the last step evaluated, 30; best 80 at 20' in at.summary()
  assert [r['step'] for r in records.read(tmp_path) if r['by'] == 'training'] == [
    10,
    20,
    30,
    25,
    28,
  ]
  # Other settings: nothing to compare with, so it is all to do again.
  run.config.eval.num = 20
  other = Monitor(run, tmp_path, make_mesh(), 30)
  assert other.due(30) and other.best_step is None and other.flags == []
  # A run that no longer evaluates keeps its best checkpoint.
  run.config.eval.update(num=16, every_steps=0)
  off = Monitor(run, tmp_path, make_mesh(), 30)
  assert off.best_step == 20 and not off.due(40)

  run.config.eval.update(every_steps=10, best='fd')
  with pytest.raises(
    UserError, match="config.eval.best='fd' cannot rank checkpoints; values are fd_"
  ):
    Monitor(run, tmp_path, make_mesh(), 30)
  run.config.eval.update(best=None, metrics='cas')
  with pytest.raises(UserError, match='takes one preset and no cas'):
    Monitor(run, tmp_path, make_mesh(), 30)
  run.config.eval.update(metrics=f'kid_{NET}')
  with pytest.raises(UserError, match='subsets of 1,000, and there are 16 fakes and 40 reals'):
    Monitor(run, tmp_path, make_mesh(), 30)


def test_bad_input_is_one_line(workdir, tmp_path):
  (no_run := tmp_path / 'no_run').mkdir()
  cases = [
    (['--workdir', tmp_path / 'typo'], 'typo is not there'),
    (['--workdir', no_run], 'config.json is not there: is'),
    (['--workdir', workdir, '--seed=-1'], '--seed=-1 must be at least 0'),
    (
      ['--workdir', workdir, '--seed=42949'],
      '--seed=42949 with --num=50000 goes up to 2,147,499,999: the last seed is 2,147,483,647',
    ),
    (['--fake', tmp_path, '--num=1'], '--num=1 must be at least 2'),
    (['--metrics=fid'], 'give --workdir, a run, or --fake'),
    (['--workdir', workdir, '--fake=test', '--metrics', f'fd_{NET}'], "no split 'test'"),
    (['--workdir', workdir, '--fake=train', '--step=100'], '--step is for the samples of a run'),
    (['--workdir', workdir, '--metrics=fidd'], "metric 'fidd' is not known (did you mean fid?)"),
    (['--workdir', workdir, '--preset=tutr'], "preset 'tutr' is not known"),
    (['--workdir', workdir, '--step=7', '--metrics', f'fd_{NET}'], 'no checkpoint 7 in'),
    (
      ['--workdir', workdir, '--num_real=41', '--metrics', f'fd_{NET}'],
      'has 40 pictures, fewer than the 41',
    ),
    (
      ['--workdir', workdir, '--num=24', '--feature_weights', f'inception={__file__}'],
      __file__,
    ),
    (['--fake', tmp_path, '--metrics', f'fd_{NET}'], 'no images in'),
    (['--fake', tmp_path, '--metrics', f'neighbours_{NET}'], 'draws a picture: say --out'),
  ]
  done = command.run_all({line: (['evaluate', *arguments], {}) for arguments, line in cases})
  for line, process in done.items():
    assert process.returncode == 2 and process.stderr.strip().count('\n') == 0, process
    assert line in process.stderr, process
  assert not list(no_run.iterdir())


def test_compare_prints_runs_side_by_side(workdir, evaluated, tmp_path):
  other = shutil.copytree(workdir, tmp_path / 'other')
  # Another mode of the generator is another row; records without a run are a line to aim at.
  standing = json.loads((workdir / records.NAME).read_text().splitlines()[0])
  standing['fake']['batch_norm'] = 'standing'
  records.append(other / records.NAME, [standing])
  floor = {**standing, 'fake': {'name': 'reals'}, 'step': None, 'values': {f'fd_{NET}': 0.5}}
  records.append(tmp_path / 'floor.jsonl', [floor])
  runs = (workdir, other, tmp_path / 'floor.jsonl')
  done = command.succeed('compare', *runs, '--out', tmp_path / 'both.png')
  rows = [line for line in done.stdout.splitlines() if f' fd_{NET} ' in line]
  assert [row.split()[0] for row in rows] == ['run', 'other', 'other', 'floor']
  assert rows[3].split()[-4:] == ['0.5', '-', '0.5', '-'] and rows[2].split()[3:5] == [
    'ema,',
    'standing',
  ]
  values = {r['step']: r['values'][f'fd_{NET}'] for r in evaluated[1] if r['metric'] == f'fd_{NET}'}
  last, best = values[100], min(values.values())
  where = '90' if best == values[90] else '100'
  expected = [
    'monitor',
    'ema',
    '24',
    '40',
    'folder:train',
    f'{last:.6g}',
    '100',
    f'{best:.6g}',
    where,
  ]
  assert rows[0].split()[2:] == expected
  assert (tmp_path / 'both.png').read_bytes()[:4] == b'\x89PNG'
  done = command.run('compare', tmp_path)
  assert done.returncode == 2 and 'is not there: is' in done.stderr
