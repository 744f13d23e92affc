"""Compiles training for TPUs, without a TPU: ganjax compile-check --config C --topology v5e:2x4

It compiles with XLA's TPU compiler (in the checkout: pip install '.[tpu-check]'). It prints the memory, FLOPs, bytes
and exchanges of the programs, next to the limits of the chip, see `ganjax.tpu.roofline`. Nothing is run. Times "at
best" come from the roofline model: no program is faster. "estimated" times are the sum of XLA's estimates for each
kernel, on chips whose clock is known. Bytes are to and from HBM, counted in the compiled program, without what XLA
keeps on the chip between kernels. Layout copies and padding are counted in all memories.

  --topology v5e:2x4   a slice of TPUs; or gpu:8, which only lowers the program, because there is no compiler here
  --all                every recipe in configs/, as a table in --out; resumes if it was stopped
  --largest_batch      also searches for the largest global batch that fits (some more compilations)
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__)
CONFIG = COMMAND.config()
TOPOLOGY = COMMAND.string('topology', 'v5e:2x4', 'Slice of TPUs, or gpu:N.')
ALL = COMMAND.switch('all', 'All recipes in configs/.')
OUT = COMMAND.string('out', 'docs/tpu.md', 'File for the table of --all.')
LARGEST = COMMAND.switch('largest_batch', 'Also search for the largest global batch.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import functools
import math
import runpy
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import jax
from ml_collections import ConfigDict

import ganjax
from ganjax import UserError
from ganjax import config as configs
from ganjax.tpu import chips, hlo, roofline
from ganjax.workdir.files import replace_file

MB, GB = 1e6, 1e9


def main() -> int:
  jax.config.update('jax_platforms', 'cpu')  # whatever devices there are, they are left alone
  kind, _, shape = TOPOLOGY.value.partition(':')
  if LARGEST.value and (ALL.value or kind == 'gpu'):
    with_what = '--all' if ALL.value else 'gpu:N, for which nothing is compiled'
    raise UserError(f'--largest_batch is for one config on a slice of TPUs, not for {with_what}')
  if ALL.value:
    if kind == 'gpu':
      raise UserError(
        '--all compiles, and there is no compiler for GPUs here: take a slice of TPUs'
      )
    out, title = Path(OUT.value), _title(TOPOLOGY.value)
    if out.exists() and not OUT.present and not out.read_text().startswith(title):
      raise UserError(
        f'{out} is not of {TOPOLOGY.value}: name another file by --out, or it to replace it'
      )
    return write_table(TOPOLOGY.value, commandline.configs_folder(), out)
  config = commandline.config(CONFIG)
  if kind == 'gpu':
    if not shape.isdecimal() or int(shape) < 1:
      raise UserError(f'--topology={TOPOLOGY.value}: gpu:N takes a number of GPUs')
    print(lowered(config, int(shape)))
    return 0
  chip, devices = chips.find(TOPOLOGY.value)
  programs = roofline.check(config, chip, devices)
  print(report(config, TOPOLOGY.value, chip, programs))
  if LARGEST.value:
    print(f'  largest global batch that fits: {roofline.largest_batch(config, chip, devices):,}')
  else:
    print('  the largest global batch that fits: looked for with --largest_batch')
  return 0


def lowered(config: ConfigDict, count: int) -> str:
  """What can be said of programs that were lowered for CUDA, as text."""
  lines = [f'{config.name} on {count} GPU(s): LOWERING ONLY, for CUDA; nothing was compiled']
  for share, phases, flops, moved, text in roofline.lower(config, count):
    lines.append(
      f'  phases {", ".join(phases)}: {share:.3g} of the steps, {flops / GB:.2f} GFLOP and '
      f'{moved / MB:,.0f} MB unfused over all GPUs, {len(text.splitlines()):,} lines of StableHLO'
    )
  return '\n'.join(lines)


def report(
  config: ConfigDict, topology: str, chip: chips.Chip, programs: Sequence[roofline.Program]
) -> str:
  """What a compilation came to, as text."""
  count = math.prod(int(n) for n in topology.partition(':')[2].split('x'))
  mean = functools.partial(roofline.mean, programs)
  flops, moved = mean(lambda p: p.flops), mean(lambda p: p.moved)
  seconds = mean(lambda p: chip.seconds(p.flops, p.moved))
  images = config.batch_size / count
  lines = [
    f'{config.name} on {topology}: {count} chips, {images:g} images each, {len(programs)} program(s)'
  ]
  for p in programs:
    gib, k = lambda n: f'{n / chips.GiB:.3f}', p.steps
    lines += [
      f'  phases {", ".join(p.phases)}: {p.share:.3g} of the steps, dispatch of {p.steps} step(s), compiled in '
      f'{p.seconds:.0f} s',
      f'    memory, GiB a chip  {gib(p.total)} of {chip.memory / chips.GiB:g}: arguments {gib(p.arguments)} '
      f'({gib(p.aliased)} reused for results), temporary {gib(p.temporary)}',
      f'    work of a step      {p.flops / k / GB:.2f} GFLOP, {p.moved / k / MB:.0f} MB a chip, '
      f'{p.flops / p.moved:.1f} FLOP/byte',
      f'    roofline            {1e3 * chip.seconds(p.flops, p.moved) / k:.3f} ms, bound by '
      f'{chip.bound(p.flops, p.moved)}',
    ]
    if chip.clock:
      lines.append(
        f'    estimated by XLA    {1e3 * p.cycles / chip.clock / k:.3f} ms: its kernels one after the other, '
        'without exchanges'
      )
    for (kind, scope), found in group(p.collectives, p.phases).items():
      size = sum(c.size for c in found)
      lines.append(f'    {len(found) / k:>3g} {kind:<16} {size / k / MB:>9.3f} MB  {scope}')
    lines.append(
      f'    layout copies       {len(p.copies) / k:g}, {sum(a.padded for a in p.copies) / k / MB:.2f} MB, '
      f'{sum(a.padded for a in p.copies if a.space == 0) / k / MB:.2f} of it to HBM'
    )
    sent = f'{len(p.transfers) / k:g}: {", ".join(sorted(set(p.transfers)))}'
    lines.append(f'    host transfers      {sent if p.transfers else "none"}')
    size, padded = p.images
    if size:
      lines.append(
        f'    {config.data.channels}-channel images    {size / MB:.2f} MB, padded to {padded / MB:.2f} MB '
        f'({padded / size:.2f} times)'
      )
  lines.append(
    f'  a step: {flops / GB:.2f} GFLOP and {moved / MB:.0f} MB a chip ({moved / MB / images:.2f} MB an image), at best '
    f'{1e3 * seconds:.3f} ms, {1 / seconds:,.0f} steps/s'
  )
  return '\n'.join(lines)


def group(collectives: Sequence[hlo.Collective], phases: Sequence[str]) -> dict:
  """{(kind, what for): collectives}: gradients of a phase, batch statistics, and all others by name."""

  def purpose(one):
    parts = one.scope.split('/')
    phase = next((p for p in parts if p in phases), 'step')
    if 'BatchNorm' in one.scope:
      return f'{phase}: batch statistics'
    if 'transpose(' in one.scope:
      return f'{phase}: gradients'
    return f'{phase}: {"/".join(parts[1:]) or "unnamed"}'

  out = {}
  for one in collectives:
    out.setdefault((one.kind, purpose(one)), []).append(one)
  return out


COLUMNS = (
  'config | batch | steps | activations | compiled, s | GiB a chip | arguments (reused) + temporary | '
  'GFLOP | MB | FLOP/byte | bound by | at best, ms | estimated, ms | '
  'exchanges | their MB | layout copies, MB | padding of images'
)


def row(config: ConfigDict, chip: chips.Chip, programs: Sequence[roofline.Program]) -> list:
  """The cells of a configuration in the table; memory is a dispatch's, work and exchanges are a step's, of one chip."""
  mean = functools.partial(roofline.mean, programs)
  flops, moved = mean(lambda p: p.flops), mean(lambda p: p.moved)
  seconds = mean(lambda p: chip.seconds(p.flops, p.moved))
  steps = sorted({p.steps for p in programs}, reverse=True)
  most = max(programs, key=lambda p: p.total)
  gib = lambda n: f'{n / chips.GiB:.2f}'
  size, padded = programs[0].images
  return [
    config.name,
    f'{config.batch_size:,}',
    ', '.join(map(str, steps)),
    programs[0].activations,
    f'{sum(p.seconds for p in programs):.0f}',
    gib(most.total),
    f'{gib(most.arguments)} ({gib(most.aliased)}) + {gib(most.temporary)}',
    f'{flops / GB:.1f}',
    f'{moved / MB:,.0f}',
    f'{flops / moved:.0f}',
    chip.bound(flops, moved),
    f'{1e3 * seconds:.2f}',
    f'{1e3 * mean(lambda p: p.cycles) / chip.clock:.2f}' if chip.clock else '-',
    f'{mean(lambda p: len(p.collectives)):.3g}',
    f'{mean(lambda p: sum(c.size for c in p.collectives)) / MB:.1f}',
    f'{mean(lambda p: sum(a.padded for a in p.copies)) / MB:.1f}',
    f'{padded / size:.2f}' if size else '-',
  ]


def _version() -> str:
  """The compiler's; where TPU_LIBRARY_PATH names a file, no package need be there to say it."""
  for package in ('libtpu', 'libtpu-nightly'):
    try:
      return metadata.version(package)
    except metadata.PackageNotFoundError:
      continue
  return 'of unknown version'


