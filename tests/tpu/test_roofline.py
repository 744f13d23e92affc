"""Training steps compiled for devices that are not there. Those for TPUs need libtpu: pip install '.[tpu-check]'."""

import math
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from configs import dcgan_emoji, gan_mnist
from ganjax import UserError, experiment
from ganjax.devices import sharding
from ganjax.networks import resnet
from ganjax.tpu import chips, hlo, roofline


def small(module=dcgan_emoji, batch_size=16, steps=1, **networks):
  """A config of single steps, or of as many in a dispatch, or as many as training chooses (None)."""
  config = module.get_config()
  config.update(batch_size=batch_size, steps_per_dispatch=steps)
  config.networks.update(networks)
  return config


def test_the_roof_is_the_lower_of_two():
  chip = chips.CHIPS['v5e']
  assert chip.seconds(chip.flops, 1) == 1 and chip.bound(chip.flops, 1) == 'compute'
  moved = 2 * chip.bandwidth
  assert chip.seconds(1, moved) == 2 and chip.bound(1, moved) == 'memory'


def test_slices_are_lines_or_rings():
  # (the longest way, links there are): along lines to the other end, around rings half way.
  assert chips.network('v5e:2x4') == (1 + 3, 2 / 4) and chips.network('v5e:16x16') == (16, 1)
  assert chips.network('v5e:8x16') == (7 + 8, 3 / 4)
  assert chips.network('v4:2x2x1') == (2, 2 / 6) and chips.network('v5p:4x4x8') == (2 + 2 + 4, 1)


@pytest.mark.parametrize('topology', ['v5e:3x3', 'v9:2x2', 'v4:2x2', 'tpu', ''])
def test_unknown_slices_are_refused_with_the_known(topology):
  with pytest.raises(UserError, match='v5e: 1x1 2x2 2x4'):
    chips.find(topology)


def test_every_pattern_of_lazy_phases_has_its_share():
  config = small(width=8)
  config.method.penalties = {'r1': 1.0}
  config.method.penalties_every = 16
  stage = experiment.build(config).spans[0].stage
  assert roofline.patterns(stage) == [(1 / 16, ('D', 'D_penalty', 'G')), (15 / 16, ('D', 'G'))]


def test_numbers_of_a_step_are_means_over_dispatches():
  one = roofline.Program(*[0.0] * 12, [], [], [], (0, 0))
  programs = [
    one._replace(share=0.75, steps=10, flops=40),
    one._replace(share=0.25, flops=8, steps=1),
  ]
  assert roofline.mean(programs, lambda p: p.flops) == 0.75 * 4 + 0.25 * 8


def test_lowering_for_gpus_counts_the_work_of_all():
  """An MLP's FLOPs by hand: each phase's forward and backward passes."""
  config = small(gan_mnist, 256, width=65)
  config.method.fakes_per_real = 1
  config.networks.dropout = False  # whose draws are counted too
  ((share, phases, flops, moved, text),) = roofline.lower(config, 4)
  run = experiment.build(config)
  params = jax.eval_shape(run.init, jax.random.key(0)).params
  kernels = {net: [x for x in jax.tree.leaves(params[net]) if x.ndim == 2] for net in 'GD'}
  weights = {net: sum(x.size for x in found) for net, found in kernels.items()}
  sides = {'G': run.method.rows(jnp.arange(1), {}).shape[1], 'D': 28 * 28}
  (first_G,), (first_D,) = (
    [x.size for x in kernels[net] if x.shape[0] == side] for net, side in sides.items()
  )
  # D: G forward; D on reals and fakes forward, and back to weights of all layers, to inputs of all but the first.
  # G: forward, back to weights and inputs; D on fakes forward and back to inputs alone.
  terms = weights['G'] + 2 * (3 * weights['D'] - first_D)
  terms += 3 * weights['G'] - first_G + 2 * weights['D']
  assert phases == ('D', 'G') and share == 1 and 'stablehlo' in text
  assert flops == pytest.approx(2 * 256 * terms, rel=0.06)  # and what is done to each number
  # Adam alone reads four numbers of each parameter and writes three, in float32.
  state = jax.eval_shape(run.init, jax.random.key(0))
  assert moved > 7 * 4 * sum(x.size for x in jax.tree.leaves(state.params))


def test_what_does_not_divide_is_refused():
  with pytest.raises(UserError, match='batch_size=16 does not divide among 3 devices'):
    roofline.lower(small(), 3)


