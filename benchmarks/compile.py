"""Seconds to trace and to compile each config's update on this device: python benchmarks/compile.py [CONFIG ...]

For every pattern of phases, without the compilation cache, at the config's own batch; nothing is run and no data are
read. Prints the parameters and floating point operations of the compiled step too.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import importlib

import jax

from ganjax import experiment
from ganjax.devices import sharding
from ganjax.tpu import roofline
from ganjax.training import dispatch
from ganjax.update import count


def measure(name) -> str:
  """A line for each pattern of active phases."""
  run = experiment.build(importlib.import_module(f'configs.{name}').get_config())
  span, mesh = run.spans[0], sharding.make_mesh()
  state = jax.eval_shape(run.init, run.key)
  lines = []
  for _, phases in roofline.patterns(span.stage):
    start = time.monotonic()
    lowered = dispatch.trace(run, run.update(span), span, mesh, phases).lower()
    traced = time.monotonic()
    cost = lowered.compile().cost_analysis()
    done = time.monotonic()
    lines.append(
      f'{name:<20} {"+".join(phases):<14} {count(state.params) / 1e6:>8.2f} M {traced - start:>7.1f} s '
      f'{done - traced:>8.1f} s {cost["flops"] / 1e9:>12,.0f} GFLOP'
    )
  return '\n'.join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition(':')[0])
  parser.add_argument('configs', nargs='*', help='by default all')
  names = parser.parse_args().configs
  names = names or sorted(p.stem for p in (ROOT / 'configs').glob('[a-z]*.py'))
  jax.config.update('jax_enable_compilation_cache', False)
  print(
    f'{"config":<20} {"phases":<14} {"parameters":>10} {"tracing":>9} {"compiling":>10} {"a step":>18}'
  )
  with jax.set_mesh(sharding.make_mesh()):
    for name in names:
      print(measure(name), flush=True)


if __name__ == '__main__':
  main()
