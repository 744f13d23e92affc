"""Writes the pages that are made from code: python docs/make.py

docs/recipes/ comes from the docstrings of configs/, from what `--summary` prints, and from files named after their
recipe: samples in docs/pictures/, curves in docs/curves/, records of evaluations in docs/records/. docs/reference/
comes from the fields of `ganjax.config.base`, the arguments of each network, method and data set, the help of each
command, and the docstrings of what is public; docs/results/pretrained.md from the generators in ganjax/pretrained/ and
the records beside them; docs/results/measured.md from all records. With --check it writes nothing, names the pages that
are not up to date, and exits with 1.
"""

import argparse
import ast
import importlib
import os
import re
import sys
from pathlib import Path

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
sys.path.insert(0, str(ROOT))

from PIL import Image

from ganjax import commandline, experiment, wording
from ganjax import recipes as known
from ganjax.data import provenance
from ganjax.evaluation import records
from ganjax.weights import generator_file

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
# Of each generator that comes along: how it is used, and what it cannot do.
USES = {
  'digits': (
    'ganjax sample digits --classes 0-9 --seeds 0-9 --out digits.png',
    'Draws handwritten digits, each of its class. A seed is a hand: its slant and weight are alike in all classes. '
    'Some strokes break off. `ganjax copies digits --split test`: 2 of 1,000 samples are nearer to a training picture '
    'than 99% of 1,000 held-out pictures are.',
  ),
  'emoji32': (
    'ganjax sample emoji32 --seeds 0-63 --out emoji.png',
    'Draws small pictures in the manner of emoji. Shapes, colours and classes are those of emoji; what is drawn is '
    'often none that exists, and fine detail is not drawn. `ganjax copies emoji32`: 0 of 1,000 samples are nearer to a '
    'training picture than 99% of 1,000 training pictures are to another one.',
  ),
  'emoji_painter': (
    'ganjax sample emoji_painter --source drawing.png --out painted.png',
    'Paints line drawings in the manner of emoji, 64 pixels a side: dark lines, two or three pixels wide, on white. '
    '`ganjax explore emoji_painter` has a pad to draw on. Faces, people, food and animals get colours that suit them; '
    'other things get some that often do not.',
  ),
  'emoji_upscaler': (
    'ganjax sample emoji_upscaler --source small.png --out large.png',
    'Enlarges drawings four times. It learnt from emoji alone: photographs come out soft.',
  ),
}
CARDS = f"""# Generators that come along

{MADE}

<!-- tested -->
```
ganjax sample digits --classes 0-9 --seeds 0-9 --out digits.png
ganjax sample emoji32 --seeds 0-7 --format files --out small
ganjax sample emoji_upscaler --source small --out large
ganjax sample emoji_painter --seeds 0-15 --out painted.png
ganjax verify emoji_upscaler
```

The first four commands need no training and no download; the second and the third draw emoji and enlarge them. The
last measures a generator again and compares the values with its records. In Python:

```python
import ganjax

generator = ganjax.from_pretrained('digits')  # a name of this page, a workdir or a file
pictures = generator.sample(seeds=range(4), classes=7)  # uint8 [4, 32, 32, 1]
```

A generator is a file of float16 numbers in `ganjax/pretrained/`. Its metadata hold the recipe, the data, the commit and
the versions that made it. The records lie beside it.
"""
# Folder of ganjax/ -> head of its page, section of a recipe, arguments that are no fields of that section.
TAKEN = {
  'networks': (
    f"""# Networks

{MADE}

`networks.name` is one of these; the other fields of `networks` are those of its table. Sizes, classes and lengths come
from `data`.
""",
    'networks.',
    ('resolution', 'channels', 'fields'),
  ),
  'methods': (
    f"""# Methods

{MADE}

`method.name` is one of these; the other fields of `method` are those of its table.
""",
    'method.',
    ('nets', 'fields', 'batch_size'),
  ),
  'data/sets': (
    f"""# Data sets

{MADE}

`data.dataset` is one of these, the path of a folder or zip archive, or a name of the TFDS catalogue. The other fields
of `data` are those of [all data](config.md), and those of its table.
""",
    'data.',
    ('resolution', 'channels', 'cache', 'flip'),
  ),
}
INDEX = f"""# Recipes

{MADE}

`ganjax train NAME --workdir runs/NAME` runs a recipe. Each page names the paper and the figure that it reports.

None of these figures was measured with ganjax: no GPU, no TPU and no Inception weights were at hand. With them it is
one command: `ganjax evaluate runs/NAME --metrics fid --preset ttur --num 50000`. What was measured on a CPU
is in [Small proofs](../results/small_proofs.md).

| recipe | what | data | parameters, M | samples |
|---|---|---|---|---|
"""
MEASURED = f"""# Measured

{MADE}

Every value that a recipe was measured by, on a CPU, from its record. A row that does not say samples is a floor or a
baseline: other pictures, measured in the same way. Values of one metric can be compared where the numbers of pictures
are the same. Each page of a recipe has the commands.
"""
FIELDS = f"""# Fields of a recipe

{MADE}

Each can be set on the command line: `--config.batch_size=64`, `--config.optim.G.lr=1e-4`. What else `networks`,
`method` and `data` take depends on what they name: [networks](networks.md), [methods](methods.md), [data](data.md).
These can be set too, whether the recipe's file has them or not: `--config.method.penalties.r1=10`.

| field | default | what |
|---|---|---|
"""


