"""What is known of TPU chips, and the shapes that slices of them come in.

Figures are the vendor's: docs.cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e, "system architecture", read in 2026.
What v4's page lacks is from the paper on it (Jouppi et al. 2023, arXiv:2304.01433, table 4). Memory is what the
compiler (libtpu 0.0.42.1) says that there is where it refuses a program: on v5e 15.75 of the page's 16.
"""

import os
import platform
import sys
from typing import NamedTuple

from jax.experimental import topologies

from ganjax import UserError
from ganjax.wording import closest

GiB = 2**30
FLAT = '1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16'
CUBES = '2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8'
SOURCES = 'docs.cloud.google.com/tpu/docs; v4: arXiv:2304.01433, table 4'  # of the links
# A message crosses a link in about 1 us: taken so, "as per TPU research team", where ASTRA-sim was held against real
# TPUs.
HOP_SECONDS = 1e-6
HOP_SOURCE = 'astra-sim.github.io/astra-sim-docs/validation/hardware/tpu-validation.html'


class Chip(NamedTuple):
  flops: float  # a second, in bfloat16
  memory: float  # bytes of HBM that a program may take
  bandwidth: float  # bytes a second from and to HBM
  links: float  # bytes a second that leave the chip for others, over all links: half of the two-way figure
  slices: tuple  # known shapes
  # Of the core, cycles a second; None where several cores share the work, or it is not known.
  clock: float | None = None

  def seconds(self, flops: float, moved: float) -> float:
    """What `flops` and `moved` bytes take at best: the roofline (Williams et al. 2009, doi:10.1145/1498765.1498785)."""
    return max(flops / self.flops, moved / self.bandwidth)

  def bound(self, flops: float, moved: float) -> str:
    """Which side of the roof it is: 'compute' or 'memory'."""
    return 'compute' if flops / self.flops > moved / self.bandwidth else 'memory'


CHIPS = {
  'v4': Chip(275e12, 30.75 * GiB, 1200e9, 300e9, tuple(CUBES.split())),
  # The clock at which four units of 128 x 128, a product and a sum each, come to its FLOPs.
  'v5e': Chip(197e12, 15.75 * GiB, 819e9, 200e9, tuple(FLAT.split()), 197e12 / (4 * 128**2 * 2)),
  'v5p': Chip(459e12, 95.74 * GiB, 2765e9, 600e9, tuple(CUBES.split())),
  'v6e': Chip(918e12, 31.25 * GiB, 1638e9, 400e9, tuple(FLAT.split())),
}


def find(topology: str) -> tuple:
  """(its Chip, the devices) of a slice such as 'v5e:2x4', to compile for: no such chip need be there.

  Raises:
    UserError: an unknown slice, or no libtpu, which holds the compiler.
  """
  kind, _, shape = topology.partition(':')
  if kind not in CHIPS or shape not in CHIPS[kind].slices:
    known = '; '.join(f'{name}: {" ".join(chip.slices)}' for name, chip in CHIPS.items())
    slices = [f'{name}:{one}' for name, chip in CHIPS.items() for one in chip.slices]
    raise UserError(
      f'topology {topology!r} is not known{closest(topology, slices)}; there are {known}; and gpu:N'
    )
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')  # else it asks the cloud's metadata server
  # No device is taken, so that several processes may compile.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  more = {'chips_per_host_bounds': (1, 1, 1)} if shape == '1x1' else {}
  # The two cores of a v4 chip work as one device, as they do on a TPU VM.
  more |= {'chip_config_name': 'megacore'} if kind == 'v4' else {}
  try:
    found = topologies.get_topology_desc(platform='tpu', topology_name=topology, **more)
  except Exception as error:
    if 'not installed' in str(error):
      known = sys.platform == 'linux' and platform.machine() == 'x86_64'
      where = 'no TPU is needed' if known else 'on Linux and x86-64: it is for no other'
      raise UserError(
        f"the TPU's compiler is missing: in the checkout, pip install '.[tpu-check]' ({where})"
      ) from None
    raise UserError(f'topology {topology}: {str(error).strip().partition(chr(10))[0]}') from None
  return CHIPS[kind], found.devices


def network(topology: str) -> tuple:
  """(Links that a message crosses to reach all, share of a chip's links that there are) in a slice.

  An axis is a ring where it is whole: 16 chips of v5e and v6e, multiples of 4 of v4 and v5p; else a line, with one link
  to each side. (docs.cloud.google.com/tpu/docs/v4, "3D mesh and 3D torus"; that of v5e and v6e is taken for granted.)
  """
  kind, _, shape = topology.partition(':')
  sides = [int(n) for n in shape.split('x')]
  ring = lambda n: n % 4 == 0 if kind in ('v4', 'v5p') else n == 16
  hops = sum(n // 2 if ring(n) else n - 1 for n in sides)
  return hops, sum(2 if ring(n) else n > 1 for n in sides) / (2 * len(sides))
