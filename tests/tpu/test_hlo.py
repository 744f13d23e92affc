"""What is read off compiled programs, on a program small enough to count by hand."""

from pathlib import Path

import pytest

from ganjax.tpu import hlo

# A loop of 3 turns that reads a slice of w each; a prefetch; a convolution within a fusion; two exchanges.
TEXT = Path(__file__).with_name('update.hlo').read_text()


@pytest.fixture(scope='module')
def program():
  return hlo.parse(TEXT)


def test_arrays_have_dtype_order_tile_and_place():
  (a,) = hlo.arrays('bf16[16,32,32,3]{0,3,2,1:T(4,128)(2,1)S(1)}')
  assert a == hlo.Array('bf16', (16, 32, 32, 3), (0, 3, 2, 1), (4, 128), 1)
  # 16 images fill an eighth of a row of 128, 3 channels three of 4 rows.
  assert a.size == 2 * 16 * 32 * 32 * 3 and a.padded == 2 * 128 * 32 * 32 * 4
  b, c = hlo.arrays('(f32[100]{0:T(1024)}, s32[]{:T(128)S(6)})')
  assert (b.size, b.padded, b.space) == (400, 4096, 0) and (c.size, c.padded, c.space) == (4, 4, 6)


def test_flops_leave_padding_out(program):
  # Of 64 taps along an axis the first and the last fall on padding.
  assert hlo.flops(program) == 2 * 16 * 64 * 3 * (4 * 16 - 2) ** 2


@pytest.mark.parametrize(
  'window, shapes, expected',
  [
    # Transposed, 4x4 of stride 2: each of 16 pixels meets 4 taps but for 2 a side, once an axis.
    (
      'size=4x4 pad=2_2x2_2 lhs_dilate=2x2 rhs_reversal=1x1',
      ('f32[8,16,16,32]', 'f32[4,4,32,8]', 'f32[8,32,32,8]'),
      2 * 8 * 8 * 32 * (16 * 4 - 2) ** 2,
    ),
    # The gradient of the weights of a convolution of stride 2: taps two apart. 15 of 16 rows meet the outer taps.
    (
      'size=16x16 pad=1_1x1_1 rhs_dilate=2x2',
      ('f32[8,32,32,3]', 'f32[16,16,3,8]', 'f32[8,4,4,8]'),
      2 * 8 * 3 * 8 * (4 * 16 - 2) ** 2,
    ),
    ('size=1x1', ('f32[8,4,4,32]', 'f32[1,1,32,8]', 'f32[8,4,4,8]'), 2 * 8 * 16 * 32 * 8),
  ],
)
def test_flops_of_convolutions(window, shapes, expected):
  x, w, y = shapes
  text = f"""ENTRY %main (x: {x}, w: {w}) -> {y} {{
  %x = {x} parameter(0)
  %w = {w} parameter(1)
  ROOT %y = {y} convolution(%x, %w), window={{{window}}}, dim_labels=b01f_01io->b01f
}}"""
  assert hlo.flops(hlo.parse(text)) == expected


def test_flops_of_products():
  text = """ENTRY %main (x: f32[8,4], w: f32[4,16]) -> f32[8,16] {
  %x = f32[8,4] parameter(0)
  %w = f32[4,16] parameter(1)
  %y = f32[8,16] dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %z = f32[8,16] convolution(%x, %w), dim_labels=bf_io->bf
}"""
  assert hlo.flops(hlo.parse(text)) == 2 * 2 * 8 * 4 * 16


def test_work_of_functions_that_are_called_counts(program):
  called = TEXT.replace(
    '%while.1 = (s32[]{:T(128)}, f32[3,8,128]{2,1,0:T(8,128)}) while(%init), condition=%condition, body=%body',
    '%call.1 = (s32[]{:T(128)}, f32[3,8,128]{2,1,0:T(8,128)}) call(%init), to_apply=%body',
  )
  assert called != TEXT
  assert len(hlo.collectives(program)) - len(hlo.collectives(hlo.parse(called))) == 3 - 1


def test_stacks_are_written_in_place():
  """A turn of a loop reads a row and writes a row of its stack, whatever the stack's size."""
  text = """%writing (b: f32[64,8,128], x: f32[8,128], i: s32[]) -> f32[64,8,128] {
  %b = f32[64,8,128]{2,1,0:T(8,128)} parameter(0)
  %x = f32[8,128]{1,0:T(8,128)} parameter(1)
  %i = s32[] parameter(2)
  %row = f32[1,8,128]{2,1,0:T(8,128)} bitcast(%x)
  ROOT %dus = f32[64,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%b, %row, %i)
}

ENTRY %main (b0: f32[64,8,128], x0: f32[8,128], i0: s32[]) -> f32[64,8,128] {
  %b0 = f32[64,8,128]{2,1,0:T(8,128)} parameter(0)
  %x0 = f32[8,128]{1,0:T(8,128)} parameter(1)
  %i0 = s32[]{:S(6)} parameter(2)
  ROOT %out = f32[64,8,128]{2,1,0:T(8,128)} fusion(%b0, %x0, %i0), kind=kLoop, calls=%writing
}"""
  assert hlo.traffic(hlo.parse(text)) == 2 * 4 * 8 * 128
  bare = text.replace(
    'fusion(%b0, %x0, %i0), kind=kLoop, calls=%writing', 'dynamic-update-slice(%b0, %x0, %i0)'
  )
  assert hlo.traffic(hlo.parse(bare)) == 2 * 4 * 8 * 128


