"""A data set, a method and networks of kinds of data that no configuration of ganjax has: a file each, and no more.

`toys.add()` puts them beside the package's own.
"""

from pathlib import Path

from ganjax import methods, networks
from ganjax.data import sets


def add():
  for room in (sets, methods, networks):
    here = str(Path(__file__).parent / room.__name__.rpartition('.')[2])
    if here not in room.__path__:
      room.__path__.append(here)
