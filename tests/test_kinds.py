"""Any kind of data through the real commands: a data set, networks and a method are a file each, see tests/toys."""

import json

import command
import numpy as np
import pytest
import scipy.io.wavfile
import toys
from PIL import Image

from ganjax import data, experiment
from ganjax.config import base

CONFIG = command.ROOT / 'tests/toys/config.py'
KINDS = ('clip', 'sound', 'solid', 'pairs', 'words')


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """(folder of all runs, {name: what training and sampling printed})."""
  folder, train, sample = tmp_path_factory.mktemp('kinds'), {}, {}
  own = folder / 'own'
  own.mkdir()
  Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(own / 'mine.png')
  for name in KINDS:
    to = ['--workdir', folder / name]
    train[name] = ['tests/toys/command.py', 'train.py', '--config', f'{CONFIG}:{name}', *to], {}
    for form in 'files', 'npz':
      words = ['tests/toys/command.py', 'sample.py', *to, f'--format={form}', '--seeds=0-2']
      sample[name, form] = [*words, '--out', folder / f'{name}-{form}'], {}
  own_words = [
    'tests/toys/command.py',
    'sample.py',
    '--workdir',
    folder / 'pairs',
    '--format=files',
  ]
  sample['own', 'files'] = [*own_words, '--source', own, '--out', folder / 'own-files'], {}
  half = ['--workdir', folder / 'clip', '--format=npz', '--seeds=0-2', '--option=strength=0.5']
  sample['half', 'npz'] = (
    ['tests/toys/command.py', 'sample.py', *half, '--out', folder / 'half'],
    {},
  )
  judge = ['--workdir', folder / 'pairs', '--metrics=psnr', '--num=40']
  sample['pairs', 'psnr'] = ['tests/toys/command.py', 'ganjax/evaluation/evaluate.py', *judge], {}
  judge = ['--workdir', folder / 'pairs', '--metrics=psnr', '--num=40', '--option=strength=0']
  sample['grey', 'psnr'] = ['tests/toys/command.py', 'ganjax/evaluation/evaluate.py', *judge], {}
  sample['grey', 'psnr'][0].extend(['--out', folder / 'grey.jsonl'])
  done = command.succeed_all(train)
  sample = {f'{a}-{b}': words for (a, b), words in sample.items()}
  return folder, {**done, **command.succeed_all(sample)}


def stored(folder, name):
  with np.load(
    folder / f'{name}.npz' if (folder / f'{name}.npz').exists() else folder / name
  ) as file:
    return file['arr_0']


def test_a_summary_names_fields_without_opening_data(monkeypatch):
  toys.add(monkeypatch.setattr)
  config = base('x')
  config.data.update(dataset='toy', has=('clip', 'text'))
  assert {n: (f.kind, f.shape) for n, f in data.fields(**config.data).items()} == {
    'clip': ('clip', (3, 8, 12, 1)),
    'text': ('text', (6,)),
  }


@pytest.mark.parametrize(
  ('name', 'dtype', 'shape', 'ending'),
  [
    ('clip', np.uint8, (3, 8, 12, 1), 'gif'),
    pytest.param('sound', np.int16, (64, 1), 'wav', marks=pytest.mark.slow),
    pytest.param('solid', bool, (6, 4, 8, 1), 'obj', marks=pytest.mark.slow),
    ('pairs', np.uint8, (8, 12, 3), 'png'),
    pytest.param('words', np.uint8, (8, 12, 3), 'png', marks=pytest.mark.slow),
  ],
)
def test_samples_are_stored_as_their_kind_is(runs, name, dtype, shape, ending):
  folder, printed = runs
  found = stored(folder, f'{name}-npz')
  assert found.dtype == dtype and found.shape == (3, *shape)
  assert (found[0] != found[1]).any()
  files = sorted((folder / f'{name}-files').iterdir())
  assert [path.name for path in files] == [f'seed{i:06}.{ending}' for i in range(3)]
  kind = 'pictures' if ending == 'png' else f'{name}s'
  assert f'3 {kind}, step 8' in printed[f'{name}-files'].stdout


