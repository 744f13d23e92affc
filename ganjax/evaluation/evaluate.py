"""Measures pictures: ganjax evaluate runs/dcgan --metrics fid,kid,is,prdc --preset ttur --num 50000

RUN is a workdir, a file of `ganjax export`, or the name of a pretrained generator. For other pictures: ganjax evaluate
--fake FOLDER_OR_NPZ --real cifar10:train. It prints a table. It also writes a JSON record of every value and how it was
measured, to RUN/evaluations.jsonl or --out. Only a workdir has a place for records; otherwise set --out to keep them.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
WORKDIR = COMMAND.string('workdir', None, 'The run that makes the fakes, instead of RUN.')
FAKE = COMMAND.string(
  'fake',
  None,
  'Fakes, instead of a run: a folder, an .npz, or a data set; with RUN a split of its data, such as test: a baseline.',
)
REAL = COMMAND.string(
  'real',
  None,
  'Reals: a TFDS name with its split (cifar10:test), a folder, or an .npz of pictures or statistics; '
  'by default the training set of the run.',
)
METRICS = COMMAND.string('metrics', 'fid', 'Such as fid,kid,is,prdc,fd_efficientnet_lite0.')
PRESET = COMMAND.string(
  'preset',
  'ttur',
  'Pipeline to reproduce: ttur, stylegan, pytorch_fid, clean, adm, studiogan, monitor; or several.',
)
NUM = COMMAND.integer(
  'num',
  None,
  'Number of fakes; by default 50,000 from a generator, for pairs one for each held-out example, else all.',
)
NUM_REAL = COMMAND.integer('num_real', None, 'Number of reals, drawn with seed 0; by default all.')
STEP = COMMAND.string(
  'step', None, "Checkpoints: 'all', or such as 1000,2000; by default the newest."
)
SEED = COMMAND.integer('seed', 0, 'Seed s uses the latents s * num to (s + 1) * num - 1.')
SEED_INDEX = COMMAND.integer(
  'seed_index', 0, 'Index of the seed, for runs that train several seeds.'
)
WEIGHTS = COMMAND.choice(
  'weights', 'ema', ['ema', 'raw'], 'Averaged weights, if the run keeps them, or raw ones.'
)
OPTIONS = COMMAND.strings(
  'option', 'NAME=VALUE of the samples, such as truncation=0.7; may be repeated.'
)
BATCH_NORM = COMMAND.choice(
  'batch_norm',
  'running',
  ['running', 'batch', 'standing'],
  'Statistics of batch norm in the generator; with averaged weights, running statistics are averages too.',
)
BATCH = COMMAND.integer(
  'batch', None, 'Pictures computed at once; by default what suits the devices.'
)
DATA_DIR = COMMAND.string('data_dir', None, 'Folder of the TFDS data sets.')
RESOLUTION = COMMAND.integer(
  'resolution',
  None,
  'Side in pixels to which pictures are cropped and resized, as for training. By default folders keep their size, and '
  'a data set takes the size of the other side.',
)
FEATURE_WEIGHTS = COMMAND.strings(
  'feature_weights',
  'NETWORK=FILE, if the weights of a feature network are not in the usual folders.',
)
CROP = COMMAND.integer(
  'crop', 0, 'Pixels cropped off each border for psnr and ssim; in super-resolution the scale.'
)
OUT = COMMAND.string('out', None, 'File to append the records to.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import hashlib
import json
import sys
from pathlib import Path

from ganjax import UserError, data, experiment, run_record, run_state
from ganjax import config as configs
from ganjax.data import provenance
from ganjax.devices import backend, processes, sharding
from ganjax.evaluation import records, reference, sides
from ganjax.evaluation.measure import ALONE, Extractors, measure
from ganjax.evaluation.presets import PAIRED, parse_metrics, parse_presets
from ganjax.media import image as images
from ganjax.sampling import sampler
from ganjax.workdir import checkpoint


def main() -> None:
  if not (given := bool(WORKDIR.value or COMMAND.arguments)) and not FAKE.value:
    raise UserError('give --workdir, a run, or --fake, a folder or an .npz of pictures')
  for name, flag in ('--option', OPTIONS), ('--step', STEP):
    if FAKE.value and flag.value:
      raise UserError(f'{name} is for the samples of a run: leave --fake out')
  place = COMMAND.run(WORKDIR) if given else None
  kept = OUT.value or (place / records.NAME if place and place.is_dir() else None)
  least = {
    '--batch': (BATCH, 1),
    '--num': (NUM, 2),
    '--num_real': (NUM_REAL, 2),
    '--crop': (CROP, 0),
    '--seed': (SEED, 0),
  }
  for name, (flag, number) in least.items():
    if flag.value is not None and flag.value < number:
      raise UserError(f'{name}={flag.value} must be at least {number}')
  if OUT.value:
    commandline.check_ending(OUT, '.jsonl', 'ganjax evaluate')
  metrics, presets = parse_metrics(METRICS.value), parse_presets(PRESET.value)
  if not kept and any(metric.kind == 'neighbours' for metric in metrics):
    raise UserError(
      'neighbours draws a picture: say --out, the file of records that it is to lie beside'
    )
  paired = [metric.name for metric in metrics if metric.kind in PAIRED]
  if paired and NUM_REAL.value is not None:
    raise UserError(
      f'--num_real draws reals at random, and {paired[0]} compares pairs: leave it out'
    )
  extractors = Extractors(_parse_weights(FEATURE_WEIGHTS.value))
  processes.start()
  mesh = sharding.make_mesh()
  batch_size = BATCH.value or backend.evaluation_batch(mesh)
  if place and FAKE.value:
    fakes = _of_split(experiment.load(place), metrics)
  elif place:
    run = experiment.load(place)
    source = run.held_out(run.spans[-1]) if run.method.examples else None
    num = NUM.value or (source.num_examples if source and paired else 50_000)
    sampler.check_seeds((SEED.value + 1) * num - 1, f'--seed={SEED.value} with --num={num}')
    fakes = _of_run(run, place, num, mesh, metrics, source)
  else:
    fakes = _of_files()
  if kept and processes.is_main():
    records.check_path(kept)
  rows = []
  for fake, real in fakes:
    work = dict(extractors=extractors, mesh=mesh, batch_size=batch_size, crop=CROP.value)
    results = measure(fake, real, metrics, presets, **work)
    by = {'by': 'command', 'command': COMMAND.line('evaluate', ['out'])}
    found = [{**r.record, **by, 'step': fake.info.get('step')} for r in results]
    if not processes.is_main():
      continue
    for record, result in zip(found, results):
      if result.picture is not None:
        record['picture'] = str(_save(result.picture, record, place, kept))
    if kept:
      records.append(kept, found)
    else:
      for record in found:
        print(json.dumps(record))
    rows += [
      (
        name,
        records.number(value),
        r['preset'] or '-',
        r['num_fake'],
        r.get('num_real') or '-',
        r['step'] or '-',
      )
      for r in found
      for name, value in r['values'].items()
    ]
  processes.say(records.table(rows, ('metric', 'value', 'preset', 'fakes', 'reals', 'step')))
  if kept:
    processes.say(f'records: {kept}')


def _of_run(run, place, num, mesh, metrics, source):
  """Yields (fakes, reals) of each checkpoint that was asked for."""
  real = _real(run, metrics)
  steps = _steps(place)
  for asked in steps:
    which = dict(step=asked, weights=WEIGHTS.value, seed_index=SEED_INDEX.value)
    state, step, weights = run_state.read_generator(run, place, mesh, **which)
    stage = run.stage_after(step)
    how = dict(mesh=mesh, batch_norm=BATCH_NORM.value, source=source)
    state = sampler.prepare(stage, state, run.method, **how)
    where = {'file': _describe(place)} if place.is_file() else {'workdir': str(place)}
    info = {'name': run.config.name, **where, 'step': step, 'weights': weights}
    info |= run_state.about(run, SEED_INDEX.value)
    draw = dict(num=num, seed=SEED.value, batch_norm=BATCH_NORM.value, info=info)
    draw['options'] = sampler.parse_options(OPTIONS.value, run.method)
    draw['class_names'] = provenance.class_names(run_record.saved_record(place))
    draw['field'] = run.spans[-1].fields[run.method.makes]
    if NUM.value is None and asked == steps[0] and processes.is_main():
      each = f' of each of {len(steps)} checkpoints' if len(steps) > 1 else ''
      print(f'drawing {num:,} samples{each}; --num N draws fewer', file=sys.stderr, flush=True)
    yield sides.generator(stage, state, run.method, source=source, **draw), real


def _of_split(run, metrics):
  """Yields (fakes, reals): the split --fake of the run's data in place of samples."""
  source = data.whole(run.config.data, FAKE.value)
  yield sides.of_source(source, run.method.makes).take(NUM.value), _real(run, metrics)


