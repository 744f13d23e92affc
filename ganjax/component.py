"""Components of a configuration: found by the name of their file, called with the arguments that are there."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.wording import closest

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
  package = importlib.import_module(f'ganjax.{kind}')
  known = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
  if name not in known:
    raise UserError(
      f'{kind}.name={name!r} is not known{closest(name, known)}; there are {", ".join(known)}'
    )
  build = importlib.import_module(f'ganjax.{kind}.{name}').build
  taken = check_arguments(f'{kind} {name!r}', build, arguments, {*more, 'nets'})
  nets = [more.pop('nets')] if 'nets' in more else []
  return build(*nets, **arguments, **{k: v for k, v in more.items() if k in taken})


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
    build = importlib.import_module(f'ganjax.{kind}.{name}').build
  except ModuleNotFoundError:
    return {}
  taken = inspect.signature(build).parameters.values()
  return {one.name: one.default for one in taken if one.default is not one.empty}


def check_arguments(
  what: str, function: Callable, arguments: Mapping[str, Any], others: Iterable[str]
) -> Mapping[str, inspect.Parameter]:
  """Raises UserError unless `function` takes `arguments`, which with `others` are all that it needs; its parameters."""
  taken = inspect.signature(function).parameters
  advice = 'write a config for it, rather than override the name'
  if extra := sorted(arguments.keys() - taken.keys() | arguments.keys() & set(others)):
    raise UserError(f'{what} does not take {", ".join(extra)}: {advice}')
  needed = {name for name, parameter in taken.items() if parameter.default is parameter.empty}
  if missing := sorted(needed - arguments.keys() - set(others)):
    raise UserError(f'{what} needs {", ".join(missing)}: {advice}')
  return taken
