"""One's own pictures at their own sizes, through `ganjax sample`: names, borders, alpha, grey, EXIF."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from ganjax import UserError, experiment, run_record
from ganjax import config as configs
from ganjax.devices import sharding
from ganjax.layers.resample import interpolate, resize_bicubic
from ganjax.sampling import sample
from ganjax.workdir import checkpoint

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (30, 41, 4), np.uint8)


def make_run(workdir, change=lambda params: params, **parts):
  """A workdir with a checkpoint of step 1 of a run that is not trained, with its parameters changed."""
  config = configs.base('test')
  config.update(steps=2, batch_size=1)
  config.data.update(dataset='emoji', resolution=32)
  config.update(parts)
  run, mesh = experiment.build(config), sharding.make_mesh(jax.devices()[:1])
  state = jax.jit(run.init)(run.key)
  state = state.replace(params=jax.tree.map(change, state.params))
  workdir.mkdir()
  saved = {'name': 'test', 'config': run_record.to_json(config)}
  (workdir / 'config.json').write_text(json.dumps(saved))
  with checkpoint.Checkpoints(workdir, 1) as checkpoints:
    checkpoints.save(1, sharding.replicate(jax.device_get(state), mesh), saved)
    checkpoints.wait()
  return workdir


@pytest.fixture(scope='module')
def bilinear(tmp_path_factory):
  """A run whose G has learnt nothing: it enlarges bilinearly, twice."""
  config = configs.base('x')
  return make_run(
    tmp_path_factory.mktemp('runs') / 'sr',
    np.zeros_like,
    networks=dict(name='srresnet', scale=2, width=1, width_D=1, blocks=0),
    method=dict(name='srgan', pretrain=1, perceptual={}),
    optim={**config.optim.to_dict(), 'pixels': configs.adam()},
  )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  top = tmp_path_factory.mktemp('own')
  for name, channels in {
    'plain': COLOURS[..., :3],
    'clear': COLOURS,
    'grey': COLOURS[..., 0],
  }.items():
    Image.fromarray(channels).save(top / f'{name}.png')
  exif = Image.Exif()
  exif[0x112] = 6
  Image.fromarray(COLOURS[..., :3]).save(top / 'turned.tif', exif=exif)
  Image.fromarray(COLOURS[:8, :9, :3]).save(top / 'plain.bmp')
  (top / 'broken.png').write_bytes(b'no picture')
  return top


def run_sample(*arguments):
  sample.COMMAND.read(['ganjax sample', *map(str, arguments)])
  return sample.main()


def enlarged(colours):
  """uint8 [h, w, C] -> [2 h, 2 w, C], bilinearly."""
  x = np.asarray(colours, np.float32)[None]
  return np.asarray(interpolate(x, [2 * n for n in x.shape[1:3]]))[0]


def test_every_picture_keeps_its_name_size_and_kind(bilinear, folder, tmp_path, capsys):
  assert run_sample('--workdir', bilinear, '--source', folder, '--out', tmp_path / 'out') == 1
  said = capsys.readouterr()
  assert 'left out: broken.png cannot be decoded' in said.err and '5 pictures' in said.out
  names = {'plain.png.png', 'plain.bmp.png', 'clear.png', 'grey.png', 'turned.png'}
  found = {path.name: Image.open(path) for path in (tmp_path / 'out').iterdir()}
  assert found.keys() == names
  assert json.loads(found['clear.png'].text['step']) == 1
  near = lambda name, wanted: np.testing.assert_allclose(np.asarray(found[name]), wanted, atol=1)
  near('plain.png.png', enlarged(COLOURS[..., :3]))
  near('plain.bmp.png', enlarged(COLOURS[:8, :9, :3]))
  near('turned.png', enlarged(np.rot90(COLOURS[..., :3], -1)))
  near('grey.png', enlarged(COLOURS[..., :1])[..., 0])
  assert found['clear.png'].mode == 'RGBA'
  alpha = np.asarray(resize_bicubic(COLOURS[None, ..., 3:].astype(np.float32), 2))[0]
  near('clear.png', np.concatenate([enlarged(COLOURS[..., :3]), alpha.clip(0, 255)], 2))


def test_a_file_in_tiles(bilinear, folder, tmp_path):
  """Into a file that is named; what a network makes of a pixel and its neighbours is the same in tiles."""
  out, name = tmp_path / 'one.png', folder / 'grey.png'
  assert run_sample('--workdir', bilinear, '--source', name, '--out', out, '--tile=16') == 0
  found = np.asarray(Image.open(out))
  np.testing.assert_allclose(found, enlarged(COLOURS[..., :1])[..., 0], atol=1)


def test_a_grid_and_an_npz_are_of_one_size(bilinear, folder, tmp_path):
  out = tmp_path / 'out.npz'
  run_sample('--workdir', bilinear, '--source', folder / 'grey.png', '--format=npz', '--out', out)
  with np.load(out) as file:
    assert file['arr_0'].shape == (1, 32, 32, 3)


def test_translated_pictures_may_keep_their_size(folder, tmp_path):
  """Beyond a border that the networks do not take they are mirrored, which is cut off again."""
  networks = dict(name='cyclegan', width=1, width_D=1, blocks=0, layers_D=0)
  data = dict(configs.base('x').data, dataset='emoji_pairs', resolution=32)
  parts = dict(networks=networks, method=dict(name='cyclegan', pool_size=1), data=data)
  workdir = make_run(tmp_path / 'run', **parts)
  command = ['--workdir', workdir, '--source', folder / 'plain.png', '--out', tmp_path / 'out']
  run_sample(*command, '--format=files', '--keep_size')
  made = Image.open(tmp_path / 'out' / 'plain.png')
  assert made.size == (41, 30)
  run_sample(*command, '--format=files')
  assert Image.open(tmp_path / 'out' / 'plain.png').size == (32, 32)
  with pytest.raises(UserError, match='--keep_size is for --source with --format files'):
    run_sample(*command, '--keep_size')


def test_a_broken_file_is_named_and_the_others_go_on(bilinear, folder, tmp_path, capsys):
  out = tmp_path / 'out.npz'
  command = ['--workdir', bilinear, '--format=npz', '--out', out]
  assert run_sample(*command, '--source', folder) == 1
  said = capsys.readouterr()
  assert (
    said.err
    == 'left out: broken.png cannot be decoded: no picture, or of a kind that Pillow does not know\n'
  )
  assert '5 pictures' in said.out
  with np.load(out) as file:
    assert len(file['arr_0']) == 5
  with pytest.raises(UserError, match='broken.png cannot be decoded: no picture'):
    run_sample(*command, '--source', folder / 'broken.png')


@pytest.mark.parametrize('arguments, message', [
  (('--out', 'a.png'), r'--out=a.png: 6 pictures need a folder'),
  (('--tile', '8'), '--tile must be at least 16'),
])  # fmt: skip
def test_what_is_refused(bilinear, folder, arguments, message):
  with pytest.raises(UserError, match=message):
    run_sample('--workdir', bilinear, '--source', folder, *arguments)
