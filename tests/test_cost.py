"""What penalties cost: operations that XLA counts in compiled updates, of D mostly, with penalties and without."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from ganjax.layers.conv import Conv
from ganjax.method import apply, name_nets
from ganjax.methods import gan
from ganjax.update import init, update_phase


class Generator(nn.Module):
  @nn.compact
  def __call__(self, z, label=None, *, train: bool):
    return nn.Dense(8 * 8 * 8)(z).reshape(-1, 8, 8, 8)


class Discriminator(nn.Module):
  @nn.compact
  def __call__(self, x, label=None, *, train: bool):
    for stride in (1, 1, 2):
      x = nn.relu(Conv(32, 3, stride, 1)(x))
    return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


NETS = name_nets({'G': Generator(), 'D': Discriminator()})
# Arguments of the method that are no penalty's name.
TERMS = {
  'zcr': {'zcr': {'sigma': 0.1, 'D': 1.0, 'G': 1.0}},
  'lecam': {'lecam': {'weight': 1.0}},
}


def count(function, *args):
  return jax.jit(function).lower(*args).compile().cost_analysis()['flops']


@functools.cache
def costs(term=None, phase=0, loss='non_saturating'):
  """Operations of (an update, D's or with phase=1 G's; one pass of D over the batch)."""
  terms = TERMS.get(term) or {'penalties': {term: 1.0} if term else {}}
  method = gan.build(NETS, z_dim=2, loss=loss, **terms)
  batch = {'image': jnp.zeros((4, 8, 8, 8)), 'label': jnp.zeros(4, jnp.int32)}
  optimizer, key = optax.with_extra_args_support(optax.sgd(0.1)), jax.random.key(0)
  state = jax.eval_shape(lambda key: init(method, dict.fromkeys('GD', optimizer), key, batch), key)
  step = lambda *args: update_phase(method.phases[phase], optimizer, *args)
  forward = lambda state, images: apply(NETS['D'], state, images, train=True)[0]
  return count(step, state, batch, key), count(forward, state, batch['image'])


@pytest.mark.parametrize(
  'penalty, passes', [('gradient_penalty', 4), ('dragan', 4), ('r1', 3), ('r2', 3)]
)
def test_a_gradient_penalty_costs_its_passes_alone(penalty, passes):
  """Forward, the gradient of the image, and its own of weights and of slopes, each as dear as D forward.

  ReLUs hand nothing on to the forward pass. R1 and R2 find that of their images done for the loss. Without a penalty an
  update is six passes: forward, of weights, of maps, for reals and for fakes (less in the first layer).
  """
  (plain, forward), (total, _) = costs(), costs(penalty)
  assert 5 * forward < plain < 6.3 * forward
  assert (passes - 0.5) * forward < total - plain < (passes + 0.25) * forward


@pytest.mark.parametrize(
  'penalty, batches', [('cr', 1), ('bcr', 2), ('r1_difference', 1), ('r2_difference', 1)]
)
def test_a_consistency_penalty_costs_two_passes_back_and_one_forward(penalty, batches):
  """Forward is the changed images' alone, where D keeps no state that its passes for the loss have moved.

  Back it is both, of weights and of maps: XLA does not add up what goes back from one image's logits by two ways. To
  hand the loss's logits over would save that, but then D would judge an image and its copy with spectral norms of
  different states and by different draws of an augmentation, and the penalty would be of those too.
  """
  (plain, forward), (total, _) = costs(), costs(penalty)
  assert 4.5 * batches * forward < total - plain < 5 * batches * forward


def test_latent_consistency_costs_a_pass_of_moved_fakes():
  """In D's update, forward and back twice; in G's there is nothing but a second draw of G, which is small here."""
  (plain, forward), (total, _) = costs(), costs('zcr')
  assert 2.75 * forward < total - plain < 3.1 * forward
  (plain, _), (total, _) = costs(phase=1), costs('zcr', phase=1)
  assert 0 < total - plain < 0.1 * forward


def test_lecam_costs_nothing():
  (plain, forward), (total, _) = costs(), costs('lecam')
  assert 0 < total - plain < 0.01 * forward
  assert costs(phase=1) == costs('lecam', phase=1)


def test_only_a_relativistic_generator_pays_for_logits_of_reals():
  """`methods.gan` hands them to every loss of G; XLA drops the pass of D where nobody looks."""
  (plain, forward), (hinge, _) = costs(phase=1), costs(phase=1, loss='hinge')
  relativistic, _ = costs(phase=1, loss='relativistic')
  assert abs(plain - hinge) < 0.05 * forward
  assert 0.95 * forward < relativistic - plain < 1.1 * forward