def recipes() -> dict:
  """A page for each recipe, and the table of all."""
  pages, rows = {}, []
  for one in known.load_all():
    text = re.sub(r'\n {4}python train\.py.*', '', one.about.partition('\n')[2]).strip()
    file = DOCS / f'pictures/{one.name}.png'
    thumbnail = f'<img src="../pictures/{one.name}.png" width="96">' if file.exists() else ''
    rows.append(
      f'| [{one.name}]({one.name}.md) | {one.title} | {one.data} | {one.parameters / 1e6:.2f} | {thumbnail} |'
    )
    pages[f'recipes/{one.name}.md'] = (
      f'# {one.name}\n\n{MADE}\n\n{one.title}.\n\n```\nganjax train {one.name} --workdir runs/{one.name}\n```\n\n'
      f'{text}\n\n{picture(file)}{curves(one.name)}{measured(one.name)}'
      f'## What is trained\n\n```\n{experiment.summary(one.run)}\n```\n\n'
      f'The file is `configs/{one.name}.py`. [All recipes](index.md).\n'
    )
  names = '\n'.join(Path(page).stem for page in pages)
  pages['recipes/index.md'] = (
    INDEX + '\n'.join(rows) + f'\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n'
  )
  return pages


def picture(file) -> str:
  """Samples of a recipe and how they came about, as the metadata of the picture say; '' where there is none."""
  if not file.exists():
    return ''
  with Image.open(file) as image:
    about = image.text
  return (
    f'![Samples of {file.stem}](../pictures/{file.name})\n\n'
    f'Samples at step {int(about["step"]):,}, seeds {about["seed"]}, made by {about["Software"]}.\n\n'
  )


def curves(name) -> str:
  """The losses of the run that was trained, where they were kept."""
  if not (DOCS / f'curves/{name}.png').exists():
    return ''
  return f'![Curves of {name}](../curves/{name}.png)\n\n'


def find_records(name) -> list:
  """Records of a recipe: of the generator that comes along, and of a run."""
  found = []
  for file in sorted((ROOT / 'ganjax/pretrained').glob('*.safetensors')):
    if generator_file.read_about(file)['config']['name'] == name:
      found += records.read(file.with_suffix('.jsonl'))
  kept = DOCS / f'records/{name}.jsonl'
  return found + (records.read(kept) if kept.exists() else [])


def values(record):
  """(name, number, what was measured, how many, against what) of each value of a record."""
  fake, step = record['fake'], record.get('step')
  what = f'samples, step {step:,}' if step else fake['name']
  if options := fake.get('options'):
    what += ', ' + ', '.join(f'{name} {value}' for name, value in options.items())
  against = record.get('real', {}).get('name', '')
  for name, value in record['values'].items():
    yield name, records.number(value), what, record['num_fake'], against


