"""What a program that XLA compiled says of itself: collectives, copies that change a layout, padding.

Reads the text of optimised HLO (`compiled.as_text()`), in which a shape such as bf16[64,32,32,3]{0,3,2,1:T(4,128)(2,1)}
names the order of its axes in memory, the fastest first, and the tile that the two fastest are padded to.
"""

import math
import re
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


class Array(NamedTuple):
  dtype: str
  dims: tuple
  order: tuple  # axes, fastest first
  tile: tuple

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
    tile = re.search(r'T\(([\d,]*)\)', tiles)
    out.append(Array(dtype, numbers(dims), numbers(order), numbers(tile[1]) if tile else ()))
  return tuple(out)


def collectives(program: dict) -> list:
  """Every exchange between devices, an asynchronous one once."""
  out = []
  for computation in program.values():
    for one in computation:
      kind = one.kind.removesuffix('-start')
      if kind in COLLECTIVES:
        # An asynchronous start returns what it was given beside its result.
        found = one.arrays[: len(one.operands)]
        out.append(Collective(kind, sum(a.size for a in found), one.scope))
  return out


def copies(program: dict) -> list:
  """Arrays [Array] that are copied whole to change their order or tile: kernels that compute nothing."""
  out = []
  for one in program['ENTRY']:
    inner = re.search(r'calls=%([\w.\-]+)', one.rest) if one.kind == 'fusion' else None
    body = program.get(inner[1], []) if inner else program['ENTRY']
    root = next((i for i in body if i.root), None) if inner else one
    if root is None or root.kind != 'copy':
      continue
    source = next((i.arrays for i in body if i.name in root.operands), None)
    a, b = root.arrays[0], source and source[0]
    if b is None or (a.order, a.tile) != (b.order, b.tile):
      out.append(a)
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
