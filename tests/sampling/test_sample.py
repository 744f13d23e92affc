"""sample.py as processes: every output, the weights and statistics behind it, and that seeds mean pictures."""

import json
import shutil

import command
import numpy as np
import pytest
from PIL import Image

import ganjax
from ganjax.sampling import sampler

FOUR_DEVICES = {'XLA_FLAGS': '--xla_force_host_platform_device_count=4'}
# What the tests look at: name -> (arguments, environment).
OUTPUTS = {
  'default': ([], {}),
  'npz': (['--format=npz', '--seeds=0-9'], {}),
  'png': (['--format=files', '--seeds=3,7-8', '--batch=2'], {}),
  'devices': (['--format=npz', '--seeds=8-12', '--batch=5'], FOUR_DEVICES),
  'strip': (['--format=strip', '--seeds=0-2', '--frames=4'], {}),
  'gif': (['--format=gif', '--seeds=0-2', '--frames=4'], {}),
  'raw': (['--format=npz', '--seeds=0-9', '--weights=raw'], {}),
  'batch': (['--format=npz', '--seeds=0-9', '--batch_norm=batch'], {}),
  'standing': (['--format=npz', '--seeds=0-9', '--batch_norm=standing'], {}),
  'earlier': (['--format=npz', '--seeds=0-9', '--step=90'], {}),
  'many': (['--format=npz', f'--seeds={",".join(map(str, range(200)))}'], {}),
}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """The finished run, moved elsewhere."""
  return shutil.copytree(command.finished()[0], tmp_path_factory.mktemp('moved') / 'run')


@pytest.fixture(scope='module')
def printed(workdir):
  """{name: what it printed} of all OUTPUTS, without the pictures that the run saw."""
  commands, nothing = {}, {'GANJAX_CACHE_DIR': workdir / 'no-cache'}
  for name, (arguments, env) in OUTPUTS.items():
    out = [] if name in ('default', 'many') else ['--out', workdir / 'out' / name]
    commands[name] = ['sample.py', '--workdir', workdir, *arguments, *out], {**env, **nothing}
  gone = command.pictures().rename(command.files() / 'gone')
  try:
    return {name: done.stdout for name, done in command.succeed_all(commands).items()}
  finally:
    gone.rename(command.pictures())


@pytest.fixture
def read(workdir, printed):
  """Reads the pictures uint8 [N, 32, 32, 3] of an npz."""

  def read(name):
    with np.load(workdir / 'out' / name) as batch:
      return batch['arr_0']

  return read


def assert_same_pictures(a, b):
  """Equal, but for a level here and there: other shapes are other programs, which round differently."""
  a, b = np.asarray(a, int), np.asarray(b, int)
  assert a.shape == b.shape
  assert abs(a - b).max() <= 1 and (a == b).mean() > 0.99


def differ(a, b):
  return abs(a.astype(int) - b).max() > 3


def assert_described(text, seed):
  """The metadata that marks a picture as synthetic and says where it is from; `text` of strings."""
  assert text['Description'] == 'synthetic image'
  assert text['Software'] == f'ganjax {ganjax.__version__}'
  assert (text['config'], text['step'], text['seed']) == ('dcgan_emoji', '100', seed)


def test_grid_is_that_of_training(workdir, printed):
  """By default the 64 seeds and averaged weights of the grids in samples/."""
  path = workdir / 'generated/grid-00000100-seeds0-63.png'
  assert printed['default'].startswith(f'{path}: 64 pictures, step 100, ema weights, running')
  with Image.open(path) as made, Image.open(workdir / 'samples/00000100.png') as training:
    assert made.size == (8 * 32, 8 * 32) and made.mode == 'RGB'
    assert_described(made.text, '0-63')
    assert_same_pictures(made, training)


def test_many_seeds_make_no_name_that_is_too_long(printed):
  path = printed['many'].partition(': 200 pictures')[0]
  assert 'npz-00000100-seeds0,1,2,3,' in path and path.endswith('.npz')
  with np.load(path) as batch:
    assert batch['arr_0'].shape[0] == 200


def test_npz_is_a_sample_batch(workdir, printed):
  with np.load(workdir / 'out/npz') as batch:
    pictures = batch['arr_0']
    text = json.loads(str(batch['metadata']))
  assert pictures.shape == (10, 32, 32, 3) and pictures.dtype == np.uint8
  assert_described({k: str(v) for k, v in text.items()}, '0-9')
  assert len(np.unique(pictures.reshape(10, -1), axis=0)) == 10