def _describe(path) -> dict:
  return {'name': path.name, 'sha256': hashlib.sha256(path.read_bytes()).hexdigest()}


def _steps(place) -> list:
  there = [] if place.is_file() else checkpoint.list_steps(place)
  there = processes.gather(there)[0]  # a run may be saving
  if STEP.value == 'all':
    return there or [None]
  try:
    return [int(s) for s in STEP.value.split(',')] if STEP.value else [None]
  except ValueError:
    raise UserError(
      f"--step={STEP.value!r} is not understood: 'all' or numbers, of {', '.join(map(str, there))}"
    ) from None


def _real(run, metrics):
  """The reals of a run: what --real names, else all of the training set, whatever `data.fraction` it trained on.

  Of a method whose samples start from examples, the field that they are like, of the split that those come from; for
  r_precision of the split that it was trained on.
  """
  of = run.config.data
  size = (RESOLUTION.value or of.resolution, of.channels)
  data_dir = DATA_DIR.value or (None if of.dataset == 'folder' else of.data_dir)
  if REAL.value:
    real = _side(REAL.value, size, data_dir)
    return real if isinstance(real, Path) else real.take(NUM_REAL.value)
  if all(metric.kind in ALONE for metric in metrics):
    return None
  if any(metric.kind == 'cas' for metric in metrics):
    raise UserError(
      'cas tests on reals that nothing was trained on: name them, such as --real cifar10:test'
    )
  changes = {'resolution': size[0], 'data_dir': DATA_DIR.value or of.data_dir}
  fitted = [metric for metric in metrics if metric.kind == 'r_precision']
  if fitted and len(fitted) < len(metrics):
    raise UserError(
      f'{fitted[0].name} takes the training set as reals, others the held-out split: ask for it in a command of its own'
    )
  split = (run.config.eval.split if run.method.examples and not fitted else None) or of.split
  source = data.whole(of, split, **changes)
  return sides.of_source(source, run.method.makes).take(NUM_REAL.value)


