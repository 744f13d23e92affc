"""A GAN for 200 drawings, from scratch and from a GAN of another style: python benchmarks/transfer.py --workdir W

DCGAN at 32 pixels learns all Noto emoji that ganjax ships. Three runs of three seeds then learn 200 Fluent emoji: from
scratch, from the networks of the first run, and from these with the lower layers of D frozen (FreezeD, Mo et al. 2020,
arXiv:2002.10964). The table has the Frechet distance on EfficientNet-Lite0 of 1,000 samples, of averaged weights, to
all Fluent emoji: mean and range of the seeds. A job that was stopped or killed goes on where it was when started again.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))  # train.py reads this file as a config

import jobs

from ganjax import UserError, config
from ganjax.data import emoji
from ganjax.evaluation import records

SOURCE, TARGET = 'noto', 'fluent_flat'  # styles
NUM = 200  # drawings of the new style
METRIC = 'fd_efficientnet_lite0'
BUDGET = {
  'batch_size': 32,
  'data.dataset': 'folder',
  'data.resolution': 32,
  'log_every_steps': 100,
  'sample_every_steps': 500,
  'checkpoint_every_steps': 500,
}
FEW = {
  'steps': 2000,
  'seeds': 3,
  'eval.every_steps': 400,
  'eval.metrics': METRIC,
  'eval.num': 1000,
}
# Run -> what differs from configs/dcgan_emoji.py besides the budget.
RUNS = {
  'source': {'steps': 6000},
  'scratch': FEW,
  'transferred': FEW,
  'frozen': {**FEW, 'method.freeze_D': ('Conv_0', 'Conv_1', 'BatchNorm_0')},
}
TITLES = {
  'scratch': 'from scratch',
  'transferred': 'transferred',
  'frozen': 'transferred, two of four convolutions of D frozen',
}


def get_config(run):
  """The configuration of a run, for train.py."""
  if run not in RUNS:
    raise UserError(f'run {run!r} is not known; there are {", ".join(RUNS)}')
  return jobs.configure(f'transfer_{run}', 'dcgan_emoji', BUDGET, RUNS[run])


def pictures(folder, style) -> tuple[Path, int]:
  """(a zip archive of all drawings of a style, their number)."""
  table, path = emoji.load(), folder / f'{style}.zip'
  images = table['image'][table['style'] == table['styles'].index(style)]
  jobs.pack(path, images, [f'{i:04}.png' for i in range(len(images))])
  return path, len(images)


def distances(run) -> dict:
  """{step: the distances of all seeds} of a run's workdir."""
  found = {}
  for record in records.read(run):
    if record['metric'] == METRIC:
      found.setdefault(record['step'], []).append(record['values'][METRIC])
  return found


def table(found) -> str:
  """Markdown of {run: {step: distances}}: a row for each step."""
  lines = ['| steps | ' + ' | '.join(TITLES[run] for run in found) + ' |']
  lines.append('|---' * (1 + len(found)) + '|')
  for step in found['scratch']:
    cells = [jobs.spread(values[step]) for values in found.values()]
    lines.append(f'| {step:,} | ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def main():
  parser = jobs.parser(__doc__)
  workdir = parser.parse_args().workdir
  workdir.mkdir(parents=True, exist_ok=True)
  place, _ = pictures(workdir, SOURCE)
  jobs.train(__file__, 'source', workdir / 'source', data__data_dir=place)
  place, count = pictures(workdir, TARGET)
  few = dict(data__data_dir=place, data__fraction=NUM / count)
  for run in TITLES:
    start = None if run == 'scratch' else workdir / 'source'
    jobs.train(__file__, run, workdir / run, init_from=start, **few)
  print(table({run: distances(workdir / run) for run in TITLES}))


if __name__ == '__main__':
  config.run(main)
