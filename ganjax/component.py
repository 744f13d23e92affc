"""Components of a configuration: found by the name of their file, called with the arguments that are there."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.wording import closest

EMPTY = inspect.Parameter.empty
DEEPEST = 64  # layers or blocks: each is traced and compiled


def build(kind: str, arguments: Mapping[str, Any] | ConfigDict, **more: Any) -> Any:
  """Calls `build` of the file that `arguments['name']` names in the folder `kind`.

  Args:
    kind: 'networks' or 'methods'.
    arguments: `name` and arguments of its `build`.
    **more: arguments of `build` that do not come from the configuration.

  Raises:
    UserError: no such file, or arguments that its `build` does not take or misses.
  """
  arguments = dict(arguments)
  name = arguments.pop('name')
  known = names(kind)
  if name not in known:
    raise UserError(
      f'{kind}.name={name!r} is not known{closest(name, known)}; there are {", ".join(known)}'
    )
  build = load(kind, name).build
  known = check_arguments(f'{kind} {name!r}', build, arguments, {*more, 'nets'})
  nets = [more.pop('nets')] if 'nets' in more else []
  return build(*nets, **arguments, **{k: v for k, v in more.items() if k in known})


def names(kind: str) -> list[str]:
  """Names of the files in the folder `kind`, sorted."""
  package = importlib.import_module(f'ganjax.{kind}')
  return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load(kind: str, name: str) -> ModuleType:
  """The file `name` of the folder `kind`."""
  return importlib.import_module(f'ganjax.{kind}.{name}')


def functions(module: ModuleType) -> dict[str, Callable]:
  """{name: function} of a file's own functions without a leading underscore, by name."""
  own = lambda f: inspect.isfunction(f) and f.__module__ == module.__name__
  return {name: f for name, f in sorted(vars(module).items()) if own(f) and name[0] != '_'}


def check_depth(**counts: int) -> None:
  """Raises UserError where a network would have more of something, such as `blocks`, than compile in minutes."""
  for name, count in counts.items():
    if count > DEEPEST:
      raise UserError(
        f'networks.{name}={count} must be at most {DEEPEST}: each is traced and compiled'
      )


def defaults(kind: str, name: str) -> dict[str, Any]:
  """Arguments of a component's `build` that a configuration may lack, with their values; {} where there is none."""
  try:
    build = load(kind, name).build
  except ModuleNotFoundError:
    return {}
  return {name: default for name, default in taken(build).items() if default is not EMPTY}


def taken(function: Callable) -> dict[str, Any]:
  """{argument: its default, or EMPTY} of a function.

  `**more: Annotated[Any, KIND]` stands for an argument for each file of the folder KIND, None by default.
  """
  found = {}
  for one in inspect.signature(function).parameters.values():
    if one.kind is one.VAR_KEYWORD:
      found |= dict.fromkeys(names(one.annotation.__metadata__[0]))
    else:
      found[one.name] = one.default
  return found


def check_arguments(
  what: str, function: Callable, arguments: Mapping[str, Any], others: Iterable[str]
) -> Iterable[str]:
  """Raises UserError unless `function` takes `arguments`, which with `others` are all that it needs; what it takes."""
  known = taken(function)
  advice = 'write a config for it, rather than override the name'
  if extra := sorted(arguments.keys() - known.keys() | arguments.keys() & set(others)):
    raise UserError(f'{what} does not take {", ".join(extra)}: {advice}')
  needed = {name for name, default in known.items() if default is EMPTY}
  if missing := sorted(needed - arguments.keys() - set(others)):
    raise UserError(f'{what} needs {", ".join(missing)}: {advice}')
  return known
