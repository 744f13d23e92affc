"""Activations in bfloat16: what stays in float32, and that training goes the same way."""

import importlib

import command
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dcgan_emoji
from ganjax import config as configs
from ganjax import data, experiment, run_state
from ganjax.devices import backend, sharding
from ganjax.method import apply
from ganjax.update import active

CONFIGS = sorted(command.ROOT.glob('configs/*.py'))


def small(dtype, name='dcgan', **method):
  config = dcgan_emoji.get_config()
  config.batch_size, config.data.resolution = 32, 32
  config.networks = dict(name=name, width=dict(dcgan=8, mlp=40, resnet=8)[name], dtype=dtype)
  if name == 'resnet':
    config.networks.update(width_D=8, spectral=True, pool='mean')
  config.method.update(method)
  return config


def train(dtype, steps, **changes):
  """(state at the start, state at the end, metrics of each step) of a short run on real pictures."""
  run = experiment.build(small(dtype, **changes))
  mesh, span = sharding.make_mesh(jax.devices()[:1]), run.spans[0]
  source = data.build(**run.config.data)
  with jax.set_mesh(mesh):
    state, _, _ = run_state.start(run, mesh)
    first, update, seen = jax.device_get(state), run.update(span), []
    for step in range(steps):
      rows = source.read(np.arange(step * 32, step * 32 + 32) % source.num_examples)
      batch = sharding.place_batch(rows, mesh)
      state, metrics = update(
        state, (batch,) * run.method.n_critic, {}, phases=active(span.stage, step)
      )
      seen.append(jax.device_get(metrics))
  return first, jax.device_get(state), seen


@pytest.mark.slow
def test_training_in_bfloat16_tracks_float32():
  steps = 20
  start, full, full_metrics = train('float32', steps)
  same, half, half_metrics = train('bfloat16', steps)
  np.testing.assert_array_equal(
    start.params['G']['Dense_0']['kernel'], same.params['G']['Dense_0']['kernel']
  )
  for net in 'GD':
    a, b, c = (
      np.concatenate([np.ravel(x) for x in jax.tree.leaves(s.params[net])])
      for s in (start, full, half)
    )
    # Adam's first steps have one length in every direction: what bfloat16 turns round is small gradients.
    assert np.linalg.norm(c - b) < 0.4 * np.linalg.norm(b - a)
    assert (b - a) @ (c - a) > 0.93 * np.linalg.norm(b - a) * np.linalg.norm(c - a)
  for name in ('loss_real', 'loss_fake', 'loss_G'):
    of = lambda metrics, name=name: np.array([m[name] for m in metrics])
    np.testing.assert_allclose(of(half_metrics), of(full_metrics), atol=0.03, rtol=0.03)
    assert (of(half_metrics) != of(full_metrics)).any()


@pytest.mark.slow
def test_a_residual_network_with_spectral_norm_in_bfloat16_tracks_float32():
  """The vectors of its power iteration too, from which its weights get their scale in float32."""
  _, full, full_metrics = train('float32', 5, name='resnet', loss='hinge')
  _, half, half_metrics = train('bfloat16', 5, name='resnet', loss='hinge')
  for name in ('loss_real', 'loss_fake', 'loss_G'):
    of = lambda metrics, name=name: np.array([m[name] for m in metrics])
    np.testing.assert_allclose(of(half_metrics), of(full_metrics), atol=0.005)
    assert (of(half_metrics) != of(full_metrics)).any()
  a, b = (jax.tree.leaves(s.stats['D']['spectral_norm']) for s in (full, half))
  assert len(a) > 8
  for x, y in zip(a, b, strict=True):
    np.testing.assert_allclose(x, y, atol=1e-3)


@pytest.mark.slow
def test_only_activations_are_narrow():
  _, state, metrics = train('bfloat16', 2, name='mlp', penalties={'r1': 1.0})
  wide = jax.tree.map(lambda x: x.dtype, (state.params, state.stats, state.opt, metrics))
  kinds = {x for x in jax.tree.leaves(wide) if jnp.issubdtype(x, jnp.floating)}
  assert kinds == {np.dtype('float32')}

  run = experiment.build(small('bfloat16', name='mlp'))
  G, D = (run.method.nets[n] for n in 'GD')
  z = run.method.rows(jnp.arange(4), {})
  images, _ = apply(G, state, z, train=False)
  logits, _ = apply(D, state, images, train=False)
  assert images.dtype == logits.dtype == jnp.float32
  text = str(jax.make_jaxpr(lambda z: apply(G, state, z, train=False)[0])(z))
  assert 'bf16' in text and str(jnp.bfloat16(images[0, 0, 0, 0]).astype(jnp.float32)) == str(
    images[0, 0, 0, 0]
  )  # pictures hold what bfloat16 holds


@pytest.mark.parametrize(
  'platform, expected', [('tpu', 'bfloat16'), ('gpu', 'float32'), ('cpu', 'float32')]
)
def test_auto_is_what_suits_the_devices(platform, expected):
  with jax.sharding.use_abstract_mesh(sharding.abstract_mesh(2, platform)):
    assert backend.platform() == platform
    assert backend.has_grouped_convolutions() is (platform != 'cpu')
    nets = experiment.build(small('auto')).method.nets
    assert experiment.build(small('float64')).method.nets['G'].dtype == 'float64'
  assert nets['G'].dtype == nets['D'].dtype == expected
  assert backend.platform() == 'cpu'


def test_all_configs_leave_it_to_the_devices():
  found = {p.stem: importlib.import_module(f'configs.{p.stem}').get_config() for p in CONFIGS}
  assert len(found) > 20
  for name, config in found.items():
    assert (config.networks.dtype, config.networks.param_dtype) == ('auto', 'float32'), name


def test_runs_of_earlier_versions_resume():
  """They were saved with networks.dtype float32, where files now say auto."""
  saved = configs.flatten(small('float32').to_dict())
  assert saved['networks.dtype'] == 'float32'
  (line,) = configs.compare(small('auto'), small('float32').to_dict())
  assert line == "changed on resume: networks.dtype 'float32' -> 'auto'"
