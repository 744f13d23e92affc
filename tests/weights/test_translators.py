"""Published networks that translate or enlarge: what their files tell, and which are refused; no torch.

`tests/parity/test_translators_torch.py` compares pictures.
"""

import jax
import numpy as np
import pytest
import torch_files

from ganjax import UserError, experiment
from ganjax.weights import import_weights, translators


def conv(name, *shape, bias=True):
  """torch.nn.Conv2d, or ConvTranspose2d where `bias` is the number of its output channels."""
  features = shape[0] if bias is True else bias
  return {f'{name}.weight': shape} | ({f'{name}.bias': (features,)} if bias else {})


def rrdb(width=4, growth=2, seen=3):
  found = conv('conv_first', width, seen, 3, 3)
  for j in (1, 2, 3):
    for k in range(5):
      c_out = growth if k < 4 else width
      found |= conv(f'body.0.rdb{j}.conv{k + 1}', c_out, width + k * growth, 3, 3)
  for name in ('body', 'up1', 'up2', 'hr'):
    found |= conv(f'conv_{name}', width, width, 3, 3)
  return found | conv('conv_last', 3, width, 3, 3)


def resnet(width=2, blocks=2):
  found = conv('model.1', width, 3, 7, 7)
  found |= conv('model.4', 2 * width, width, 3, 3) | conv('model.7', 4 * width, 2 * width, 3, 3)
  for i in range(blocks):
    for j in (1, 5):
      found |= conv(f'model.{10 + i}.conv_block.{j}', 4 * width, 4 * width, 3, 3)
  up = 10 + blocks
  found |= conv(f'model.{up}', 4 * width, 2 * width, 3, 3, bias=2 * width)
  found |= conv(f'model.{up + 3}', 2 * width, width, 3, 3, bias=width)
  return found | conv(f'model.{up + 7}', 3, width, 7, 7)


def cut():
  """CUT's of two blocks, with its filters."""
  found = conv('model.1', 2, 3, 7, 7) | conv('model.4', 4, 2, 3, 3) | conv('model.8', 8, 4, 3, 3)
  for i in (12, 13):
    found |= conv(f'model.{i}.conv_block.1', 8, 8, 3, 3)
    found |= conv(f'model.{i}.conv_block.5', 8, 8, 3, 3)
  found |= conv('model.15', 4, 8, 3, 3) | conv('model.19', 2, 4, 3, 3)
  return found | conv('model.23', 3, 2, 7, 7)


def filters():
  small, large = (np.outer(x, x) for x in ([1, 2, 1], [1, 3, 3, 1]))
  places = {7: (4, small / 16), 11: (8, small / 16), 14: (8, large / 16), 18: (4, large / 16)}
  return {f'model.{i}.filt': np.float32(np.tile(x, (n, 1, 1, 1))) for i, (n, x) in places.items()}


def read(tmp_path, form, shapes, changes=(), entry=None):
  """The network of a file, and our arrays; `changes` {name: array or None} were made in the file."""
  arrays = {**torch_files.fill(shapes, 0), **dict(changes)}
  path = tmp_path / 'x.pth'
  path.write_bytes(torch_files.encode({k: x for k, x in arrays.items() if x is not None}, entry))
  network = translators.read(path, form)
  config = translators.configure(network, 'x')
  config.networks.width_D = 1
  run = experiment.build(config)
  state, net = jax.eval_shape(run.init, run.key), network.nets[0]
  shapes = {'params': state.params[net], 'stats': state.stats[net]}
  return network, translators.take(network, net, shapes, path)


@pytest.mark.parametrize('form, shapes, changes, recipe', [
  ('basicsr', rrdb(), {}, 'esrgan_div2k'),
  ('cyclegan', resnet(), {}, 'cyclegan_horse2zebra'),
  ('cyclegan', cut(), filters(), 'cut_horse2zebra'),
])  # fmt: skip
def test_every_number_finds_a_place(form, shapes, changes, recipe, tmp_path):
  network, ours = read(tmp_path, form, shapes, changes)
  assert network.recipe == recipe
  found = np.concatenate([np.ravel(x) for x in jax.tree.leaves(ours)])
  theirs = np.concatenate([x.ravel() for x in torch_files.fill(shapes, 0).values()])
  np.testing.assert_array_equal(np.sort(found), np.sort(theirs))


