"""r_v: where D puts held-out pictures, between training's and fakes."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import media
from ganjax.data.source import Source
from ganjax.devices import sharding
from ganjax.evaluation import overfitting


def source(grey, classes=0):
  fields = {'image': media.Field('image', (2, 2, 1)), 'label': media.Field('label', ())}
  read = lambda rows, names: {
    'image': np.full((len(rows), 2, 2, 1), grey, np.uint8),
    'label': np.full(len(rows), classes, np.int32),
  }
  return Source(read_rows=read, rows=np.arange(9), fields=fields, class_names=None, info={})


@pytest.mark.parametrize('held_out, wanted', [(255, 0.0), (0, 1.0), (51, 0.8)])
def test_between_training_and_fakes(held_out, wanted):
  """D's logits are means of pictures, plus its bias, plus labels: training's are white, fakes black."""
  method = types.SimpleNamespace(
    num_classes=3,
    examples=(),
    judge=lambda state, images, label, key: images.mean((1, 2, 3)) + state['bias'] + label,
    rows=lambda seeds, examples: {'label': jnp.ones(len(seeds), jnp.int32)},
  )
  make = lambda state, rows, train: (-jnp.ones((len(rows['label']), 2, 2, 1)), state)
  stage = types.SimpleNamespace(sample=make)
  work = dict(mesh=sharding.make_mesh(jax.devices()[:1]), batch_size=4)
  state = {'bias': jnp.float32(7)}
  found = overfitting.r_v(method, stage, state, source(255, 1), source(held_out, 1), **work)
  assert found == pytest.approx(wanted, abs=1e-5)
