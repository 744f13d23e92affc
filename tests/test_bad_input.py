"""Whatever a user types: a wrong command line ends with one line that names the culprit, and with a status."""

import json
import re
import runpy
import shutil

import command
import pytest

from ganjax import UserError, experiment
from ganjax.sampling import sampler
from ganjax.workdir import checkpoint

# No network, wherever the tests run: TFDS is sent to a port where nobody listens.
OFFLINE = dict.fromkeys(('http_proxy', 'https_proxy', 'HTTPS_PROXY'), 'http://127.0.0.1:9')
ADDRESS = {'JAX_COORDINATOR_ADDRESS': 'localhost:1'}
FIVE_OF_FOUR = {**ADDRESS, 'JAX_NUM_PROCESSES': '4', 'JAX_PROCESS_ID': '4'}
GQU = {'JAX_PLATFORMS': 'gqu'}
FOUR_DEVICES = {'XLA_FLAGS': '--xla_force_host_platform_device_count=4'}
# A run that would end soon if what is wrong with it were accepted. {new} is a workdir of the case's own.
TRAIN = 'train.py --workdir {new} --config'
EMOJI = (
  f'{TRAIN} configs/dcgan_emoji.py --config.networks.width=4 --config.batch_size=8 --config.steps=1'
)
FOLDER = f'{EMOJI} --config.data.dataset=folder --config.data.data_dir='
SKETCHES = (
  f'{TRAIN} configs/pix2pix_sketch.py --config.data.data_dir={{tmp}}/own --config.data.of=folder'
)
CAPTIONS = f'{TRAIN} configs/dfgan_cub.py --config.data.data_dir={{tmp}}/captioned --config.data.encoder=ngrams'
PACS = f'{TRAIN} benchmarks/stacked_mnist.py:pacgan --config.data.dataset=emoji'
AT_40 = '--config.data.dataset=emoji --config.data.resolution=40'
CIFAR = f'{TRAIN} configs/dcgan_cifar.py --config.data.data_dir={{tmp}}/tfds'
SAMPLE = 'sample.py --workdir'
RESUME = 'train.py {tiny} --workdir'  # the command of `command.finished`

