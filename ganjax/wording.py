"""Texts of help and errors: the closest valid name, an error in one line, tables."""

import ast
import difflib
import re
import textwrap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ml_collections import ConfigDict


def closest(name: object, known: Iterable[str]) -> str:
  """' (did you mean a?)' with the known name that is closest to `name`, or ''."""
  found = difflib.get_close_matches(str(name), [*known], n=1, cutoff=0.5)
  return f' (did you mean {found[0]}?)' if found else ''


def nearest(name: str, known: Collection[str]) -> str:
  """As `closest`, for flags: flags with the same last part come first."""
  same = [one for one in known if one.rpartition('.')[2] == name.rpartition('.')[2]]
  same = difflib.get_close_matches(name, same, n=3, cutoff=0) or difflib.get_close_matches(
    name, known, n=2, cutoff=0.6
  )
  return f' (did you mean {" or ".join(f"--{one}" for one in same)}?)' if same else ''


def fields() -> dict[str, tuple[str, str]]:
  """{field: (default, description)} of `config.base`. Descriptions are the comments above or behind the fields."""
  text = Path(__file__).with_name('config.py').read_text()
  lines = text.splitlines()
  (base,) = (one for one in ast.parse(text).body if getattr(one, 'name', '') == 'base')

  def walk(call, prefix):
    for one in call.keywords:
      value, name = one.value, f'{prefix}{one.arg}'
      made_by = ast.unparse(value.func) if isinstance(value, ast.Call) else None
      if made_by == 'dict':
        yield from walk(value, f'{name}.')
        continue
      above, behind = lines[one.lineno - 2].strip(), lines[value.end_lineno - 1]
      comment = behind[value.end_col_offset :].partition('# ')[2]
      comment = comment or (above[2:] if above.startswith('# ') else '')
      if made_by == 'config_dict.FieldReference':
        value = value.args[0]
      default = 'None' if made_by == 'config_dict.placeholder' else ast.unparse(value)
      yield name, (default, comment)

  return dict(walk(base.body[-1].value.args[0], ''))


def field_names(config: ConfigDict, prefix: str = '') -> Iterator[str]:
  """The full names of all fields of a ConfigDict, and of its sections."""
  for key in config:
    yield prefix + key
    if hasattr(config.get_ref(key).get(), 'keys'):
      yield from field_names(config[key], f'{prefix}{key}.')


def table(rows: Collection[tuple[str, str]]) -> str:
  """Lines with a name and a text in two columns. Long texts are wrapped."""
  width = max(len(name) for name, _ in rows) + 4
  wrap = lambda name, text: textwrap.fill(
    text, 110, initial_indent=f'  {name}'.ljust(width), subsequent_indent=' ' * width
  )
  return '\n'.join(wrap(*row) for row in rows)


def one_line(error: BaseException) -> str:
  while error.args and isinstance(error.args[0], Exception):
    error = error.args[0]
  text = str(error.args[0] if error.args else error)
  # The text of a KeyError is a repr, at times of a repr.
  while len(text) > 1 and text[0] in '"\'' and text[0] == text[-1]:
    try:
      text = str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
      break
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  return '. '.join(lines[:3]) or type(error).__name__


def load_failure(error: BaseException) -> str:
  """The cause that a file failed to load. ml_collections raises at the first access; the cause is the last line."""
  line = str(error).splitlines()[-1].strip()
  path = Path((re.findall(r"No such file or directory: '(.*)'$", line) or [''])[0])
  near = closest(str(path), [str(one) for one in path.parent.glob('[!_]*.py')])
  return f'--config: {line}{near if path.name else ""}'
