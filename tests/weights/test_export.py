"""ganjax export as a process: what it writes makes sample.py's pictures, without ganjax."""

import json
import re
import runpy
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import command
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from jax import export

import ganjax
from ganjax import experiment, run_record
from ganjax.layers import conv
from ganjax.weights import generator_file
from ganjax.workdir import checkpoint, files

LOADER = 'docs/load_generator.py'
OTHER = ['--weights=raw', '--batch_norm=standing', '--step=90']
SAMPLES = {
  'default': ('run', ['--seeds=0-9']),
  'other': ('run', ['--seeds=0-9', *OTHER]),
  'classes': ('conditional', ['--seeds=0-5', '--classes=0-2']),
}
EXPORTS = {
  'default.stablehlo': ('run', []),
  'other.stablehlo': ('run', OTHER),
  'default.safetensors': ('run', []),
  'classes.stablehlo': ('conditional', []),
  'half.safetensors': ('conditional', ['--half']),
}
# The file, how many seeds from 0, and the class of all.
LOADED = {'default': ('default.stablehlo', '10'), 'class': ('classes.stablehlo', '6', '2')}
REFUSED = {
  'suffix': (['--out={tmp}/G.onnx'], 'must end in .stablehlo or .safetensors'),
  'batch': (
    ['--out={tmp}/G.stablehlo', '--batch_norm=batch'],
    'should be one of <running|standing>',
  ),
  'place': (['--out={tmp}/config.json/G.stablehlo'], 'cannot write {tmp}/config.json/G.stablehlo'),
  'folder': (['--out={tmp}/folder.safetensors'], 'could not write {tmp}/folder.safetensors'),
  'half': (['--out={tmp}/G.stablehlo', '--half'], '--half goes with --out NAME.safetensors'),
  'two': (['{tmp}', '--out={tmp}/G.safetensors'], 'one run at a time'),
}


def make_conditional(workdir):
  """A run of three classes that nobody trained: its first state, with weights that make pictures differ."""
  config = runpy.run_path(command.ROOT / 'configs/cgan_mnist.py')['get_config']()
  config.data.resolution, config.networks.width, config.networks.num_classes = 8, 120, 3
  run, saved = experiment.build(config), {'config': run_record.to_json(config)}
  checkpoints = checkpoint.Checkpoints(workdir)
  state = jax.jit(run.init)(run.key)
  checkpoints.save(1, state.replace(params=jax.tree.map(lambda x: 8 * x, state.params)), saved)
  checkpoints.close()
  files.write_json(workdir / 'config.json', saved)


@pytest.fixture(scope='module')
def tmp(tmp_path_factory):
  """The folder of two runs and of all that was made of them."""
  tmp = tmp_path_factory.mktemp('export')
  shutil.copytree(command.finished()[0], tmp / 'run')
  make_conditional(tmp / 'conditional')
  (tmp / 'trap/ganjax').mkdir(parents=True)
  (tmp / 'trap/ganjax/__init__.py').write_text('raise ImportError("a trap of the tests")\n')
  (tmp / 'run/folder.safetensors').mkdir()

  commands = {}
  for name, (run, flags) in EXPORTS.items():
    out = ['--out', tmp / 'out' / name]
    commands[name] = ['export', '--workdir', tmp / run, *flags, *out], {}
  for name, (run, flags) in SAMPLES.items():
    out = ['--format=npz', '--out', tmp / f'{name}.npz']
    commands[name] = ['sample.py', '--workdir', tmp / run, *flags, *out], {}
  command.succeed_all(commands)

  def load(name):
    file, *arguments = LOADED[name]
    return load_without_ganjax(tmp, tmp / 'out' / file, tmp / f'{name}-loaded.npz', *arguments)

  with ThreadPoolExecutor(2) as pool:
    done = dict(zip(LOADED, pool.map(load, LOADED)))
  assert all(process.returncode == 0 for process in done.values()), done
  return tmp


def load_without_ganjax(tmp, *arguments):
  return command.run(LOADER, *arguments, env={'PYTHONPATH': tmp / 'trap'})


def read_pictures(path):
  with np.load(path) as file:
    return file['arr_0'], json.loads(str(file['metadata']))


def open_zip(path):
  """(latents, generator, meta) of a .stablehlo."""
  with zipfile.ZipFile(path) as file:
    names = 'latents.stablehlo', 'generator.stablehlo'
    programs = [export.deserialize(bytearray(file.read(name))) for name in names]
    return *programs, json.loads(file.read('meta.json'))


def assert_same_pictures(a, b):
  """Equal, but for a level here and there: other programs round float32 differently."""
  assert a.dtype == b.dtype == np.uint8 and a.shape == b.shape
  assert len(np.unique(b.reshape(len(b), -1), axis=0)) == len(b)
  assert abs(a.astype(int) - b).max() <= 1 and (a == b).mean() > 0.999


@pytest.mark.slow
def test_pictures_without_ganjax(tmp):
  loaded, about = read_pictures(tmp / 'default-loaded.npz')
  assert_same_pictures(loaded, read_pictures(tmp / 'default.npz')[0])
  assert about['Description'] == 'generator of synthetic images'