def command(*args):
  run = [
    sys.executable,
    '-m',
    'ganjax',
    'compile-check',
    '--config',
    'configs/dcgan_emoji.py',
    *args,
  ]
  return subprocess.run(run, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_command_line_lowers_for_gpus():
  done = command('--topology', 'gpu:2', '--config.networks.width=8')
  assert done.returncode == 0 and 'LOWERING ONLY' in done.stdout, done.stderr
  assert 'MB unfused over all GPUs' in done.stdout


def test_a_missing_compiler_says_what_to_install():
  code = (
    "import sys; sys.modules['libtpu'] = None\n"
    'from ganjax import UserError\n'
    'from ganjax.tpu import chips\n'
    "try: chips.find('v5e:2x2')\n"
    'except UserError as error: print(error)'
  )
  # Where there is a libtpu, importing jax has told so by this variable.
  env = {k: v for k, v in os.environ.items() if k != 'TPU_LIBRARY_PATH'}
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env)
  assert "in the checkout, pip install '.[tpu-check]'" in done.stdout, done.stderr


@pytest.mark.parametrize(
  'system, error, line',
  [
    ('linux x86_64', 'libtpu is not installed', "pip install '.[tpu-check]' (no TPU is needed)"),
    ('linux aarch64', 'libtpu is not installed', '(on Linux and x86-64: it is for no other)'),
    ('darwin x86_64', 'libtpu is not installed', '(on Linux and x86-64: it is for no other)'),
    (
      'linux x86_64',
      'INTERNAL: no such\nlearning/45eac\nstack',
      'topology v5e:2x2: INTERNAL: no such',
    ),
  ],
)
def test_what_the_compiler_refuses_is_one_line(monkeypatch, system, error, line):
  def refuse(**unused):
    raise RuntimeError(error)

  monkeypatch.setattr(chips.topologies, 'get_topology_desc', refuse)
  kind, machine = system.split()
  monkeypatch.setattr(sys, 'platform', kind)
  monkeypatch.setattr('platform.machine', lambda: machine)
  with pytest.raises(UserError) as found:
    chips.find('v5e:2x2')
  assert str(found.value).endswith(line) and '\n' not in str(found.value)


@pytest.fixture(scope='module')
def v5e():
  pytest.importorskip('libtpu', reason="needs pip install '.[tpu-check]'")
  return chips.find('v5e:2x2')


KINDS = {'v4': 'TPU v4', 'v5e': 'TPU v5 lite', 'v5p': 'TPU v5', 'v6e': 'TPU v6 lite'}


