"""config.json of a run: its configuration, and the code, versions, devices and data of every step."""

import contextlib
import functools
import json
import platform
import re
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import ganjax
from ganjax import UserError
from ganjax import config as configs
from ganjax.data import Source, provenance
from ganjax.devices import processes
from ganjax.weights import generator_file
from ganjax.workdir import checkpoint


def newest(saved: dict[str, Any]) -> dict[str, Any]:
  """The contents of config.json with the newest entry of `history` in place of the first steps' values."""
  return {**saved, **(saved.get('history') or [{}])[-1]}


def saved_record(place: str | Path) -> dict[str, Any]:
  """What config.json says of a run's newest steps (`record`); an exported file holds the same."""
  place = Path(place)
  if place.is_file():
    about = generator_file.read_about(place)
    return {**about['run'], 'config': about['config']}
  saved = configs.load_json(place / 'config.json')
  if not (isinstance(saved, dict) and isinstance(saved.get('config'), dict)):
    raise UserError(f'{place}/config.json is not the config.json of a run')
  return newest(saved)


def saved_config(place: str | Path) -> ConfigDict:
  """The configuration of a run, as `get_config()` and the command line made it."""
  return ConfigDict(configs.complete(saved_record(place)['config']))


def to_json(config: ConfigDict) -> dict[str, Any]:
  """The configuration as JSON keeps it."""
  return json.loads(json.dumps(config.to_dict()))


@contextlib.contextmanager
def newer_said(workdir: str | Path) -> Iterator[None]:
  """Adds 'update ganjax' to an error, where a newer version of ganjax wrote the run in `workdir`."""
  try:
    yield
  except UserError as error:
    try:
      version = saved_record(workdir).get('versions', {}).get('ganjax', '')
    except UserError:
      version = ''
    numbers = lambda text: [int(number) for number in re.findall(r'\d+', text)]
    if numbers(version) <= numbers(ganjax.__version__):
      raise
    raise UserError(
      f'{workdir} is of ganjax {version}, newer than this {ganjax.__version__}: update this one ({error})'
    ) from None


def run_id(workdir: Path, meta: dict[str, Any]) -> str:
  """The id of the run in `workdir`: 32 hexadecimal digits, drawn at the first start. No computation depends on it.

  Args:
    workdir: the run's directory. Its config.json holds the id after the first start.
    meta: of the checkpoint that the run resumes from; {} without one.

  Returns:
    The same id in all processes. A run of ganjax 0.4.0, which had no ids, gets one when it resumes.

  Raises:
    UserError: config.json and the checkpoint belong to two runs.
  """
  path = Path(workdir, 'config.json')
  saved = configs.load_json(path).get('run') if path.exists() else None
  other = meta.get('run')
  if saved and other and saved != other:
    raise UserError(
      f'{path} is of run {saved}, and the checkpoints beside it are of run {other}: bring back the files of one run'
    )
  return processes.gather(saved or other or uuid.uuid4().hex)[0]


def record(
  run: Any,
  sources: Sequence[Source],
  mesh: jax.sharding.Mesh,
  saved: dict[str, Any] | None = None,
  step: int = 0,
  frozen: dict[str, Any] | None = None,
) -> dict[str, Any]:
  """The contents of config.json: the configuration, and the code, versions, devices and data of every step.

  The top level describes the first steps. `history` is a list of later changes. An entry holds for the steps after
  its `step`, until the next entry.

  Args:
    run, sources, mesh: of this start.
    saved: the contents so far, of a run that resumes.
    step: where the run resumes. A finished run trains no step and gets no entry.
    frozen: the records of networks that are not trained, from `load_frozen`.
  """
  device = mesh.devices.flat[0]
  packages = 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy'
  versions = {package: metadata.version(package) for package in packages}
  described = {'name': run.config.name, 'config': to_json(run.config)}
  now = {
    'activations': run.activations,
    'versions': {'ganjax': ganjax.__version__, 'python': platform.python_version(), **versions},
    'commit': commit(),
    'devices': {'count': mesh.size, 'kind': device.device_kind, 'platform': device.platform},
    'processes': jax.process_count(),
    'data': [provenance.entry(source) for source in sources],
    **({'frozen': frozen} if frozen else {}),
  }
  if not (step and saved):
    return {**described, **now, 'history': []}
  saved = {'history': [], **saved, **described}
  if step < run.config.steps:
    # Later steps were lost with their checkpoints and are made again.
    saved['history'] = [entry for entry in saved['history'] if entry['step'] < step]
    now = json.loads(json.dumps(now))  # tuples as lists
    before = newest(saved)
    if any(before.get(name) != value for name, value in now.items()):
      saved['history'].append({'step': step, **now})
  return saved


@functools.cache
def commit() -> str | None:
  """The git commit of this checkout, '+' where files differ from it; None outside a checkout."""
  git = ['git', '-C', str(Path(__file__).parent)]
  try:
    out = lambda *a: subprocess.run(
      [*git, *a], capture_output=True, text=True, check=True
    ).stdout.strip()
    # An installed package may lie inside some other project's checkout.
    if not out('ls-files', 'run_record.py'):
      return None
    return out('rev-parse', 'HEAD') + ('+' if out('status', '--porcelain', '-uno') else '')
  except (OSError, subprocess.CalledProcessError):
    return None


def check_resume(run: Any, workdir: Path) -> None:
  """Compares the configuration with the other processes' and with the saved run's. Prints what a resume changes.

  Raises UserError for a difference that would make it another run.
  """
  fields = configs.flatten(run.config.to_dict())
  shared = {k: v for k, v in fields.items() if k != 'data.cache' and not configs.is_place(k)}
  processes.check_same('settings', shared)
  if not (workdir / 'config.json').exists():
    if checkpoint.list_steps(workdir):
      raise UserError(
        f'{workdir} holds checkpoints but no config.json: it is not a run of ganjax, or it is damaged'
      )
    return
  with newer_said(workdir):
    changes = configs.compare(run.config, saved_config(workdir).to_dict())
  for line in changes:
    processes.say(line)
  before = newest(configs.load_json(workdir / 'config.json')).get('activations', 'float32')
  if before != run.activations:
    processes.say(f'activations were {before}, and are {run.activations} from here on')


def check_data(run: Any, sources: Sequence[Source], workdir: Path) -> None:
  """Prints what the data of each stage are and what changed since the saved run.

  Raises UserError where the processes' data differ, or where data do not fit the run or the one saved in `workdir`.
  """
  for source in sources:
    processes.check_same('data', source.identity)
  source, wanted = sources[-1], run.method.num_classes
  provenance.check(source, run.config, wanted)
  path = workdir / 'config.json'
  saved = path.exists() and newest(configs.load_json(path)).get('data')
  changed = provenance.compare(source, saved[-1], wanted > 0) if saved else []
  for line in (provenance.describe(source), *changed):
    processes.say(line)