RRDB = {
  f'Block_0/DenseBlock_{j}/Conv_{k}': f'body.0.rdb{j + 1}.conv{k + 1}'
  for j in range(3)
  for k in range(5)
}
LAYERS = {
  'basicsr': (rrdb(), RRDB | {'Conv_1': 'conv_body', 'Conv_3': 'conv_up2', 'Conv_4': 'conv_hr'}),
  'cyclegan': (
    resnet(),
    {
      f'Conv_{3 + 2 * i + j}': f'model.{10 + i}.conv_block.{(1, 5)[j]}'
      for i in (0, 1)
      for j in (0, 1)
    }
    | {'Conv_2': 'model.7', 'ConvTranspose_1': 'model.15', 'Conv_7': 'model.19'},
  ),
}


@pytest.mark.parametrize('form', LAYERS)
def test_layers_go_where_they_are_run(form, tmp_path):
  shapes, places = LAYERS[form]
  ours, theirs = read(tmp_path, form, shapes)[1]['params'], torch_files.fill(shapes, 0)
  for here, there in places.items():
    layer = ours
    for name in here.split('/'):
      layer = layer[name]
    np.testing.assert_array_equal(layer['bias'], theirs[f'{there}.bias'], err_msg=here)


def test_statistics_of_old_instance_norm_are_left_out(tmp_path):
  ones = lambda n: np.ones(n, np.float32)
  changes = {'model.2.running_mean': ones(2), 'model.2.running_var': ones(2)}
  changes |= {'model.10.conv_block.2.running_mean': ones(8)}
  _, ours = read(tmp_path, 'cyclegan', resnet(), changes)
  jax.tree.map(np.testing.assert_array_equal, ours, read(tmp_path, 'cyclegan', resnet())[1])


ONES = np.ones(2, np.float32)
KERNEL = np.zeros((4, 4, 3, 1), np.float32)
REFUSED = {
  'another format': ('cyclegan', rrdb(), {}, r"no network of --format cyclegan: it lacks 'model"),
  'other channels': ('basicsr', rrdb(seen=5), {}, 'conv_first takes 5 channels'),
  'missing': ('basicsr', rrdb(), {'conv_hr.bias': None}, r'x\.pth lacks conv_hr\.bias, which G'),
  'unknown': ('basicsr', rrdb(), {'up.bias': ONES}, r'up\.bias \(2,\) has no place in G'),
  'shape': ('basicsr', rrdb(), {'conv_hr.weight': KERNEL}, r'conv_hr\.weight of G is .*4, 3, 1'),
  'batch norm': ('cyclegan', resnet(), {'model.2.weight': ONES}, r'model\.2\.weight .* no place'),
  'NaN': ('cyclegan', resnet(), {'model.1.bias': ONES * np.nan}, r'model\.1\.bias of G_AB .* NaN'),
  'filter': (
    'cyclegan',
    cut(),
    filters() | {'model.7.filt': np.ones((4, 1, 3, 3), np.float32)},
    r'model\.7\.filt is not the filter',
  ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_does_not_fit_is_named(case, tmp_path):
  form, shapes, changes, says = REFUSED[case]
  with pytest.raises(UserError, match=says) as error:
    read(tmp_path, form, shapes, changes)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('line, says', [
  ('--format basicsr --workdir x', '--format basicsr needs --workdir and --file'),
  ('--format basicsr --workdir x --file y --back z', '--back: files of --format basicsr'),
  ('--format cyclegan --workdir x --file {tmp}/cut --back {tmp}/cut', '--back: .*cut is no generator of a CycleGAN'),
  ('--format cyclegan --workdir x --file {tmp}/2 --back {tmp}/3', r'3 is not a network as that of .*/2'),
  ('--format cyclegan --workdir x --file nothing.pth', 'cannot read nothing.pth'),
])  # fmt: skip
def test_what_the_command_refuses(line, says, tmp_path, monkeypatch):
  (tmp_path / 'cut').write_bytes(torch_files.encode(torch_files.fill(cut(), 0) | filters()))
  for blocks in (2, 3):
    arrays = torch_files.fill(resnet(blocks=blocks), 0)
    (tmp_path / str(blocks)).write_bytes(torch_files.encode(arrays))
  line = ['ganjax import', *line.format(tmp=tmp_path).split()]
  monkeypatch.setattr('sys.argv', line)
  import_weights.COMMAND.read(line)
  with pytest.raises(UserError, match=says):
    import_weights.main()
