"""Generates pages from the code: python docs/make.py

docs/recipes/ is made from docstrings of configs/, the output of `--summary`, and files named after the recipe: samples
in docs/pictures/, curves in docs/curves/, evaluation records in docs/records/. docs/reference/ is made from the fields
of `ganjax.config.base`, the arguments of each network, method and data set, the help of each command, and public
docstrings. docs/results/pretrained.md is made from the generators in ganjax/pretrained/ and their records,
docs/results/measured.md from all records, docs/results/takes.md from docs/records/takes.jsonl.

With --check it writes nothing. It names the pages that are out of date, and exits with 1.
"""

import argparse
import os
import re
import sys
from pathlib import Path

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
sys.path.insert(0, str(ROOT))

import from_code
import from_records
from from_code import MADE

from ganjax import experiment
from ganjax import recipes as known

# The command in a recipe's docstring, over several lines where they end with a backslash, and its flags.
COMMAND = r' {4}python train\.py --config configs/\w+\.py ((?:.*\\\n)*.*)'
INDEX = f"""# Recipes

{MADE}

`ganjax train NAME --workdir runs/NAME` runs a recipe. Each page names the paper and the results that it reports.

None of these results was measured with ganjax: no GPU, TPU or Inception weights were available. With them, one command
measures FID: `ganjax evaluate runs/NAME --metrics fid --preset ttur --num 50000`. For measurements on a CPU see
[Small proofs](../results/small_proofs.md).

| recipe | what | data | parameters, M | samples |
|---|---|---|---|---|
"""


def recipes() -> dict:
  """A page for each recipe, and the table of all recipes."""
  pages, rows = {}, []
  for one in known.load_all():
    text = re.sub(r'\n' + COMMAND, '', one.about.partition('\n')[2]).strip()
    options = re.search(COMMAND, one.about)[1].replace('\n    ', '\n')
    file = DOCS / f'pictures/{one.name}.png'
    thumbnail = f'<img src="../pictures/{one.name}.png" width="96">' if file.exists() else ''
    rows.append(
      f'| [{one.name}]({one.name}.md) | {one.title} | {one.data} | {one.parameters / 1e6:.2f} | {thumbnail} |'
    )
    pages[f'recipes/{one.name}.md'] = (
      f'# {one.name}\n\n{MADE}\n\n{one.title}.\n\n```\nganjax train {one.name} {options}\n```\n\n'
      f'{text}\n\n{from_records.picture(file)}{from_records.curves(one.name)}{from_records.measured(one.name)}'
      f'{from_records.takes(one.name)}'
      f'## What is trained\n\n```\n{experiment.summary(one.run)}\n```\n\n'
      f'The file is `configs/{one.name}.py`. [All recipes](index.md).\n'
    )
  names = '\n'.join(Path(page).stem for page in pages)
  pages['recipes/index.md'] = (
    INDEX + '\n'.join(rows) + f'\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n'
  )
  return pages


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--check', action='store_true', help='only names the pages that are out of date'
  )
  check = parser.parse_args().check
  pages = {
    **recipes(),
    'results/pretrained.md': from_records.cards(),
    'results/takes.md': from_records.all_taken(),
    'results/measured.md': from_records.all_measured(),
    'reference/config.md': from_code.fields(),
    'reference/networks.md': from_code.arguments('networks'),
    'reference/methods.md': from_code.arguments('methods'),
    'reference/data.md': from_code.arguments('data/sets'),
    'reference/commands.md': from_code.commands(),
    'reference/api.md': from_code.api(),
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
