"""benchmarks/tpu_forms.py and accelerator.py: that they run, and that forms which are compared compute the same."""

import os
import runpy
import subprocess
import sys

import command
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, experiment
from ganjax.devices import sharding
from ganjax.layers.conv import Geometry
from ganjax.tpu import chips, hlo

FORMS = runpy.run_path(str(command.ROOT / 'benchmarks/tpu_forms.py'), run_name='tpu_forms')
KINDS = ('strided', 'transposed', 'weights')


def ends(kind, g, channels, features, images, make):
  """Two operands of a map."""
  x, y = make(images, *g.size, channels), make(images, *g.out, features)
  w = make(*g.kernel, channels, features)
  return dict(strided=(x, w), transposed=(y, w), weights=(x, y))[kind]


@pytest.mark.slow
@pytest.mark.parametrize('layer', FORMS['LAYERS'])
@pytest.mark.parametrize('kind', KINDS)
def test_all_forms_of_a_layer_compute_the_same(layer, kind):
  g, channels, features = FORMS['LAYERS'][layer]
  features, channels = min(features, 32), channels if channels == 3 else min(channels, 32)
  found = FORMS['candidates'](kind, g, channels, features, 8)
  assert len(found) == 2 + (channels == 3) + ('Winograd' in found)
  rng = np.random.default_rng(0)
  make = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
  arrays = ends(kind, g, channels, features, 8, make)
  native = found['native'](*arrays)
  for name, run in found.items():
    error = jnp.abs(run(*arrays) - native).max() / jnp.abs(native).max()
    assert error < 1e-4, name


def test_padding_is_that_of_what_kernels_read_and_write():
  text = """ENTRY %main (x: f32[8,64]) -> f32[8,128] {
  %x = f32[8,64]{1,0:T(8,128)} parameter(0)
  %s = (f32[8,64]{1,0:T(8,128)S(1)}, f32[8,64]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x)
  %d = f32[8,64]{1,0:T(8,128)S(1)} copy-done(%s)
  ROOT %y = f32[8,128]{1,0:T(8,128)} fusion(%d), kind=kLoop, calls=%some
}"""
  assert FORMS['padding'](hlo.parse(text)) == 3 * 128 / (2 * 64 + 128)


@pytest.mark.slow
def test_a_form_compiles_for_a_tpu():
  pytest.importorskip('libtpu', reason="needs pip install '.[tpu-check]'")
  _, devices = chips.find('v5e:1x1')
  place = sharding.replicated(sharding.make_mesh(devices))
  g = Geometry((8, 8), (4, 4), (2, 2), (1, 1))
  make = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place)
  run = FORMS['candidates']('strided', g, 3, 8, 8)['native']
  lowered = (
    jax.jit(run).trace(*ends('strided', g, 3, 8, 8, make)).lower(lowering_platforms=('tpu',))
  )
  program = hlo.parse(lowered.compile().as_text())
  taps = (4 * 4 - 2) ** 2  # two fall on padding along an axis
  assert hlo.flops(program) == 2 * 8 * 3 * 8 * taps and FORMS['padding'](program) > 2


@pytest.mark.slow
@pytest.mark.parametrize('layer', [*FORMS['WAYS']][:2])  # the others by the benchmark itself
def test_what_tpus_get_takes_less_by_the_estimate_of_their_compiler(layer):
  pytest.importorskip('libtpu', reason="needs pip install '.[tpu-check]'")
  (shape, dtype), (kernel, wide), ways = FORMS['WAYS'][layer]
  _, devices = chips.find('v5e:1x1')
  mesh = sharding.make_mesh(devices)

  def cycles(run):
    make = lambda shape, dtype: jax.ShapeDtypeStruct(
      shape, dtype, sharding=sharding.replicated(mesh)
    )
    x, w = make((16, *shape), dtype), make((16, *kernel) if len(kernel) == 2 else kernel, wide)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      y = jax.eval_shape(run, x, w)
      traced = jax.jit(FORMS['with_gradients'](run)).trace(x, w, make(y.shape, y.dtype))
      return hlo.cycles(hlo.parse(traced.lower(lowering_platforms=('tpu',)).compile().as_text()))

  plain, ours = map(cycles, ways.values())
  assert 0 < ours < 0.7 * plain


@pytest.mark.slow
def test_a_first_look_at_an_accelerator(tmp_path):
  """By the script, tiny, on a CPU, from another folder: a run with its grid, and the four variants of a config."""
  script = [sys.executable, command.ROOT / 'benchmarks/accelerator.py', '--workdir', '.', '--tiny']
  script += ['--configs', 'sngan_cnn_cifar']
  quick = {**os.environ, 'PYTHONPATH': '', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  pipes = dict(capture_output=True, text=True)
  done = subprocess.run(script, cwd=tmp_path, env=quick, timeout=600, **pipes)
  assert done.returncode == 0, done.stderr
  lines = [line.strip() for line in done.stdout.splitlines()]
  assert (tmp_path / 'dcgan_emoji/samples/00000020.png').exists()
  assert any(line.startswith('dcgan_emoji: ') and 'GiB at most' in line for line in lines)
  variants = [
    f'{d}, {k} a dispatch' for d in ('float32', 'bfloat16') for k in ('1 step', '2 steps')
  ]
  times = [line for line in lines if 'ms a step' in line]
  assert [t.startswith(v) for t, v in zip(times, variants, strict=True)] == [True] * 4
  assert 'sngan_cnn_cifar, 8 real images a step, 1 rounds of 2 steps' in lines


def test_tiny_is_so_in_both_networks_of_the_configs_that_are_timed():
  job = runpy.run_path(str(command.ROOT / 'benchmarks/accelerator.py'), run_name='job')
  for name in ('dcgan_cifar', 'sngan_cifar'):
    run = experiment.build(job['configure'](name, 'bfloat16', True))
    params = jax.eval_shape(run.init, run.key).params
    assert run.activations == 'bfloat16' and run.images_per_step(run.spans[0]) == 8
    assert all(0 < sum(x.size for x in jax.tree.leaves(params[net])) < 5e4 for net in 'GD'), name


REFUSED = {
  'steps': ('accelerator.py', ['--steps', '101'], '--steps=101 must be a multiple of 10'),
  'none': ('accelerator.py', ['--steps_per_dispatch', '0'], 'must be 1 or more'),
  'config': (
    'accelerator.py',
    ['--configs', 'dcgan'],
    "no config 'dcgan' .did you mean dcgan_emoji..; .* dcgan_cifar, ",
  ),
} | {
  name: (f'{name}.py', ['--workdir', 'gs://b/jobs', which, '?'], '^gs://b/jobs is in a bucket')
  for name, which in (
    ('accelerator', '--configs'),
    ('cifar', '--methods'),
    ('mixtures', '--methods'),
    ('stacked_mnist', '--methods'),
  )
}


@pytest.mark.parametrize('script, arguments, line', REFUSED.values(), ids=REFUSED)
def test_jobs_refuse_in_one_line_before_any_work(script, arguments, line, tmp_path, monkeypatch):
  job = runpy.run_path(str(command.ROOT / 'benchmarks' / script), run_name='job')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'argv', [script, '--workdir', 'jobs', *arguments])
  with pytest.raises(UserError, match=line) as found:
    job['main']()
  assert '\n' not in str(found.value) and not [*tmp_path.iterdir()]
