"""float32 at least: narrower numbers are widened, float64 stays."""

import jax
import jax.numpy as jnp
import pytest

from ganjax.dtypes import wide, widen


@pytest.mark.parametrize('narrow', ['bfloat16', 'float16', 'float32'])
def test_narrow_numbers_become_float32(narrow):
  x = widen(jnp.asarray([1.5, -2], narrow))
  assert wide(narrow) == x.dtype == 'float32' and x.tolist() == [1.5, -2]


def test_float64_stays():
  with jax.enable_x64(True):
    x = jnp.asarray(1 / 3, 'float64')
    assert wide('float64') == widen(x).dtype == 'float64' and widen(x) == x
