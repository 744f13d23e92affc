"""Words as numbers, for networks that learn what they mean: a digest of a word's letters, the same for ever.

There is no list of words: networks take the numbers modulo their vocabulary, so that two words may share one.
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

MOST = 2**31 - 2


def numbers(texts: Sequence[str], length: int) -> np.ndarray:
  """Strings -> int32 [n, length]: from 1 for each of a text's first words, in small letters, 0 after their end."""
  out = np.zeros((len(texts), length), np.int32)
  for row, text in zip(out, texts):
    found = re.findall(r'\w+', text.casefold()) or [text]
    some = [_number(word) for word in found[:length]]
    row[: len(some)] = some
  return out


def _number(word) -> int:
  digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
  return 1 + int.from_bytes(digest, 'little') % MOST