def test_classes(tmp):
  """A seed's own class by default; any other by its label."""
  wanted, _ = read_pictures(tmp / 'classes.npz')
  loaded, _ = read_pictures(tmp / 'class-loaded.npz')
  assert_same_pictures(loaded, wanted[12:])
  assert abs(loaded.astype(int) - wanted[:6]).max() > 20
  latents, generator, about = open_zip(tmp / 'out/classes.stablehlo')
  seeds = np.arange(6, dtype=np.int32)
  own = np.asarray(generator.call(latents.call(seeds)))
  assert_same_pictures(own, wanted[seeds % 3 * 6 + seeds])
  assert about['num_classes'] == 3


def test_the_loader_is_short_and_refuses_what_is_no_generator(tmp):
  lines = (command.ROOT / LOADER).read_text().partition('"""\n\n')[2].splitlines()
  assert len([line for line in lines if line and not line.startswith('#')]) == 33
  with zipfile.ZipFile(tmp / 'out/default.stablehlo') as file:
    about, *code = map(file.read, file.namelist())
  assert b'"version": 1,' in about
  with zipfile.ZipFile(tmp / 'newer.stablehlo', 'w') as newer:
    newer.writestr('meta.json', about.replace(b'"version": 1,', b'"version": 2,'))
    for name, content in zip(file.namelist()[1:], code):
      newer.writestr(name, content)
  files = {
    'default.npz': 'is no generator',
    'newer.stablehlo': 'is of another format or version',
    'out/classes.stablehlo': 'has 3 classes',
  }
  with ThreadPoolExecutor(2) as pool:
    out = tmp / 'refused.npz'
    done = list(pool.map(lambda f: load_without_ganjax(tmp, tmp / f, out, '1', '3'), files))
  for process, (file, line) in zip(done, files.items()):
    assert process.returncode == 1 and process.stderr.count('\n') == 1, process.stderr
    assert process.stderr.startswith(f'error: {tmp / file} {line}')
  assert not out.exists()


def test_any_batch_and_any_weights(tmp):
  """Raw weights of an earlier step by standing statistics; two sizes of batch, by one program each."""
  wanted, _ = read_pictures(tmp / 'other.npz')
  latents, generator, about = open_zip(tmp / 'out/other.stablehlo')
  assert (about['step'], about['weights'], about['batch_norm']) == (90, 'raw', 'standing')
  for seeds in ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [7, 7, 2]):
    pictures = np.asarray(generator.call(latents.call(np.array(seeds, np.int32))))
    if len(seeds) == 10:
      assert_same_pictures(pictures, wanted)
    else:
      assert abs(pictures.astype(int) - wanted[seeds]).max() <= 1
  assert abs(wanted.astype(int) - read_pictures(tmp / 'default.npz')[0]).max() > 3


def test_programs_for_all_platforms(tmp):
  """Convolutions are there in two forms, products for CPU and XLA's own for the others, with a choice by platform."""
  *programs, about = open_zip(tmp / 'out/default.stablehlo')
  for program in programs:
    assert list(program.platforms) == about['platforms'] == ['cpu', 'cuda', 'tpu']
    assert '_platform_index' in program.mlir_module()
  code = programs[1].mlir_module()
  assert all(f'stablehlo.{op}' in code for op in ('case', 'convolution', 'dot_general'))
  assert '.py' not in code


# A stand-in for a TPU VM: JAX's devices are TPUs until somebody asks for others.
ON_TPU = """
import sys

import jax

jax.default_backend = lambda: jax.config.jax_platforms or 'tpu'
from ganjax import config
from ganjax.devices import backend
from ganjax.weights import export

assert backend.activations() == 'bfloat16'
export.COMMAND.parse()
config.run(export.main)
"""


def test_the_same_programs_wherever_they_are_made(tmp):
  """Not with a TPU's dtype and ways of resampling where a TPU is at hand."""
  (tmp / 'on_tpu.py').write_text(ON_TPU)
  here, there = tmp / 'out/default.stablehlo', tmp / 'out/on_tpu.stablehlo'
  variables = {'JAX_PLATFORMS': '', 'PYTHONPATH': command.ROOT}
  command.succeed(tmp / 'on_tpu.py', '--workdir', tmp / 'run', '--out', there, env=variables)
  assert there.read_bytes() == here.read_bytes()


def test_metadata(tmp):
  about = open_zip(tmp / 'out/default.stablehlo')[2]
  record = json.loads((tmp / 'run/config.json').read_text())
  config = record.pop('config')
  assert record.pop('history') == [] and record['data'][0]['num_examples'] == 40
  assert about == {
    'format': 'ganjax generator',
    'version': 1,
    'Software': f'ganjax {ganjax.__version__}, jax {jax.__version__}',
    'Description': 'generator of synthetic images',
    'platforms': ['cpu', 'cuda', 'tpu'],
    'num_classes': 0,
    'step': 100,
    'weights': 'ema',
    'batch_norm': 'running',
    'config': config,
    'run': record,
  }


