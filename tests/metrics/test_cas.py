"""Classification accuracy score, on pictures whose classes are easy to tell and few enough to learn in seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.metrics import cas

CLASSES = 6
SMALL = dict(num_classes=CLASSES, batch_size=64, width=8, blocks=1)


def pictures(n, seed):
  """Noisy, faint copies of a symmetric template for each class: uint8 [n, 16, 16, 3], labels [n]."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, CLASSES, n)
  blocks = np.random.default_rng(0).normal(size=(CLASSES, 4, 2, 3))
  blocks = np.concatenate([blocks, blocks[:, :, ::-1]], 2)
  templates = np.kron(blocks, np.ones((1, 4, 4, 1)))
  x = 127 + 40 * (templates[labels] + rng.normal(size=(n, 16, 16, 3)))
  return np.clip(x, 0, 255).astype(np.uint8), labels


TRAIN, TEST = pictures(1024, 1), pictures(200, 2)  # 200 leave a partial batch


@pytest.fixture(scope='module')
def mesh():
  return sharding.make_mesh()


def test_classes_are_learned(mesh):
  score = cas.classification_accuracy(*TRAIN, *TEST, mesh=mesh, epochs=3, **SMALL)
  assert score['cas_top1'] > 90 and score['cas_top5'] > 99


def test_permuted_labels_give_chance(mesh):
  images, labels = TRAIN
  wrong = np.random.default_rng(3).permutation(labels)
  score = cas.classification_accuracy(images, wrong, *TEST, mesh=mesh, epochs=3, **SMALL)
  assert score['cas_top1'] < 40 and score['cas_top5'] < 100


@pytest.mark.slow
def test_one_device_trains_as_four_and_seeds_repeat():
  """Three steps, which move the first layer by far less than another seed."""
  network, sets = cas.ResNet(CLASSES, 8, 1), [x[:192] for x in TRAIN]
  one, four = (sharding.make_mesh(jax.devices()[:n]) for n in (1, 4))
  fit = lambda mesh, seed=0: jax.device_get(
    cas.train(network, *sets, mesh=mesh, epochs=1, batch_size=64, seed=seed)
  )
  first = fit(one)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), first, fit(four)
  )
  jax.tree.map(np.testing.assert_array_equal, first, fit(one))
  kernel = lambda variables: variables['params']['Conv_0']['kernel']
  assert np.abs(kernel(first) - kernel(fit(one, seed=1))).mean() > 0.1


class Fixed:
  """A network whose logits are the first pixels' values; NaN where they are 255."""

  def apply(self, _, x, train):
    logits = x[:, 0, :, 0]
    return jnp.where(logits == 1, jnp.nan, logits)


def test_ranks(mesh):
  """Ties and NaN count against the label; images that fill the last batch up do not count."""
  rows = np.array(
    [
      [9, 8, 7, 6, 5, 4],  # label 0: first
      [9, 8, 7, 6, 5, 4],  # label 4: fifth
      [9, 8, 7, 6, 5, 4],  # label 5: sixth
      [9, 9, 7, 6, 5, 4],  # label 0: tied, second
      [0, 0, 0, 0, 0, 0],  # label 0: constant, sixth
      [255, 8, 7, 6, 5, 4],  # label 0: NaN
      [255, 8, 7, 6, 5, 4],  # label 1: second behind NaN
    ]
  )
  labels = np.array([0, 4, 5, 0, 0, 0, 1])
  images = np.repeat(rows[:, None, :, None], 3, 3).astype(np.uint8)
  for batch_size in (4, 8):
    found = cas.accuracy(Fixed(), {}, images, labels, mesh=mesh, batch_size=batch_size)
    assert found == pytest.approx((100 / 7, 400 / 7))


def test_published_sizes():
  """Table 6 of He et al.: 0.27 M parameters with 20 layers, 0.85 M with 56."""
  for blocks, count in ((3, 0.27e6), (9, 0.85e6)):
    network, x = cas.ResNet(10, 16, blocks), jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda n=network, x=x: n.init(jax.random.key(0), x, train=False))
    found = sum(p.size for p in jax.tree.leaves(shapes['params']))
    assert found == pytest.approx(count, rel=0.02)


def test_shifts_crop_and_keep_the_picture():
  x = jnp.arange(1.0, 8 * 10 * 10 + 1).reshape(8, 10, 10, 1)
  y = np.asarray(cas._shift(x, jax.random.key(0)))
  assert y.shape == x.shape
  places = set()
  for picture, shifted in zip(np.asarray(x), y):
    padded = np.pad(picture, [(4, 4), (4, 4), (0, 0)])
    found = [
      (i, j)
      for i in range(9)
      for j in range(9)
      if np.array_equal(padded[i : i + 10, j : j + 10], shifted)
    ]
    assert len(found) == 1
    places.update(found)
  assert len(places) > 4


def test_bad_input(mesh):
  images, labels = TRAIN
  run = lambda *sets, **change: cas.classification_accuracy(
    *sets, **{**SMALL, 'mesh': mesh, 'epochs': 1, **change}
  )
  for sets, change, says in (
    ((images / 255, labels, *TEST), {}, 'generated images are float64'),
    ((images, labels, TEST[0][:, :8], TEST[1]), {}, 'test images are uint8'),
    ((images, labels[:9], *TEST), {}, '1024 generated images and 9 labels'),
    ((images, labels, TEST[0][:0], TEST[1][:0]), {}, '0 test images'),
    ((images, labels, *TEST), {'num_classes': 3}, 'labels 0 to 5 are not 0..2'),
    ((images[:9], labels[:9], *TEST), {}, 'no batch of 64'),
    ((images, labels, *TEST), {'epochs': 0}, 'in 0 epochs'),
    ((images, labels, *TEST), {'batch_size': 30}, 'does not divide'),
  ):
    with pytest.raises(UserError, match=says):
      run(*sets, **change)
