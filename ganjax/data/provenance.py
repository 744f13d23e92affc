"""What a run says of its data and keeps in its config.json, whether they suit it, and what a resume finds changed."""

from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.data.source import Source
from ganjax.text import check_same

# Of data whose licence is known, by the name of the data set.
_LICENCES = {
  'emoji': 'Noto Emoji: Apache-2.0; Twemoji: CC BY 4.0; Fluent Emoji: MIT. '
  'The credits are in ganjax/data/emoji/ATTRIBUTION.md',
  'mnist': 'MNIST: CC BY-SA 3.0, as is usually stated',
  'cifar10': 'CIFAR-10: its authors state none',
}
_OF_EMOJI = 'emoji_pairs', 'emoji_captions'
_PROCEDURAL = 'notes', 'chorales', 'solids', 'molecules'


def licence(entry: dict) -> str | None:
  """What is known of the licence of data, by their entry in config.json; None: nothing."""
  name = str(entry.get('dataset')).partition('/')[0]
  if name in _PROCEDURAL and entry.get('version') == 1 and 'bach' not in entry:
    return 'Procedural: computed by ganjax, Apache-2.0'
  if name in _OF_EMOJI or (name == 'lines' and 'content_sha256' not in entry):
    name = 'emoji'
  return _LICENCES.get(entry.get('sprites') or entry.get('of') or name)


def entry(source: Source) -> dict:
  """JSON-able, of a Source."""
  return {**source.info, 'classes': source.class_names and list(source.class_names)}


def class_names(saved: dict) -> list[str] | None:
  """Those of the data that the run of a config.json was trained on, a list, or None where it has none or kept none."""
  return (saved.get('data') or [{}])[-1].get('classes')


def describe(source: Source) -> str:
  """'data: 60,000 pictures in 10 classes: 0 airplane, 1 automobile, ...', in one line."""
  names = source.class_names
  kind = next((field.kind for field in source.fields.values()), 'image')
  what = 'pictures' if kind == 'image' else f'{kind}s'
  text = f'data: {source.num_examples:,} {what}'
  if encoder := source.info.get('encoder'):
    text += f' with {source.info["captions"]:,} captions, read by the encoder {encoder["name"]},'
  if names is None:
    return f'{text} without labels'
  numbered = [f'{i} {show(name)}' for i, name in enumerate(names)]
  few = numbered if len(names) <= 20 else [*numbered[:10], '...', numbered[-1]]
  return f'{text} in {len(names):,} classes: {", ".join(few)}'


def show(name: str) -> str:
  """A class's name as a line can hold it: names of folders may have any bytes."""
  return name if name.isprintable() else ascii(name)


def check(source: Source, config: ConfigDict, num_classes: int) -> None:
  """Raises UserError where data do not suit a run.

  Args:
    source: the data.
    config: of the run.
    num_classes: what its method needs of the data, or 0.
  """
  name, found = config.data.dataset, source.num_classes
  if not num_classes:
    return
  if found is None:
    lacks = 'pictures without a label (-1)' if source.info.get('unlabelled') else 'no labels'
    raise UserError(
      f'config {config.name} is conditional on {num_classes} classes, and {name} has {lacks}: take other data, an '
      'unconditional config, or --config.networks.num_classes=0 where the networks allow it'
    )
  if found == 1:
    raise UserError(
      f'{name} has one class only: take an unconditional config, or --config.networks.num_classes=0 where the networks '
      'allow it'
    )
  if found != num_classes:
    raise UserError(f'{name} has {found} classes: set --config.networks.num_classes={found}')


def compare(source: Source, saved: dict, conditional: bool) -> list:
  """Compares data with the entry that the run to resume has in config.json; entries before 0.5.0 have no classes.

  Returns:
    Lines to print: what changed.

  Raises:
    UserError: other classes than a conditional run has learned, or in another order; another text encoder.
  """
  new, lines = entry(source), []
  check_same(saved.get('encoder'), new.get('encoder'))
  a, b = saved.get('classes', new['classes']) or [], new['classes'] or []
  if a != b:
    line = f'the classes of the data are not those that the run began with: {_difference(a, b)}'
    if conditional:
      raise UserError(f'{line}; give it its own data, or use another --workdir')
    lines.append(f'changed on resume: {line}')
  for name, what in (
    ('dataset', 'data set'),
    ('num_examples', 'number of pictures'),
    ('listing_sha256', "files' names, sizes or times"),
    ('captions_sha256', 'captions'),
  ):
    before, now = saved.get(name, new.get(name)), new.get(name)
    if before != now:
      values = '' if name.endswith('sha256') else f' {before} -> {now}'
      lines.append(f'changed on resume: {what}{values}')
      break  # the first says what the others follow from
  return lines


def _difference(a, b) -> str:
  if sorted(a) == sorted(b):
    i = next(i for i in range(len(a)) if a[i] != b[i])
    return f'in another order, {i} was {show(a[i])} and is {show(b[i])}'
  parts = []
  for what, names in ('without', set(a) - set(b)), ('with', set(b) - set(a)):
    if names:
      few = ', '.join(map(show, sorted(names)[:5]))
      parts.append(f'{what} {few}' + (', ...' if len(names) > 5 else ''))
  return ' and '.join(parts)
