"""A data set, a method and networks of kinds of data that no configuration of ganjax has: a file each, and no more.

`toys.add()` puts them beside the package's own; `toys.add(monkeypatch.setattr)` until a test ends.
"""

from pathlib import Path

from ganjax import features, methods, networks
from ganjax.data import sets


def add(setattr=setattr):
  for room in (sets, methods, networks, features):
    here = str(Path(__file__).parent / room.__name__.rpartition('.')[2])
    setattr(room, '__path__', [*room.__path__, here])
