"""Samples and measurements of recipes, from their pictures and records: docs/results/ and parts of docs/recipes/."""

import json
from pathlib import Path

from from_code import MADE
from PIL import Image

from ganjax import recipes
from ganjax.data import provenance
from ganjax.evaluation import records
from ganjax.weights import generator_file

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
# Of each generator that ships with ganjax: its use, and its limits.
USES = {
  'digits': (
    'ganjax sample digits --classes 0-9 --seeds 0-9 --out digits.png',
    'Draws handwritten digits of a given class. A seed keeps its handwriting in all classes: the same slant and '
    'weight. Some strokes are broken. `ganjax copies digits --split test`: 2 of 1,000 samples are nearer to a '
    'training picture than 99% of 1,000 held-out pictures are.',
  ),
  'emoji32': (
    'ganjax sample emoji32 --seeds 0-63 --out emoji.png',
    'Draws small emoji-like pictures. Shapes, colours and classes are like the emoji, but many samples show no emoji '
    'that exists, and fine detail is missing. `ganjax copies emoji32`: 0 of 1,000 samples are nearer to a '
    'training picture than 99% of 1,000 training pictures are to another one.',
  ),
  'emoji_painter': (
    'ganjax sample emoji_painter --source drawing.png --out painted.png',
    'Colours line drawings like emoji, 64 pixels a side: dark lines, two or three pixels wide, on white. '
    '`ganjax explore emoji_painter` has a drawing pad. Faces, people, food and animals get suitable colours; '
    'other things often do not.',
  ),
  'emoji_upscaler': (
    'ganjax sample emoji_upscaler --source small.png --out large.png',
    'Enlarges drawings by a factor of 4. It was trained only on emoji: photographs become blurred.',
  ),
  'notes': (
    'ganjax sample notes --classes C5,E5,G5 --seeds 0-2 --format files --out notes',
    'Makes notes of half a second from C5 to B5, as WAV files: plucked strings, drums and sines. A seed keeps its '
    'instrument in all classes. There is audible noise, and silence is not quite silent.',
  ),
  'solids': (
    'ganjax sample solids --seeds 0-24 --out solids.png; ganjax sample solids --seeds 0 --format files --out solids',
    'Makes boxes, tori, chairs, tables and planes of 32 voxels a side, as pictures or as OBJ files. A class can be '
    'chosen: `--classes chair`. Surfaces are rough, and some chairs and tables lack a leg.',
  ),
}
CARDS = f"""# Pretrained generators

{MADE}

<!-- tested -->
```
ganjax sample digits --classes 0-9 --seeds 0-9 --out digits.png
ganjax sample emoji32 --seeds 0-7 --format files --out small
ganjax sample emoji_upscaler --source small --out large
ganjax sample emoji_painter --seeds 0-15 --out painted.png
ganjax sample notes --classes C5 --seeds 0-3 --format files --out notes
ganjax sample solids --classes chair --seeds 0-8 --out chairs.png
ganjax verify emoji_upscaler
```

The first four commands need no training and no download. The second draws emoji, and the third enlarges them. The last
command measures a generator again and compares the values with its records. In Python:

```python
import ganjax

generator = ganjax.from_pretrained('digits')  # a name of this page, a workdir or a file
pictures = generator.sample(seeds=range(4), classes=7)  # uint8 [4, 32, 32, 1]
```

A generator is a file of float16 weights in `ganjax/pretrained/`. Its metadata have the recipe, the data, the commit and
the versions that made it. Its records are next to it.
"""
TAKES = f"""# Time and memory of recipes

{MADE}

```
python benchmarks/recipes.py dcgan_emoji emoji32 --seconds 20 --out docs/records/takes.jsonl
```

This command trained each recipe for 20 seconds after its first step, with an empty compilation cache. The machine had
two cores of an Intel Xeon (Sapphire Rapids), no GPU and no other load. GPUs were not measured. Memory is the peak of
the process. Recipes that are missing were not measured; recipes for large pictures need an accelerator.

| recipe | first step | images a second | all steps | memory | ganjax, commit |
|---|---|---|---|---|---|
"""
MEASURED = f"""# Measured

{MADE}

All metrics that were measured on a CPU, from their records. A row whose third column does not begin with
"samples" is a baseline: other pictures, measured in the same way. Compare values of a metric only for equal numbers of
pictures. The page of each recipe has the commands.
"""


def picture(file) -> str:
  """Samples of a recipe and how they were made, from the metadata of the picture; '' if there is none."""
  if not file.exists():
    return ''
  with Image.open(file) as image:
    about = image.text
  return (
    f'![Samples of {file.stem}](../pictures/{file.name})\n\n'
    f'Samples at step {int(about["step"]):,}, seeds {about["seed"]}, made by {about["Software"]}.\n\n'
  )


def curves(name) -> str:
  """The losses of the trained run, if they were kept."""
  if not (DOCS / f'curves/{name}.png').exists():
    return ''
  return f'![Curves of {name}](../curves/{name}.png)\n\n'


def find_records(name) -> list:
  """Records of a recipe: of the generator that ships with ganjax, and of a run."""
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
  """The measured values of a recipe, and the commands."""
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
  """The measured values of all recipes."""
  text = MEASURED
  for one in recipes.load_all():
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


def taken() -> dict:
  """Time and memory of recipes, by name, measured by benchmarks/recipes.py: the last line of each counts."""
  kept = DOCS / 'records/takes.jsonl'
  lines = map(json.loads, kept.read_text().splitlines() if kept.exists() else ())
  return {line['recipe']: line for line in lines}


def takes(name) -> str:
  """Time and memory of a recipe, if they were measured."""
  if not (found := taken().get(name)):
    return ''
  first, rate = found['first_step_seconds'], found['images_per_second']
  every = f' At that rate all steps take {_hours(found)}.' if found['hours'] else ''
  return (
    f'## Time and memory\n\nOn {found["cores"]} CPU cores the first step ends after {first:.0f} seconds. Training then '
    f'processes {rate:.3g} images a second.{every} The process needs {found["peak_bytes"] / 2**30:.1f} GiB. '
    f'[Time and memory of recipes](../results/takes.md)\n\n'
  )


def all_taken() -> str:
  """The table of time and memory."""
  return TAKES + ''.join(
    f'| [{name}](../recipes/{name}.md) | {one["first_step_seconds"]:.0f} s | {one["images_per_second"]:.3g} '
    f'| {_hours(one) if one["hours"] else "stages differ"} | {one["peak_bytes"] / 2**30:.1f} GiB '
    f'| {one["versions"]["ganjax"]}, {one["commit"][:9]} |\n'
    for name, one in sorted(taken().items())
  )


def _hours(one):
  hours = one['hours']
  return (
    f'{60 * hours:.0f} minutes'
    if hours < 2
    else f'{hours:.0f} hours'
    if hours < 72
    else f'{hours / 24:.0f} days'
  )


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
      f'- Data: {data["dataset"]}, split {data["split"]}, {data["num_examples"]:,} examples. '
      f'{provenance.licence(data)}.\n\n'
      f'| value | measured | command |\n|---|---|---|\n{rows}'
      f'\nMeasured on {found[0]["device"]["kind"]}, {found[0]["num_fake"]:,} samples.\n'
    )
  return text
