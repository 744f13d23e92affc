"""Published weights become runs: where each array of a file goes, what is refused, and the command."""

import json

import command
import jax
import numpy as np
import pytest
import torch_files

from ganjax import UserError, experiment, run_state
from ganjax.weights import import_weights, places, published
from ganjax.workdir import checkpoint


def read(name, net, folder, changes=()):
  """(ours, the file's arrays) of a network of a case, in whose file `changes` {name: array or None} were made."""
  form, _, _, *shapes = torch_files.CASES[name]
  arrays = torch_files.fill(shapes['GD'.index(net)], seed=ord(net))
  changed = {key: x for key, x in {**arrays, **dict(changes)}.items() if x is not None}
  (folder / 'x.pth').write_bytes(torch_files.encode(changed, 'model_state_dict'))
  config = torch_files.make_config(name)
  published.set_networks(config, form)
  return published.read(folder / 'x.pth', experiment.build(config), net, form), arrays


@pytest.mark.parametrize('net', ['G', 'D'])
@pytest.mark.parametrize('name', torch_files.CASES)
def test_every_number_finds_a_place(name, net, tmp_path):
  """Each number that is not derived from others is in our arrays once (gains of cGAN-PD less 1)."""
  ours, arrays = read(name, net, tmp_path)
  if name == 'cGAN-PD 32' and net == 'G':
    for key in arrays:
      if key.endswith('embed.weight'):
        arrays[key][:, : arrays[key].shape[1] // 2] -= 1
  derived = 'weight_v', 'sn_sigma', 'sv0', 'num_batches_tracked'
  theirs = np.concatenate([x.ravel() for key, x in arrays.items() if not key.endswith(derived)])
  found = np.concatenate([np.ravel(x) for x in jax.tree.leaves(ours)])
  np.testing.assert_array_equal(np.sort(found), np.sort(theirs))


def test_places_of_mimicry(tmp_path):
  G, arrays = read('cGAN-PD 32', 'G', tmp_path)
  block, stats = (x['UpBlock_1'] for x in (G['params'], G['stats']['batch_stats']))
  np.testing.assert_array_equal(
    block['Conv_2']['kernel'], arrays['block3.c_sc.weight'].transpose(2, 3, 1, 0)
  )
  gains, biases = np.split(arrays['block3.b2.embed.weight'], 2, 1)
  np.testing.assert_array_equal(block['ConditionalBatchNorm_1']['scale']['embedding'], gains - 1)
  np.testing.assert_array_equal(block['ConditionalBatchNorm_1']['bias']['embedding'], biases)
  np.testing.assert_array_equal(
    stats['ConditionalBatchNorm_1']['var'], arrays['block3.b2.bn.running_var']
  )
  # Row c * 16 + i of the linear layer is pixel i of channel c: column i * 4 + c of ours.
  kernel = G['params']['Dense_0']['kernel']
  np.testing.assert_array_equal(kernel[:, 9 * 4 + 2], arrays['l1.weight'][2 * 16 + 9])
  D, arrays = read('cGAN-PD 32', 'D', tmp_path)
  u = D['stats']['spectral_norm']
  np.testing.assert_array_equal(
    u['DownBlock_1']['SpectralNorm_2']['u'], arrays['block2.c_sc.weight_u']
  )
  np.testing.assert_array_equal(u['SpectralNorm_0']['u'], arrays['l5.sn_u'][0])
  np.testing.assert_array_equal(u['SpectralNorm_1']['u'], arrays['l_y.sn_u'][0])


def test_places_of_biggan(tmp_path):
  G, arrays = read('BigGAN 32', 'G', tmp_path)
  norm = G['params']['UpBlock_2']['ConditionalBatchNorm_0']
  np.testing.assert_array_equal(norm['scale']['kernel'], arrays['blocks.2.0.bn1.gain.weight'].T)
  u = G['stats']['spectral_norm']
  np.testing.assert_array_equal(
    u['UpBlock_2']['ConditionalBatchNorm_0']['SpectralNorm_1']['u'],
    arrays['blocks.2.0.bn1.bias.u0'][0],
  )
  np.testing.assert_array_equal(
    u['SelfAttention_0']['SpectralNorm_2']['u'], arrays['blocks.1.1.g.u0'][0]
  )
  np.testing.assert_array_equal(
    u['SpectralNorm_0']['u'][9 * 8 + 2], arrays['linear.u0'][0, 2 * 16 + 9]
  )
  np.testing.assert_array_equal(u['SpectralNorm_1']['u'], arrays['output_layer.2.u0'][0])
  np.testing.assert_array_equal(G['params']['SelfAttention_0']['gamma'], arrays['blocks.1.1.gamma'])


REFUSED = {
  'unknown': (
    {'c9.weight': np.zeros((2, 3), np.float32)},
    r'x\.pth: c9\.weight \(2, 3\) has no place in G',
  ),
  'missing': ({'block3.c1.bias': None}, r'x\.pth lacks block3\.c1\.bias'),
  'shape': (
    {'block3.c1.weight': np.zeros((4, 8, 3, 1), np.float32)},
    r'block3\.c1\.weight of G is float32 \(4, 8, 3, 1\), and should be float \(4, 8, 3, 3\)',
  ),
  'number': ({'c5.bias': np.float32([1, np.nan, 2])}, r'c5\.bias of G has values that are NaN'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_does_not_fit_is_named(case, tmp_path):
  changes, message = REFUSED[case]
  with pytest.raises(UserError, match=message):
    read('SNGAN 48', 'G', tmp_path, changes)


def test_networks_of_a_format():
  config = torch_files.make_config('BigGAN 32')
  with pytest.raises(UserError, match="mimicry is for networks.name=resnet, not 'biggan'"):
    published.set_networks(config, 'mimicry')
  lines = published.set_networks(config, 'biggan_pytorch')
  assert lines[0].startswith('networks.norm_eps=1e-05')
  assert lines[1].startswith('networks.relu_skip=False')
  assert experiment.build(config).method.nets['G'].norm_eps == 1e-5
  assert published.set_networks(config, 'biggan_pytorch') == []
  config.seeds = 2
  with pytest.raises(UserError, match='seeds=1'):
    published.set_networks(config, 'biggan_pytorch')
  config = torch_files.make_config('SNGAN 48')
  published.set_networks(config, 'mimicry')
  nets = experiment.build(config).method.nets
  assert nets['G'].bilinear and nets['D'].relu_skip
  with pytest.raises(UserError, match='no SelfAttention_0, which D'):
    places.find_layer('SelfAttention_0', published.name_mimicry('D', config), 'D')


@pytest.mark.slow
def test_the_command_makes_a_run(tmp_path):
  """A workdir that sample.py and init_from take; G's average is G. A second import into it is refused."""
  name = 'cGAN-PD 32'
  form, file, fields, *shapes = torch_files.CASES[name]
  arrays = torch_files.fill(shapes[0], seed=ord('G'))
  (tmp_path / 'G.pth').write_bytes(torch_files.encode(arrays, 'model_state_dict'))
  fields = {**fields, 'ema.half_life_images': 100, 'batch_size': 4}
  config = [f'--config=configs/{file}.py', *(f'--config.{k}={v}' for k, v in fields.items())]
  workdir = tmp_path / 'run'
  arguments = [f'--format={form}', f'--G={tmp_path}/G.pth', f'--workdir={workdir}', *config]
  out = command.succeed('import', *arguments).stdout
  assert 'networks.bilinear=True' in out and f'G of {tmp_path}/G.pth is in {workdir}' in out
  again = command.run('import', *arguments)
  assert again.returncode == 2 and 'holds a run already' in again.stderr
  state, step, meta = checkpoint.read(workdir)
  expected, _ = read(name, 'G', tmp_path)
  assert step == 0 and meta['config']['networks']['relu_skip'] is True
  for found in ({k: state[k]['G'] for k in ('params', 'stats')}, state['ema']['G']):
    jax.tree.map(np.testing.assert_array_equal, found, expected)
  command.succeed(
    'sample.py', '--workdir', workdir, '--seeds=0-3', '--format=npz', f'--out={tmp_path}/x'
  )
  with np.load(tmp_path / 'x') as batch:
    assert batch['arr_0'].std() > 10
    assert json.loads(str(batch['metadata']))['step'] == 0
  run = experiment.load(workdir)
  run.config.init_from, run.config.init_nets = str(workdir), ('G',)
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ('batch',))
  started, *_ = run_state.start(run, mesh)
  jax.tree.map(np.testing.assert_array_equal, started.params['G'], expected['params'])


@pytest.mark.parametrize('line, says', [
  ('--format stylegan --workdir x', '--format stylegan needs --workdir and --file'),
  ('--format rosinality --file x.pt', '--format rosinality needs --workdir and --file'),
  ('--format stylegan --file x --workdir y --G z', '--G: files of --format stylegan say what they are'),
  ('--format mimicry --G x --workdir y --file z', '--file is for --format stylegan, rosinality, basicsr, cyclegan'),
  ('--format stylegan --file nothing.pkl --workdir y', 'cannot read nothing.pkl'),
])  # fmt: skip
def test_what_the_command_refuses_of_whole_files(line, says, monkeypatch):
  monkeypatch.setattr('sys.argv', ['ganjax import', *line.split()])
  import_weights.COMMAND.read(['ganjax import', *line.split()])
  with pytest.raises(UserError, match=says):
    import_weights.main()