@pytest.mark.slow
@pytest.mark.parametrize('topology', [f'{n}:{s}' for n, c in chips.CHIPS.items() for s in c.slices])
def test_every_known_slice_has_its_devices(topology):
  pytest.importorskip('libtpu', reason="needs pip install '.[tpu-check]'")
  name, _, shape = topology.partition(':')
  chip, devices = chips.find(topology)
  assert chip is chips.CHIPS[name] and {d.device_kind for d in devices} == {KINDS[name]}
  assert len(devices) == math.prod(int(n) for n in shape.split('x'))
  # Rows of a batch go to processes in one piece each, see `parallel.local_rows`: hosts of four chips.
  hosts = max(1, len(devices) // 4)
  each = len(devices) // hosts
  assert [d.process_index for d in devices] == [k for k in range(hosts) for _ in range(each)]


def compiled(device, function, *shapes):
  place = NamedSharding(sharding.make_mesh([device]), PartitionSpec())
  shapes = [jax.ShapeDtypeStruct(s, jnp.float32, sharding=place) for s in shapes]
  traced = jax.jit(function).trace(*shapes)
  return hlo.parse(traced.lower(lowering_platforms=('tpu',)).compile().as_text())


@pytest.mark.slow
def test_counts_agree_with_programs_that_are_known(v5e):
  device = v5e[1][0]
  plus = compiled(device, lambda x: x + 1, (8192, 8192))
  assert hlo.traffic(plus) == 2 * 4 * 8192**2
  product = compiled(device, lambda x, y: x @ y, (2048, 2048), (2048, 2048))
  assert hlo.flops(product) == 2 * 2048**3 and hlo.traffic(product) == 3 * 4 * 2048**2
  turn = lambda x, w: (jnp.tanh(x @ w), None)
  loop = compiled(device, lambda x, w: jax.lax.scan(turn, x, w)[0], (512, 512), (16, 512, 512))
  assert hlo.flops(loop) == 16 * 2 * 512**3


@pytest.mark.slow
def test_transfers_to_the_host_are_seen(v5e):
  def talking(x):
    jax.debug.print('{}', x.sum())
    return x + 1

  device = v5e[1][0]
  (sent, received) = hlo.host_transfers(compiled(device, talking, (8, 128)))
  assert sent == 'send jit(talking)/debug_print' and received == 'recv jit(talking)/debug_print'
  mesh = sharding.make_mesh([device])
  host = NamedSharding(mesh, PartitionSpec(), memory_kind='pinned_host')
  there_and_back = lambda x: (
    jax.device_put(jax.device_put(x @ x, host), sharding.replicated(mesh)) @ x
  )
  found = hlo.host_transfers(compiled(device, there_and_back, (256, 256)))
  assert [one.split()[0] for one in found] == ['copy-start'] * 2
  assert hlo.host_transfers(compiled(device, lambda x: x + 1, (8, 128))) == []


def count(program, phase, what):
  """Exchanges of a phase whose name holds `what`; those that XLA has joined are named after one of them."""
  return sum(f'/{phase}/' in c.scope and what in c.scope for c in program.collectives)


@pytest.mark.slow
def test_a_real_step_compiles_and_adds_up(v5e):
  chip, devices = v5e
  (full,) = roofline.check(small(width=16, dtype='float32'), chip, devices)
  assert full.activations == 'float32'
  run = experiment.build(small(width=16))
  state = jax.eval_shape(run.init, run.key)
  # The state is donated: what comes in is written over. Its rows are padded to 128.
  size = sum(x.size * 4 for x in jax.tree.leaves(state.replace(key=())))
  assert size < full.arguments < 2 * size and full.aliased > 0.97 * full.arguments
  # All gradients are exchanged: parameters of both networks, in float32.
  exchanged = sum(c.size for c in full.collectives)
  params = sum(4 * x.size for x in jax.tree.leaves(state.params))
  assert params < exchanged < 1.5 * params
  assert {c.kind for c in full.collectives} == {'all-reduce'}
  assert full.total < chip.memory
  # No more exchanges than wait for each other. Batch norm's are one a layer on the way forward, of all passes that do
  # not wait (reals with fakes; G's for its own phase with those for D's), and one on the way back.
  layers = {net: sum('BatchNorm' in name for name in state.params[net]) for net in 'GD'}
  assert layers == {'G': 4, 'D': 3}
  assert count(full, 'D', 'BatchNorm') <= layers['G'] + 2 * layers['D']
  assert count(full, 'G', 'BatchNorm') <= layers['D'] + layers['G']
  # The gradients are one in G's phase. D's come as they are needed: the statistics that its next pass, for G's phase,
  # takes of a layer go with the gradients of the layers above.
  assert count(full, 'G', 'transpose') - count(full, 'G', 'BatchNorm') == 1
  assert len(full.collectives) <= 1 + layers['D'] + 1 + 2 * layers['G'] + 3 * layers['D']


@pytest.mark.slow
def test_the_command_line_compiles(v5e):
  """All of it: the slice found, a tiny config compiled, read and reported."""
  small = '--config.networks.width=8', '--config.batch_size=8'
  done = command('--topology', 'v5e:1x1', *small)
  assert done.returncode == 0, done.stderr
  lines = [' '.join(line.split()) for line in done.stdout.splitlines()]
  assert lines[0] == 'dcgan_emoji on v5e:1x1: 1 chips, 8 images each, 1 program(s)'
  assert lines[1].startswith('phases D, G: 1 of the steps, dispatch of 10 step(s), compiled in ')
  memory = re.fullmatch(
    r'memory, GiB a chip ([\d.]+) of 15.75: arguments .*, temporary .*', lines[2]
  )
  assert 0 < float(memory[1]) < 1
  assert 'host transfers none' in lines
  assert not any('all-reduce' in line for line in lines)  # one chip
  work = re.fullmatch(r'a step: ([\d.]+) GFLOP and ([\d.]+) MB a chip .* steps/s', lines[-2])
  assert float(work[1]) > 0 and float(work[2]) > 0


@pytest.mark.slow
def test_bfloat16_moves_fewer_bytes_in_a_residual_block(v5e):
  """With its gradients, at SNGAN's width and 128 images: half as many, but for those of the weights."""

  def moved(dtype):
    block = resnet.DownBlock(128, True, False, False, True, False, dtype, 'float32')

    def gradients(x, *leaves):
      def loss(x, variables):
        return jnp.sum(block.apply(variables, x.astype(dtype)).astype('float32') ** 2)

      return jax.grad(loss, (0, 1))(x.astype(dtype), tree.unflatten(leaves))

    x = jnp.zeros((128, 32, 32, 128))
    leaves, tree = jax.tree.flatten(jax.eval_shape(block.init, jax.random.key(0), x))
    return hlo.traffic(compiled(v5e[1][0], gradients, x.shape, *(leaf.shape for leaf in leaves)))

  assert moved('float32') > 1.7 * moved('bfloat16')


@pytest.mark.slow
def test_without_batch_norm_the_gradients_of_a_phase_are_one_exchange(v5e):
  chip, devices = v5e
  (program,) = roofline.check(small(gan_mnist, 256, width=65), chip, devices)
  assert count(program, 'D', 'transpose') == count(program, 'G', 'transpose') == 1
  others = [c.size for c in program.collectives if 'transpose' not in c.scope]
  assert len(others) <= 1 and sum(others) < 100  # metrics


@pytest.mark.slow
def test_ten_steps_in_a_dispatch_do_the_work_of_ten(v5e):
  """What TPUs run: a loop over batches that are there, with nothing of the state copied at its edges or turns."""
  chip, devices = v5e
  (one,) = roofline.check(small(gan_mnist, width=65), chip, devices)
  (ten,) = programs = roofline.check(small(gan_mnist, width=65, steps=None), chip, devices)
  assert (one.steps, ten.steps, ten.share) == (1, 10, 1)
  assert ten.flops == 10 * one.flops == 10 * roofline.mean(programs, lambda p: p.flops)
  assert ten.moved == pytest.approx(10 * one.moved, rel=0.1)
  # Gradients cross once; in bfloat16 XLA had sent G's a second time, see `backend.update_compilation`.
  size = lambda p: sum(c.size for c in p.collectives)
  assert size(ten) == pytest.approx(10 * size(one), rel=1e-3)
  assert len(ten.collectives) <= 10 * (len(one.collectives) + 1)
  assert one.transfers == ten.transfers == []
  # The state is written over, and beside it there are ten batches of a chip: 4 images each, padded to rows of 128.
  assert ten.aliased == one.aliased > 0.97 * one.arguments
  assert ten.arguments - one.arguments < 9 * 32 * 32 * 4 * 128 + 9 * 4096
  assert ten.temporary < one.temporary + 0.1 * one.aliased


@pytest.mark.slow
@pytest.mark.parametrize('topology', ['v4:2x2x1', 'v5e:1x1', 'v5p:2x2x1', 'v6e:1x1'])
def test_a_chip_has_the_memory_that_its_compiler_allows(topology):
  pytest.importorskip('libtpu', reason="needs pip install '.[tpu-check]'")
  chip, devices = chips.find(topology)
  with pytest.raises(jax.errors.JaxRuntimeError, match='available HBM') as refused:
    compiled(devices[0], lambda x: x + 1, (200, 2**18, 2**10))
  allowed = re.search(r'available HBM \(([\d.]+)G\)', str(refused.value))[1]
  assert f'{chip.memory / 2**30:.2f}' == allowed


@pytest.mark.slow
def test_what_does_not_fit_says_by_how_much(v5e):
  with pytest.raises(UserError, match=r'batch_size=262144 takes [\d.]+ GiB a chip of 15.75'):
    roofline.check(small(width=64, batch_size=1 << 18), *v5e)


@pytest.mark.parametrize('bend', [1.0, 1.3])
@pytest.mark.parametrize('compiler_refuses', [False, True])
def test_the_search_for_the_largest_batch_ends_near_it(monkeypatch, bend, compiler_refuses):
  """With memory that grows as a power of the batch in place of compilations, which are counted."""
  chip, config, asked = chips.CHIPS['v5e'], small(batch_size=64), []
  limit = chip.memory - compiler_refuses * 2**28  # another compiler keeps more to itself

  def memory(batch_size):
    return 2e9 + 3e5 * batch_size**bend

  def compile_one(run, span, mesh, share, steps, phases):
    asked.append(span.batch_size)
    needed = memory(span.batch_size)
    if compiler_refuses and needed > limit:
      raise roofline.DoesNotFit(run.config, limit, needed)
    return roofline.Program(*[1.0] * 11, needed, [], [], [], (0, 0))

  monkeypatch.setattr(roofline, '_compile', compile_one)
  found = roofline.largest_batch(config, chip, jax.devices())
  best = ((limit - 2e9) / 3e5) ** (1 / bend)
  assert 0.93 * best < found <= best and found in asked and len(asked) < 10
  assert config.batch_size == 64  # the caller's own is left alone
  config.batch_size = 1 << 18
  with pytest.raises(UserError, match='does not fit'):
    roofline.largest_batch(config, chip, jax.devices())