def test_traffic_is_what_crosses_to_hbm(program):
  prefetch = (
    2 * 4 * 4 * 4 * 128
  )  # 3 channels in 4 rows, 64 features in rows of 128; its copy stays on the chip
  pictures = 2 * 128 * 32 * 32 * 4  # read; the result stays on the chip
  slices = 3 * 4 * 8 * 128  # a third of w in each of 3 turns
  exchange = 2 * 4 * 16 * 128
  copy = 4 * 16 * 128 + 4 * 128 * 128  # transposed, 16 fill rows of 128
  assert hlo.traffic(program) == prefetch + pictures + slices + exchange + copy


def test_cycles_are_those_that_kernels_name_in_loops_as_often_as_they_run():
  kernel = 'fusion(%x), kind=kLoop, backend_config={"window_config":{"estimated_cycles":"CYCLES"}}'
  lines = TEXT.splitlines()
  body = next(i for i, line in enumerate(lines) if line.startswith('%body'))
  entry = next(i for i, line in enumerate(lines) if line.startswith('ENTRY'))
  lines.insert(entry + 1, '  %a = f32[8]{0} ' + kernel.replace('CYCLES', '1000'))
  lines.insert(body + 1, '  %b = f32[8]{0} ' + kernel.replace('CYCLES', '7'))
  assert hlo.cycles(hlo.parse('\n'.join(lines))) == 1000 + 3 * 7
  assert hlo.cycles(hlo.parse(TEXT)) == 0


def test_collectives_in_loops_count_as_often_as_they_run(program):
  found = hlo.collectives(program)
  assert [(c.kind, c.size) for c in found] == [('all-reduce', 4096)] * 3 + [('all-reduce', 8192)]
  assert found[0].scope.startswith('jit(update)/D/transpose') and 'BatchNorm' in found[3].scope


BRANCHES = """%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

%first (x.1: f32[8,128]) -> f32[8,128] {
  %x.1 = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %r.1 = f32[8,128]{1,0:T(8,128)} all-reduce(%x.1), to_apply=%sum, metadata={op_name="first"}
}

%second (x.2: f32[8,128]) -> f32[8,128] {
  %x.2 = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %r.2 = f32[8,128]{1,0:T(8,128)} all-gather(%x.2), dimensions={0}, metadata={op_name="second"}
}

ENTRY %main (p: pred[], x: f32[8,128]) -> f32[8,128] {
  %p = pred[] parameter(0)
  %x = f32[8,128]{1,0:T(8,128)} parameter(1)
  ROOT %y = f32[8,128]{1,0:T(8,128)} CHOICE
}"""


@pytest.mark.parametrize(
  'choice, kinds',
  [
    (
      'conditional(%p, %x, %x), branch_computations={%first, %second}',
      ['all-reduce', 'all-gather'],
    ),
    (
      'conditional(%p, %x, %x), true_computation=%second, false_computation=%first',
      ['all-gather', 'all-reduce'],
    ),
    ('async-start(%x), calls=%second', ['all-gather']),
    ('call(%x), to_apply=%first', ['all-reduce']),
  ],
)
def test_exchanges_in_branches_and_asynchronous_wrappers_count(choice, kinds):
  program = hlo.parse(BRANCHES.replace('CHOICE', choice))
  assert [c.kind for c in hlo.collectives(program)] == kinds
  assert {c.size for c in hlo.collectives(program)} == {4096}
  assert hlo.traffic(program) == len(kinds) * 2 * 4096  # once, within


@pytest.mark.parametrize(
  'instruction, number',
  [
    ('ROOT %y = f32[8,128]{1,0:T(8,128)} copy(%x)', 0),
    ('ROOT %y = f32[8,128]{1,0:T(8,128)S(5)} copy(%x)', 1),
    ('ROOT %y = f32[8,128]{1,0:T(8,128)} fusion(%h), kind=kLoop, calls=%first', 1),
    ('ROOT %y = (f32[8,128]{1,0:T(8,128)}, u32[], token[]) send(%x, %t), is_host_transfer=true', 1),
    ('ROOT %y = (f32[8,128]{1,0:T(8,128)}, token[]) infeed(%t)', 1),
    (
      'ROOT %y = f32[8,128]{1,0:T(8,128)} custom-call(%x), custom_call_target="xla_python_callback"',
      1,
    ),
    ('ROOT %y = f32[8,128]{1,0:T(8,128)} custom-call(%x), custom_call_target="AllocateBuffer"', 0),
  ],
)
def test_transfers_to_the_host(instruction, number):
  head, _, _ = BRANCHES.partition('  ROOT %y')
  more = '  %h = f32[8,128]{1,0:T(8,128)S(5)} parameter(2)\n  %t = token[] after-all()\n'
  program = hlo.parse(f'{head}{more}  {instruction}\n}}')
  assert len(hlo.host_transfers(program)) == number


def test_copies_are_those_that_change_the_layout(program):
  (found,) = hlo.copies(program)
  assert found.order == (0, 1) and found.padded == 4 * 128 * 128
  same = TEXT.replace(
    'ROOT %copy.9 = f32[16,128]{0,1:T(8,128)}', 'ROOT %copy.9 = f32[16,128]{1,0:T(8,128)}'
  )
  assert hlo.copies(hlo.parse(same)) == []


def test_images_are_told_from_kernels(program):
  size = 2 * 16 * 32 * 32 * 3
  assert hlo.images(program, 3) == (size, 2 * 128 * 32 * 32 * 4)
  assert hlo.images(program, 1) == (0, 0)
