"""Whatever a user types: a wrong command line ends with one line that names the culprit, and with a status."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import command
import pytest

from ganjax import UserError, checkpoint, sampler

# No network, wherever the tests run: TFDS is sent to a port where nobody listens.
OFFLINE = dict.fromkeys(('http_proxy', 'https_proxy', 'HTTPS_PROXY'), 'http://127.0.0.1:9')
FOUR_DEVICES = {'XLA_FLAGS': '--xla_force_host_platform_device_count=4'}
CIFAR = 'train.py --config configs/dcgan_cifar.py'
EMOJI = 'train.py --config configs/dcgan_emoji.py'
NEW = f'{EMOJI} --workdir {{tmp}}/new'
SAMPLE = 'sample.py --workdir'
# The same run as `command.finished`, in a copy.
RESUME = 'train.py {tiny} --workdir'

# name -> (command line, what the line must say[, environment]).
# {tmp} holds what `folder` below puts there.
TABLE = {
  # The command line and the configuration file.
  'no config': ('train.py --workdir {tmp}/new', r'--config is missing'),
  'no such config': (
    'train.py --config configs/dcgan_mnist.py --workdir {tmp}/new',
    r'configs/dcgan_mnist.py',
  ),
  'config is a folder': ('train.py --config configs --workdir {tmp}/new', r'configs'),
  'syntax error in config': ('train.py --config {tmp}/syntax.py --workdir {tmp}/new', r'syntax'),
  'config without get_config': (
    'train.py --config {tmp}/empty.py --workdir {tmp}/new',
    r'get_config',
  ),
  'config that raises': (
    'train.py --config {tmp}/raises.py --workdir {tmp}/new',
    r'no_such_module',
  ),
  'config of another shape': (
    'train.py --config {tmp}/none.py --workdir {tmp}/new',
    r'ConfigDict|get_config',
  ),
  'misspelt field': (f'{NEW} --config.batch_sise=8', r'batch_sise.*batch_size'),
  'misspelt nested field': (f'{NEW} --config.optim.G.rl=1', r'rl.*lr'),
  'misspelt component': (f'{NEW} --config.network.width=8', r'network\b.*networks'),
  'field below a value': (f'{NEW} --config.steps.more=8', r'steps'),
  'word for a number': (f'{NEW} --config.batch_size=many', r'batch_size.*many'),
  'fraction for a whole number': (f'{NEW} --config.steps=1.5', r'steps.*1\.5'),
  'word for a bool': (f'{NEW} --config.data.flip=perhaps', r'flip.*perhaps'),
  'word for a whole section': (f'{NEW} --config.optim=adam', r'optim'),
  'field without a value': (f'{NEW} --config.batch_size', r'batch_size'),
  'unknown flag': (f'{NEW} --wrokdir=x', r'wrokdir'),
  'stray argument': (f'{NEW} resume', r'unexpected arguments: resume'),
  'no workdir': (CIFAR, r'--workdir is missing'),
  # Values.
  'no batch': (f'{NEW} --config.batch_size=0', r'batch_size=0'),
  'negative batch': (f'{NEW} --config.batch_size=-8', r'batch_size=-8'),
  'no steps': (f'{NEW} --config.steps=0', r'steps=0'),
  'never log': (f'{NEW} --config.log_every_steps=0', r'log_every_steps=0'),
  'keep nothing': (f'{NEW} --config.keep_checkpoints=0', r'keep_checkpoints=0'),
  'fraction of nothing': (f'{NEW} --config.data.fraction=0.0', r'fraction=0'),
  'fraction above one': (f'{NEW} --config.data.fraction=1.5', r'fraction=1.5'),
  'two channels': (f'{NEW} --config.data.channels=2', r'channels.*2'),
  'negative rate': (f'{NEW} --config.optim.G.lr=-0.1', r'lr=-0.1'),
  'no rate': (f'{NEW} --config.optim.D.lr=0.0', r'lr=0'),
  'rate that is no number': (f'{NEW} --config.optim.D.lr=nan', r'lr=nan'),
  'beta of one': (f'{NEW} --config.optim.G.b1=1.0', r'b1=1'),
  'negative eps': (f'{NEW} --config.optim.G.eps=-1.0', r'eps'),
  'unknown decay': (f'{NEW} --config.optim.G.decay=cosine', r'cosine.*linear'),
  'negative half-life': (f'{NEW} --config.ema.half_life_images=-5', r'half_life_images'),
  'unknown method': (f'{NEW} --config.method.name=gna', r'gna.*did you mean gan\?'),
  'unknown networks': (f'{NEW} --config.networks.name=dcgna', r'dcgna.*did you mean dcgan\?'),
  'unknown loss': (f'{NEW} --config.method.loss=hinged', r'hinged.*non_saturating'),
  'no latent': (f'{NEW} --config.method.z_dim=0', r'z_dim'),
  'no critic': (f'{NEW} --config.method.n_critic=0', r'n_critic'),
  'resolution that does not fit': (f'{NEW} --config.data.resolution=40', r'resolution=40'),
  'negative resolution': (f'{NEW} --config.data.resolution=-32', r'resolution.*-32'),
  'odd width': (f'{NEW} --config.networks.width=5', r'width=5'),
  'unknown dtype': (f'{NEW} --config.networks.dtype=float31', r'float31'),
  'not taken by the networks': (
    'train.py --config {tmp}/fields.py --workdir {tmp}/new',
    r"'dcgan' does not take depth",
  ),
  'too large a batch for devices': (
    f'{NEW} --config.batch_size=6',
    r'batch_size=6 .* 4 devices',
    FOUR_DEVICES,
  ),
  # Data.
  'no data set': (f'{NEW} --config.data.dataset=', r'dataset'),
  'unknown data set': (f'{NEW} --config.data.dataset=cifar11', r'cifar11.*cifar10', OFFLINE),
  'data set not to be had': (
    CIFAR + ' --workdir {tmp}/new --config.data.data_dir={tmp}/tfds',
    r'cifar10 is not prepared in .*/tfds.*tfds build cifar10.*configs/dcgan_emoji.py',
    OFFLINE,
  ),
  'unknown split': (f'{NEW} --config.data.split=test', r"emoji has no split 'test'.*train"),
  'folder without a name': (f'{NEW} --config.data.dataset=folder', r'data.data_dir'),
  'missing folder': (
    f'{NEW} --config.data.dataset=folder --config.data.data_dir={{tmp}}/nowhere',
    r'/nowhere',
  ),
  'empty folder': (
    f'{NEW} --config.data.dataset=folder --config.data.data_dir={{tmp}}/nothing',
    r'no images in .*/nothing',
  ),
  'broken images': (
    f'{NEW} --config.data.dataset=folder --config.data.data_dir={{tmp}}/broken',
    r'3 of 3 images in .*/broken cannot be decoded: 0.png',
  ),
  # Workdirs.
  'workdir is a file': (f'{EMOJI} --workdir {{tmp}}/file', r'/file'),
  'workdir below a file': (f'{EMOJI} --workdir {{tmp}}/file/run', r'/file/run'),
  'workdir not to be written': (f'{EMOJI} --workdir /proc/run', r'/proc/run'),
  'other config in the workdir': (
    f'{EMOJI} --workdir {{tmp}}/run',
    r'another config: batch_size \(was 8',
  ),
  'networks other than their config': (
    f'{RESUME} {{tmp}}/edited --config.networks.width=6',
    r'another configuration: params/',
  ),
  'config.json spoilt': (f'{RESUME} {{tmp}}/spoilt', r'spoilt/config.json'),
  'config.json of something else': (f'{RESUME} {{tmp}}/foreign', r'foreign/config.json'),
  'config.json gone': (f'{RESUME} {{tmp}}/headless', r'headless.* no config.json'),
  'start from nothing': (f'{NEW} --config.init_from={{tmp}}/nowhere', r'/nowhere'),
  'start from other shapes': (
    f'{NEW} --config.init_from={{tmp}}/run',
    r"init_from=.*network 'G' differs",
  ),
  # sample.py.
  'sample nothing': ('sample.py', r'--workdir is missing'),
  'sample from nowhere': (f'{SAMPLE} {{tmp}}/nowhere', r'/nowhere'),
  'sample from a file': (f'{SAMPLE} {{tmp}}/file', r'/file'),
  'sample from an empty workdir': (f'{SAMPLE} {{tmp}}/nothing', r'nothing/config.json'),
  'sample before a checkpoint': (f'{SAMPLE} {{tmp}}/young', r'no checkpoint in .*/young'),
  'sample a step that is not there': (
    f'{SAMPLE} {{tmp}}/run --step=7',
    r'no checkpoint 7 .* 90, 100',
  ),
  'sample with a spoilt config.json': (f'{SAMPLE} {{tmp}}/spoilt', r'spoilt/config.json'),
  'sample with config.json of something else': (
    f'{SAMPLE} {{tmp}}/foreign',
    r'foreign/config.json',
  ),
  'sample with another config': (f'{SAMPLE} {{tmp}}/edited', r'G|width|config'),
  'sample to a place not to be written': (
    f'{SAMPLE} {{tmp}}/run --out={{tmp}}/file/grid.png',
    r'/file',
  ),
  'no pictures at a time': (f'{SAMPLE} {{tmp}}/run --batch=0', r'--batch'),
  'unknown format': (f'{SAMPLE} {{tmp}}/run --format=jpg', r'jpg.*png|format'),
  'seeds that are words': (f'{SAMPLE} {{tmp}}/run --seeds=some', r"--seeds='some'"),
  'strip of one seed': (f'{SAMPLE} {{tmp}}/run --format=strip --seeds=1', r'two seeds'),
  'step that is a word': (f'{SAMPLE} {{tmp}}/run --step=last', r'step'),
}
# Lines that may stand before the error: what took long, and for how much.
NOTICES = r'(decoding folder|cifar10 is not prepared in .*: preparing) .*'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  tmp = tmp_path_factory.mktemp('bad')
  for name in ('nothing', 'tfds', 'broken'):
    (tmp / name).mkdir()
  for i in range(3):
    (tmp / f'broken/{i}.png').write_text('no picture')
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
  for name in ('edited', 'spoilt', 'foreign', 'headless', 'young'):
    shutil.copytree(run, tmp / name)
  saved = json.loads((run / 'config.json').read_text())
  saved['config']['networks']['width'] = 6
  (tmp / 'edited/config.json').write_text(json.dumps(saved))
  (tmp / 'spoilt/config.json').write_text('{"config": {')
  (tmp / 'foreign/config.json').write_text('["not ours"]')
  (tmp / 'headless/config.json').unlink()
  shutil.rmtree(tmp / 'young/checkpoints')
  return tmp


@pytest.fixture(scope='module')
def outcomes(folder, request):
  """{name: a future of the finished process} of the cases that were asked for, two processes at a time."""
  tests = [item for item in request.session.items if item.function is test_ends_with_one_line]
  tiny = ' '.join(map(str, command.tiny()))

  def run(name):
    line, _, *env = TABLE[name]
    words = line.format(tmp=folder, tiny=tiny).split()
    return command.run(*words, env=env[0] if env else {})

  with ThreadPoolExecutor(2) as pool:
    yield {
      name: pool.submit(run, name) for name in (item.callspec.params['name'] for item in tests)
    }


@pytest.mark.parametrize('name', TABLE)
def test_ends_with_one_line(name, outcomes):
  done = outcomes[name].result()
  assert 'Traceback' not in done.stdout + done.stderr, done.stdout + done.stderr
  assert done.returncode == 2, done
  *notices, error = done.stderr.splitlines()
  assert all(re.fullmatch(NOTICES, line) for line in notices), done.stderr
  assert error.startswith('error: ') and re.search(TABLE[name][1], error), error
  assert len(error) < 700


def test_nothing_was_begun_or_spoilt(outcomes, folder):
  """No line of the table left a run behind or touched those that were there."""
  for future in outcomes.values():
    future.result()
  assert checkpoint.list_steps(folder / 'new') == []
  for name in ('run', 'edited', 'spoilt', 'foreign', 'headless'):
    assert checkpoint.list_steps(folder / name) == [90, 100]
    kept, ours = (path / 'metrics.jsonl' for path in (folder / name, command.finished()[0]))
    assert kept.read_bytes() == ours.read_bytes()
  assert (folder / 'spoilt/config.json').read_text() == '{"config": {'


@pytest.mark.parametrize('text', ['', 'a', '-1', '3-', '5-3', '1,,2', '1.5', '0-2-4', '-3-4', '١-'])
def test_seeds_that_are_none(text):
  with pytest.raises(UserError, match='--seeds=.*is not understood'):
    sampler.parse_seeds(text)
