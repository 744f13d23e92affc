"""Pages of docs/reference/, from the code: fields, arguments, commands, and the public Python functions."""

import ast
import importlib
import re
from pathlib import Path

from ganjax import commandline, wording

ROOT = Path(__file__).resolve().parents[1]
MADE = '<!-- Made by docs/make.py: edit what it is made from. -->'
# What others call: functions and classes of these without a leading underscore.
PUBLIC = (
  '__init__',
  'pretrained/__init__',
  'data/__init__',
  'data/source',
  'method',
  'update',
  'losses/adversarial',
  'losses/penalties',
  'losses/regularizers',
  'optim/schedules',
  'sampling/latents',
  'sampling/film',
  'sampling/styles',
  'sampling/directions',
  'sampling/projection',
  'metrics/perceptual',
  'layers/conv',
  'layers/norm',
  'layers/spectral',
  'metrics/fid',
  'metrics/kid',
  'metrics/inception_score',
  'metrics/prdc',
)
# Folder of ganjax/ -> head of its page, section of a recipe, arguments that are no fields of that section.
TAKEN = {
  'networks': (
    f"""# Networks

{MADE}

`networks.name` is one of these. Its table has the other fields of `networks`. Sizes, classes and lengths come from
`data`.
""",
    'networks.',
    ('resolution', 'channels', 'fields'),
  ),
  'methods': (
    f"""# Methods

{MADE}

`method.name` is one of these. Its table has the other fields of `method`.
""",
    'method.',
    ('nets', 'fields', 'batch_size'),
  ),
  'data/sets': (
    f"""# Data sets

{MADE}

`data.dataset` is one of these, the path of a folder or zip archive, or a name of the TFDS catalogue. [All data
sets](config.md) share some fields of `data`. A table has the fields of one data set.
""",
    'data.',
    ('resolution', 'channels', 'cache', 'flip'),
  ),
}
FIELDS = f"""# Fields of a recipe

{MADE}

Set any of them on the command line: `--config.batch_size=64`, `--config.optim.G.lr=1e-4`. `networks`, `method` and
`data` have more fields, which depend on their name: [networks](networks.md), [methods](methods.md), [data](data.md).
You can set these too, even if the recipe's file does not have them: `--config.method.penalties.r1=10`.

| field | default | what |
|---|---|---|
"""


def fields() -> str:
  """The table of all fields of a recipe."""
  cell = lambda text: text.replace('|', '\\|')
  rows = wording.fields().items()
  return FIELDS + ''.join(
    f'| `{name}` | `{cell(value)}` | {cell(text)} |\n' for name, (value, text) in rows
  )


def arguments(what) -> str:
  """What each file of `ganjax/{what}` takes: the arguments of its `build`, as its docstring has them."""
  about, section, given = TAKEN[what]
  text = about
  for file, module in files(what):
    build = builder(module)
    taken = build.args.args + build.args.kwonlyargs
    defaults = [None] * len(build.args.args) + build.args.kw_defaults
    default = {a.arg: f'`{ast.unparse(d)}`' if d else '' for a, d in zip(taken, defaults)}
    rows = ''
    entries = described(build)
    if build.args.kwarg:  # an argument for each file of a folder
      for term, its in files('losses/terms'):
        entries.append((term.stem, dict(described(builder(its)))['given']))
        default[term.stem] = '`None`'
    for names, said in entries:
      own = [name for name in names.split(', ') if name not in given]
      if own:
        shown = ', '.join(f'`{name}`' for name in own)
        said = ' '.join(said.split()).replace('|', '\\|')
        rows += f'| {shown} | {", ".join(default[name] for name in own)} | {said} |\n'
    text += f'\n## {file.stem}\n\n{ast.get_docstring(module).partition(chr(10) * 2)[0]}\n\n'
    text += f'| `{section}` | default | what |\n|---|---|---|\n{rows}' if rows else ''
  return text


def files(folder):
  """The files of `ganjax/{folder}` that hold components, and what they parse to."""
  for file in sorted((ROOT / 'ganjax' / folder).glob('[!_]*.py')):
    yield file, ast.parse(file.read_text())


def builder(module):
  """The `build` of a component."""
  return next(x for x in module.body if isinstance(x, ast.FunctionDef) and x.name == 'build')


def described(function) -> list:
  """Pairs of names and text in the Args of a docstring."""
  found = re.search(r'^Args:\n(.*?)(?:\n\n|\Z)', ast.get_docstring(function) or '', re.M | re.S)
  return re.findall(r'^  (\w[\w, ]*): (.*(?:\n {4}.*)*)', found[1] if found else '', re.M)


def commands() -> str:
  """The help of each command."""
  text = f'# Commands\n\n{MADE}\n'
  for name, module in commandline.COMMANDS.items():
    about = importlib.import_module(f'ganjax.{module}').COMMAND.help()
    text += f'\n## ganjax {name}\n\n```text\n{about}\n```\n'
  return text


def api() -> str:
  """Signatures and docstrings of what is public, read without importing it."""
  text = (
    f'# Python\n\n{MADE}\n\nThe functions and classes for your own methods, networks and scripts.\n'
  )
  for name in PUBLIC:
    module = ast.parse((ROOT / f'ganjax/{name}.py').read_text())
    dotted = f'ganjax/{name}'.removesuffix('/__init__').replace('/', '.')
    text += f'\n## {dotted}\n\n```text\n{ast.get_docstring(module)}\n```\n'
    for node in module.body:
      about = isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)
      if about and not node.name.startswith('_'):
        text += f'\n### {node.name}\n\n```python\n{_head(node)}\n```\n\n```text\n{about}\n```\n'
        for one in _methods(node):
          about = ast.get_docstring(one)
          text += f'\n#### {node.name}.{one.name}\n\n```python\n{_head(one)}\n```\n\n```text\n{about}\n```\n'
  return text


def _methods(node):
  """The documented methods of a class, its construction first."""
  for one in node.body if isinstance(node, ast.ClassDef) else ():
    public = isinstance(one, ast.FunctionDef) and (one.name == '__init__' or one.name[0] != '_')
    if public and ast.get_docstring(one):
      yield one


def _head(node) -> str:
  """The signature of a function, or the fields of a class."""
  if isinstance(node, ast.FunctionDef):
    returns = f' -> {ast.unparse(node.returns)}' if node.returns else ''
    line = f'def {node.name}({ast.unparse(node.args)}){returns}: ...'
    if len(line) <= 100:
      return line
    parts, depth = (
      [''],
      0,
    )  # commas outside of brackets part the arguments, which then have a line each
    for letter in ast.unparse(node.args):
      depth += (letter in '([{') - (letter in ')]}')
      if letter == ',' and not depth:
        parts.append('')
      else:
        parts[-1] += letter
    return '\n'.join(
      [f'def {node.name}(', *(f'  {part.strip()},' for part in parts), f'){returns}: ...']
    )
  fields = [f'  {ast.unparse(one)}' for one in node.body if isinstance(one, ast.AnnAssign)]
  return '\n'.join([f'class {node.name}:', *(fields or ['  ...'])])
