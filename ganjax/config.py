"""Configurations: the fields that all share, loading with clear errors, comparison on resume.

A configuration is a Python file with `get_config()`, which starts from `base()`. Components (`networks`, `method`) are
sub-dicts: a `name`, which is a file in that folder, and the arguments of the `build` in it.
"""

import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
from ml_collections import ConfigDict, config_dict

from ganjax import UserError, component
from ganjax.commandline import refuse_bucket
from ganjax.devices import processes
from ganjax.optim import schedules

# What a resumed run may change; everything else would make it another run.
MAY_CHANGE = (
  'steps',
  'keep_checkpoints',
  'wandb',
  'data.cache',
  'networks.dtype',
  'init_from',
  'init_nets',
  'steps_per_dispatch',
  'profile_steps',
  'debug_nans',
)


def is_place(name: str) -> bool:
  """Whether a field says where data lie: each host may have its own, and a resumed run may find them elsewhere."""
  return name.startswith('data.') and name.endswith(('_dir', '_path'))


def base(name: str) -> ConfigDict:
  """The fields that all configurations have, with their defaults. `name` is the name of the configuration's file."""
  return ConfigDict(
    dict(
      name=name,  # name of the file, stored in records and pictures
      seed=0,  # seed of initial weights and random draws
      seeds=1,  # runs trained at once, with seeds seed, seed + 1, ... and separate networks
      steps=100_000,  # number of updates of G
      batch_size=64,  # real images of one D update, over all devices
      microbatches=1,  # parts of a batch for gradient accumulation; batch norm is over one part
      # steps in one dispatched program; by default what suits the devices
      steps_per_dispatch=config_dict.placeholder(int),
      log_every_steps=100,  # steps between lines of metrics.jsonl and progress
      sample_every_steps=1000,  # steps between grids of 64 pictures, WORKDIR/samples/STEP.png
      checkpoint_every_steps=1000,  # steps between checkpoints; a killed run resumes from the last
      keep_checkpoints=2,  # number of newest checkpoints to keep
      data=dict(
        # a TFDS name, 'emoji', or a path such as './pictures'
        dataset=config_dict.placeholder(str),
        data_dir=config_dict.placeholder(str),  # folder of the TFDS data sets, or of the data
        split='train',  # split of the data set
        # side in pixels to which pictures are cropped and resized, or (height, width)
        resolution=config_dict.FieldReference(32, field_type=object),
        channels=3,  # 1 (grey), 3 (RGB) or 4 (RGB and opacity)
        fraction=1.0,  # fraction of the examples, drawn with data.seed
        flip=False,  # mirror pictures with probability 1/2
        cache=True,  # decode once and store the array on disk
        # seed of the order of the examples, the same for all seeds; or a tuple with one for each
        seed=config_dict.FieldReference(0, field_type=object),
      ),
      # a file in ganjax/networks; its `build` explains the other fields
      networks=dict(name='dcgan'),
      # a file in ganjax/methods; its `build` explains the other fields
      method=dict(name='gan'),
      optim=dict(
        # learning rate lr, Adam's b1, b2 and eps, and decay: 'constant', or 'linear' to 0 over `steps`
        G=adam(),
        D=adam(),  # the same for D
      ),
      ema=dict(
        half_life_images=0,  # half-life of G's average, a number or a ramp; 0: no average
        rampup=0.0,  # the half-life is at most this fraction of the images seen; 0: no limit
        start_steps=0,  # until this step the average is a copy of G
      ),
      eval=dict(
        every_steps=0,  # steps between evaluations; 0: none during training
        metrics='fid',  # such as 'fid,kid,prdc' or 'fd_efficientnet_lite0'
        preset='monitor',  # pipeline to reproduce, see `ganjax evaluate`
        num=10_000,  # number of fakes
        num_real=config_dict.placeholder(int),  # number of reals, drawn with seed 0; by default all
        split=config_dict.placeholder(str),  # split of the reals; by default data.split
        # pictures computed at once; by default what suits the devices
        batch_size=config_dict.placeholder(int),
        batch_norm='running',  # statistics of batch norm: 'running', 'batch' or 'standing'
        # value that selects the best checkpoint; by default the first
        best=config_dict.placeholder(str),
      ),
      # workdir of the run whose networks this run starts from
      init_from=config_dict.placeholder(str),
      init_nets=('G', 'D'),  # networks to take from init_from
      wandb=config_dict.placeholder(str),  # name of a Weights & Biases project
      # steps to profile, such as '100:110', in WORKDIR/profile
      profile_steps=config_dict.placeholder(str),
      debug_nans=False,  # checks every step for NaN and names its source; slow
    )
  )


