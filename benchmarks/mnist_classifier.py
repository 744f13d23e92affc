"""The judge of stacked MNIST: a small network that names the digit in a grey picture.

VEEGAN and PacGAN take one of 99.25 % (Keras' mnist_cnn demo). `stacked_mnist.py` trains this one when it needs it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util

from ganjax import data
from ganjax.layers.conv import Conv
from ganjax.workdir.files import replace_file

EPOCHS, BATCH = 6, 128
SHIFT = 2  # pixels that a training picture is moved by, at most, each way


class Classifier(nn.Module):
  """Float [B, R, R, 1] in [-1, 1] -> logits [B, 10]."""

  @nn.compact
  def __call__(self, x, *, train: bool):
    for features in (32, 64, 128):
      x = nn.relu(
        Conv(features, 4, stride=2, padding=1, kernel_init=nn.initializers.he_normal())(x)
      )
    x = nn.relu(nn.Dense(256)(x.reshape(len(x), -1)))
    return nn.Dense(10)(nn.Dropout(0.5)(x, deterministic=not train))


def load(path, *, resolution, data_dir=None):
  """The parameters kept at `path`, an .npz, for predict(); trained first where they are not there yet."""
  if not path.exists():
    digits = read('train', resolution, data_dir)
    params = traverse_util.flatten_dict(train(*digits), sep='/')
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
      np.savez(file, **params)
  with np.load(path) as file:
    return traverse_util.unflatten_dict(dict(file), sep='/')


def read(split, resolution, data_dir):
  """(uint8 [N, R, R, 1], int32 [N]) of MNIST."""
  source = data.build(
    dataset='mnist', split=split, resolution=resolution, channels=1, data_dir=data_dir
  )
  found = source.read(np.arange(source.num_examples))
  return found['image'], found['label']


def train(images, labels, epochs=EPOCHS, seed=0):
  """Trains on uint8 [N, R, R, 1] and int [N]; returns the parameters. The same seed gives the same ones."""
  network, steps = Classifier(), len(images) // BATCH
  optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, epochs * steps))

  @jax.jit
  def init(key):
    return network.init(key, jnp.zeros((1, *images.shape[1:])), train=False)['params']

  @jax.jit
  def step(params, opt, pictures, labels, key):
    def loss(params):
      logits = network.apply(
        {'params': params}, to_float(pictures), train=True, rngs={'dropout': key}
      )
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    changes, opt = optimizer.update(jax.grad(loss)(params), opt, params)
    return optax.apply_updates(params, changes), opt

  key = jax.random.key(seed)
  params = init(key)
  opt = optimizer.init(params)
  for epoch in range(epochs):
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(images))
    for i in range(steps):
      rows = order[i * BATCH : (i + 1) * BATCH]
      moved = shift(images[rows], rng.integers(-SHIFT, SHIFT + 1, (BATCH, 2)))
      number = jax.random.fold_in(key, epoch * steps + i)
      params, opt = step(params, opt, moved, labels[rows], number)
  return jax.device_get(params)


def shift(images, by):
  """Moves each of images [B, H, W, C] by its pair of pixels, the border being repeated."""
  height, width = (
    np.clip(np.arange(n) - by[:, axis, None], 0, n - 1) for axis, n in enumerate(images.shape[1:3])
  )
  return images[np.arange(len(images))[:, None, None], height[:, :, None], width[:, None, :]]


def to_float(pictures):
  return pictures.astype(jnp.float32) / 127.5 - 1


@jax.jit
def _logits(params, pictures):
  return Classifier().apply({'params': params}, to_float(pictures), train=False)


def predict(params, images, size=500):
  """The digits in uint8 [N, R, R, 1], int64 [N]."""
  rows = [np.minimum(np.arange(i, i + size), len(images) - 1) for i in range(0, len(images), size)]
  found = [np.asarray(_logits(params, images[r])).argmax(1) for r in rows]
  return np.concatenate(found)[: len(images)]


def predict_stacks(params, images):
  """The digits in the channels of uint8 [N, R, R, 3], int64 [N, 3]."""
  return np.stack([predict(params, images[..., c : c + 1]) for c in range(3)], 1)
