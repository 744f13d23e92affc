"""Starts a run from published PyTorch weights.

    ganjax import --format mimicry --G netG_100000_steps.pth --D netD_100000_steps.pth \\
      --config configs/sngan_cifar.py --workdir runs/imported

The workdir is that of a run at step 0: `ganjax sample`, `evaluate`, `train` and `--config.init_from` take it. Files are
read without torch and run nothing. A network that has no file keeps its initial weights. What the published networks
have that ours have not by default is set in the configuration, and said. Formats: see `ganjax.weights.published`.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__)
CONFIG = COMMAND.config()
WORKDIR = COMMAND.string('workdir', None, 'Folder of the new run.')
FORMAT = COMMAND.choice('format', None, ['mimicry', 'biggan_pytorch'], 'Whose files these are.')
FILES = {net: COMMAND.string(net, None, f'File of {net}.') for net in 'GD'}

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

from pathlib import Path

import jax

import ganjax
from ganjax import UserError, experiment
from ganjax import config as configs
from ganjax.devices import processes, sharding
from ganjax.weights import published
from ganjax.workdir import checkpoint, files, lock


def main():
  chosen = {net: Path(flag.value) for net, flag in FILES.items() if flag.value}
  if WORKDIR.value is None or FORMAT.value is None or not chosen:
    raise UserError('--workdir, --format and at least one of --G and --D are needed')
  config, workdir = commandline.config(CONFIG), Path(WORKDIR.value)
  for line in published.set_networks(config, FORMAT.value):
    processes.say(line)
  processes.start()
  run = experiment.build(config)
  mesh = sharding.make_mesh()
  with lock.hold(workdir), jax.set_mesh(mesh):
    if checkpoint.list_steps(workdir) or (workdir / 'config.json').exists():
      raise UserError(f'{workdir} holds a run already: take another --workdir')
    read = {net: published.read(path, run, net, FORMAT.value) for net, path in chosen.items()}
    state, *_ = experiment.start(run, mesh)
    put = lambda old, kind: {**old, **{net: found[kind] for net, found in read.items()}}
    state = state.replace(
      params=put(state.params, 'params'),
      stats=put(state.stats, 'stats'),
      ema={net: read.get(net, average) for net, average in state.ema.items()},
    )
    checkpoints = checkpoint.Checkpoints(workdir, config.keep_checkpoints)
    run_id = experiment.run_id(workdir, {})
    meta = {
      'run': run_id,
      'config': experiment.to_json(config),
      'version': ganjax.__version__,
      'metrics': {},
    }
    checkpoints.save(0, sharding.replicate(state, mesh), meta)
    checkpoints.close()
    record = {'run': run_id, **experiment.record(run, [], mesh)}
    files.write_json(workdir / 'config.json', record)
  for net, path in chosen.items():
    processes.say(f'{net} of {path} is in {workdir}')


if __name__ == '__main__':
  configs.run(main)
