"""Command lines: the flags of each command, their help, errors in one line, closed output.

Little is imported here. A command makes its `Command` and flags at the top, and calls `parse` before its slow imports.
So it answers `--help` and a mistyped flag at once.
"""

import ast
import errno
import io
import os
import re
import runpy
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from ganjax import UserError, overrides, wording

_HELP = {'--help', '-help', '-h', '--helpfull', '--helpshort'}
_CONFIG = ('--config', '-config')
STARTED = time.monotonic()  # of the process, nearly
# The commands and their modules.
COMMANDS = {
  'train': 'training.train',
  'sample': 'sampling.sample',
  'project': 'sampling.project',
  'evaluate': 'evaluation.evaluate',
  'verify': 'evaluation.verify',
  'copies': 'evaluation.copies',
  'marked': 'sampling.marked',
  'compare': 'evaluation.compare',
  'report': 'pages.report',
  'explore': 'pages.explore',
  'configs': 'recipes',
  'check': 'data.check',
  'export': 'weights.export',
  'import': 'weights.import_weights',
  'compile-check': 'tpu.compile_check',
}


def main() -> None:
  """The command `ganjax`: runs the command that is named first."""
  _check_system()
  names = sys.argv[1:2]
  if not names or names[0] in _HELP:
    rows = [(name, _about(module)) for name, module in COMMANDS.items()]
    print(
      f'ganjax COMMAND ...; ganjax COMMAND --help explains it.\n\nCommands:\n{wording.table(rows)}'
    )
    sys.exit(0 if names else 2)
  if names[0] not in COMMANDS:
    known = ', '.join(COMMANDS)
    near = wording.closest(names[0], COMMANDS)
    print(f'error: there is no command {names[0]}{near}; there are {known}', file=sys.stderr)
    sys.exit(2)
  sys.argv[:2] = [f'{sys.argv[0]} {names[0]}']
  run(names[0])


def _check_system():
  if sys.platform == 'win32':
    print('error: ganjax runs on Linux and macOS; on Windows run it in WSL', file=sys.stderr)
    sys.exit(2)


def run(name: str) -> None:
  """Runs a command with sys.argv as it is, as a program, so that it parses its flags before its slow imports."""
  runpy.run_module(f'ganjax.{COMMANDS[name]}', run_name='__main__')


def _about(module) -> str:
  """What a command does: the first words of its docstring."""
  text = Path(__file__).parent.joinpath(*module.split('.')).with_suffix('.py').read_text()
  return re.split('[:.\n]', ast.get_docstring(ast.parse(text)))[0]


def configs_folder() -> Path:
  """Folder of the recipes that ganjax ships: in the installed package, or next to it in a checkout."""
  inside = Path(__file__).parent / 'configs'
  return inside if inside.is_dir() else Path(__file__).parents[1] / 'configs'


def find_config(text: str) -> str:
  """The file of a configuration, given by its path or by the name of a recipe.

  Raises:
    UserError: no recipe has that name.
  """
  if not re.fullmatch(r'[\w-]+', text) or os.path.exists(text):
    return text
  known = [path.stem for path in configs_folder().glob('[!_]*.py')]
  if text not in known:
    raise UserError(
      f'there is no configuration {text!r}{wording.closest(text, known)}; ganjax configs lists them all'
    )
  return str(configs_folder() / f'{text}.py')


def find_run(text: str) -> str:
  """The path of a run, given by its workdir, its exported file, or the name of a pretrained generator.

  Raises:
    UserError: nothing has that name.
  """
  if os.path.exists(text):
    return text
  known = {
    path.stem: str(path) for path in (Path(__file__).parent / 'pretrained').glob('*.safetensors')
  }
  if text not in known:
    there = f'; pretrained generators: {", ".join(sorted(known))}' if known else ''
    raise UserError(f'workdir {text} is not there{wording.closest(text, known)}{there}')
  return known[text]