# fmt: off
# name -> (command line, what the line of error must say[, environment]). `folder` below fills {tmp}.
TABLE = {
  # The command line and the configuration file.
  'no config': ('train.py --workdir {new}', r'--config is missing'),
  'no such config': (f'{TRAIN} configs/dcgan_mnist.py', r'configs/dcgan_mnist.py'),
  'config is a folder': (f'{TRAIN} configs', r'configs'),
  'syntax error in config': (f'{TRAIN} {{tmp}}/syntax.py', r'syntax'),
  'config without get_config': (f'{TRAIN} {{tmp}}/empty.py', r'get_config'),
  'config that raises': (f'{TRAIN} {{tmp}}/raises.py', r'no_such_module'),
  'config that returns nothing': (f'{TRAIN} {{tmp}}/none.py', r'get_config.* None'),
  'misspelt field': (f'{EMOJI} --config.batch_sise=8', r'batch_sise.*batch_size'),
  'misspelt nested field': (f'{EMOJI} --config.optim.G.rl=1', r'no field optim.G.rl .*optim.G.lr'),
  'misspelt component': (f'{EMOJI} --config.network.width=8', r'network\b.*networks'),
  'field below a value': (f'{EMOJI} --config.steps.more=8', r'steps'),
  'word for a number': (f'{EMOJI} --config.batch_size=many', r'batch_size.*many'),
  'fraction for a whole number': (f'{EMOJI} --config.steps=1.5', r'steps.*1\.5'),
  'word for a bool': (f'{EMOJI} --config.data.flip=perhaps', r'flip.*perhaps'),
  'word for a whole section': (f'{EMOJI} --config.optim=adam', r'optim'),
  'field without a value': (f'{EMOJI} --config.batch_size', r'batch_size'),
  'unknown flag': (f'{EMOJI} --wrokdir=x', r'wrokdir'),
  'stray argument': (f'{EMOJI} resume', r'unexpected arguments: resume'),
  'no workdir': ('train.py --config configs/dcgan_emoji.py', r'--workdir is missing'),
  # Values; the rest of them are in VALUES.
  'negative batch': (f'{EMOJI} --config.batch_size=-8', r'batch_size=-8'),
  'odd width': (f'{EMOJI} --config.networks.width=5', r'width=5'),
  'unknown method': (f'{EMOJI} --config.method.name=gna', r'gna.*did you mean gan\?'),
  'data of another kind': (f'{TRAIN} configs/pix2pix_emoji.py --config.data.dataset=mnist', r'mnist has no source'),
  'not taken by the networks': (f'{TRAIN} {{tmp}}/fields.py', r"'dcgan' does not take depth"),
  'parts that do not divide': (f'{EMOJI} --config.microbatches=4', r'=8 .* 4 devices in 4 micro.* 16', FOUR_DEVICES),
  'batch that does not divide': (f'{EMOJI} --config.batch_size=6', r'batch_size=6 .* 4 devices', FOUR_DEVICES),
  'batch below a pack': (f'{PACS} --config.batch_size=1', r'packing=2 must divide the batch, which is of 1'),
  'resolution not of resnet': (f'{TRAIN} configs/sngan_cifar.py {AT_40}', r'resnet is of \[32, .* data.resolution=40'),
  'resolution not of biggan': (f'{TRAIN} configs/biggan_cifar.py {AT_40}', r'biggan is of \[32, .* data.resolution=40'),
  'resolution not of r3gan': (f'{TRAIN} configs/r3gan_cifar.py {AT_40}', r'r3gan .* data.resolution=40 must be 8, 16'),
  'sides not of r3gan': (f'{TRAIN} configs/r3gan_cifar.py --config.data.resolution=(8,16)', r'r3gan .* must be 8, 16'),
  # Processes.
  'no process number': (EMOJI, r'JAX_NUM_PROCESSES and JAX_PROCESS_ID must be integers', ADDRESS),
  'a process too many': (EMOJI, r'other 3 processes .*process_id=4', FIVE_OF_FOUR),
  'tasks that JAX cannot find': (EMOJI, r'other 3 processes .*JAX_NUM_PROCESSES=4', {'OMPI_COMM_WORLD_SIZE': '4'}),
  # Data.
  'unknown data set': (f'{CIFAR} --config.data.dataset=cifar11', r'cifar11.*cifar10', OFFLINE),
  'data set not to be had': (CIFAR, r'cifar10 is not prepared in .*/tfds.*the same command.*dcgan_emoji.py', OFFLINE),
  'unknown split': (f'{EMOJI} --config.data.split=val', r"emoji has no split 'val'.*train"),
  'folder without a name': (f'{EMOJI} --config.data.dataset=folder', r'data.data_dir'),
  'missing folder': (f'{FOLDER}{{tmp}}/nowhere', r'/nowhere'),
  'empty folder': (f'{FOLDER}{{tmp}}/nothing', r'no images in .*/nothing'),
  'broken images': (f'{FOLDER}{{tmp}}/broken', r'3 of 3 images in .*/broken cannot be used: 0.png'),
  "a split of the recipe's data": (SKETCHES, r"folder has no split 'rest'.* say --config.data.split=train$"),
  'nothing held out': (f'{SKETCHES} --config.data.split=train', r"no split 'test'.* say --config.eval.split=train$"),
  'nothing held out of captions': (CAPTIONS, r'/captioned has no folder test: .* say --config.eval.split=train$'),
  # Workdirs.
  'workdir is a file': (f'{EMOJI} --workdir {{tmp}}/file', r'/file'),
  'workdir below a file': (f'{EMOJI} --workdir {{tmp}}/file/run', r'/file/run'),
  'workdir not to be written': (f'{EMOJI} --workdir /proc/run', r'/proc/run'),
  'workdir in no known kind of bucket': (f'{EMOJI} --workdir gz://bucket/run', r'gz://bucket/run: .*gz'),
  'data in a bucket': (f'{FOLDER}gs://bucket/data', r'config.data.data_dir=gs://bucket/data: .*rsync'),
  'run of another config': (f'{RESUME} {{tmp}}/run --config.seed=1', r'another config: seed \(was 0, now 1\)'),
  'checkpoint of another config': (f'{RESUME} {{tmp}}/edited --config.networks.width=6', r'configuration: params/'),
  'files of two runs': (f'{RESUME} {{tmp}}/mixed', r'/mixed/config.json is of run b, .* of run \w{32}:'),
  'run of a newer ganjax': (f'{RESUME} {{tmp}}/newer', r'/newer is of ganjax 99.1.0, newer .*kilts'),
  'config.json spoilt': (f'{RESUME} {{tmp}}/spoilt', r'spoilt/config.json'),
  'config.json of something else': (f'{RESUME} {{tmp}}/foreign', r'foreign/config.json'),
  'config.json gone': (f'{RESUME} {{tmp}}/headless', r'headless.* no config.json'),
  'start from a bucket': (f'{EMOJI} --config.init_from=gs://bucket/run', r'config.init_from=gs://bucket/run: .*rsync'),
  'start from nothing': (f'{EMOJI} --config.init_from={{tmp}}/nowhere', r'/nowhere'),
  'start from other shapes': (f'{EMOJI} --config.init_from={{tmp}}/run', r"init_from=.*network 'G' differs"),
  # sample.py.
  'sample nothing': ('sample.py', r'--workdir is missing'),
  'sample from nowhere': (f'{SAMPLE} {{tmp}}/nowhere', r'/nowhere'),
  'sample from a bucket': (f'{SAMPLE} gs://bucket/run', r'--workdir=gs://bucket/run: .*rsync'),
  'sample to a bucket': (f'{SAMPLE} {{tmp}}/run --out=gs://b/grid.png', r'--out=gs://b/grid.png: .*rsync'),
  'sample from a file': (f'{SAMPLE} {{tmp}}/file', r'/file'),
  'sample from an empty workdir': (f'{SAMPLE} {{tmp}}/nothing', r'nothing/config.json'),
  'sample before a checkpoint': (f'{SAMPLE} {{tmp}}/young', r'no checkpoint in .*/young'),
  'sample a step that is not there': (f'{SAMPLE} {{tmp}}/run --step=7', r'no checkpoint 7 .* 90, 100'),
  'sample with config.json spoilt': (f'{SAMPLE} {{tmp}}/spoilt', r'spoilt/config.json'),
  'sample with another config': (f'{SAMPLE} {{tmp}}/edited', r'another config: networks.width \(was 4, now 6\)'),
  'sample of a newer ganjax': (f'{SAMPLE} {{tmp}}/newer', r'/newer is of ganjax 99.1.0, newer .*kilts'),
  'sample to no place': (f'{SAMPLE} {{tmp}}/run --seeds=1 --out={{tmp}}/file/grid.png', r'/file'),
  'no pictures at a time': (f'{SAMPLE} {{tmp}}/run --batch=0', r'--batch'),
  'unknown format': (f'{SAMPLE} {{tmp}}/run --format=jpg', r'format.*jpg.*files'),
  'another ending': (f'{SAMPLE} {{tmp}}/run --out=x.jpg', r'--out=x.jpg: --format grid writes .png files: .* x.png'),
  'an unknown kind of device': (f'{SAMPLE} {{tmp}}/run', r'JAX_PLATFORMS=gqu: .*take cpu', GQU),
  'seeds that are words': (f'{SAMPLE} {{tmp}}/run --seeds=some', r"--seeds='some'"),
  'strip of one seed': (f'{SAMPLE} {{tmp}}/run --format=strip --seeds=1', r'two seeds'),
  'step that is a word': (f'{SAMPLE} {{tmp}}/run --step=last', r'step.*last'),
}
# Overrides of configs/dcgan_emoji.py, and what the error says; as above, but without a process for each.
VALUES = [
  ('batch_size', 0, r'batch_size=0 must be at least 1'),
  ('seed', -1, r'seed=-1 must be from 0'),
  ('seed', 10**20, r'seed=1000.* below 2\^31'),
  ('microbatches', 3, r'microbatches=3 must divide batch_size'),
  ('steps', 0, r'steps=0 must be at least 1'),
  ('log_every_steps', 0, r'log_every_steps=0'),
  ('sample_every_steps', -1, r'sample_every_steps=-1'),
  ('checkpoint_every_steps', 0, r'checkpoint_every_steps=0'),
  ('keep_checkpoints', 0, r'keep_checkpoints=0'),
  ('data.dataset', None, r'data.dataset is not set'),
  ('data.dataset', '', r'data.dataset is not set'),
  ('data.fraction', 0.0, r'fraction=0'),
  ('data.fraction', 1.5, r'fraction=1.5'),
  ('data.channels', 2, r'channels must be 1 .* 2'),
  ('data.resolution', 40, r'resolution=40 must be a multiple of 16'),
  ('data.resolution', 16, r'resolution=16 must be'),
  ('data.resolution', -32, r'resolution.*-32'),
  ('networks.name', 'dcgna', r'dcgna.*did you mean dcgan'),
  ('networks.width', 0, r'width=0 must be even'),
  ('networks.width', -4, r'width=-4 must be even'),
  ('networks.dtype', 'float31', r'float31'),
  ('networks.param_dtype', 'int32', r'int32'),
  ('method.name', 'wgna', r'methods.name=.wgna.'),
  ('method.loss', 'hinged', r'hinged.*non_saturating'),
  ('method.z_dim', 0, r'z_dim'),
  ('method.n_critic', 0, r'n_critic'),
  ('method.fakes_per_real', -1, r'fakes_per_real'),
  ('optim.G.lr', -0.1, r'lr=-0.1'),
  ('optim.D.lr', 0.0, r'lr=0'),
  ('optim.D.lr', float('nan'), r'lr=nan'),
  ('optim.G.b1', 1.0, r'b1=1'),
  ('optim.D.b2', -0.5, r'b2=-0.5'),
  ('optim.G.eps', -1.0, r'eps'),
  ('optim.G', {'lr': 1e-4}, r"optim 'adam' needs b1, b2:"),
  ('optim.G', {'lr': 1e-4, 'b1': 0.5, 'b2': 0.9, 'beta': 1}, r"optim 'adam' does not take beta:"),
  ('optim.G', {'lr': 1e-4, 'b1': 0.5, 'b2': 0.9, 'steps': 1}, r"optim 'adam' does not take steps:"),
  ('optim.G', {'lr': 1e-4, 'b1': 0.5, 'b2': 0.9, 'clip': 'x'}, r'optim clip=x must be above 0'),
  ('optim.G.decay', 'cosine', r"cosine.*'linear'"),
  ('ema.half_life_images', -5, r'half_life_images'),
  ('ema.rampup', -1.0, r'rampup'),
  # What nothing computes with, wherever it stands.
  ('batch_size', 10**20, r'config.batch_size=10* must be below 2\^31'),
  ('seeds', 1001, r'seeds=1001 must be at most 1000'),
  ('data.resolution', 2**15, r'resolution=32768 must be a number of pixels from 1 to 16384'),
  ('networks.width', 2**16 + 2, r'config.networks.width=65538 must be at most 65536'),
  ('method.n_critic', 1001, r'n_critic .* 1000'),
  ('optim.G.lr', float('inf'), r'config.optim.G.lr=inf must be finite'),
  ('data.fraction', float('nan'), r'config.data.fraction=nan must be finite'),
  ('ema.rampup', float('nan'), r'config.ema.rampup=nan must be finite'),
  ('method.penalties', {'r1': float('nan')}, r'config.method.penalties.r1=nan must be finite'),
]
# fmt: on
# Lines that may stand before the error: what took long, and a warning of ml_collections that says the same.
NOTICES = (
  '(decoding (folder|captions)|cifar10 is not prepared in .*: preparing|cifar10/3.0.2: 162 MiB from|'
  'WARNING:absl:.*get_config) ?.*'
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  tmp = tmp_path_factory.mktemp('bad')
  for name in ('nothing', 'tfds', 'broken'):
    (tmp / name).mkdir()
  for i in range(3):
    (tmp / f'broken/{i}.png').write_text('no picture')
  shutil.copytree(command.pictures(), tmp / 'own')
  for path in shutil.copytree(tmp / 'own', tmp / 'captioned').glob('*.png'):
    path.with_suffix('.txt').write_text(path.stem)
  (tmp / 'file').write_text('')
  (tmp / 'syntax.py').write_text('def get_config(:\n')
  (tmp / 'empty.py').write_text('')
  (tmp / 'none.py').write_text('def get_config():\n  return None\n')
  (tmp / 'raises.py').write_text('import no_such_module\n\n\ndef get_config():\n  pass\n')
  (tmp / 'fields.py').write_text(
    'from ganjax import config as configs\n\n\ndef get_config():\n'
    "  config = configs.base('fields')\n  config.data.dataset = 'emoji'\n"
    "  config.networks = dict(name='dcgan', depth=3)\n  return config\n"
  )
  run = shutil.copytree(command.finished()[0], tmp / 'run')
  for name in ('edited', 'mixed', 'newer', 'spoilt', 'foreign', 'headless', 'young'):
    shutil.copytree(run, tmp / name)
  saved = json.loads((run / 'config.json').read_text())
  (tmp / 'mixed/config.json').write_text(json.dumps(saved | {'run': 'b'}))
  newer = json.loads(json.dumps(saved))
  newer['versions']['ganjax'], newer['config']['networks']['kilts'] = '99.1.0', 2
  (tmp / 'newer/config.json').write_text(json.dumps(newer))
  saved['config']['networks']['width'] = 6
  (tmp / 'edited/config.json').write_text(json.dumps(saved))
  (tmp / 'spoilt/config.json').write_text('{"config": {')
  (tmp / 'foreign/config.json').write_text('["not ours"]')
  (tmp / 'headless/config.json').unlink()
  shutil.rmtree(tmp / 'young/checkpoints')
  return tmp


@pytest.fixture(scope='module')
def outcomes(folder, request):
  """{name: the finished process} of the cases that were asked for."""
  tests = [item for item in request.session.items if item.function is test_ends_with_one_line]
  cases = {item.callspec.params['name']: None for item in tests}
  for name in cases:
    line, _, *env = TABLE[name]
    cases[name] = split(line, folder, name), *(env or [{}])
  return command.run_all(cases)


def split(line, folder, name):
  tiny = ' '.join(map(str, command.tiny()))
  return line.format(tmp=folder, tiny=tiny, new=folder / 'new' / name.replace(' ', '-')).split()


# What others of the table come near to.
ALIKE = (
  'config is a folder', 'config that returns nothing', 'misspelt nested field', 'fraction for a whole number',
  'word for a bool', 'field without a value', 'negative batch', 'odd width', 'resolution not of resnet',
  'resolution not of biggan', 'batch below a pack', 'missing folder', 'workdir below a file', 'data in a bucket',
  'config.json of something else', 'start from a bucket', 'start from nothing', 'sample from a file',
  'sample from an empty workdir', 'sample with config.json spoilt', 'sample with another config',
  'sample of a newer ganjax', 'sample to a bucket', 'no pictures at a time', 'seeds that are words',
)  # fmt: skip


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=[pytest.mark.slow] * (n in ALIKE)) for n in TABLE]
)
def test_ends_with_one_line(name, outcomes):
  done = outcomes[name]
  assert 'Traceback' not in done.stdout + done.stderr, done.stdout + done.stderr
  assert done.returncode == 2, done
  *notices, error = done.stderr.splitlines()
  assert all(re.fullmatch(NOTICES, line) for line in notices), done.stderr
  assert error.startswith('error: ') and re.search(TABLE[name][1], error), error
  assert len(error) < 700


