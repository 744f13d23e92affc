"""Tests run on 4 virtual CPU devices. Compiling is most of their time: little optimization, and a persistent cache."""

import ctypes
import os

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import signal
import tempfile
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

from ganjax.devices import processes

processes.order_collectives()

_CACHE = os.environ.get('JAX_COMPILATION_CACHE_DIR') or str(
  Path(tempfile.gettempdir()) / 'ganjax-test-xla'
)
_LIBC = ctypes.CDLL(None)
jax.config.update('jax_compilation_cache_dir', _CACHE)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
jax.config.update('jax_disable_most_optimizations', True)


@pytest.fixture(autouse=True, scope='module')
def programs():
  """Compiled programs go after each file: kept to the end they are gigabytes. The disk has what was slow."""
  yield
  jax.clear_caches()
  if hasattr(_LIBC, 'malloc_trim'):  # glibc keeps what is freed
    _LIBC.malloc_trim(0)


@pytest.fixture(autouse=True)
def hangup():
  """SIGHUP is heard: nohup ignores it, and the TPU's compiler once it is loaded, and so would what tests start."""
  signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def numbers_of_its_own(request):
  """A test draws the same numbers from its module's RNG whichever tests ran before it."""
  if hasattr(request.module, 'RNG'):
    request.module.RNG = np.random.default_rng(zlib.crc32(request.node.name.encode()))
