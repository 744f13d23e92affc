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


def source(grey, classes, kind):
  fields = {kind: media.Field(kind, (2, 2, 1)), 'label': media.Field('label', ())}
  level = np.uint8(grey) if kind == 'image' else np.int16(257 * (grey - 127.5))
  read = lambda rows, names: {
    kind: np.full((len(rows), 2, 2, 1), level),
    'label': np.full(len(rows), classes, np.int32),
  }
  return Source(read_rows=read, rows=np.arange(9), fields=fields, class_names=None, info={})


@pytest.mark.parametrize('kind', ['image', 'sound'])
@pytest.mark.parametrize('held_out, wanted', [(255, 0.0), (0, 1.0), (51, 0.8)])
def test_between_training_and_fakes(held_out, wanted, kind):
  """D's logits are means of pictures, plus its bias, plus labels: training's are white, fakes black."""
  method = types.SimpleNamespace(
    num_classes=3,
    examples=(),
    makes=kind,
    judge=lambda state, images, label, key: images.mean((1, 2, 3)) + state['bias'] + label,
    rows=lambda seeds, examples: {'label': jnp.ones(len(seeds), jnp.int32)},
  )
  make = lambda state, rows, train: (-jnp.ones((len(rows['label']), 2, 2, 1)), state)
  stage = types.SimpleNamespace(sample=make)
  work = dict(mesh=sharding.make_mesh(jax.devices()[:1]), batch_size=4)
  state = {'bias': jnp.float32(7)}
  sources = source(255, 1, kind), source(held_out, 1, kind)
  found = overfitting.r_v(method, stage, state, *sources, **work)
  assert found == pytest.approx(wanted, abs=1e-4)