class Command:
  """The command line of a module. Importing the module has no side effects.

  Args:
    about: the text of the help, the module's docstring.
    arguments: names of positional arguments, such as 'RUN ...'; by default there are none.
    buckets: flags that may be URLs.
  """

  def __init__(self, about: str, arguments: str = '', buckets: Collection[str] = ()) -> None:
    self.arguments = []  # those that were given, once parsed
    self._about, self._takes, self._buckets = about, arguments, buckets
    self._flags = flags.FlagValues()
    self._config = None

  def string(self, name: str, default: str | None, text: str) -> flags.FlagHolder:
    return flags.DEFINE_string(name, default, text, self._flags)

  def strings(self, name: str, text: str) -> flags.FlagHolder[list[str]]:
    """A flag that may be repeated: the list of its values."""
    return flags.DEFINE_multi_string(name, [], text, self._flags)

  def integer(self, name: str, default: int | None, text: str) -> flags.FlagHolder:
    return flags.DEFINE_integer(name, default, text, flag_values=self._flags)

  def switch(self, name: str, text: str) -> flags.FlagHolder[bool]:
    return flags.DEFINE_bool(name, False, text, self._flags)

  def choice(
    self, name: str, default: str | None, choices: Sequence[str], text: str
  ) -> flags.FlagHolder:
    return flags.DEFINE_enum(name, default, choices, text, self._flags)

  def config(self) -> flags.FlagHolder:
    """The flag --config, and an override of every field."""
    text = 'Recipe: a name of `ganjax configs`, such as dcgan_cifar, or the path of a file.'
    # Unlike the other flags it looks for overrides in sys.argv.
    self._config = config_flags.DEFINE_config_file(
      'config', help_string=text, flag_values=self._flags
    )
    flag = self._flags['config']
    flag.parser = overrides.Loader(flag.parser)
    return self._config

  def run(self, flag: flags.FlagHolder) -> Path:
    """The path of the run that a command works on: its one argument, or --workdir; see `find_run`.

    Raises:
      UserError: none was given, or more than one.
    """
    given = [*self.arguments, *([flag.value] if flag.value else [])]
    if not given:
      raise UserError(
        f'--{flag.name} is missing: the folder of a run, such as --{flag.name} runs/dcgan'
      )
    if len(given) > 1:
      raise UserError(f'one run at a time, not {" and ".join(given)}')
    return Path(find_run(given[0]))

  def parse(self) -> None:
    """Parses sys.argv at the start of a process. Ends it after --help, or with one line about an error."""
    _check_system()
    _guard_output()
    if _HELP & {*sys.argv[1:]}:
      print(self.help())
      sys.exit(0)
    try:
      if self._config is not None:
        sys.argv[1:] = _find_configs(sys.argv[1:])  # there, as --config looks for overrides there
      self.read(sys.argv)
    except UserError as error:
      print(f'error: {error}', file=sys.stderr)
      sys.exit(2)

  def read(self, argv: Sequence[str]) -> None:
    """Parses `argv`, after flags are reset to their defaults. With a --config, `argv` must be sys.argv.

    A leading ~ is the user's home, also if the shell did not expand it, as in quotes.

    Raises:
      UserError: in one line, with the nearest right name.
    """
    self._flags.unparse_flags()
    for name in [*self._flags]:
      if name.startswith('config.'):
        delattr(self._flags, name)
      else:
        self._flags[name].unparse()
    try:
      self.arguments = [*map(_expand, self._flags(argv)[1:])]
    except flags.UnrecognizedFlagError as error:
      raise UserError(self._unknown(error.flagname.partition('=')[0], argv)) from None
    except flags.Error as error:
      line = wording.one_line(error)
      found = re.match(r'flag --(\w+)=(.*): value should be one of <(.*)>', line)
      near = wording.closest(found[2], found[3].split('|')) if found else ''
      raise UserError(line + near) from None
    except OSError as error:
      raise UserError(wording.load_failure(error)) from None
    except (KeyError, AttributeError) as error:
      self._find_unknown(argv)
      raise UserError(f'config: {wording.one_line(error)}') from None
    except (TypeError, ValueError, IndexError, SyntaxError, ImportError) as error:
      raise UserError(f'config: {wording.one_line(error)}') from None
    for name in self._flags:
      value = self._flags[name].value
      if isinstance(value, str):
        self._flags[name].value = value = _expand(value)
      if name not in self._buckets:
        refuse_bucket(f'--{name}', value)
    for one in self.arguments:
      refuse_bucket('argument', one)
    if self.arguments and not self._takes:
      raise UserError(f'unexpected arguments: {" ".join(self.arguments)}')

  @property
  def names(self) -> list:
    """Names of the flags, in order."""
    return [*self._flags]

  def given(self, leave_out: Collection[str] = ()) -> dict:
    """{name: value} of the flags that were given, in order; a flag that may be repeated has a list."""
    there = map(self._flags.__getitem__, self._flags)
    return {f.name: f.value for f in there if f.present and f.name not in leave_out}

  def line(self, name: str, leave_out: Collection[str] = ()) -> str:
    """The command line in normal form: `ganjax NAME`, the arguments, then the given flags in order."""
    return shlex.join(['ganjax', name, *self.arguments, *words(self.given(leave_out))])

  def help(self) -> str:
    """What the command does, its flags, and the fields of a configuration if it takes one."""
    rows = [('--help', 'Prints this help.')]
    for name in self._flags:
      flag = self._flags[name]
      default = f' (default: {flag.default})' if flag.default not in (None, False, []) else ''
      rows.append((f'--{name}', flag.help.partition(';\n')[0] + default))
    beside = f' after {self._takes}' if self._takes else ''
    text = f'{self._about.strip()}\n\nFlags, --NAME=VALUE{beside}:\n{wording.table(rows)}'
    if self._config is None:
      return text
    rows = [
      (name, f'{text} (default: {default})') for name, (default, text) in wording.fields().items()
    ]
    return f'{text}\n\nFields of every recipe, --config.NAME=VALUE after --config:\n{wording.table(rows)}'

  def _find_unknown(self, argv):
    """Raises UserError for the first --config.FIELD that the file does not have."""
    there = self._fields(argv)
    for arg in argv if there else ():
      name = re.match(r'--?((?:no)?config\.[^=]+)', arg)
      if name and name[1].removeprefix('no') not in there:
        raise UserError(self._unknown(name[1], argv))

  def _unknown(self, name, argv) -> str:
    if name.startswith('config.'):
      if self._config is None:
        return f'--{name}: this command takes no --config'
      there = self._fields(argv)
      if not there:
        return f'--{name}: name the file first, such as --config configs/dcgan_cifar.py'
      what = f'config has no field {name.removeprefix("config.")}'
      return f'{what}{wording.nearest(name, there)}; what a file lacks, a copy of it may add'
    common = [] if self._config is None else [f'config.{field}' for field in wording.fields()]
    known = [*self._flags, *(self._fields(argv) or common)]
    return f'there is no --{name}{wording.nearest(name, known)}; --help lists what there is'

  def _fields(self, argv) -> dict:
    """{'config.FIELD'} of the given file, with sections; {} if none was given, or it cannot be loaded."""
    path = [after for one, after in zip(argv, argv[1:]) if one in ('--config', '-config')]
    path += [one.partition('=')[2] for one in argv if re.match('--?config=', one)]
    if self._config is None or not path:
      return {}
    alone = flags.FlagValues()
    config_flags.DEFINE_config_file('config', flag_values=alone, sys_argv=[''])
    try:
      found = alone(['', f'--config={path[0]}']) and alone.config
      names = [*wording.field_names(found), *overrides.addable(found)]
      return {f'config.{name}': None for name in names}
    except Exception:
      return {}


