"""Heads of discriminators against numpy."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from ganjax.layers.heads import HEADS, apply_head
from ganjax.layers.spectral import SpectralNorm

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
LABEL = np.array([0, 2, 1, 2])


class Net(nn.Module):
  """A head alone."""

  head: str = 'projection'
  num_classes: int = 3
  spectral: bool = False
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, label=None):
    wrap = (lambda layer: SpectralNorm(layer, 100)) if self.spectral else lambda layer: layer
    sizes = dict(head=self.head, num_classes=self.num_classes, embed_dim=5)
    init = nn.initializers.normal(1.0)
    kinds = dict(dtype=self.dtype, param_dtype='float32')
    return apply_head(x, label, wrap=wrap, kernel_init=init, **sizes, **kinds)


def run(label=LABEL, x=X, **kwargs):
  """(output, {layer: weights}) of a head with random biases."""
  net = Net(**kwargs)
  v = net.init(jax.random.key(0), X, LABEL)
  for layer in v['params'].values():
    if 'bias' in layer:
      layer['bias'] += np.arange(1, 1 + len(layer['bias']))
  weights = {n: jax.tree.map(np.asarray, w) for n, w in v['params'].items()}
  return net.apply(v, x, label), weights


def dense(w, x=X):
  return x @ w['kernel'] + w['bias']


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_without_classes_logits_are_all():
  logits, w = run(None, num_classes=0)
  assert w.keys() == {'Dense_0'}
  np.testing.assert_allclose(logits, dense(w['Dense_0'])[:, 0], rtol=1e-4, atol=1e-5)


def test_projection_adds_the_product_with_the_labels_row():
  logits, w = run()
  rows = w['ClassEmbed_0']['embedding'][LABEL]
  np.testing.assert_allclose(
    logits, dense(w['Dense_0'])[:, 0] + (rows * X).sum(1), rtol=1e-4, atol=1e-5
  )


def test_classifier_has_logits_and_scores_of_one_linear_layer_each():
  (logits, scores), w = run(None, head='classifier')
  assert w.keys() == {'Dense_0', 'Dense_1'}
  np.testing.assert_allclose(logits, dense(w['Dense_0'])[:, 0], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(scores, dense(w['Dense_1']), rtol=1e-4, atol=1e-5)


def test_proxies_and_embeddings_have_length_1():
  (logits, (embedding, proxies)), w = run(None, head='proxy')
  np.testing.assert_allclose(logits, dense(w['Dense_0'])[:, 0], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(embedding, unit(dense(w['Dense_1'])), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(proxies, unit(w['ClassEmbed_0']['embedding']), rtol=1e-4, atol=1e-5)


def test_bfloat16_embeddings_are_float32_of_length_1():
  (logits, found), _ = run(head='proxy', dtype='bfloat16')
  assert logits.dtype == 'bfloat16'
  for rows in found:
    assert rows.dtype == 'float32'
    np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, rtol=1e-5)


def test_an_embedding_of_zero_has_no_nan_in_its_gradient():
  net = Net(head='proxy')
  v = net.init(jax.random.key(0), X)  # biases are zero
  slope = jax.grad(lambda x: net.apply(v, x)[1][0].sum())(0 * X)
  assert np.isfinite(slope).all()


@pytest.mark.parametrize('head', HEADS)
def test_every_layer_is_wrapped(head):
  normal, w = run(head=head, spectral=True)
  kernel = lambda n: {**w[n], 'kernel': w[n]['kernel'] / np.linalg.norm(w[n]['kernel'], 2)}
  logits = dense(kernel('Dense_0'))[:, 0]
  if head == 'projection':
    table = w['ClassEmbed_0']['embedding']
    logits = logits + (table[LABEL] / np.linalg.norm(table, 2) * X).sum(1)
    np.testing.assert_allclose(normal, logits, rtol=1e-3, atol=1e-4)
    return
  np.testing.assert_allclose(normal[0], logits, rtol=1e-3, atol=1e-4)
  found = dense(kernel('Dense_1'))
  if head == 'classifier':
    np.testing.assert_allclose(normal[1], found, rtol=1e-3, atol=1e-4)
  else:
    np.testing.assert_allclose(normal[1][0], unit(found), rtol=1e-3, atol=1e-4)