def test_files_hold_what_the_arrays_do(runs):
  folder, _ = runs
  rate, sound = scipy.io.wavfile.read(folder / 'sound-files/seed000001.wav')
  assert rate == 8000
  np.testing.assert_array_equal(sound.reshape(-1, 1), stored(folder, 'sound-npz')[1])
  clip = Image.open(folder / 'clip-files/seed000001.gif')
  assert clip.n_frames <= 3 and clip.size == (12, 8) and clip.info['duration'] % 100 == 0
  solid = stored(folder, 'solid-npz')[1]
  faces = (folder / 'solid-files/seed000001.obj').read_text().count('\nf ')
  padded = np.pad(solid[..., 0], 1).astype(int)
  assert faces == sum(np.abs(np.diff(padded, axis=axis)).sum() for axis in range(3))
  picture = Image.open(folder / 'pairs-files/seed000001.png')
  np.testing.assert_array_equal(np.asarray(picture), stored(folder, 'pairs-npz')[1])
  assert picture.text['Description'] == 'synthetic image'


def test_files_say_that_they_are_synthetic_and_of_which_kind(runs):
  folder, _ = runs
  for name, ending in ('clip', 'gif'), ('sound', 'wav'), ('solid', 'obj'):
    content = (folder / f'{name}-files/seed000001.{ending}').read_bytes()
    assert f'"Description": "synthetic {name}", "DigitalSourceType"'.encode() in content
    grid = Image.open(folder / name / 'samples/00000008.png')
    assert grid.text['Description'] == f'synthetic {name}'


def test_grids_show_what_samples_start_from_and_what_they_are_like(runs, monkeypatch):
  """16 rows spread over a held-out split: source | sample | target, of pictures that are not square."""
  folder, _ = runs
  toys.add(monkeypatch.setattr)
  grid = np.asarray(Image.open(folder / 'pairs/samples/00000008.png'))
  source = data.build(dataset='toy', split='test', has=('source', 'target')).read(
    np.arange(16) * 40 // 16
  )
  columns = grid.shape[1] // 36
  assert grid.shape == (-(-16 // columns) * 8, columns * 36, 3)
  for i in range(16):
    y, x = 8 * (i // columns), 36 * (i % columns)
    cell = grid[y : y + 8, x : x + 36]
    np.testing.assert_array_equal(cell[:, :12], np.repeat(source['source'][i], 3, 2))
    np.testing.assert_array_equal(cell[:, 24:], source['target'][i])
    if i * 40 // 16 < 3:
      made = stored(folder, 'pairs-npz')[i * 40 // 16]
      np.testing.assert_array_equal(cell[:, 12:24], made)
  # Kinds that are no pictures: a filmstrip of 3 frames; a wave above a spectrogram; a view.
  shapes = {'clip': (8, 36), 'sound': (128, 192), 'solid': (96, 96)}
  for name, (height, width) in shapes.items():
    size = Image.open(folder / name / 'samples/00000008.png').size
    assert size[0] % width == 0 and size[1] % height == 0


def test_a_picture_of_ones_own_is_where_a_sample_starts(runs):
  folder, _ = runs
  (path,) = (folder / 'own-files').iterdir()
  assert path.name == 'mine.png' and Image.open(path).size == (12, 8)


def test_options_are_declared_checked_and_recorded(runs):
  folder, _ = runs
  whole, half = (stored(folder, name).astype(float) - 127.5 for name in ('clip-npz', 'half'))
  np.testing.assert_allclose(half, whole / 2, atol=1)
  with np.load(folder / 'half.npz' if (folder / 'half.npz').exists() else folder / 'half') as file:
    assert json.loads(str(file['metadata']))['options'] == {'strength': 0.5}
  done = command.run(
    'tests/toys/command.py', 'sample.py', '--workdir', folder / 'clip', '--option=strenght=1'
  )
  assert done.returncode == 2
  assert 'did you mean strength?' in done.stderr and 'strength=1.0' in done.stderr


def test_pairs_are_evaluated_as_pairs(runs, monkeypatch):
  folder, _ = runs
  (record,) = map(json.loads, (folder / 'pairs/evaluations.jsonl').read_text().splitlines())
  assert record['num_fake'] == record['num_real'] == 40
  toys.add(monkeypatch.setattr)
  run = experiment.load(folder / 'pairs')
  assert run.held_out(run.spans[0]).num_examples == 40
  assert 5 < record['values']['psnr'] < 20
  (grey,) = map(json.loads, (folder / 'grey.jsonl').read_text().splitlines())
  assert grey['fake']['options'] == {'strength': 0.0}
  assert grey['values']['psnr'] != record['values']['psnr']
