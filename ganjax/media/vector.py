"""Vectors: float32 of any shape, such as the embedding of a text."""

import numpy as np

from ganjax.media.label import mirror, to_float  # noqa: F401

STORED = np.float32