def test_separate_pngs(workdir, read):
  """Seeds 3, 7 and 8, two at a time: the pictures that the range 0-9 holds for them."""
  files = sorted((workdir / 'out/png').iterdir())
  assert [f.name for f in files] == ['seed000003.png', 'seed000007.png', 'seed000008.png']
  for path, seed in zip(files, (3, 7, 8)):
    with Image.open(path) as picture:
      assert_described(picture.text, str(seed))
      assert_same_pictures(picture, read('npz')[seed])


def test_same_pictures_on_four_devices(read):
  assert read('devices').shape == (5, 32, 32, 3)
  assert_same_pictures(read('devices')[:2], read('npz')[8:])


def test_strip_passes_through_the_seeds(workdir, read):
  with Image.open(workdir / 'out/strip') as strip:
    assert strip.size == (9 * 32, 32)
    assert_described(strip.text, '0-2')
    frames = np.asarray(strip).reshape(32, 9, 32, 3).swapaxes(0, 1)
  assert_same_pictures(frames[::4], read('npz')[:3])
  assert all(differ(a, b) for a, b in zip(frames, frames[1:]))


def test_gif_goes_round(workdir, read):
  with Image.open(workdir / 'out/gif') as gif:
    assert gif.size == (32, 32) and gif.n_frames == 12 and gif.info['loop'] == 0
    assert_described({k: str(v) for k, v in json.loads(gif.info['comment']).items()}, '0-2')
    frames = []
    for i in range(12):
      gif.seek(i)
      frames.append(np.asarray(gif.convert('RGB'), int))
  # A GIF has 256 colours: near its seed's picture, and nearest to it of all frames.
  for seed in range(3):
    distances = [abs(frame - read('npz')[seed]).mean() for frame in frames]
    assert np.argmin(distances) == 4 * seed and min(distances) < 6


def test_weights_and_steps_differ(workdir, printed, read):
  assert 'raw weights' in printed['raw'] and differ(read('npz'), read('raw'))
  assert 'step 90,' in printed['earlier'] and differ(read('npz'), read('earlier'))


def test_batch_norm_modes_differ(printed, read):
  modes = {'running': read('npz'), 'batch': read('batch'), 'standing': read('standing')}
  assert all(f'{name} batch statistics' in printed[name] for name in ('batch', 'standing'))
  assert differ(modes['running'], modes['batch'])
  assert differ(modes['running'], modes['standing'])
  assert differ(modes['batch'], modes['standing'])


@pytest.mark.slow
def test_samples_from_a_run_that_goes_on(tmp_path):
  arguments = command.tiny({'steps': 100_000})
  training = command.start('train.py', *arguments, '--workdir', tmp_path)
  try:
    command.read_to(training, f'step {25:>6}/')
    out = tmp_path / 'out.npz'
    done = command.run(
      'sample.py', '--workdir', tmp_path, '--format=npz', '--seeds=5', '--out', out
    )
    assert done.returncode == 0, done.stderr
    assert training.poll() is None
    with np.load(out) as batch:
      assert batch['arr_0'].shape == (1, 32, 32, 3)
  finally:
    training.kill()
    command.finish(training)


@pytest.mark.parametrize(
  'text, seeds',
  [('0-3', [0, 1, 2, 3]), ('7', [7]), ('3,7,10-12', [3, 7, 10, 11, 12]), ('5,5,4', [5, 5, 4])],
)
def test_seeds(text, seeds):
  assert sampler.parse_seeds(text).tolist() == seeds


@pytest.mark.parametrize(
  'text, classes',
  [
    ('0-2', [0, 1, 2]),
    ('dog,cat', [3, 1]),
    ('3,ant, 7-up', [3, 0, 2]),
    ('dog,0-1,dog', [3, 0, 1, 3]),
    ('Smileys & Emotion', [4]),
    ('2', [2]),  # a number is a number, whatever folders are called
    ('0-1', [0, 1]),
  ],
)
def test_classes(text, classes):
  names = ['ant', 'cat', '7-up', 'dog', 'Smileys & Emotion', '2']
  assert sampler.parse_classes(text, 6, names).tolist() == classes


@pytest.mark.parametrize(
  'text, names, message',
  [
    ('cta', ['ant', 'cat'], "'cta' is no class of the run, such as cat; take numbers"),
    ('Z', ['ant', 'cat'], "'Z' is no class of the run, such as ant, cat;"),
    ('cat', None, "'cat' is no number;"),
    ('1-', ['ant', 'cat'], "'1-' is no class"),
    ('0,2', ['ant', 'cat'], 'the classes are 0 to 1'),
    ('', ['ant', 'cat'], "'' is no class"),
  ],
)
def test_classes_that_are_none(text, names, message):
  with pytest.raises(ganjax.UserError, match=message):
    sampler.parse_classes(text, 2, names)


def test_classes_of_a_run_without():
  with pytest.raises(ganjax.UserError, match='this one has no classes'):
    sampler.parse_classes('0', 0)
