"""Writes the pages that are made from code: python docs/make.py; with --check says which are not up to date, and exits 1.

docs/recipes/ comes from the docstrings of configs/ and from what `--summary` prints; docs/reference/ from the fields of
`ganjax.config.base`, the help of each command and the docstrings of what is public.
"""

import ast
import importlib.util
import os
import re
import sys
from pathlib import Path

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
sys.path.insert(0, str(ROOT))

from ganjax import commandline, experiment

MADE = '<!-- Made by docs/make.py: edit what it is made from. -->'
# What others call. A module's public functions and classes are those without a leading underscore.
PUBLIC = (
  'ganjax/update.py ganjax/losses/adversarial.py ganjax/losses/penalties.py ganjax/losses/regularizers.py '
  'ganjax/optim/schedules.py ganjax/sampling/latents.py ganjax/layers/conv.py ganjax/layers/norm.py '
  'ganjax/layers/spectral.py ganjax/metrics/fid.py ganjax/metrics/kid.py ganjax/metrics/inception_score.py '
  'ganjax/metrics/prdc.py'
).split()


def recipes() -> dict:
  """A page for each recipe, and the table of all."""
  pages, rows = {}, []
  for path in sorted(ROOT.glob('configs/*.py')):
    about = ast.get_docstring(ast.parse(path.read_text()))
    title, _, rest = about.partition('\n')
    command = f'ganjax train {path.stem} --workdir runs/{path.stem}'
    text = re.sub(r'\n {4}python train\.py.*', '', rest).strip()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    built = experiment.build(config)
    summary = experiment.summary(built)
    data = f'{config.data.dataset}, {config.data.resolution} px'
    numbers = [int(n.replace(',', '')) for n in re.findall(r'([\d,]+) parameters', summary)]
    rows.append(
      f'| [{path.stem}]({path.stem}.md) | {title.rstrip(".")} | {data} | {sum(numbers) / 1e6:.2f} |'
    )
    pages[f'recipes/{path.stem}.md'] = (
      f'# {path.stem}\n\n{MADE}\n\n{title}\n\n```\n{command}\n```\n\n{text}\n\n'
      f'## What is trained\n\n```\n{summary}\n```\n\n'
      f'The file is `configs/{path.name}`. [All recipes](index.md).\n'
    )
  table = '\n'.join(['| recipe | what | data | parameters, M |', '|---|---|---|---|', *rows])
  pages['recipes/index.md'] = (
    f'# Recipes\n\n{MADE}\n\n`ganjax train NAME --workdir runs/NAME` runs a recipe. Each page names the paper and the figure that '
    'it reports.\n\nNone of these figures was measured with ganjax: no GPU, no TPU and no Inception weights were at hand. With them\n'
    'it is one command: `ganjax evaluate --workdir runs/NAME --metrics fid --preset ttur --num 50000`. What was measured on a\n'
    f'CPU is in [Small proofs](../results/small_proofs.md).\n\n{table}\n\n'
    '```{toctree}\n:hidden:\n\n' + '\n'.join(Path(p).stem for p in pages) + '\n```\n'
  )
  return pages


def fields() -> str:
  """The table of all fields of a recipe."""
  rows = [
    f'| `{name}` | `{default}` | {text.replace("|", "or")} |'
    for name, (default, text) in commandline.fields().items()
  ]
  return (
    '\n'.join(
      [
        '# Fields of a recipe',
        f'\n{MADE}\n\nEach can be set on the command line: `--config.batch_size=64`, `--config.optim.G.lr=1e-4`.\n',
        'The fields of `networks` and `method` are the arguments of `build` in the file that their `name` names.\n',
        '| field | default | what |\n|---|---|---|',
        *rows,
      ]
    )
    + '\n'
  )


def commands() -> str:
  """The help of each command."""
  parts = ['# Commands', f'\n{MADE}\n']
  for name in commandline.COMMANDS:
    parts.append(f'## ganjax {name}\n\n```text\n{commandline.load(name).COMMAND.help()}\n```\n')
  return '\n'.join(parts)


def api() -> str:
  """Signatures and docstrings of what is public, read without importing it."""
  parts = [
    '# Python',
    f'\n{MADE}\n\nSignatures and docstrings of what a method, a network or a script of your own calls.\n',
  ]
  for name in PUBLIC:
    module = ast.parse((ROOT / name).read_text())
    dotted = name[:-3].replace('/', '.')
    parts.append(f'## {dotted}\n\n```text\n{ast.get_docstring(module)}\n```\n')
    for node in module.body:
      kind = isinstance(node, ast.FunctionDef | ast.ClassDef)
      if not kind or node.name.startswith('_') or not ast.get_docstring(node):
        continue
      if isinstance(node, ast.FunctionDef):
        head = f'{node.name}({ast.unparse(node.args)})'
        head += f' -> {ast.unparse(node.returns)}' if node.returns else ''
      else:
        head = '\n'.join(
          [
            f'class {node.name}',
            *(ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)),
          ]
        )
      text = ast.get_docstring(node)
      parts.append(f'### {node.name}\n\n```python\n{head}\n```\n\n```text\n{text}\n```\n')
  return '\n'.join(parts)


def main():
  pages = {
    **recipes(),
    'reference/config.md': fields(),
    'reference/commands.md': commands(),
    'reference/api.md': api(),
  }
  there = {
    str(path.relative_to(DOCS)): path.read_text()
    for path in [*DOCS.glob('recipes/*.md'), *DOCS.glob('reference/*.md')]
  }
  if '--check' in sys.argv:
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