def adam(
  lr: schedules.Schedule = 2e-4,
  b1: float = 0.5,
  b2: schedules.Schedule = 0.999,
  eps: float = 1e-8,
  decay: str = 'constant',
  clip: float | None = None,
  lazy_every: int | None = None,
  weight_decay: float | None = None,
) -> dict[str, Any]:
  """The fields of one Adam optimizer.

  Args:
    lr, b2: numbers, or ramps of `optim.schedules`.
    b1, eps: numbers.
    decay: of lr over `steps`: 'constant', or 'linear' to 0.
    clip: keeps parameters in [-clip, clip] after each update (WGAN).
    lazy_every: k multiplies lr and the logarithms of the betas by k / (k + 1). A phase that runs every k steps does
      this by itself; the argument is for recipes that scale without such a phase (StyleGAN2-ADA on CIFAR-10).
    weight_decay: times the parameters, it is added to their gradients, as torch.optim.Adam does.
  """
  fields = dict(lr=lr, b1=b1, b2=b2, eps=eps, decay=decay)
  # Runs of 0.1.0 have neither `name` nor these: an Adam that does not clip stays without.
  more = dict(clip=clip, lazy_every=lazy_every, weight_decay=weight_decay)
  return fields | {k: v for k, v in more.items() if v is not None}


def rmsprop(
  lr: schedules.Schedule = 5e-5,
  decay_rate: float = 0.99,
  eps: float = 1e-8,
  decay: str = 'constant',
  clip: float | None = None,
) -> dict[str, Any]:
  """The fields of one RMSProp optimizer; decay and clip as in `adam`."""
  fields = dict(name='rmsprop', lr=lr, decay_rate=decay_rate, eps=eps, decay=decay)
  return fields | ({} if clip is None else {'clip': clip})


MOST = 2**16  # of every whole number in `networks`: widths, classes, sizes
MOST_SEEDS = 1000


def check_numbers(config: dict) -> None:
  """Raises UserError for NaN, infinity or a number too large to compute with, in any field."""
  for path, value in jax.tree_util.tree_leaves_with_path(config):
    most = MOST if path[0].key == 'networks' else 2**31 - 1
    name = jax.tree_util.keystr(path, simple=True, separator='.')
    if isinstance(value, int) and abs(value) > most:
      limit = 'below 2^31' if most > MOST else f'at most {most}'
      raise UserError(f'config.{name}={value} must be {limit}')
    if isinstance(value, float) and not math.isfinite(value):
      raise UserError(f'config.{name}={value} must be finite')


def check(config: ConfigDict) -> None:
  """Raises UserError for values that no component would notice."""
  check_numbers(config.to_dict())
  positive = (
    'seeds steps batch_size microbatches log_every_steps sample_every_steps checkpoint_every_steps '
    'keep_checkpoints'
  )
  for field in positive.split():
    if config[field] < 1:
      raise UserError(f'config.{field}={config[field]} must be at least 1')
  if config.seeds > MOST_SEEDS:
    raise UserError(f'config.seeds={config.seeds} must be at most {MOST_SEEDS}')
  if config.steps_per_dispatch is not None and config.steps_per_dispatch < 1:
    raise UserError(f'config.steps_per_dispatch={config.steps_per_dispatch} must be at least 1')
  if not 0 <= config.seed <= 2**31 - config.seeds:
    raise UserError(f'config.seed={config.seed} must be from 0, and below 2^31 with those after it')
  traced = window(config.profile_steps)
  if traced and traced.start >= config.steps:
    raise UserError(
      f'config.profile_steps={config.profile_steps} begins after the last of steps={config.steps}'
    )
  refuse_bucket('config.data.dataset', config.data.dataset)
  refuse_bucket('config.data.data_dir', config.data.data_dir)
  refuse_bucket('TFDS_DATA_DIR', os.environ.get('TFDS_DATA_DIR'))
  if not config.data.dataset:
    raise UserError(
      "config.data.dataset is not set: a TFDS name such as cifar10, the path of a folder of pictures, or 'emoji'"
    )
  if not 0 < config.data.fraction <= 1:
    raise UserError(f'config.data.fraction={config.data.fraction} must be above 0 and at most 1')
  order, seeds = config.data.seed, config.seeds
  if not isinstance(order, int):
    each = isinstance(order, (tuple, list)) and all(isinstance(s, int) for s in order)
    if not each or seeds == 1 or len(order) != seeds:
      raise UserError(
        f'config.data.seed={order!r} must be a whole number, or a tuple of one for each of several seeds={seeds}'
      )
    if config.data.fraction < 1:
      raise UserError('config.data.fraction below 1 takes one data.seed, which draws the subset')
  kinds = ('float32', 'bfloat16', 'float16', 'float64')
  # Activations in what suits the devices, see backend.activations; parameters and statistics stay.
  for field, known in ('dtype', ('auto', *kinds)), ('param_dtype', kinds):
    if config.networks.get(field, 'float32') not in known:
      raise UserError(
        f'networks.{field}={config.networks[field]!r} is not one of {", ".join(known)}'
      )
  counts = {k: config.eval[k] for k in ('every_steps', 'num', 'num_real', 'batch_size')}
  least = {'every_steps': 0, 'num': 2, 'num_real': 2, 'batch_size': 1}
  for field, number in counts.items():
    if number is not None and number < least[field]:
      raise UserError(f'config.eval.{field}={number} must be at least {least[field]}')
  if config.eval.batch_norm not in ('running', 'batch', 'standing'):
    raise UserError(
      f'config.eval.batch_norm={config.eval.batch_norm!r} is none of running, batch, standing'
    )
  schedules.check('config.ema.half_life_images', config.ema.half_life_images)
  if min(config.ema.get(k, 0) for k in ('rampup', 'start_steps')) < 0:
    raise UserError(f'config.ema needs numbers from 0, not {config.ema.to_dict()}')
  if config.batch_size % config.microbatches:
    raise UserError(
      f'config.microbatches={config.microbatches} must divide batch_size={config.batch_size}'
    )


