"""Training steps of many methods against PyTorch twins: python benchmarks/twins.py [--cases pix2pix,wavegan]

Needs the extra `bench`. A step is all updates of the recipe's step, at the sizes in CASES, without the average of G.
The twin's networks have as many parameters, which is checked; that such networks compute the same is held by
`tests/parity`. Both sides take turns in rounds. Of torch's memory formats the faster one is taken.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]

import dcgan_step
import jax
import numpy as np
from dcgan_step import LAYOUTS

from ganjax import experiment, media, run_state
from ganjax.devices import processes, sharding
from ganjax.update import active, count

# Case -> (recipe, fields that differ).
CASES = {
  'pix2pix': ('pix2pix_facades', {'data.jitter': 0, 'data.flip': False}),
  'cyclegan': (
    'cyclegan_horse2zebra',
    {'data.resolution': 128, 'networks.blocks': 6, 'data.jitter': 0, 'data.flip': False},
  ),
  'rrdb': (
    'esrgan_div2k',
    {'networks.blocks': 6, 'batch_size': 1, 'data.flip': False, 'data.turn': False},
  ),
  'wavegan': ('wavegan_notes', {}),
  'gan3d': ('gan3d_solids', {}),
  'mocogan': ('mocogan_emoji', {}),
  'dfgan': ('text_emoji', {}),
  'stylegan2': ('stylegan2_emoji', {'data.flip': False, 'method.diffaugment': ''}),
  'stylegan2_lazy': ('stylegan2_emoji', {'data.flip': False, 'method.diffaugment': ''}),
  'fastgan': ('fastgan_emoji', {'data.flip': False, 'method.diffaugment': ''}),
}
STEPS = {'stylegan2': 1}  # whose phases are active; of the others, step 0, with those that are lazy


def make_config(case):
  name, fields = CASES[case]
  config = importlib.import_module(f'configs.{name}').get_config()
  config.networks.dtype, config.ema.half_life_images = 'float32', 0
  config.update_from_flattened_dict(fields)
  return config


def draw(field, n, rng):
  """A batch of a field as it is stored."""
  shape = (n, *field.shape)
  stored = np.dtype(media.find(field.kind).STORED)
  if stored.kind == 'f':
    return rng.standard_normal(shape).astype(stored)
  most = {'label': 10, 'solid': 2}.get(field.kind, 256)
  return rng.integers(0, most, shape).astype(stored)


class Torch(dcgan_step.Torch):
  """The twin, as a process that waits between its turns."""

  def __init__(self, case, run, folder):
    config, fields = run.config, run.spans[0].fields
    given = {**config.data.to_dict(), **config.method.to_dict()}
    numbers = {name: value for name, value in given.items() if isinstance(value, int | float)}
    spec = dict(
      **{'n_critic': 1, **numbers},
      case=case,
      batch=config.batch_size,
      networks=config.networks.to_dict(),
      text=fields['sentence'].shape[0] if 'sentence' in fields else 0,
      phases=active(run.spans[0].stage, STEPS.get(case, 0)),
      optim=config.optim.to_dict(),
      members={phase.opt: phase.nets for phase in run.spans[0].stage.phases},
      threads=len(os.sched_getaffinity(0)),
    )
    path = f'{folder}/twin.json'
    Path(path).write_text(json.dumps(spec))
    self.start('torch_twins.py', path)


def measure(case, rounds, steps):
  """Prints a case's figures."""
  run, mesh = experiment.build(make_config(case)), sharding.make_mesh()
  span, rng = run.spans[0], np.random.default_rng(0)
  phases = active(span.stage, STEPS.get(case, 0))
  with tempfile.TemporaryDirectory() as folder, jax.set_mesh(mesh):
    torch = Torch(case, run, folder)
    state, *_ = run_state.start(run, mesh)
    ours = {name: count(state.params[name]) for name in state.params}
    theirs = torch.ask('check', LAYOUTS[0], 1)
    if differ := {name for name in theirs if theirs[name] != ours[name]}:
      raise SystemExit(
        f'{case}: {", ".join(differ)} differ: {ours} parameters here, {theirs} there'
      )
    stored = {n: f for n, f in span.fields.items() if n not in run.method.derived}
    batch = {name: draw(field, span.batch_size, rng) for name, field in stored.items()}
    batches = (sharding.place_batch(batch, mesh),) * run.method.n_critic
    update = run.update(span)
    start = time.perf_counter()
    state, _ = dcgan_step.time_steps(update, state, batches, phases, 1)
    first = time.perf_counter() - start
    turns = dcgan_step.take_turns(update, state, batches, phases, torch, rounds, steps)
    torch.close()
  times, fastest, ratios = turns
  middle = {name: statistics.median(x) for name, x in times.items()}
  sizes = ', '.join(f'{name} {theirs[name] / 1e6:.2f} M' for name in theirs)
  print(
    f'{case}: {sizes} parameters, batch {span.batch_size}; ganjax {middle["ganjax"]:.1f} ms a step, torch '
    f'{middle[fastest]:.1f} ({fastest}): {statistics.median(ratios):.2f} times as fast '
    f'({min(ratios):.2f} to {max(ratios):.2f}, {rounds} rounds); first step {first:.0f} s',
    flush=True,
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--cases', default=','.join(CASES))
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--steps', type=int, default=4, help='of each side in each round')
  args = parser.parse_args()
  processes.start()
  print(f'{jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} cores')
  for case in args.cases.split(','):
    measure(case, args.rounds, args.steps)


if __name__ == '__main__':
  main()
