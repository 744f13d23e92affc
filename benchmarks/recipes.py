"""What recipes take on this machine: python benchmarks/recipes.py NAME ... [--seconds 60] [--out FILE.jsonl]

Trains each recipe by its command for so many seconds after its first step, in a folder that goes. Prints a table: the
time to the first step with a cold compilation cache, images a second (the median over logged steps), the hours that
all steps of the recipe take at that rate, and the most memory that the process held. --out appends a line a recipe.
The machine should have nothing else to do. docs/make.py shows docs/records/takes.jsonl on the pages of recipes.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import ROOT, configure

from ganjax import UserError, config, experiment

HEAD = '| recipe | first step | images/s | all steps | memory |\n|---|---|---|---|---|'
SLOWEST = 600  # seconds to the first step


def measure(name, run, seconds):
  """The record of a recipe and its Experiment. Raises UserError where its training ends by itself."""
  with tempfile.TemporaryDirectory(prefix='ganjax-recipes-') as folder:
    workdir = Path(folder, 'run')
    words = ['--config', ROOT / f'configs/{name}.py', '--workdir', workdir]
    # The first grid comes before the first step, others later than this measures.
    rare = [f'--config.{field}_every_steps={10**6}' for field in ('sample', 'checkpoint')]
    start = time.monotonic()
    process = subprocess.Popen(
      [sys.executable, ROOT / 'train.py', *words, *rare, '--config.log_every_steps=1'],
      env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': f'{folder}/cache'},
      cwd=ROOT,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    log, first = workdir / 'metrics.jsonl', None
    while first is None or time.monotonic() < first + seconds:
      if process.poll() is not None:
        said = process.stderr.read().strip().splitlines() or ['']
        raise UserError(f'{name} ended by itself: {said[-1].removeprefix("error: ")}')
      if first is None and log.exists() and log.stat().st_size:
        first = time.monotonic()
      if first is None and time.monotonic() > start + SLOWEST:
        process.kill()
        raise UserError(f'{name} made no step in {SLOWEST} seconds')
      time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    made = json.loads((workdir / 'config.json').read_text())
  # The first steps still fill caches.
  rate = statistics.median(line['images_per_second'] for line in lines[len(lines) // 2 :])
  images = run.config.steps * run.images_per_step(run.spans[0])
  return {
    'recipe': name,
    'first_step_seconds': first - start,
    'images_per_second': rate,
    'hours': images / rate / 3600 if len(run.spans) == 1 else None,
    'peak_bytes': max(line['peak_host_memory_bytes'] for line in lines),
    'steps': len(lines),
    'cores': os.cpu_count(),
    'commit': made['commit'],
    'versions': made['versions'],
    'devices': made['devices'],
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('names', nargs='+', metavar='NAME')
  parser.add_argument('--seconds', type=float, default=60)
  parser.add_argument('--out', type=Path)
  args = parser.parse_args()
  runs = {name: experiment.build(configure(name, name)) for name in args.names}
  print(HEAD)
  for name, run in runs.items():
    found = measure(name, run, args.seconds)
    print(row(found), flush=True)
    if args.out:
      with args.out.open('a') as file:
        file.write(json.dumps(found) + '\n')


def row(found) -> str:
  hours = f'{found["hours"]:.1f} h' if found['hours'] else 'stages differ'
  return (
    f'| {found["recipe"]} | {found["first_step_seconds"]:.0f} s | {found["images_per_second"]:.3g} '
    f'| {hours} | {found["peak_bytes"] / 2**30:.1f} GiB |'
  )


if __name__ == '__main__':
  config.run(main)
