"""Losses of class scores against loops written from the papers, limits, and gradients."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.losses import classes as class_losses
from ganjax.losses.terms import Game, class_loss

RNG = np.random.default_rng(0)
LABEL = np.array([0, 1, 0, 2, 1, 0])
unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
EMBEDDINGS, PROXIES = unit(RNG.normal(size=(6, 5))), unit(RNG.normal(size=(4, 5)))


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def test_auxiliary_classifier_is_the_likelihood_of_the_label():
  scores = RNG.normal(size=(6, 4))
  p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
  wanted = -np.mean(np.log(p[np.arange(6), LABEL]))
  np.testing.assert_allclose(class_losses.auxiliary_classifier(scores, LABEL), wanted, rtol=1e-12)
  assert class_losses.auxiliary_classifier(jnp.zeros((6, 4)), LABEL) == pytest.approx(np.log(4))


def contrastive(embeddings, proxies, label, t):
  total = 0
  for i in range(len(label)):
    own = np.exp(embeddings[i] @ proxies[label[i]] / t)
    others = {k: np.exp(embeddings[i] @ embeddings[k] / t) for k in range(len(label)) if k != i}
    same = sum(v for k, v in others.items() if label[k] == label[i])
    total -= np.log((own + same) / (own + sum(others.values())))
  return total / len(label)


def d2d(embeddings, proxies, label, t, margin):
  total = 0
  for i in range(len(label)):
    own = np.exp(min(embeddings[i] @ proxies[label[i]] - margin, 0) / t)
    others = sum(
      np.exp(max(embeddings[i] @ embeddings[k] - (1 - margin), 0) / t)
      for k in range(len(label))
      if label[k] != label[i]
    )
    total -= np.log(own / (own + others))
  return total / len(label)


@pytest.mark.parametrize('t', [1.0, 0.3])
def test_contrastive_2c_is_the_papers(t):
  found = class_losses.contrastive_2c((EMBEDDINGS, PROXIES), LABEL, temperature=t)
  np.testing.assert_allclose(found, contrastive(EMBEDDINGS, PROXIES, LABEL, t), rtol=1e-12)
  # One class: there is nothing to tell apart.
  same = class_losses.contrastive_2c((EMBEDDINGS, PROXIES), 0 * LABEL)
  np.testing.assert_allclose(same, 0, atol=1e-12)


@pytest.mark.parametrize('t, margin', [(0.5, 0.98), (1.0, 0.7)])
def test_d2d_ce_is_the_papers(t, margin):
  found = class_losses.d2d_ce((EMBEDDINGS, PROXIES), LABEL, temperature=t, margin=margin)
  np.testing.assert_allclose(found, d2d(EMBEDDINGS, PROXIES, LABEL, t, margin), rtol=1e-12)


def test_d2d_ce_has_no_gradient_at_easy_pairs():
  """At the proxy, and at right angles to the other class, nothing moves; a margin nearer or a pair closer does."""
  proxies = np.eye(2)
  at = lambda x: class_losses.d2d_ce((x, proxies), np.array([0, 1]), margin=0.98)
  np.testing.assert_array_equal(jax.grad(at)(jnp.eye(2)), 0)
  assert np.abs(jax.grad(at)(jnp.array(unit(np.array([[1.0, 0.5], [0.5, 1.0]]))))).min() > 0.01


@pytest.mark.parametrize('loss', ['contrastive_2c', 'd2d_ce'])
def test_gradients_are_finite_and_right(loss):
  value = lambda x: getattr(class_losses, loss)((x, PROXIES), LABEL)
  slope = jax.grad(value)(jnp.asarray(EMBEDDINGS))
  direction = RNG.normal(size=EMBEDDINGS.shape)
  numeric = (value(EMBEDDINGS + 1e-6 * direction) - value(EMBEDDINGS - 1e-6 * direction)) / 2e-6
  np.testing.assert_allclose(np.sum(slope * direction), numeric, rtol=1e-6)


def built(given, head):
  return class_loss.build(given, {'D': SimpleNamespace(head=head)})


def test_build_weighs_and_names():
  term = built(dict(name='d2d_ce', D=0.5, G=2.0, margin=0.9), 'proxy')
  value = d2d(EMBEDDINGS, PROXIES, LABEL, 0.5, 0.9)
  out = (None, (EMBEDDINGS, PROXIES))
  game = Game(**{**dict.fromkeys(Game._fields), 'of_real': out, 'of_fake': out, 'label': LABEL})
  of_D, of_G = term.D(game), term.G(game)
  assert of_D.keys() == {'loss_class'} and of_G.keys() == {'loss_G_class'}
  np.testing.assert_allclose(of_D['loss_class'], 0.5 * value, rtol=1e-12)
  np.testing.assert_allclose(of_G['loss_G_class'], 2 * value, rtol=1e-12)
  none = built(None, 'projection')
  assert none.D(game) == none.G(game) == {}


@pytest.mark.parametrize('fields, head, message', [
  (None, 'proxy', "head='proxy' needs a method.class_loss"),
  (dict(name='acgan'), 'classifier', "'acgan' is not known"),
  (dict(name='d2d_ce'), 'classifier', "needs networks.head='proxy'"),
  (dict(name='d2d_ce', heat=1), 'proxy', 'does not take heat'),
])  # fmt: skip
def test_build_refuses(fields, head, message):
  with pytest.raises(UserError, match=message):
    built(fields, head)
