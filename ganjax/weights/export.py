"""Exports a trained generator, also for users without ganjax: ganjax export runs/dcgan --out G.stablehlo

The suffix of --out selects the format. Both include the run's configuration:

  G.stablehlo    programs for CPU, CUDA and TPU with the weights inside. They need only JAX: `docs/load_generator.py`
                 runs them. `jax.export` makes them; later versions of JAX read them for at least 6 months.
  G.safetensors  only weights and statistics, as 'params/G/...' and 'stats/G/...': these do not become outdated.
                 sample, evaluate, project and verify take the file instead of a workdir. --half writes float16.
                 --names stylegan writes generators of StyleGAN2 and StyleGAN3 with the names and axes of
                 stylegan2-ada-pytorch and stylegan3, for their `load_state_dict`.

A .stablehlo file is an uncompressed zip of three files:

  latents.stablehlo    int32 seeds [b] -> latents: z [b, ...], or {'z', 'label': int32 [b]} for conditional runs
  generator.stablehlo  these latents -> uint8 pictures [b, H, W, C]; any class may replace the seed's label
  meta.json            format, version, and the origin of the pictures (see `describe`)

b is any number; each is compiled separately. Seed n makes picture n of sample.py.

All programs are traced on a CPU, also on machines with accelerators, so they are the same wherever they are made.
Choices that depend on the back end (`backend.py`; the dtype of activations, if the configuration leaves it open) are
therefore those of a CPU: float32. Only the forms of convolutions are chosen for each platform.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
WORKDIR = COMMAND.string('workdir', None, 'The run, instead of RUN.')
OUT = COMMAND.string('out', None, 'File to write: NAME.stablehlo or NAME.safetensors.')
HALF = COMMAND.switch('half', 'Writes float16 to a .safetensors file: half the size.')
NAMES = COMMAND.choice(
  'names', 'ganjax', ['ganjax', 'stylegan'], 'Names of the arrays in a .safetensors file.'
)
SEED_INDEX = COMMAND.integer(
  'seed_index', 0, 'Index of the seed, for runs that train several seeds.'
)
STEP = COMMAND.integer('step', None, 'Step of the checkpoint; by default the newest.')
WEIGHTS = COMMAND.choice(
  'weights', 'ema', ['ema', 'raw'], 'Averaged weights, if the run keeps them, or raw ones.'
)
BATCH_NORM = COMMAND.choice(
  'batch_norm',
  'running',
  ['running', 'standing'],
  'Statistics of batch norm. Batch statistics are not offered: a picture would depend on the others in its batch.',
)

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from ganjax import UserError, __version__, experiment, media, run_record, run_state
from ganjax import config as configs
from ganjax.devices import processes, sharding
from ganjax.media.image import quantise
from ganjax.method import Method, Stage, TrainState
from ganjax.sampling import sampler
from ganjax.weights import generator_file, stylegans
from ganjax.workdir.files import replace_file

PLATFORMS = ('cpu', 'cuda', 'tpu')


def main() -> None:
  if OUT.value is None:
    raise UserError('--out is missing: NAME.stablehlo or NAME.safetensors')
  place, out = COMMAND.run(WORKDIR), Path(OUT.value)
  if out.suffix not in ('.stablehlo', '.safetensors'):
    raise UserError(f'--out={out}: the name must end in .stablehlo or .safetensors')
  for flag in (NAMES, HALF):
    if flag.present and out.suffix != '.safetensors':
      raise UserError(f'--{flag.name} goes with --out NAME.safetensors')
  jax.config.update('jax_platforms', 'cpu')
  processes.start()
  run = experiment.load(place)
  mesh = sharding.make_mesh(jax.local_devices())
  which = dict(step=STEP.value, weights=WEIGHTS.value, seed_index=SEED_INDEX.value)
  state, step, weights = run_state.read_generator(run, place, mesh, **which)
  stage, fields = run.stage_after(step), run.span_at(step - 1).fields
  source = run.held_out(run.span_at(step - 1)) if run.method.examples else None
  how = dict(mesh=mesh, batch_norm=BATCH_NORM.value, source=source)
  state = jax.device_get(sampler.prepare(stage, state, run.method, **how).replace(ema={}))

  about = describe(run, place, step, weights, BATCH_NORM.value, SEED_INDEX.value)
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {out}: {error.strerror}') from None
  if out.suffix == '.stablehlo':
    if (kind := fields[run.method.makes].kind) != 'image':
      raise UserError(
        f'programs are of pictures, and this run makes a {kind}: take --out NAME.safetensors'
      )
    write_programs(out, *programs(stage, state, run.method), about)
  else:
    found = published(run, state) if NAMES.value == 'stylegan' else None
    found = found or arrays(stage, state, run.method, fields)
    if HALF.value:
      found = {name: x.astype(np.float16) for name, x in found.items()}
    generator_file.write(out, found, about)
  what = f'step {step}, {weights} weights, {BATCH_NORM.value} batch statistics'
  print(f'{out}: {out.stat().st_size / 1e6:.1f} MB, {what}')


def describe(
  run: experiment.Experiment, place: Path, step: int, weights: str, batch_norm: str, seed_index: int
) -> dict:
  """What a file says of itself, as JSON values; a reader refuses another `format` or `version`."""
  record = run_record.saved_record(place)
  config = {**run_record.to_json(run.config), 'seeds': 1, 'seed': run.config.seed + seed_index}
  kind = run.spans[-1].fields[run.method.makes].kind
  return {
    'format': generator_file.FORMAT,
    'version': generator_file.VERSION,
    'Software': f'ganjax {__version__}, jax {jax.__version__}',
    'Description': f'generator of synthetic {kind}s',
    'num_classes': run.method.num_classes,
    'step': step,
    'weights': weights,
    'batch_norm': batch_norm,
    **run_state.about(run, seed_index),
    'config': config,
    'run': {key: value for key, value in record.items() if key not in ('config', 'history')},
  }


def programs(
  stage: Stage, state: TrainState, method: Method
) -> tuple[export.Exported, export.Exported]:
  """(latents, generator) as `jax.export.Exported`, see above; `state`, host arrays, goes into the second."""
  (b,) = export.symbolic_shape('b')
  if method.examples:
    raise UserError(
      f'samples of this run start from {", ".join(method.examples)} of the data, not from seeds alone: take '
      '--out NAME.safetensors'
    )
  latents = _export(lambda seeds: method.rows(seeds, {}), jax.ShapeDtypeStruct((b,), jnp.int32))
  rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), latents.out_avals)
  rows = jax.tree.unflatten(latents.out_tree, rows)
  return latents, _export(
    lambda rows: quantise(stage.sample(state, rows, train=False)[0], 'round'), rows
  )


def _export(function, *args):
  # Else programs name the files of this machine that each operation is from.
  jax.config.update('jax_traceback_in_locations_limit', 0)
  return export.export(jax.jit(function), platforms=PLATFORMS)(*args)


def arrays(stage: Stage, state: TrainState, method: Method, fields: dict[str, media.Field]) -> dict:
  """{'params/G/...', 'stats/G/...': array} of the networks that pictures come from."""
  variables = {'params': state.params, 'stats': state.stats}
  sample = lambda variables, row: stage.sample(state.replace(**variables), row, train=False)[0]
  # A program keeps the arguments that it uses, which name their networks.
  zeros = {n: np.zeros((1, *fields[n].shape), fields[n].dtype) for n in method.examples}
  row = method.rows(np.arange(1), sampler.to_floats(zeros, fields))
  used = _export(sample, variables, row).module_kept_var_idx
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  nets = {leaves[i][0][1].key for i in used if i < len(leaves)} - method.frozen.keys()
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')
  return {name(path): leaf for path, leaf in leaves if path[1].key in nets}


def published(run: experiment.Experiment, state: TrainState) -> dict:
  """{name in stylegan2-ada-pytorch or stylegan3: array} of the generator."""
  name, G = run.config.networks.name, run.method.nets['G']
  if name not in stylegans.NETWORKS:
    raise UserError(
      f'--names stylegan is for networks.name={" and ".join(stylegans.NETWORKS)}, not {name}'
    )
  own = {'params': state.params['G'], 'stats': state.stats['G']}
  return stylegans.to_published(own, 'G', getattr(G, 'layout', ()))


def write_programs(
  path: Path, latents: export.Exported, generator: export.Exported, about: dict
) -> None:
  """Writes the zip described above, with `about` and the platforms as meta.json.

  The same run gives the same bytes, by the same versions.

  Raises:
    UserError: `path` cannot be written.
  """
  about = {**about, 'platforms': generator.platforms}
  files = {'meta.json': json.dumps(about, indent=2).encode()}
  files |= {'latents.stablehlo': latents.serialize(), 'generator.stablehlo': generator.serialize()}
  with replace_file(path) as file, zipfile.ZipFile(file, 'w') as archive:
    for name, content in files.items():
      archive.writestr(zipfile.ZipInfo(name), bytes(content))


if __name__ == '__main__':
  configs.run(main)
