"""Lists the recipes that ganjax ships: method, data, number of parameters, title."""

from ganjax import commandline

COMMAND = commandline.Command(__doc__)

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import ast
import runpy
from collections.abc import Iterator
from typing import NamedTuple

import jax

from ganjax import config as configs
from ganjax import experiment, update


class Recipe(NamedTuple):
  name: str
  about: str  # the docstring of its file
  run: experiment.Experiment
  parameters: int  # of all its networks

  @property
  def title(self) -> str:
    """The first line of the docstring."""
    return self.about.partition('\n')[0].rstrip('.')

  @property
  def data(self) -> str:
    data, of = self.run.config.data, self.run.spans[-1].fields[self.run.method.makes]
    if of.kind == 'image':
      return f'{data.dataset}, {data.resolution} px'
    return f'{data.dataset}, {"x".join(map(str, of.shape[:3]))}'


def load_all() -> Iterator[Recipe]:
  """Yields a Recipe for each file that ganjax ships, by name."""
  for path in sorted(commandline.configs_folder().glob('[!_]*.py')):
    about = ast.get_docstring(ast.parse(path.read_text()))
    run = experiment.build(runpy.run_path(str(path))['get_config']())
    state = jax.eval_shape(run.init, jax.random.key(0))
    yield Recipe(path.stem, about, run, update.count(state.params))


def main() -> None:
  jax.config.update('jax_platforms', 'cpu')  # nothing is computed: other devices are left alone
  for one in load_all():
    method = one.run.config.method.name
    size = f'{one.parameters / 1e6:>7.2f} M'
    print(f'{one.name:<24} {method:<12} {one.data:<20} {size}  {one.title}', flush=True)


if __name__ == '__main__':
  configs.run(main)