def _title(topology) -> str:
  return f'# Every configuration, compiled for {topology}\n\n'


def write_table(topology: str, folder: Path, out: Path) -> int:
  """Compiles every configuration of `folder` for a slice; writes a table as far as it is, and goes on with it.

  A batch that does not divide among the chips is cut to the next that does.

  Returns:
    0, or 2 where a configuration does not fit: its row says so.
  """
  chip, devices = chips.find(topology)
  names = sorted(path.stem for path in folder.glob('[!_]*.py'))
  about = (
    f'{_title(topology)}'
    f'Memory, work and time of a training step of each recipe of ganjax {ganjax.__version__}, from the compiler of '
    f'libtpu {_version()} with\njax {jax.__version__}. `ganjax compile-check --all --topology {topology}` made this '
    'table without a TPU: nothing was run.\n\n'
    'Columns: see `ganjax/tpu/compile_check.py`. Memory is for a dispatch of the given number of steps. All other\n'
    'columns are for one step and one chip. Lazy phases make several programs. A batch that cannot be divided among\n'
    'the chips is reduced to the next that can ("96 of 100").\n\n'
  )
  cells = COLUMNS.split(' | ')
  line = lambda cells: f'| {" | ".join(cells)} |\n'
  text = out.read_text() if out.exists() else ''
  # Rows of other versions are made anew.
  same = about + line(cells) in text
  rows = [r for r in text.splitlines(True) if r.startswith('| `')] if same else []
  done = {r.split('`')[1] for r in rows}
  for name in names:
    if name in done:
      continue
    config = runpy.run_path(str(folder / f'{name}.py'))['get_config']()
    asked = config.batch_size
    # A batch of fewer images than that is refused as it is.
    config.batch_size = asked - asked % (len(devices) * config.microbatches) or asked
    try:
      found = row(config, chip, roofline.check(config, chip, devices))
      found[1] += f' of {asked:,}' if config.batch_size != asked else ''
    except UserError as error:
      found = [name, str(error).replace('|', '/'), *[''] * (len(cells) - 2)]
    rows.append(line([f'`{name}`', *found[1:]]))
    print(*found, sep=' | ', flush=True)
    with replace_file(out) as file:
      file.write(
        (about + line(cells) + line(['---'] * len(cells)) + ''.join(sorted(rows))).encode()
      )
  return 2 if any(r.endswith('|  |\n') for r in rows) else 0


if __name__ == '__main__':
  configs.run(main)
