"""What a program that XLA compiled says of itself: collectives, transfers, copies that change a layout, padding.

Reads the text of optimised HLO (`compiled.as_text()`), in which a shape such as bf16[64,32,32,3]{0,3,2,1:T(4,128)(2,1)}
names the order of its axes in memory, the fastest first, and the tile that the two fastest are padded to.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = dict(
  pred=1, s8=1, u8=1, bf16=2, f16=2, s16=2, u16=2, f32=4, s32=4, u32=4, f64=8, s64=8, u64=8
)
SHAPE = re.compile(r'(\w+)\[([\d,]*)\](?:\{([\d,]*)(?::((?:[A-Z]+\([^)]*\)|\([^)]*\))*))?\})?')
INSTRUCTION = re.compile(r'^\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$')
COLLECTIVES = [
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
  'collective-broadcast',
]
HOST = 5  # the memory space of the host
# The attributes by which an instruction names the computations that it runs, but for loops.
RUNS = {
  'call': ['to_apply'],
  'async-start': ['calls'],
  'conditional': ['branch_computations', 'true_computation', 'false_computation'],
}


class Array(NamedTuple):
  dtype: str
  dims: tuple
  order: tuple  # axes, fastest first
  tile: tuple
  space: int  # 0: HBM; HOST; others are on the chip

  @property
  def size(self) -> int:
    """Bytes of its numbers."""
    return math.prod(self.dims) * BYTES.get(self.dtype, 4)

  @property
  def padded(self) -> int:
    """Bytes that it takes in memory."""
    dims = list(self.dims)
    for axis, tile in zip(self.order, reversed(self.tile)):
      dims[axis] = -(-dims[axis] // tile) * tile
    return math.prod(dims) * BYTES.get(self.dtype, 4)


class Instruction(NamedTuple):
  name: str
  arrays: tuple  # that it returns
  kind: str  # 'fusion', 'copy', 'all-reduce', ...
  rest: str  # operands and attributes, as text
  root: bool

  @property
  def operands(self) -> list:
    """Names of what it reads."""
    return re.findall(r'%([\w.\-]+)', self.rest.partition('), ')[0])

  @property
  def scope(self) -> str:
    """The path of names that it was traced under: 'jit(update)/D/transpose(jvp(D))/Conv_0/...'."""
    found = re.search(r'op_name="([^"]*)"', self.rest)
    return found[1] if found else ''


class Collective(NamedTuple):
  kind: str
  size: int  # bytes a device puts in
  scope: str


def parse(text: str) -> dict:
  """{Name of a computation: its instructions}; 'ENTRY' is the program."""
  out, current = {}, None
  for line in text.splitlines():
    found = INSTRUCTION.match(line)
    if found and current is not None:
      root, name, shape, kind, rest = found.groups()
      current.append(Instruction(name, arrays(shape), kind, rest, bool(root)))
    elif line.endswith('{') and not line.startswith('HloModule'):
      head = line.split()
      name = 'ENTRY' if head[0] == 'ENTRY' else head[0].lstrip('%')
      current = out.setdefault(name, [])
  return out


def arrays(shape: str) -> tuple:
  """The arrays of a shape or of a tuple of shapes."""
  out = []
  for dtype, dims, order, tiles in SHAPE.findall(shape):
    numbers = lambda text: tuple(int(n) for n in text.split(',') if n)
    tile, space = re.search(r'T\(([\d,]*)\)', tiles), re.search(r'S\((\d+)\)', tiles)
    tile, space = numbers(tile[1]) if tile else (), int(space[1]) if space else 0
    out.append(Array(dtype, numbers(dims), numbers(order), tile, space))
  return tuple(out)


def steps(
  program: dict, name: str = 'ENTRY', times: int = 1
) -> Iterator[tuple[Instruction, int, dict[str, Instruction]]]:
  """Yields (instruction, how often it runs, instructions of its computation by name): the program, loops included.

  A loop is taken for one that counts to the number its condition compares with, as those of `lax.scan` do. All branches
  of a choice are taken, since none is known to be left out.
  """
  there = {one.name: one for one in program[name]}
  for one in program[name]:
    yield one, times, there
    if one.kind == 'while':
      (condition,), (body,) = _named(one, 'condition'), _named(one, 'body')
      ends = [i.rest for i in program[condition] if i.kind == 'constant']
      trips = max(int(end.partition(')')[0]) for end in ends)
      yield from steps(program, body, times * trips)
    elif one.kind in RUNS:
      for attribute in RUNS[one.kind]:
        for named in _named(one, attribute):
          yield from steps(program, named, times)


def _named(one, attribute) -> list:
  """The computations that an attribute of an instruction names."""
  found = re.search(rf'\b{attribute}=(%[\w.\-]+|\{{[^}}]*\}})', one.rest)
  return re.findall(r'%([\w.\-]+)', found[1]) if found else []


def flops(program: dict) -> int:
  """Those of products and convolutions, two a term, without terms on padding or between dilated pixels."""

  def own(one, there):
    if one.kind in ('convolution', 'dot'):
      return _flops(one, [there[n].arrays[0].dims for n in one.operands])
    inner = _inner(program, one)
    return sum(own(i, inner) for i in inner.values())

  return sum(times * own(one, there) for one, times, there in steps(program))


def _inner(program, one) -> dict:
  """The instructions of a fusion by name; of others none."""
  named = _named(one, 'calls') if one.kind == 'fusion' else []
  return {i.name: i for name in named for i in program[name]}


def _flops(one, operands) -> int:
  out = math.prod(one.arrays[0].dims)
  if one.kind == 'dot':
    axes = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', one.rest)[1]
    return 2 * out * math.prod(operands[0][int(a)] for a in axes.split(',') if a)
  x, w, y = (list(axes) for axes in re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', one.rest).groups())
  total = 2 * out * operands[1][w.index('i')]
  window = (
    dict(re.findall(r'(\w+)=([\dx_\-]+)', re.search(r'window=\{([^}]*)\}', one.rest)[1]))
    if w[2:]
    else {}
  )
  for d in range(len(w) - 2):
    keys = 'size', 'stride', 'lhs_dilate', 'rhs_dilate'
    size, stride, spread, gap = (int(window[k].split('x')[d]) if k in window else 1 for k in keys)
    low = int(window['pad'].split('x')[d].split('_')[0]) if 'pad' in window else 0
    n, m = operands[0][x.index(str(d))], one.arrays[0].dims[y.index(str(d))]
    at = [i * stride + k * gap - low for i in range(m) for k in range(size)]
    total = total * sum(0 <= a < n * spread and a % spread == 0 for a in at) // m
  return total


# What moves nothing, or is counted where it starts.
UNCOUNTED = [
  'parameter',
  'constant',
  'tuple',
  'get-tuple-element',
  'bitcast',
  'while',
  *RUNS,
  'after-all',
]


def traffic(program: dict) -> int:
  """Bytes that kernels read from HBM and write to it, padding included.

  XLA's own count ("bytes accessed") also has what stays on the chip, and takes an array for read whole where a slice of
  it is fetched.
  """
  total = 0
  for one, times, there in steps(program):
    if one.kind in UNCOUNTED or one.kind.endswith('-done'):
      continue
    if one.kind.endswith('-start') and one.kind[:-6] in ('copy', 'slice'):
      # (to, from, ...) of a copy; (from, to, ...) of a slice, of which only what arrives is moved.
      to, source = one.arrays[:2] if one.kind == 'copy-start' else one.arrays[1::-1]
      moved = to.padded * ((to.space == 0) + (source.space == 0))
    else:
      buffer, part = _in_place(program, one, there)
      read = [
        min(a.padded, _read(program, one, k) or a.padded)
        for k, name in enumerate(one.operands)
        if name in there and k != buffer
        for a in there[name].arrays
        if a.space == 0
      ]
      # The start of an exchange returns its operands too.
      new = one.arrays[len(one.operands) :] if one.kind.endswith('-start') else one.arrays
      written = [a.padded if buffer is None else part for a in new if a.space == 0]
      moved = sum(read) + sum(written)
    total += times * moved
  return total


def cycles(program: dict) -> int:
  """What XLA's TPU compiler takes its kernels to need, one after the other; exchanges are not in it.

  It writes so for nearly all of them, and chooses by it how they are tiled.
  """
  found = ((re.search(r'"estimated_cycles":"(\d+)"', i.rest), n) for i, n, _ in steps(program))
  return sum(n * int(match[1]) for match, n in found if match)


def _read(program, one, number) -> int | None:
  """Bytes of an operand that a kernel reads where it only takes slices of it, as loops do; else None."""
  inner = _inner(program, one)
  own = lambda i: i.kind == 'parameter' and i.rest.startswith(f'{number})')
  name = next((i.name for i in inner.values() if own(i)), None)
  total = 0
  for use in (i for i in inner.values() if name in i.operands):
    found = use.arrays[0].padded if use.kind == 'dynamic-slice' else None
    if use.kind == 'fusion':
      found = _read(program, use, use.operands.index(name))
    if found is None:
      return None
    total += found
  return total or None


def _in_place(program, one, there) -> tuple:
  """(Number of the operand that a kernel writes a part of in place, the part's bytes), as loops stack; or (None, 0)."""
  inner = _inner(program, one)
  body = inner or there
  last = lambda i: last(body[i.operands[0]]) if i.kind == 'bitcast' else i
  root = last(next((i for i in inner.values() if i.root), one))
  if root.kind != 'dynamic-update-slice':
    return None, 0
  part = body[root.operands[1]].arrays[0].padded
  source = last(body[root.operands[0]])
  if not inner:
    return 0, part
  return (int(source.rest.partition(')')[0]), part) if source.kind == 'parameter' else (None, 0)


def collectives(program: dict) -> list:
  """Every exchange between devices, an asynchronous one once, one in a loop as often as it runs."""
  out = []
  for one, times, _ in steps(program):
    kind = one.kind.removesuffix('-start')
    if kind in COLLECTIVES:
      # An asynchronous start returns what it was given beside its result.
      found = one.arrays[: len(one.operands)]
      out += [Collective(kind, sum(a.size for a in found), one.scope)] * times
  return out


def host_transfers(program: dict) -> list:
  """'kind scope' of every instruction that sends to the host's memory or fetches from it, as often as it runs.

  Infeeds, outfeeds, sends and receives (callbacks are those), calls of the host, and what reads or writes its memory.
  """
  out = []
  for one, times, there in steps(program):
    if one.kind in UNCOUNTED or one.kind.endswith('-done'):
      continue
    seen = [*one.arrays, *(a for name in one.operands if name in there for a in there[name].arrays)]
    if (
      one.kind in ('infeed', 'outfeed', 'send', 'recv')
      or any(a.space == HOST for a in seen)
      or re.search(r'custom_call_target="[^"]*(?:callback|host)', one.rest, re.IGNORECASE)
    ):
      out += [f'{one.kind} {one.scope}'] * times
  return out


def copies(program: dict) -> list:
  """Arrays [Array] that are copied whole to change their order or tile: kernels that compute nothing."""
  out = []
  for one, times, there in steps(program):
    inner = _inner(program, one)
    body = inner or there
    root = next((i for i in inner.values() if i.root), None) if inner else one
    if root is None or root.kind != 'copy':
      continue
    a, source = root.arrays[0], next((body[n].arrays[0] for n in root.operands if n in body), None)
    if source is None or (a.order, a.tile) != (source.order, source.tile):
      out += [a] * times
  return out


def images(program: dict, channels: int) -> tuple:
  """(bytes of numbers, bytes in memory) of the images of so many channels that convolutions read and write.

  Those are arrays in which one axis has that length, and two or more are of 8 or more, as no kernel's are.
  """
  found = {}
  for computation in program.values():
    there = {one.name: one.arrays[0] for one in computation if one.arrays}
    for one in computation:
      if one.kind == 'convolution':
        for name in {*one.operands, one.name} & there.keys():
          dims = there[name].dims
          if dims.count(channels) == 1 and sum(n >= 8 for n in dims) > 1:
            found[name] = there[name]
  return sum(a.size for a in found.values()), sum(a.padded for a in found.values())
