"""Starts a run from published weights.

    ganjax import --format stylegan --file ffhq.pkl --workdir runs/ffhq
    ganjax import --format basicsr --file RealESRGAN_x4plus.pth --workdir runs/realesrgan
    ganjax import --format cyclegan --file latest_net_G.pth --workdir runs/horse2zebra
    ganjax import --format mimicry --G netG_100000_steps.pth --D netD_100000_steps.pth \\
      --config configs/sngan_cifar.py --workdir runs/imported

The workdir is a run at step 0, for `ganjax sample`, `evaluate`, `train` and `--config.init_from`. Files are read
without torch, and no code in them is run. A network without a file keeps its initial weights. Settings of the published
networks that differ from the defaults are written to the configuration and printed. Files of StyleGAN2, StyleGAN3,
FastGAN, image translation and super-resolution describe their networks: these formats take no --config. Formats: see
`ganjax.weights.published`, `stylegans`, `fastgans` and `translators`.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__)
CONFIG = COMMAND.config()
WORKDIR = COMMAND.string('workdir', None, 'Folder of the new run.')
FORMAT = COMMAND.choice(
  'format',
  None,
  ['stylegan', 'rosinality', 'basicsr', 'cyclegan', 'mimicry', 'biggan_pytorch'],
  'Code that wrote the files. stylegan: stylegan2-ada-pytorch, stylegan3, projected-gan, and stylegan2 and '
  'stylegan2-ada in TensorFlow; basicsr: ESRGAN, Real-ESRGAN; cyclegan: pytorch-CycleGAN-and-pix2pix, CUT.',
)
FILE = COMMAND.string('file', None, 'File of all networks, or of the network that makes pictures.')
BACK = COMMAND.string('back', None, 'File of the generator from B to A, for cyclegan.')
FILES = {net: COMMAND.string(net, None, f'File of {net}.') for net in 'GD'}

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

import ganjax
from ganjax import UserError, experiment, run_record, run_state
from ganjax import config as configs
from ganjax.devices import processes, sharding
from ganjax.method import TrainState
from ganjax.sampling import styles
from ganjax.weights import fastgans, published, stylegans, translators
from ganjax.workdir import checkpoint, files, lock


def main() -> None:
  alone = {
    **dict.fromkeys(stylegans.FORMATS, _whole),
    **dict.fromkeys(translators.FORMATS, _translator),
  }
  if FORMAT.value in alone:
    _check_alone()
    alone[FORMAT.value]()
    return
  chosen = {net: Path(flag.value) for net, flag in FILES.items() if flag.value}
  if WORKDIR.value is None or FORMAT.value is None or not chosen:
    raise UserError('--workdir, --format and at least one of --G and --D are needed')
  if FILE.value:
    raise UserError(f'--file is for --format {", ".join(alone)}: name --G and --D')
  config = commandline.config(CONFIG)
  for line in published.set_networks(config, FORMAT.value):
    processes.say(line)

  def read(run, state):
    found = {net: published.read(path, run, net, FORMAT.value) for net, path in chosen.items()}
    return found, found

  write(config, read)
  for net, path in chosen.items():
    processes.say(f'{net} of {path} is in {WORKDIR.value}')


def _check_alone():
  """Raises UserError where more is given than files that say what they are need, or less."""
  if WORKDIR.value is None or FILE.value is None:
    raise UserError(f'--format {FORMAT.value} needs --workdir and --file')
  for flag in (CONFIG, *FILES.values(), *([] if FORMAT.value == 'cyclegan' else [BACK])):
    if flag.present:
      raise UserError(
        f'--{flag.name}: files of --format {FORMAT.value} say what they are, and --file is all that it takes; leave it '
        'out'
      )


def _translator():
  """Of a generator that makes pictures of pictures; in a CycleGAN, of one or two."""
  paths = [Path(flag.value) for flag in (FILE, BACK) if flag.value]
  networks = [translators.read(path, FORMAT.value) for path in paths]
  first, *others = networks
  if len(networks) > len(first.nets):
    raise UserError(f'--back: {paths[0]} is no generator of a CycleGAN, of which there are two')
  for other, path in zip(others, paths[1:]):
    if (other.recipe, other.networks, other.data) != (first.recipe, first.networks, first.data):
      raise UserError(f'{path} is not a network as that of {paths[0]}: they are of two runs')

  def read(run, state):
    shapes = lambda net: {'params': state.params[net], 'stats': state.stats[net]}
    found = {
      net: translators.take(network, net, shapes(net), path)
      for net, network, path in zip(first.nets, networks, paths)
    }
    return found, found

  write(translators.configure(first, paths[0].stem), read)
  for net, path in zip(first.nets, paths):
    processes.say(f'{net} of {path} is in {WORKDIR.value}')
  for net in first.nets[len(networks) :]:
    processes.say(f'{net} has no file, and makes nothing of use: see --back')
  there = ', '.join(f'{name}={value}' for name, value in first.networks.items())
  processes.say(
    f'to train on, give {first.recipe} these networks ({there}), --config.init_from and --config.init_nets'
  )


def _whole():
  """Of a file that holds all networks."""
  path = Path(FILE.value)
  found = stylegans.read(path, FORMAT.value)
  if fastgans.are(found):
    config, reader = fastgans.configure(found, path), _fastgan
  else:
    config, reader = _config(path.stem, *stylegans.describe(found, path)), _stylegan

  def read(run, state):
    shapes = lambda net: {'params': state.params[net], 'stats': state.stats[net]}
    take = lambda name, net: reader(run, found[name], net, shapes(net), path)
    now = {net: take(net, net) for net in 'GD' if net in found}
    average = _with_mean(run, take('G_ema', 'G'))
    return {'G': average, **now}, {'G': average}

  write(config, read)
  processes.say(
    f'{", ".join(found)} of {path} are in {WORKDIR.value}: {config.networks.name}, {config.data.resolution} pixels; to '
    'train on, give a config these networks, and --config.init_from'
  )
  if 'D' not in found:
    processes.say('D is not among them: it begins anew')


def _fastgan(run, module, net, template, path):
  return fastgans.take(module, template, path)


def _stylegan(run, module, net, template, path):
  layout = getattr(run.method.nets[net], 'layout', ())
  return stylegans.take(module, net, template, path, layout)


def _config(name, networks, place) -> ConfigDict:
  """The configuration of a run that was not trained here."""
  config = configs.base(name)
  config.data.update(
    dataset='./pictures', resolution=place['resolution'], channels=place['channels']
  )
  config.networks = networks
  own = dict(path_weight=0.0, mixing=0.0, moved_by=('D',)) if networks.get('layers') else {}
  gamma = 0.0002 * place['resolution'] ** 2 / config.batch_size
  config.method = dict(name='stylegan2', z_dim=place['z_dim'], r1_gamma=gamma, **own)
  config.optim.G = config.optim.D = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.ema.half_life_images = 10_000
  return config


def _with_mean(run, net):
  """A generator with styles of a file without their mean, which is then the mean of many z."""
  if 'styles' not in net['stats'] or np.any(net['stats']['styles']['w_avg']):
    return net
  state = TrainState(0, (), {'G': net['params']}, {'G': net['stats']}, {}, {}, {})
  mean = styles.draw(run.method, state).mean(0).astype(net['stats']['styles']['w_avg'].dtype)
  return {**net, 'stats': {**net['stats'], 'styles': {'w_avg': mean}}}


def write(
  config: ConfigDict, read: Callable[[experiment.Experiment, TrainState], tuple[dict, dict]]
) -> None:
  """Makes the run.

  Args:
    config: its configuration.
    read: (experiment, its state at step 0, shapes) -> {network: {'params', 'stats'}}, and the same of averages.
  """
  workdir = Path(WORKDIR.value)
  processes.start()
  run = experiment.build(config)
  mesh = sharding.make_mesh()
  with lock.hold(workdir), jax.set_mesh(mesh):
    if checkpoint.list_steps(workdir) or (workdir / 'config.json').exists():
      raise UserError(f'{workdir} holds a run already: take another --workdir')
    found, averages = read(run, jax.eval_shape(run.init, run.key))
    state, *_ = run_state.start(run, mesh)
    put = lambda old, kind: {**old, **{net: new[kind] for net, new in found.items()}}
    state = state.replace(
      params=put(state.params, 'params'),
      stats=put(state.stats, 'stats'),
      ema={net: averages.get(net, average) for net, average in state.ema.items()},
    )
    checkpoints = checkpoint.Checkpoints(workdir, config.keep_checkpoints)
    run_id = run_record.run_id(workdir, {})
    meta = {
      'run': run_id,
      'config': run_record.to_json(config),
      'version': ganjax.__version__,
      'metrics': {},
    }
    checkpoints.save(0, sharding.replicate(state, mesh), meta)
    checkpoints.close()
    record = {'run': run_id, **run_record.record(run, [], mesh)}
    files.write_json(workdir / 'config.json', record)


if __name__ == '__main__':
  configs.run(main)
