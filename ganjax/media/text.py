"""Texts: token ids, int32 [L], 0 after their end."""

import numpy as np

from ganjax.media.label import mirror, to_float  # noqa: F401

STORED = np.int32
