"""AdaIN trained by the loop, and sampled with one's own pictures at their sizes: a frozen network that samples need."""

import json

import jax
import numpy as np
import pytest
import toys
from PIL import Image
from test_dispatch import train  # noqa: F401

from ganjax import UserError, experiment, media, run_state
from ganjax import config as configs
from ganjax.devices import sharding
from ganjax.methods import adain
from ganjax.sampling import own, sample
from ganjax.weights import export

RNG = np.random.default_rng(0)


@pytest.fixture
def config(monkeypatch, tmp_path):
  """A run on pictures of 16 pixels, whose encoder is the toy."""
  toys.add(monkeypatch.setattr)
  monkeypatch.setitem(adain.ENCODERS, 'squares', ('four', 'eight'))
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  (tmp_path / 'cache/weights').mkdir(parents=True)
  shapes = {'four': (4, 3, 4, 4), 'eight': (5, 4, 2, 2)}
  tensors = {f'{name}.weight': RNG.normal(0, 0.3, shape) for name, shape in shapes.items()}
  tensors |= {f'{name}.bias': RNG.normal(0, 0.3, shape[0]) for name, shape in shapes.items()}
  weights = {name: x.astype(np.float32) for name, x in tensors.items()}
  np.savez(tmp_path / 'cache/weights/squares.npz', **weights)
  config = configs.base('styles')
  config.update(steps=4, batch_size=4, sample_every_steps=1)
  config.data.update(dataset='emoji_pairs', resolution=16, paired=False, split='train')
  config.networks = dict(name='adain', width=8, dtype='float32', param_dtype='float32')
  config.method = dict(name='adain', network='squares')
  config.optim = dict(G=configs.adam(lr=dict(start=1e-3, inverse=0.1)))
  config.eval.split = 'test'
  return config


def folder(top, sizes):
  top.mkdir()
  for name, (height, width) in sizes.items():
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8)).save(top / f'{name}.png')
  return top


def run_sample(*arguments):
  sample.COMMAND.read(['ganjax sample', *map(str, arguments)])
  return sample.main()


def pixels(path):
  with Image.open(path) as picture:
    return np.asarray(picture)


def test_each_picture_in_each_style(tmp_path):
  mine = own.find(folder(tmp_path / 'mine', {'tall': (4, 2), 'wide': (2, 4)}))
  styles = own.find(folder(tmp_path / 'styles', {'blue': (3, 3), 'green': (3, 3), 'red': (3, 3)}))
  one, other = own.in_styles(mine, styles)
  names = [f'{a}-in-{b}' for a in ('tall', 'wide') for b in ('blue', 'green', 'red')]
  assert one.names == other.names == names
  field = media.Field('image', (3, 3, 3))
  found = own.beside(one.source(field, 'source'), other.source(field, 'target'))
  both = found.read(np.array([2, 4]))
  np.testing.assert_array_equal(
    both['target'], [pixels(tmp_path / f'styles/{n}.png') for n in ('red', 'green')]
  )
  np.testing.assert_array_equal(
    both['source'][1], mine.source(field, 'x').read(np.array([1]))['x'][0]
  )
  assert found.read(np.array([0]), ('target',)).keys() == {'target'}
  # Fewer styles than pictures: from the first again.
  again = own.beside(one.source(field, 'source'), styles.source(field, 'target'))
  np.testing.assert_array_equal(again.read(np.array([4]))['target'], both['target'][1:])


# Slow: it is compiled for 4 devices, for two sizes, and for a file.
@pytest.mark.slow
def test_trained_and_sampled(train, config, tmp_path):  # noqa: F811
  status, kept, lines = train('run', config)
  assert status == 0 and {'loss_content', 'loss_style'} <= lines[-1].keys()
  assert kept['params'].keys() == {'G'}
  run, out = tmp_path / 'run', tmp_path / 'out'
  saved = json.loads((run / 'config.json').read_text())
  assert saved['frozen']['F']['network'] == 'squares'
  # A grid shows content, style and sample; two rows of eight.
  assert pixels(run / 'samples/00000004.png').shape[0] % 16 == 0
  mine = folder(tmp_path / 'mine', {'tall': (40, 21), 'wide': (16, 70)})
  styles = folder(tmp_path / 'styles', {'red': (30, 30), 'blue': (16, 20)})
  both = ['--workdir', run, '--source', mine]
  assert run_sample(*both, '--style', styles, '--out', out, '--tile=16') == 0
  found = {path.stem: pixels(path) for path in out.iterdir()}
  assert {name: x.shape for name, x in found.items()} == {
    f'{name}-in-{style}': shape
    for name, shape in (('tall', (40, 21, 3)), ('wide', (16, 70, 3)))
    for style in ('red', 'blue')
  }
  # At their own sizes, in one piece: as the stage makes it of the whole picture.
  loaded = experiment.load(run)
  mesh = sharding.make_mesh(jax.devices()[:1])
  state, *_ = run_state.read_generator(loaded, run, mesh, step=None, weights='ema')
  stage = loaded.spans[0].stage
  floats = lambda x: x[None].astype(np.float32) / 127.5 - 1
  style = pixels(styles / 'red.png')
  style = np.asarray(Image.fromarray(style).resize((16, 16), Image.Resampling.LANCZOS))
  whole = np.pad(pixels(mine / 'wide.png'), ((0, 0), (0, 10), (0, 0)), 'reflect')
  row = loaded.method.rows(np.arange(1), {'source': floats(whole), 'target': floats(style)})
  made = np.asarray(
    jax.jit(lambda state, row: stage.sample(state, row, train=False)[0])(state, row)
  )[0, :, :70]
  made = np.clip(np.round((made + 1) * 127.5), 0, 255)
  assert np.abs(made - found['wide-in-red']).mean() < 2
  # Not at all in the style: the style has no part in it.
  none = ['--option', 'alpha=0', '--format', 'npz', '--out', tmp_path / 'none.npz']
  run_sample(*both, '--style', styles, *none)
  with np.load(tmp_path / 'none.npz') as file:
    images = file['arr_0']
  np.testing.assert_array_equal(images[0], images[1])
  assert np.any(images[0] != images[2])
  # Styles of the held-out pictures; a table of strengths; a generator in a file.
  table = ['--option', 'alpha=0,0.5', '--out', tmp_path / 'table.png']
  run_sample(*both, *table)
  assert pixels(tmp_path / 'table.png').shape[1] >= 3 * 16
  export.COMMAND.read(['ganjax export', str(run), '--out', str(tmp_path / 'G.safetensors')])
  export.main()
  one = ['--workdir', tmp_path / 'G.safetensors', '--source', mine / 'tall.png']
  run_sample(*one, '--style', styles / 'red.png', '--out', tmp_path / 'one.png')
  np.testing.assert_array_equal(pixels(tmp_path / 'one.png'), found['tall-in-red'])
  with pytest.raises(UserError, match='--style goes with --source'):
    run_sample('--workdir', run, '--style', styles)
  with pytest.raises(UserError, match='--style=nowhere is not there'):
    run_sample(*both, '--style', 'nowhere')
  # Other weights of the encoder.
  arrays = dict(np.load(tmp_path / 'cache/weights/squares.npz'))
  np.savez(tmp_path / 'cache/weights/squares.npz', **{k: x + 1 for k, x in arrays.items()})
  with pytest.raises(UserError, match='is trained on the weights of squares with sha256'):
    run_sample(*both)
