"""How small pictures are made of large ones, which super-resolution shall enlarge again: one degradation a file."""

from collections.abc import Callable
from typing import NamedTuple


class Degradation(NamedTuple):
  """What `build(scale)` of a degradation returns. Pictures are [B, H, W, C] in [-1, 1].

  Attributes:
    low: (large pictures, a key for each [B]) -> small ones [B, H / scale, W / scale, C], as 8 bits have them.
    target: large pictures -> what the distances compare G's pictures with. D judges by the large ones themselves.
  """

  low: Callable
  target: Callable = lambda images: images
