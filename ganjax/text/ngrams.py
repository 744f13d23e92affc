"""Words by their letters, without weights or training: what needs no download.

A word is the sum of fixed random signs, one draw for each run of 3 to 5 of its letters and one for the word itself, so
that 'taxis' is near 'taxi' (after Bojanowski et al. 2017, arXiv:1607.04606, section 3.2, with random vectors in place
of learnt ones). A text is the sum of its words. It knows no meaning: 'car' and 'automobile' are as far apart as any.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from ganjax.text import Encoder

SIZE = 256  # bits of the digest that signs come from
# Left out where others are left.
SMALL = frozenset(['a', 'an', 'and', 'at', 'in', 'is', 'of', 'on', 'or', 'the', 'to', 'with'])
LETTERS = 3, 4, 5


def open_at(path: str | None) -> Encoder:
  """The encoder; there is nothing to be found at `path`."""
  return Encoder(
    {'name': 'ngrams', 'size': SIZE, 'version': 1}, encode, lambda text: bool(words(text))
  )


def words(text: str) -> list:
  """'A red Taxi!' -> ['red', 'taxi']: runs of letters and digits, in small letters, and any other sign by itself."""
  text = unicodedata.normalize('NFKC', text).casefold()
  found = re.findall(r'\w+|[^\w\s!-/:-@\[-`{-~]', text)
  return [word for word in found if word not in SMALL] or found


def encode(texts: Iterable[str]) -> np.ndarray:
  """float32 [n, SIZE], each of length sqrt(SIZE); a text without words is all 0."""
  out = np.stack([sum(map(_word, words(text)), np.zeros(SIZE)) for text in texts])
  length = np.linalg.norm(out, axis=1, keepdims=True)
  return (out / np.maximum(length, 1e-9) * SIZE**0.5).astype(np.float32)


@functools.lru_cache(100_000)
def _word(word):
  """float64 [SIZE] of length 1."""
  inside = f'<{word}>'
  parts = [inside[i : i + n] for n in LETTERS for i in range(len(inside) - n + 1)]
  # The word itself weighs as much as all of its parts.
  out = _signs(inside) * max(len(parts), 1) ** 0.5 + sum(map(_signs, parts))
  return out / np.linalg.norm(out)


def _signs(text):
  """1 and -1, float64 [SIZE], the same for ever."""
  digest = hashlib.blake2b(text.encode(), digest_size=SIZE // 8).digest()
  return 2.0 * np.unpackbits(np.frombuffer(digest, np.uint8)) - 1
