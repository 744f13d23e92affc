"""The pages: links lead somewhere, commands are taken, the tutorial's code trains, the README stays short."""

import ast
import os
import re
import shlex
import subprocess
import sys
import types

import command
import jax
import numpy as np
import pytest

import ganjax.methods
from ganjax import commandline, data, experiment
from ganjax.data import sets
from ganjax.sampling import sampler

PAGES = sorted(
  [command.ROOT / 'README.md', command.ROOT / 'CONTRIBUTING.md', *command.ROOT.glob('docs/**/*.md')]
)
PAGES = [page for page in PAGES if '_build' not in page.parts]
NAMES = [str(page.relative_to(command.ROOT)) for page in PAGES]
BLOCK = re.compile(r'^```(\w*)\n(.*?)^```', re.M | re.S)


def anchors(page) -> set:
  """Headings of a page as links name them."""
  text = BLOCK.sub('', page.read_text())
  heads = re.findall(r'^#+ (.*)$', text, re.M)
  return {re.sub(r'[^\w -]', '', head.lower()).replace(' ', '-') for head in heads}


@pytest.mark.parametrize('page', PAGES, ids=NAMES)
def test_links_and_pictures_are_there(page):
  text = BLOCK.sub('', page.read_text())
  links = re.findall(r'\]\(([^)\s]+)\)', text) + re.findall(r'src="([^"]+)"', text)
  for link in links:
    if link.startswith('http'):
      continue
    path, _, anchor = link.partition('#')
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), f'{page.name} links to {link}'
    assert not anchor or anchor in anchors(target), f'{page.name} links to {link}'


def lines() -> list:
  """Every command of ganjax on the pages, as words; lines that a backslash joins are one."""
  found_lines = []
  for page, name in zip(PAGES, NAMES):
    for _, block in BLOCK.findall(page.read_text()):
      block = block.replace('\\\n', ' ')
      for line in block.splitlines():
        found = re.match(r'\s*!?(?:.*&& )?(?:python -m )?ganjax (\S.*)', line)
        # Not a comment behind it, what stands for others, or the text of a help.
        words = shlex.split(found[1], comments=True) if found else []
        if words and words[0] in commandline.COMMANDS and '...' not in words:
          found_lines.append(pytest.param(words, id=f'{name}: {" ".join(words)[:60]}'))
  return found_lines


@pytest.mark.parametrize('words', lines())
def test_commands_are_taken(words, monkeypatch):
  """The command, its flags and the fields of the configuration are there."""
  from importlib import import_module

  name, *arguments = [re.sub(r'[;,|]$', '', word) for word in words]
  made = import_module(f'ganjax.{commandline.COMMANDS[name]}').COMMAND
  monkeypatch.chdir(command.ROOT)
  monkeypatch.setattr(
    sys,
    'argv',
    ['ganjax', *(commandline._find_configs(arguments) if made._config is not None else arguments)],
  )
  made.read(sys.argv)


def tested() -> list:
  """The blocks of commands that are marked as tested, of all pages."""
  marked = re.compile(r'^<!-- tested -->\n```\n(.*?)^```', re.M | re.S)
  found = [
    (name, block) for page, name in zip(PAGES, NAMES) for block in marked.findall(page.read_text())
  ]
  return [pytest.param(block, id=f'{name}: {block.splitlines()[0][:60]}') for name, block in found]


# Slow: each command is a process of its own, as it is for a reader.
@pytest.mark.slow
@pytest.mark.parametrize('block', tested())
def test_marked_commands_run(block, tmp_path):
  own = f'ganjax() {{ {shlex.quote(sys.executable)} -m ganjax "$@"; }}\n'
  environment = {**os.environ, 'PYTHONPATH': str(command.ROOT)}
  how = dict(cwd=tmp_path, env=environment, capture_output=True, text=True)
  done = subprocess.run(['bash', '-euo', 'pipefail', '-c', own + block], **how)
  assert done.returncode == 0, done.stderr[-2000:]


def unannotated(node) -> list:
  """Functions of a module or class that others call, and that lack the kind of a parameter or of the result."""
  missing = []
  for one in node.body:
    name = getattr(one, 'name', '_')
    if isinstance(one, ast.ClassDef) and name[0] != '_':
      missing += [f'{name}.{method}' for method in unannotated(one)]
    called = name[0] != '_' or name in ('__init__', '__call__')
    if isinstance(one, ast.FunctionDef) and called:
      taken = one.args
      each = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
      given = [x for x in each if x and x.arg not in ('self', 'cls')]
      if not one.returns or not all(x.annotation for x in given):
        missing.append(name)
  return missing


