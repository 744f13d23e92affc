"""Classification accuracy score: a classifier trained on generated images alone, tested on real ones.

Ravuri and Vinyals 2019, arXiv:1905.10887, section 3. The classifier is the small residual network for CIFAR-10 of He
et al. 2016, arXiv:1512.03385, section 4.2, with the cosine schedule of Loshchilov and Hutter, arXiv:1608.03983.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.layers.conv import Conv
from ganjax.layers.norm import BatchNorm
from ganjax.media import augment

LEARNING_RATE = 0.1  # for batches of 128; others in proportion
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
PAD = 4  # pixels that a training image may be shifted by


class ResNet(nn.Module):
  """ResNet-(6 blocks + 2) at 32 pixels: float [B, H, W, C] in [-1, 1] -> logits [B, classes].

  Each stage halves the resolution and doubles the width, down to about 8 pixels: three stages from 32 pixels.
  """

  classes: int
  width: int = 16
  blocks: int = 3

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    conv = lambda features, stride=1: Conv(
      features, 3, stride, 1, use_bias=False, kernel_init=nn.initializers.he_normal()
    )
    norm = lambda x: BatchNorm()(x, train=train)
    stages = max(1, 1 + round(math.log2(min(x.shape[1:3]) / 8)))
    x = nn.relu(norm(conv(self.width)(x)))
    for stage in range(stages):
      features = self.width << stage
      for block in range(self.blocks):
        stride = 2 if stage and not block else 1
        y = nn.relu(norm(conv(features, stride)(x)))
        y = norm(conv(features)(y))
        # Option A of the paper: a shortcut without parameters, new channels being zero.
        x = x[:, ::stride, ::stride]
        x = nn.relu(y + jnp.pad(x, [(0, 0)] * 3 + [(0, features - x.shape[3])]))
    return nn.Dense(self.classes)(x.mean((1, 2)))


def classification_accuracy(
  images: np.ndarray,
  labels: np.ndarray,
  test_images: np.ndarray,
  test_labels: np.ndarray,
  *,
  mesh: jax.sharding.Mesh,
  num_classes: int,
  epochs: int,
  batch_size: int = 128,
  seed: int = 0,
  width: int = 16,
  blocks: int = 3,
) -> dict[str, float]:
  """Trains on one set and tests on the other: {'cas_top1', 'cas_top5'}, percent of the test images.

  Args:
    images, labels: the generated set, uint8 [N, H, W, C] and integers [N] in 0..num_classes - 1.
    test_images, test_labels: the real one.
    mesh: the devices, which share each batch.
    epochs: passes over the generated set, each of N // batch_size batches.
    batch_size: of all devices together.
    seed: of initial weights, order, shifts and flips: the same seed gives the same score.
    width, blocks: of the ResNet; 16 and 3 are ResNet-20, 16 and 9 the paper's ResNet-56.

  Raises:
    UserError: sets that do not fit each other, or the batch size.
  """
  for name, x, y in (('generated', images, labels), ('test', test_images, test_labels)):
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != images.shape[1:]:
      raise UserError(
        f'CAS: the {name} images are {x.dtype} {x.shape}, not uint8 [N, H, W, C] of one size'
      )
    if len(x) != len(y) or not len(x):
      raise UserError(f'CAS: there are {len(x)} {name} images and {len(y)} labels')
    if np.min(y) < 0 or np.max(y) >= num_classes:
      raise UserError(f'CAS: {name} labels {np.min(y)} to {np.max(y)} are not 0..{num_classes - 1}')
  network = ResNet(num_classes, width, blocks)
  fit = dict(mesh=mesh, epochs=epochs, batch_size=batch_size, seed=seed)
  variables = train(network, images, labels, **fit)
  top1, top5 = accuracy(
    network, variables, test_images, test_labels, mesh=mesh, batch_size=batch_size
  )
  return {'cas_top1': top1, 'cas_top5': top5}


def train(
  network: nn.Module,
  images: np.ndarray,
  labels: np.ndarray,
  *,
  mesh: jax.sharding.Mesh,
  epochs: int,
  batch_size: int,
  seed: int,
) -> dict:
  """Trains a classifier with SGD and Nesterov momentum; arguments as above -> its variables, on every device."""
  sharding.check_batch(batch_size, mesh)
  steps = len(images) // batch_size
  if not steps or epochs < 1:
    raise UserError(f'CAS: {len(images)} images give no batch of {batch_size} in {epochs} epochs')
  schedule = optax.cosine_decay_schedule(LEARNING_RATE * batch_size / 128, steps * epochs)
  optimizer = optax.chain(
    optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(schedule, MOMENTUM, nesterov=True)
  )

  def step(params, stats, opt, batch, number, key):
    flip_key, shift_key = jax.random.split(jax.random.fold_in(key, number))
    x = _shift(augment.prepare(batch, flip_key, flip=True)['image'], shift_key)

    def loss(params):
      variables = {'params': params, 'batch_stats': stats}
      logits, new = network.apply(variables, x, train=True, mutable=['batch_stats'])
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])
      return losses.mean(), new['batch_stats']

    grads, stats = jax.grad(loss, has_aux=True)(params)
    changes, opt = optimizer.update(grads, opt, params)
    return sharding.keep_whole((optax.apply_updates(params, changes), stats, opt))

  with jax.set_mesh(mesh):
    example = jnp.zeros((1, *images.shape[1:]))
    key = sharding.replicate(jax.random.key(seed), mesh)
    initial = jax.jit(lambda key: network.init(key, example, train=False))(key)
    state = initial['params'], initial['batch_stats'], optimizer.init(initial['params'])
    state = sharding.replicate(state, mesh)
    step = jax.jit(step, donate_argnums=(0, 1, 2))
    rows = sharding.local_rows(batch_size, mesh)
    for epoch in range(epochs):
      order = np.random.default_rng([seed, epoch]).permutation(len(images))
      for i in range(steps):
        batch = order[i * batch_size : (i + 1) * batch_size][rows]
        batch = {'image': images[batch], 'label': np.asarray(labels[batch], np.int32)}
        batch = sharding.place_batch(batch, mesh)
        # Virtual devices on few cores hang where steps with collectives queue up.
        jax.block_until_ready(state)
        state = step(*state, batch, np.int32(epoch * steps + i), key)
  return {'params': state[0], 'batch_stats': state[1]}


def accuracy(
  network: nn.Module,
  variables: dict,
  images: np.ndarray,
  labels: np.ndarray,
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> tuple[float, float]:
  """The percentages of images [N, H, W, C] whose label is the likeliest, and among the five likeliest.

  A label that ties with others ranks behind them, so that constant or NaN logits score nothing.
  """

  def count(variables, batch):
    x = augment.prepare({'image': batch['image']}, None, flip=False)['image']
    logits = network.apply(variables, x, train=False)
    own = jnp.take_along_axis(logits, batch['label'][:, None], 1)
    rank = jnp.sum(~(logits < own), 1) - 1
    hits = (rank[:, None] < jnp.array([1, 5])) & batch['real'][:, None]
    return sharding.keep_whole(hits.sum(0))

  with jax.set_mesh(mesh):
    count, total = jax.jit(count), np.zeros(2, np.int64)
    rows = sharding.local_rows(batch_size, mesh)
    for start in range(0, len(images), batch_size):
      index = np.arange(start, start + batch_size)[rows]  # the last batch is filled up
      real, index = index < len(images), np.minimum(index, len(images) - 1)
      label = np.asarray(labels[index], np.int32)
      batch = {'image': images[index], 'label': label, 'real': real}
      total += np.asarray(count(variables, sharding.place_batch(batch, mesh)))
  return tuple(float(n) for n in 100 * total / len(images))


def _shift(x, key):
  """Crops [B, H, W, C] at a random place of each image padded by PAD grey pixels."""
  places = jax.random.randint(key, (x.shape[0], 2), 0, 2 * PAD + 1)
  padded = jnp.pad(x, [(0, 0), (PAD, PAD), (PAD, PAD), (0, 0)])
  crop = lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), x.shape[1:])
  return jax.vmap(crop)(padded, places)