def measured(name) -> str:
  """What was measured of a recipe, and the commands."""
  found = find_records(name)
  if not found:
    return ''
  rows = ''.join(
    f'| {value} | {number} | {what} | {count:,} | {against} |\n'
    for record in found
    for value, number, what, count, against in values(record)
  )
  commands = '\n'.join(dict.fromkeys(record['command'] for record in found))
  devices = ', '.join(sorted({record['device']['kind'] for record in found}))
  return (
    f'## Measured\n\n| value | measured | of | pictures | against |\n|---|---|---|---|---|\n{rows}\n'
    f'Measured on {devices}:\n\n```\n{commands}\n```\n\n'
  )


def all_measured() -> str:
  """What was measured of all recipes."""
  text = MEASURED
  for one in known.load_all():
    rows = ''.join(
      f'| {value} | {number} | {what} | {count:,} | {record["versions"]["ganjax"]}, {record["commit"][:9]} |\n'
      for record in find_records(one.name)
      for value, number, what, count, _ in values(record)
    )
    if rows:
      text += (
        f'\n## [{one.name}](../recipes/{one.name}.md)\n\n'
        f'| value | measured | of | pictures | ganjax, commit |\n|---|---|---|---|---|\n{rows}'
      )
  return text


def cards() -> str:
  """A model card (Mitchell et al. 2018, arXiv:1810.03993) of each generator in ganjax/pretrained/."""
  text = CARDS
  for file in sorted((ROOT / 'ganjax/pretrained').glob('*.safetensors')):
    about, found = generator_file.read_about(file), records.read(file.with_suffix('.jsonl'))
    made, config = about['run'], about['config']
    data, (use, limits) = made['data'][-1], USES[file.stem]
    rows = ''.join(
      f'| {name} | {records.number(value)} | `{one["command"]} --out {file.stem}.jsonl` |\n'
      for one in found
      for name, value in one['values'].items()
    )
    text += (
      f'\n## {file.stem}\n\n```\n{use}\n```\n\n{limits}\n\n'
      f'- Recipe: [{config["name"]}](../recipes/{config["name"]}.md), step {about["step"]:,}, '
      f'{"averaged" if about["weights"] == "ema" else "raw"} weights, {file.stat().st_size / 1e6:.1f} MB.\n'
      f'- Made by: ganjax {made["versions"]["ganjax"]}, commit {made["commit"][:12]}, jax {made["versions"]["jax"]}, '
      f'on {made["devices"]["count"]} {made["devices"]["kind"]} device(s).\n'
      f'- Data: {data["dataset"]}, split {data["split"]}, {data["num_examples"]:,} pictures. '
      f'{provenance.licence(data["dataset"])}.\n\n'
      f'| value | measured | command |\n|---|---|---|\n{rows}'
      f'\nMeasured on {found[0]["device"]["kind"]}, {found[0]["num_fake"]:,} samples.\n'
    )
  return text


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
  text = f'# Python\n\n{MADE}\n\nWhat a method, a network or a script of your own calls.\n'
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


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--check', action='store_true', help='only says which pages are not up to date'
  )
  check = parser.parse_args().check
  pages = {
    **recipes(),
    'results/pretrained.md': cards(),
    'results/measured.md': all_measured(),
    'reference/config.md': fields(),
    'reference/networks.md': arguments('networks'),
    'reference/methods.md': arguments('methods'),
    'reference/data.md': arguments('data/sets'),
    'reference/commands.md': commands(),
    'reference/api.md': api(),
  }
  there = {
    str(path.relative_to(DOCS)): path.read_text()
    for path in DOCS.rglob('*.md')
    if MADE in path.read_text()
  }
  if check:
    stale = sorted(name for name in {*pages, *there} if pages.get(name) != there.get(name))
    if stale:
      sys.exit(f'error: not up to date: {", ".join(stale)}; run python docs/make.py')
    return
  for name in there.keys() - pages.keys():
    (DOCS / name).unlink()
  for name, text in pages.items():
    (DOCS / name).parent.mkdir(exist_ok=True)
    (DOCS / name).write_text(text)


if __name__ == '__main__':
  main()