def _of_files():
  """Yields (fakes, reals) of --fake and --real: a data set takes the size of the other side's pictures."""
  names = [name for name in (FAKE.value, REAL.value) if name]
  asked = size = RESOLUTION.value and (RESOLUTION.value, None)
  found = {}
  for name in sorted(names, key=lambda name: not sides.is_file(name)):  # files first
    found[name] = _side(name, asked if sides.is_file(name) else size, DATA_DIR.value)
    if not size and not isinstance(found[name], Path):
      size = sides.size_of(found[name])
  fake, real = found[FAKE.value], found.get(REAL.value)
  if isinstance(fake, Path):
    raise UserError(f'--fake {fake} holds statistics: fakes must be pictures')
  real = real if real is None or isinstance(real, Path) else real.take(NUM_REAL.value)
  yield fake.take(NUM.value), real


def _side(text, size, data_dir):
  """Pictures by name, or the path of statistics."""
  path = Path(text).expanduser()
  if path.suffix == '.npz' and reference.is_statistics(path):
    return path
  return sides.parse(text, size=size, data_dir=data_dir)


def _parse_weights(pairs) -> dict:
  parts = dict(pair.partition('=')[::2] for pair in pairs)
  for pair in pairs:
    if '=' not in pair:
      raise UserError(f'--feature_weights={pair} is not understood: NETWORK=FILE')
  return parts


def _save(picture, record, place, kept):
  """The picture of a result, beside what `sample.py` makes, or beside the records."""
  step = record['step']
  where = place / 'generated' if place and place.is_dir() else Path(kept).parent
  at = f'-{step:08}' if step else ''
  path = where / f'{record["metric"]}-{record["preset"]}{at}-seed{SEED.value}.png'
  try:
    where.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {where}: {error.strerror}') from None
  images.save_png(path, picture, images.describe(record['fake']['name'], step, SEED.value))
  return path


if __name__ == '__main__':
  configs.run(main)