def test_what_is_public_is_annotated():
  """What the page of Python shows, with `py.typed` beside it, says what each function takes and gives."""
  made = ast.parse((command.ROOT / 'docs/from_code.py').read_text())
  (public,) = (
    ast.literal_eval(node.value)
    for node in made.body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'PUBLIC'
  )
  modules = {name: command.ROOT / f'ganjax/{name}.py' for name in public}
  missing = {name: unannotated(ast.parse(path.read_text())) for name, path in modules.items()}
  assert len(missing) > 20 and not any(missing.values()), missing


def test_the_readme_is_short():
  text = (command.ROOT / 'README.md').read_text().splitlines()
  assert len(text) <= 150
  assert max(len(line) for line in text if not line.startswith('|')) <= 100


def test_the_citation_and_the_first_page_are_of_this_version():
  text = (command.ROOT / 'CITATION.cff').read_text()
  assert f'version: {ganjax.__version__}\n' in text
  text = (command.ROOT / 'docs/index.md').read_text()
  assert f'documentation of version {ganjax.__version__}.\n' in text


def test_the_readme_names_every_recipe():
  text = (command.ROOT / 'README.md').read_text()
  names = sorted(path.stem for path in command.ROOT.glob('configs/[!_]*.py'))
  missing = [name for name in names if f'[{name}](docs/recipes/{name}.md)' not in text]
  assert len(names) > 40 and not missing


@pytest.mark.slow
def test_the_tutorial_trains(monkeypatch):
  """Its method, found by its file's name, makes a step with its recipe, shrunk, and pictures."""
  page = (command.ROOT / 'docs/extend/method.md').read_text()
  method, recipe = (code for language, code in BLOCK.findall(page) if language == 'python')
  folder = command.files() / 'tutorial'
  folder.mkdir()
  (folder / 'hinge_r1.py').write_text(method)
  monkeypatch.setattr(ganjax.methods, '__path__', [*ganjax.methods.__path__, str(folder)])
  found = types.ModuleType('hinge_r1_emoji')
  exec(recipe, found.__dict__)
  config = found.get_config()
  config.update(batch_size=4)
  config.networks.width, config.data.resolution = 4, 32
  run = experiment.build(config)
  state = jax.jit(run.init)(run.key)
  before = jax.device_get(state.params)
  batch = {
    'image': np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8),
    'label': np.zeros(4, np.int32),
  }
  span = run.spans[0]
  state, metrics = run.update(span)(state, (batch,), {}, phases=('D', 'G'))
  assert {'loss_hinge', 'loss_r1', 'loss_G'} <= metrics.keys()
  assert all(np.isfinite(value).all() for value in metrics.values())
  moved = jax.tree.map(lambda a, b: np.any(a != b), before, jax.device_get(state.params))
  assert all(any(jax.tree.leaves(moved[name])) for name in ('G', 'D'))
  pictures = sampler.start(span.stage, state, jax.device_get(run.method.rows(np.arange(2), {})))
  assert pictures.shape == (2, 32, 32, 3)


def test_the_data_set_of_the_page_is_read(monkeypatch):
  page = (command.ROOT / 'docs/extend/pieces.md').read_text()
  (code,) = (c for language, c in BLOCK.findall(page) if language == 'python' and 'Source(' in c)
  folder = command.files() / 'page_sets'
  folder.mkdir()
  (folder / 'sines.py').write_text(code)
  monkeypatch.setattr(sets, '__path__', [*sets.__path__, str(folder)])
  source = data.build(dataset='sines', samples=800, count=9)
  assert source.fields == data.fields(dataset='sines', samples=800)
  found = source.read_rows(source.rows(0, 5, 8))['sound']
  assert found.shape == (8, 800, 1) and found.dtype == np.int16 and np.abs(found).max() > 19_000
  # Row i has i + 1 times the lowest pitch.
  np.testing.assert_allclose(
    source.read(np.array([4]))['sound'][0, :, 0], 20_000 * np.sin(np.arange(800) / 10), atol=1
  )
  with pytest.raises(ganjax.UserError, match='does not take frames'):
    data.build(dataset='sines', samples=800, count=9, frames=2)
