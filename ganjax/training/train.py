"""Trains a GAN: ganjax train dcgan_cifar --workdir runs/dcgan [--config.batch_size=64 ...]

The same command resumes a run that stopped. `--summary` prints what a recipe trains, without training it.
"""

import os
import signal

from ganjax import commandline
from ganjax.training import signals

COMMAND = commandline.Command(__doc__, buckets=['workdir'])
CONFIG = COMMAND.config()
WORKDIR = COMMAND.string(
  'workdir', None, 'Folder of the run, or gs://bucket/folder, for checkpoints, metrics and samples.'
)
SUMMARY = COMMAND.switch('summary', 'Print networks, phases and stages, then stop.')

if __name__ == '__main__':  # before the slow imports, where a signal would end in a traceback

  def stop_early(number):
    """Until `Interrupt` takes over, a signal finds nothing to save."""
    name = signal.Signals(number).name
    signals.say(f'stopped by {name} before any step; the same command goes on')
    if 'processes' in globals():
      processes.dismiss()
    os._exit(128 + number)

  signals.listen(stop_early)
  COMMAND.parse()

import contextlib

import jax

from ganjax import UserError, experiment, run_record
from ganjax import config as configs
from ganjax.devices import processes, sharding
from ganjax.training import diagnose
from ganjax.training.loop import train
from ganjax.workdir import bucket, checkpoint, lock


def main() -> int:
  config = commandline.config(CONFIG)
  if SUMMARY.value:
    jax.config.update('jax_platforms', 'cpu')  # nothing is computed: other devices are left alone
    print(experiment.summary(experiment.build(config)))
    return 0
  if WORKDIR.value is None:
    raise UserError('--workdir is missing: the folder of the run, such as --workdir runs/dcgan')
  processes.start(preemptible=True)
  run = experiment.build(config)
  mesh = sharding.make_mesh()
  for span in run.spans:
    sharding.check_batch(span.batch_size, mesh, config.microbatches)
  place = bucket.copy if '://' in WORKDIR.value else lock.share
  with place(WORKDIR.value) as workdir, jax.set_mesh(mesh):
    run_record.check_resume(run, workdir)
    with (
      checkpoint.Checkpoints(workdir, config.keep_checkpoints) as checkpoints,
      contextlib.closing(
        diagnose.Profile(configs.window(config.profile_steps), workdir)
      ) as profile,
    ):
      return train(run, workdir, mesh, checkpoints, profile)


if __name__ == '__main__':
  configs.run(main)