@pytest.mark.parametrize('name', ['field below a value', 'sample a step that is not there'])
def test_a_process_of_its_own_says_the_same(name, outcomes, folder):
  """What the table's forks do not see: the imports, and what they print."""
  done = command.run(*split(TABLE[name][0], folder, name))
  fork = outcomes[name]
  assert (done.returncode, done.stdout, done.stderr) == (fork.returncode, fork.stdout, fork.stderr)


def test_nothing_was_begun_or_spoilt(outcomes, folder):
  """No line of the table left a checkpoint behind or touched those that were there."""
  assert not [*(folder / 'new').glob('*/checkpoints/*'), *(folder / 'new').glob('*/config.json')]
  for name in ('run', 'edited', 'mixed', 'newer', 'spoilt', 'foreign', 'headless'):
    assert checkpoint.list_steps(folder / name) == [90, 100]
    kept, ours = (path / 'metrics.jsonl' for path in (folder / name, command.finished()[0]))
    assert kept.read_bytes() == ours.read_bytes()
  assert (folder / 'spoilt/config.json').read_text() == '{"config": {'


@pytest.mark.parametrize('field, value, message', VALUES)
def test_bad_value(field, value, message):
  config = runpy.run_path(str(command.ROOT / 'configs/dcgan_emoji.py'))['get_config']()
  config.update_from_flattened_dict({field: value})
  with pytest.raises(UserError, match=message):
    experiment.build(config)


@pytest.mark.parametrize('text', ['', 'a', '-1', '3-', '5-3', '1,,2', '1.5', '0-2-4', '-3-4'])
def test_seeds_that_are_none(text):
  with pytest.raises(UserError, match='--seeds=.*is not understood'):
    sampler.parse_seeds(text)