def words(given: dict) -> list:
  """The flags of `Command.given` as they are typed."""
  return [
    f'--{name}={value}'
    for name, values in given.items()
    for value in (values if isinstance(values, list) else [values])
  ]


def config(flag: flags.FlagHolder) -> ConfigDict:
  """The configuration that a flag holds.

  Raises:
    UserError: none was given, or its file cannot be loaded.
  """
  if flag.value is None and not flag.present:
    raise UserError(
      '--config is missing, such as --config configs/dcgan_cifar.py; ganjax configs lists them all'
    )
  try:
    hasattr(flag.value, 'keys')
  except OSError as error:
    raise UserError(wording.load_failure(error)) from None
  if not isinstance(flag.value, ConfigDict):
    raise UserError(f'--config: get_config() returned no ConfigDict but {flag.value!r}')
  return flag.value


def refuse_bucket(name: str, value: object) -> None:
  """Raises UserError if a user gave a bucket for a file or folder."""
  if isinstance(value, str) and '://' in value:
    raise UserError(
      f"{name}={value}: only train.py's --workdir may be in a bucket; use a folder, and copy: "
      'gcloud storage rsync --recursive FROM TO'
    )


def check_ending(flag: flags.FlagHolder, ending: str, what: str) -> None:
  """Raises UserError if a file has a suffix other than `ending`, which `what` writes; no suffix is accepted."""
  path = Path(flag.value)
  if path.suffix and path.suffix.lower() != ending:
    raise UserError(
      f'--{flag.name}={path}: {what} writes {ending} files: name it {path.with_suffix(ending)}'
    )


def _expand(text) -> str:
  return os.path.expanduser(text)


def _find_configs(arguments) -> list:
  """The arguments with the path of a recipe in place of its name, which may also be the first argument."""
  if arguments and not arguments[0].startswith('-'):
    arguments = ['--config', *arguments]
  found = []
  for before, one in zip(['', *arguments], arguments):
    flag, equals, value = one.partition('=')
    if before in _CONFIG:
      one = find_config(one)
    elif flag in _CONFIG and equals:
      one = f'{flag}={find_config(value)}'
    found.append(one)
  return found


class _Output(io.FileIO):
  """An output file or terminal. If its reader has gone, as with `| head`, further output is dropped."""

  def write(self, data):
    try:
      return super().write(data)
    except OSError as error:
      if error.errno not in (errno.EPIPE, errno.EIO):
        raise
      return len(data)


def _guard_output():
  for name in ('stdout', 'stderr'):
    stream = getattr(sys, name)
    if stream is not None:
      raw = io.BufferedWriter(_Output(stream.fileno(), 'w', closefd=False))
      kept = dict(encoding=stream.encoding, errors=stream.errors)
      setattr(sys, name, io.TextIOWrapper(raw, **kept, line_buffering=stream.line_buffering))