def test_safetensors(tmp):
  """The averaged weights and statistics of G, and nothing of D, by their own package."""
  average = checkpoint.read(tmp / 'run')[0]['ema']['G']
  wanted = jax.tree_util.tree_leaves_with_path({k: {'G': x} for k, x in average.items()})
  wanted = {jax.tree_util.keystr(path, simple=True, separator='/'): x for path, x in wanted}
  with safetensors.safe_open(tmp / 'out/default.safetensors', 'numpy') as file:
    found, about = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
  assert found.keys() == wanted.keys()
  assert {'params/G/Dense_0/kernel', 'stats/G/batch_stats/BatchNorm_0/var'} < found.keys()
  for key, x in wanted.items():
    assert found[key].dtype == x.dtype
    np.testing.assert_array_equal(found[key], x)
  about = json.loads(about['ganjax'])
  assert (about['step'], about['version'], about['weights']) == (100, 1, 'ema')
  assert about['config'] == json.loads((tmp / 'run/config.json').read_text())['config']


def test_a_file_is_a_run_to_sample_from(tmp):
  found = ganjax.from_pretrained(tmp / 'out/default.safetensors')
  assert (found.step, found.weights, found.class_names) == (100, 'ema', None)
  wanted, _ = read_pictures(tmp / 'default.npz')
  assert_same_pictures(found.sample(range(10)), wanted)
  from_run = ganjax.from_pretrained(tmp / 'run')
  np.testing.assert_array_equal(from_run.sample([3, 7]), found.sample([3, 7]))
  with pytest.raises(ganjax.UserError, match='holds ema weights of step 100 alone'):
    ganjax.from_pretrained(tmp / 'out/default.safetensors', step=90)
  with pytest.raises(ganjax.UserError, match='none below 0'):
    found.sample([-1])
  with pytest.raises(ganjax.UserError, match='--option=psi=0.5 is not understood'):
    found.sample([0], psi=0.5)


def test_half_and_classes(tmp):
  with safetensors.safe_open(tmp / 'out/half.safetensors', 'numpy') as file:
    assert {file.get_tensor(key).dtype for key in file.keys()} == {np.dtype('float16')}  # noqa: SIM118
  found = ganjax.from_pretrained(tmp / 'out/half.safetensors')
  wanted, _ = read_pictures(tmp / 'classes.npz')  # three classes of six seeds
  made = np.concatenate([found.sample(range(6), classes=k) for k in range(3)])
  assert made.dtype == np.uint8 and made.shape == wanted.shape
  assert abs(made.astype(int) - wanted).mean() < 1 < abs(made.astype(int) - wanted[::-1]).mean()
  mixed = found.sample([0, 1], classes=[2, 0])
  np.testing.assert_array_equal(mixed[:1], found.sample([0], classes=2))
  with pytest.raises(ganjax.UserError, match='3 for 2 seeds'):
    found.sample([0, 1], classes=[0, 1, 2])


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda x, about: x.pop('params/G/Dense_0/kernel'), 'is in one of them alone'),
    (lambda x, about: x.update({'params/G/Dense_0/kernel': np.zeros((3, 3))}), 'has shape (3, 3)'),
    (lambda x, about: about.clear(), 'is not a generator'),
  ],
)
def test_a_file_that_does_not_fit_is_refused(tmp, tmp_path, change, message):
  about = generator_file.read_about(tmp / 'out/half.safetensors')
  with safetensors.safe_open(tmp / 'out/half.safetensors', 'numpy') as file:
    arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
  change(arrays, about)
  generator_file.write(tmp_path / 'x.safetensors', arrays, about)
  with pytest.raises(ganjax.UserError, match=re.escape(message)):
    ganjax.from_pretrained(tmp_path / 'x.safetensors')


def test_a_name_that_nothing_has():
  with pytest.raises(ganjax.UserError, match='workdir nothing_so is not there'):
    ganjax.from_pretrained('nothing_so')


def test_refusals(tmp):
  fill = lambda text: text.format(tmp=tmp / 'run')
  words = ['export', '--workdir', tmp / 'run']
  cases = {name: ([*words, *map(fill, flags)], {}) for name, (flags, _) in REFUSED.items()}
  for name, process in command.run_all(cases).items():
    assert process.returncode == 2 and process.stderr.count('\n') == 1, process.stderr
    assert fill(REFUSED[name][1]) in process.stderr, name


@pytest.mark.parametrize('batch', [1, 3])
def test_convolutions_of_any_batch(batch):
  """64 channels, where a form is chosen by the size of the batch."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  y, w, x = draw(batch, 4, 4, 64), draw(4, 4, 64, 64), draw(batch, 8, 8, 64)
  back = lambda y: conv.conv_transpose(y, w, 2, 1)
  forth = lambda x: conv.conv(x, w, 2, 1)
  for function, argument in ((back, y), (forth, x)):
    shape = jax.ShapeDtypeStruct(export.symbolic_shape('b, ...', like=argument.shape), jnp.float32)
    program = export.export(jax.jit(function), platforms=('cpu', 'tpu'))(shape)
    np.testing.assert_allclose(program.call(argument), function(argument), atol=1e-3)
