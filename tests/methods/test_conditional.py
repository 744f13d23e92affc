"""A conditional run from end to end: classes are learned, sampled in grids and strips, kept with the pictures."""

import command
import numpy as np
import pytest
from PIL import Image

# Red pictures, green ones, blue ones.
CLASSES = ('blue', 'green', 'red')
COLOUR = {'blue': (30, 30, 220), 'green': (30, 220, 30), 'red': (220, 30, 30)}
SAMPLES = {
  'plain': ['--format=npz', '--seeds=0-8'],
  'classes': ['--format=npz', '--seeds=0-3', '--classes=0-2'],
  'strip': ['--format=npz', '--seeds=5', '--classes=0,2'],
  'grid.png': ['--seeds=0-3', '--classes=red,0'],
  'strip.png': ['--format=strip', '--seeds=5', '--classes=0,2', '--frames=4'],
  'png': ['--format=files', '--seeds=7', '--classes=1'],
  'folders': ['--format=folders', '--seeds=0-5'],
}
REFUSED = {
  'no such class': (['--classes=1-3'], 'the classes are 0 to 2'),
  'no such name': (['--classes=rde'], "'rde' is no class of the run, such as red"),
  'one end': (['--format=strip', '--seeds=1'], 'at least two seeds or classes'),
}


def write_pictures(folder, classes):
  rng = np.random.default_rng(0)
  for name in classes:
    (folder / name).mkdir(parents=True)
    for i in range(20):
      noise = rng.normal(0, 10, (8, 8, 3)) + COLOUR[name]
      Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f'{name}/{i:02}.png')
  return folder


# R1 keeps so small a game from going round in circles.
CONFIG = f"""
import runpy


def get_config():
  config = runpy.run_path({str(command.ROOT / 'configs/cgan_mnist.py')!r})['get_config']()
  config.method.penalties = dict(r1=0.3)
  return config
"""


def arguments(data, workdir, **fields):
  fields = {
    'data.dataset': 'folder',
    'data.data_dir': data,
    'data.resolution': 8,
    'data.channels': 3,
    'networks.width': 120,
    'networks.num_classes': 3,
    'batch_size': 32,
    'steps': 1500,
    'sample_every_steps': 500,
    'checkpoint_every_steps': 500,
    'optim.G.lr': 1e-3,
    'optim.D.lr': 1e-3,
    **fields,
  }
  config = data.parent / 'config.py'
  config.write_text(CONFIG)
  return [
    '--config',
    config,
    '--workdir',
    workdir,
    *(f'--config.{k}={v}' for k, v in fields.items()),
  ]


# A run of its own, trained until its pictures differ.
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a run, and what sample.py made of it."""
  tmp = tmp_path_factory.mktemp('conditional')
  command.succeed('train.py', *arguments(write_pictures(tmp / 'data', CLASSES), tmp / 'run'))
  sample = ['sample.py', '--workdir', tmp / 'run']
  command.succeed_all(
    {name: ([*sample, *flags, '--out', tmp / 'out' / name], {}) for name, flags in SAMPLES.items()}
  )
  return tmp


def read(path):
  with np.load(path) as file:
    return file['arr_0'].astype(float), file['arr_1']


def test_pictures_have_the_colour_of_their_class(run):
  pictures, labels = read(run / 'out/classes')
  np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], 4))
  for picture, label in zip(pictures, labels):
    mean = picture.mean((0, 1))
    assert mean.argmax() == (2, 1, 0)[label] and mean.max() > 2 * np.sort(mean)[1], (label, mean)


def test_a_seed_is_of_the_class_that_it_is_modulo_their_number(run):
  pictures, labels = read(run / 'out/plain')
  np.testing.assert_array_equal(labels, np.arange(9) % 3)
  chosen, classes = read(run / 'out/classes')
  for seed in range(4):
    (row,) = np.flatnonzero((classes == seed % 3) & (np.tile(np.arange(4), 3) == seed))
    np.testing.assert_allclose(pictures[seed], chosen[row], atol=1)


def test_grids_have_a_row_for_each_class(run):
  with Image.open(run / 'out/grid.png') as grid:
    pixels = np.asarray(grid, float)
  top, bottom = np.split(pixels, 2)
  assert pixels.shape[1] > pixels.shape[0]
  assert top.mean((0, 1)).argmax() == 0 and bottom.mean((0, 1)).argmax() == 2


def test_a_strip_goes_from_class_to_class(run):
  with Image.open(run / 'out/strip.png') as strip:
    pixels = np.asarray(strip, float)
  ends, _ = read(run / 'out/strip')
  width = pixels.shape[1] // 5
  red = [pixels[:, i * width : (i + 1) * width].mean((0, 1)) for i in range(5)]
  assert red[0].argmax() == 2 and red[-1].argmax() == 0
  assert all(b[0] > a[0] - 2 for a, b in zip(red, red[1:]))
  assert red[0][0] + 20 < red[2][0] < red[4][0] - 20
  assert ends.shape[0] == 2


def test_single_pictures_are_named_by_seed_and_class(run):
  (file,) = (run / 'out/png').iterdir()
  assert file.name == 'seed000007-class0001.png'


def test_samples_lie_in_a_folder_for_each_class(run):
  """Which is data as the run was trained on: by the same names."""
  found = {folder.name: len([*folder.iterdir()]) for folder in (run / 'out/folders').iterdir()}
  assert found == dict.fromkeys(CLASSES, 2)


def test_what_sampling_refuses(run):
  sample = ['sample.py', '--workdir', run / 'run']
  done = command.run_all({name: ([*sample, *flags], {}) for name, (flags, _) in REFUSED.items()})
  for name, process in done.items():
    assert process.returncode == 2 and process.stderr.count('\n') == 1, process
    assert REFUSED[name][1] in process.stderr, process


def test_data_that_do_not_fit(tmp_path):
  lines = {
    '': 'folder has no labels: take other data',
    'red': 'has one class only: take an unconditional config',
    'red blue': 'has 2 classes: set --config.networks.num_classes=2',
  }
  commands = {}
  for classes in lines:
    data = write_pictures(tmp_path / classes / 'data', classes.split())
    if not classes:
      data.mkdir()
      Image.new('RGB', (8, 8)).save(data / 'one.png')
    commands[classes] = ['train.py', *arguments(data, tmp_path / classes / 'run')], {}
  for classes, done in command.run_all(commands).items():
    assert done.returncode == 2 and lines[classes] in done.stderr.splitlines()[-1], done
    assert not list((tmp_path / classes / 'run').glob('checkpoints/*'))