def window(text: str | None) -> range | None:
  """'100:110' -> range(100, 110), the steps of `config.profile_steps`; None -> None.

  Raises:
    UserError: anything else.
  """
  if text is None:
    return None
  found = re.fullmatch(r'(\d+):(\d+)', text)
  if not found or int(found[1]) >= int(found[2]):
    raise UserError(
      f'config.profile_steps={text!r} is not START:STOP, two rising numbers such as 100:110'
    )
  return range(int(found[1]), int(found[2]))


def flatten(config: dict, prefix: str = '') -> dict[str, Any]:
  """Nested dict -> {'data.dataset': value}, tuples as lists, as JSON has them."""
  out = {}
  for key, value in config.items():
    if isinstance(value, dict):
      out |= flatten(value, f'{prefix}{key}.')
    else:
      out[prefix + key] = list(value) if isinstance(value, tuple) else value
  return out


def complete(config: dict) -> dict[str, Any]:
  """A configuration saved by an older version, with the defaults of the fields that came later."""
  defaults = base('').to_dict()
  parts = {k: {**defaults[k], **config.get(k, {})} for k in ('data', 'ema', 'eval')}
  return {**defaults, **config, **parts}


def _with_defaults(config: dict, other: dict) -> dict:
  """`complete`, plus the default arguments of each component that both configurations name."""
  config, other = complete(config), complete(other)
  kinds = {'networks': 'networks', 'method': 'methods'}
  kinds = {k: kind for k, kind in kinds.items() if config[k]['name'] == other[k]['name']}
  parts = {
    k: {**component.defaults(kind, config[k]['name']), **config[k]} for k, kind in kinds.items()
  }
  return {**config, **parts}


def compare(new: ConfigDict, saved: dict) -> list[str]:
  """Compares a configuration with the configuration of the run that it resumes.

  Returns:
    Lines to print: each changed field and its effect.

  Raises:
    UserError: a field differs that may not change; it names all of them.
  """
  current = new.to_dict()
  a, b = flatten(_with_defaults(saved, current)), flatten(_with_defaults(current, saved))
  differ = [k for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
  fixed = [
    k
    for k in differ
    if k not in MAY_CHANGE
    and not is_place(k)
    and not k.endswith('_every_steps')
    and not k.startswith('eval.')
  ]
  if fixed:
    what = ', '.join(f'{k} (was {a.get(k)!r}, now {b.get(k)!r})' for k in fixed)
    raise UserError(f'this workdir holds a run of another config: {what}; use another --workdir')
  lines = [f'changed on resume: {k} {a.get(k)!r} -> {b.get(k)!r}' for k in differ]
  decays = [name for name in new.optim if new.optim[name].decay != 'constant']
  if 'steps' in differ and decays:
    lines.append(
      f'note: the learning rates of {", ".join(decays)} fall over `steps`: the schedule changes with it'
    )
  return lines


def run(main: Callable[[], int | None]) -> NoReturn:
  """Runs a command's `main()` once its flags are parsed: prints user errors as one line, exits with a status.

  Status 0 after success or what main returns, 2 for a UserError.
  """
  try:
    status = main()
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    processes.fail(2)
  except KeyboardInterrupt:
    processes.fail(130)
  except Exception as error:
    if not processes.is_joined():
      raise
    if not processes.is_lost(error):
      traceback.print_exc()
    processes.fail(1)
  sys.exit(status)


def load_json(path: Path) -> Any:
  """A JSON file of a run."""
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    raise UserError(f'{path} is not there: is {path.parent} the workdir of a run?') from None
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from None
  except ValueError as error:
    raise UserError(f'{path} is not readable as JSON: {error}') from None
