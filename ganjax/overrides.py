"""Overrides of what a recipe's file leaves at its default, such as `--config.method.penalties.r1=10`.

A network, a method and a data set each take the arguments of their `build`. A file names some of these. The command
line may set the others too: they become fields of the configuration.
"""

import re
import sys
from collections.abc import Iterator

from absl import flags
from ml_collections import ConfigDict, config_dict

from ganjax import component

# Section of a configuration -> folder of its components, and the field that names one.
SECTIONS = {
  'networks': ('networks', 'name'),
  'method': ('methods', 'name'),
  'data': ('data.sets', 'dataset'),
}


class Loader(flags.ArgumentParser):
  """The parser of --config: loads a file as `parser` does, and adds the fields that the command line sets."""

  def __init__(self, parser: flags.ArgumentParser) -> None:
    self._parser = parser

  def parse(self, argument: str) -> ConfigDict:
    config = self._parser.parse(argument)
    add(config, sys.argv)
    return config

  def flag_type(self) -> str:
    return self._parser.flag_type()


def add(config: ConfigDict, argv: list[str]) -> None:
  """Adds to a configuration, at their defaults, the arguments that `argv` sets and that it lacks."""
  typed = (re.match(r'--?config\.(\w+)\.(\w+)(?:\.(\w+))?(?:=(.*))?$', arg) for arg in argv)
  given = [found.groups() for found in typed if found]
  named = {(section, field): value for section, field, _, value in given}
  for section, field, inner, _ in given:
    part = config.get(section)
    if section not in SECTIONS or not isinstance(part, ConfigDict):
      continue
    value = part.get(field)
    if field in part if not inner else isinstance(value, ConfigDict) and inner in value:
      continue  # as most are, and components are slow to import
    default = _arguments(part, section, named.get((section, SECTIONS[section][1])))
    if field not in default:
      continue
    with part.unlocked():
      if not inner:
        part[field] = _unknown() if default[field] is None else default[field]
      elif default[field] is None and isinstance(value, ConfigDict | None):
        part[field] = value or {}  # a mapping, such as of penalties
        part[field][inner] = _unknown()


def addable(config: ConfigDict) -> Iterator[str]:
  """The arguments of a configuration's components, as SECTION.NAME."""
  for section in SECTIONS:
    if isinstance(config.get(section), ConfigDict):
      yield from (f'{section}.{name}' for name in _arguments(config[section], section))


def _arguments(part, section, name=None) -> dict:
  """{argument: default} of the component that a section names; `name` is another."""
  kind, field = SECTIONS[section]
  return component.defaults(kind, str(name or part.get(field)))


def _unknown():
  """A field of any type: numbers are read as numbers, other text as text."""
  return config_dict.placeholder(object)
