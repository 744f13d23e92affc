import errno
import io
import json
import os
import struct
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from ganjax import UserError
from ganjax.workdir import curves, files, writer
from ganjax.workdir.writer import Writer


def _crc32c(data):
  """CRC-32C bit by bit (RFC 3720, appendix B.4), masked as TFRecord asks."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _read_events(workdir):
  """All events with a summary, in TensorBoard's order; asserts the framing to the last byte."""
  events = []
  for path in sorted((workdir / 'tensorboard').iterdir()):
    file = io.BytesIO(path.read_bytes())
    first = True
    while header := file.read(12):
      length, crc = struct.unpack('<QI', header)
      assert crc == _crc32c(header[:8])
      data = file.read(length)
      assert len(data) == length and struct.unpack('<I', file.read(4))[0] == _crc32c(data)
      event = event_pb2.Event.FromString(data)
      assert first == bool(event.file_version)
      first = False
      if event.HasField('summary'):
        events.append(event)
  return events


def _scalars(workdir):
  return [(e.step, v.tag, v.simple_value) for e in _read_events(workdir) for v in e.summary.value]


def _write(workdir, start, stop, every=1):
  w = Writer(workdir, start)
  for step in range(start + every, stop + 1, every):
    w.write(step, {'loss_G': step / 4, 'D_real': np.float32(-step)})
  w.close()


def _lines(workdir):
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_crc_of_this_test_is_the_published_one():
  assert _crc32c(b'123456789') == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_lines_and_events_hold_what_was_written(tmp_path):
  w = Writer(tmp_path / 'new' / 'run', 0)
  w.write(10, {'loss_G': 0.1, 'fid': 3})
  first = (tmp_path / 'new' / 'run' / 'metrics.jsonl').read_text()
  assert first == '{"step": 10, "loss_G": 0.1, "fid": 3.0}\n'  # There before close.
  w.write(20, {'loss_G': float('nan'), 'a': float('inf'), 'b': 1e300})
  w.close()
  assert _lines(tmp_path / 'new' / 'run')[1] == {'step': 20, 'loss_G': None, 'a': None, 'b': 1e300}
  scalars = _scalars(tmp_path / 'new' / 'run')
  assert [s[:2] for s in scalars[:3]] == [(10, 'loss_G'), (10, 'fid'), (20, 'loss_G')]
  assert scalars[0][2] == np.float32(0.1) and scalars[1][2] == 3
  assert np.isnan(scalars[2][2]) and np.isinf(scalars[3][2])


@pytest.mark.parametrize('channels', [1, 3])
def test_image_event(tmp_path, channels):
  x = np.random.default_rng(0).integers(0, 256, (6, 10, channels), np.uint8)
  w = Writer(tmp_path, 0)
  w.image(5, 'samples', x)
  w.close()
  (event,) = _read_events(tmp_path)
  (value,) = event.summary.value
  assert (event.step, value.tag) == (5, 'samples')
  assert (value.image.height, value.image.width, value.image.colorspace) == x.shape
  with Image.open(io.BytesIO(value.image.encoded_image_string)) as read:
    np.testing.assert_array_equal(np.asarray(read).reshape(x.shape), x)


@pytest.mark.parametrize('restored', [1, 6, 8, 11, 20])
def test_resumed_run_leaves_what_an_uninterrupted_run_leaves(tmp_path, restored):
  _write(tmp_path / 'whole', 0, 20)
  _write(tmp_path / 'cut', 0, max(restored, 12))
  _write(tmp_path / 'cut', restored, 20)
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  assert (cut / 'metrics.jsonl').read_bytes() == (whole / 'metrics.jsonl').read_bytes()
  assert _scalars(cut) == _scalars(whole) and len(_scalars(cut)) == 40


def test_fresh_start_drops_everything_and_many_restarts_leave_no_empty_files(tmp_path):
  w = Writer(tmp_path, 0)
  w.image(0, 'samples', np.zeros((4, 4, 3), np.uint8))
  w.write(0, {'loss_G': 1})
  w.close()
  for _ in range(5):
    _write(tmp_path, 0, 0)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == b'' and _read_events(tmp_path) == []
  assert len(os.listdir(tmp_path / 'tensorboard')) == 1
  _write(tmp_path, 0, 3)
  for _ in range(5):
    _write(tmp_path, 3, 3)
  assert len(os.listdir(tmp_path / 'tensorboard')) == 2
  assert [line['step'] for line in _lines(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize('cut_bytes', [1, 2, 7, 30])
def test_half_written_ends_are_dropped(tmp_path, cut_bytes):
  _write(tmp_path, 0, 5)
  (events,) = (tmp_path / 'tensorboard').iterdir()
  for path in (tmp_path / 'metrics.jsonl', events):
    os.truncate(path, path.stat().st_size - cut_bytes)
  _write(tmp_path, 5, 7)
  assert [line['step'] for line in _lines(tmp_path)] == [1, 2, 3, 4, 6, 7]
  assert [s[0] for s in _scalars(tmp_path)[::2]] == [1, 2, 3, 4, 6, 7]
  assert list(tmp_path.rglob('.*')) == []


@pytest.mark.parametrize('damage', ['zeros', 'last data byte', 'inside'])
def test_damaged_events_end_the_file_there(tmp_path, damage):
  _write(tmp_path, 0, 5)
  (events,) = (tmp_path / 'tensorboard').iterdir()
  raw = bytearray(events.read_bytes())
  if damage == 'zeros':
    raw += bytes(64)
  elif damage == 'last data byte':
    raw[-5] ^= 1
  else:  # The end of the last whole record is zeros, and a torn record follows.
    raw[-30:] = bytes(30)
    raw += b'torn'
  events.write_bytes(raw)
  (tmp_path / 'metrics.jsonl').write_bytes(
    (tmp_path / 'metrics.jsonl').read_bytes() + bytes(40) + b'\n[1]\n3\n{"loss_G": 1}\n'
  )
  Writer(tmp_path, 9).close()
  kept = [1, 2, 3, 4, 5] if damage == 'zeros' else [1, 2, 3, 4]
  assert [s[0] for s in _scalars(tmp_path)[::2]] == kept
  assert [line['step'] for line in _lines(tmp_path)] == [1, 2, 3, 4, 5]


def test_reopening_at_the_last_step_changes_no_byte(tmp_path):
  _write(tmp_path, 0, 9, every=3)
  (events,) = (tmp_path / 'tensorboard').iterdir()
  before = [(p, p.read_bytes(), p.stat().st_ino) for p in (events, tmp_path / 'metrics.jsonl')]
  Writer(tmp_path, 9).close()
  assert before == [(p, p.read_bytes(), p.stat().st_ino) for p, _, _ in before]


def test_tensorboard_is_told_to_forget_later_steps(tmp_path):
  _write(tmp_path, 0, 5)
  _write(tmp_path, 3, 3)
  last = sorted((tmp_path / 'tensorboard').iterdir())[-1].read_bytes()
  (length,) = struct.unpack_from('<Q', last)
  event = event_pb2.Event.FromString(last[length + 16 + 12 : -4])
  assert event.step == 4 and event.session_log.status == event_pb2.SessionLog.START


def test_kill_in_the_middle_loses_only_the_last_line(tmp_path):
  code = f"""
    from ganjax.workdir.writer import Writer
    w = Writer({str(tmp_path)!r}, 0)
    for step in range(1, 10**9):
      w.write(step, {{'loss_G': step}})
      if step == 50:
        print('go', flush=True)
  """
  run = subprocess.Popen([sys.executable, '-c', textwrap.dedent(code)], stdout=subprocess.PIPE)
  assert run.stdout.readline() == b'go\n'
  run.kill()
  run.wait()
  run.stdout.close()
  _write(tmp_path, 50, 60)
  assert _lines(tmp_path)[:50] == [{'step': s, 'loss_G': s} for s in range(1, 51)]
  assert [line['step'] for line in _lines(tmp_path)] == list(range(1, 61))
  assert [s[0] for s in _scalars(tmp_path) if s[1] == 'loss_G'] == list(range(1, 61))


def test_disk_that_fills_up_is_one_line_and_the_rest_is_kept(tmp_path):
  """A limit on file size stands in for the disk: like a full one, it takes part of a write."""
  code = f"""
    import resource
    from ganjax import UserError
    from ganjax.workdir.writer import Writer
    w = Writer({str(tmp_path)!r}, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
      for step in range(1, 1000):
        w.write(step, {{'loss_G': step}})
    except UserError as error:
      print(step - 1, error)
    w.close()
  """
  run = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, check=True
  )
  done, message = run.stdout.split(' ', 1)
  assert message.count('\n') == 1 and message.startswith(f'could not write {tmp_path}')
  assert 'File too large. Earlier checkpoints are intact' in message
  assert max(p.stat().st_size for p in tmp_path.rglob('*') if p.is_file()) == 1000
  done = int(done)
  _write(tmp_path, done, done + 2)
  steps = list(range(1, done + 3))
  assert done > 5 and [line['step'] for line in _lines(tmp_path)] == steps
  assert [s[0] for s in _scalars(tmp_path) if s[1] == 'loss_G'] == steps


@pytest.mark.parametrize('name', ['_metrics', '_events'])
def test_full_disk_names_the_file(tmp_path, name):
  w = Writer(tmp_path, 0)
  getattr(w, name).close()
  with open('/dev/full', 'ab', buffering=0) as full:
    setattr(w, name, full)
    where = 'metrics.jsonl' if name == '_metrics' else 'events.out.tfevents'
    with pytest.raises(UserError, match=f'could not write .*{where}.*No space left.* intact: '):
      w.write(1, {'loss_G': 1})
  w.close()


def test_workdir_that_cannot_be_one_is_one_line(tmp_path):
  (tmp_path / 'file').write_text('')
  for workdir in (tmp_path / 'file', tmp_path / 'file' / 'below'):
    with pytest.raises(UserError, match='could not write .*Not a directory'):
      Writer(workdir, 0)
  with pytest.raises(UserError, match='could not write /proc/'):
    Writer('/proc/run', 0)


def test_json_is_replaced_whole(tmp_path, monkeypatch):
  def full(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  path = tmp_path / 'config.json'
  files.write_json(path, {'name': 'a', 'nested': {'x': [1, None]}})
  assert json.loads(path.read_text()) == {'name': 'a', 'nested': {'x': [1, None]}}
  with pytest.raises(TypeError):
    files.write_json(path, {'name': object()})
  with pytest.raises(KeyboardInterrupt), files.replace_file(path) as file:
    file.write(b'half')
    raise KeyboardInterrupt
  with monkeypatch.context() as patch:
    patch.setattr(os, 'fsync', full)
    with pytest.raises(UserError, match='config.json: No space left on device'):
      files.write_json(path, {'name': 'b'})
  assert json.loads(path.read_text())['name'] == 'a' and os.listdir(tmp_path) == ['config.json']


def test_several_may_write_one_file(tmp_path):
  """Each writes a file of its own: the last to end wins, whole."""
  path = tmp_path / 'a'
  with files.replace_file(path) as one:
    one.write(b'one, the longer')
    with files.replace_file(path) as other:
      other.write(b'other')
    assert path.read_bytes() == b'other'
    one.write(b' of both')
  assert path.read_bytes() == b'one, the longer of both' and os.listdir(tmp_path) == ['a']


def test_progress_line():
  metrics = {'D_fake': 0.25, 'fid': 9, 'loss_G': 1.5, 'loss_fake': 12345.6, 'loss_real': 0.69314}
  line = writer.progress(50, 20000, 812.4, 3725, metrics)
  assert line == (
    'step    50/20000  812 images/s  1h02m left  '
    'loss_real 0.693  loss_fake 1.23e+04  loss_G 1.500  D_fake 0.250'
  )
  line = writer.progress(1, 2, 0, float('inf'), {'loss_cycle': 2, 'loss_G': np.float32('nan')})
  assert line == 'step 1/2  0 images/s  ? left  loss_G nan  loss_cycle 2.000'
  assert writer.progress(1, 2, 3, 59.9, {'psnr': 20}).endswith('59s left  psnr 20.000')
  assert writer.progress(2, 2, 3, 125, {}) == 'step 2/2  3 images/s  2m05s left'


def _axes(workdir, monkeypatch):
  """Draws the curves and returns {panel title: axes}."""
  from matplotlib.figure import Figure

  figures = []
  save = Figure.savefig
  monkeypatch.setattr(Figure, 'savefig', lambda f, *a, **k: (figures.append(f), save(f, *a, **k)))
  assert curves.draw(workdir) == workdir / 'curves.png'
  assert not list(workdir.glob('.*'))
  with Image.open(workdir / 'curves.png') as read:
    assert read.format == 'PNG' and np.asarray(read.convert('L')).std() > 10
  (figure,) = figures
  return figure, {axes.get_title(loc='left'): axes for axes in figure.axes}


@pytest.mark.parametrize('n', [1, 10, 5000])
def test_curves_draw_every_metric(tmp_path, monkeypatch, n):
  rng = np.random.default_rng(0)
  names = [
    'images_per_second',
    'loss_real',
    'loss_G',
    'grad_norm_G',
    'grad_norm_D',
    'D_real',
    'fid',
  ]
  values = {name: rng.normal(size=n) for name in names}
  values['grad_norm_G'], values['grad_norm_D'] = 10 ** rng.uniform(-2, 2, (2, n))
  values['grad_norm_G'][0], values['loss_G'][n // 2] = 100, 1000
  with open(tmp_path / 'metrics.jsonl', 'w') as file:
    for i in range(n):
      record = {name: float(values[name][i]) for name in names}
      file.write(json.dumps({'step': 10 * i, **record, 'other': None}) + '\n')
  (tmp_path / 'config.json').write_text('{"name": "dcgan_cifar"}')
  figure, axes = _axes(tmp_path, monkeypatch)
  assert figure.get_suptitle() == 'dcgan_cifar'
  cut = '  (outliers cut off)' if n == 5000 else ''
  panels = ['loss' + cut, 'D real', 'grad norm', 'images per second', 'fid']
  assert list(axes) == panels
  lines = {line.get_label(): line for a in figure.axes for line in a.get_lines()}
  if n == 1:
    assert len(lines) == 7
    return
  assert sorted(lines) == sorted(names)
  assert axes['grad norm'].get_yscale() == 'log'
  assert axes['fid'].get_yscale() == 'linear'
  x, y = lines['fid'].get_data()
  if n == 10:
    np.testing.assert_array_equal(x, 10 * np.arange(10))
    np.testing.assert_allclose(y, values['fid'])
  else:
    size = np.diff(np.linspace(0, n, 121).astype(int))
    np.testing.assert_allclose(np.sum(y * size), values['fid'].sum(), atol=1e-9)
    assert len(x) == 120 and (np.diff(x) > 0).all()
    (band,) = axes['fid'].collections
    edges = band.get_paths()[0].vertices[:, 1]
    assert edges.min() == values['fid'].min() and edges.max() == values['fid'].max()
    assert axes['loss' + cut].get_ylim()[1] < 10


def test_curves_without_metrics_draw_nothing(tmp_path):
  assert curves.draw(tmp_path) is None
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "loss_G": null}\n{"step": 2, "lo')
  assert curves.draw(tmp_path) is None
  assert not (tmp_path / 'curves.png').exists()


def test_nothing_heavy_is_imported(tmp_path):
  """Neither torch, which tensorboardX would import, nor TensorFlow, matplotlib or W&B."""
  for name in ('torch', 'tensorflow', 'matplotlib', 'wandb'):
    (tmp_path / f'{name}.py').write_text(f'raise SystemExit("imported {name}")')
  code = f"""
    import sys
    import ganjax.media.image, ganjax.workdir.writer
    w = ganjax.workdir.writer.Writer({str(tmp_path / 'run')!r}, 0)
    w.write(1, {{'loss_G': 1}})
    w.close()
    ganjax.workdir.writer.Writer({str(tmp_path / 'run')!r}, 1).close()
    print(sorted({{'torch', 'tensorflow', 'matplotlib', 'wandb'}} & set(sys.modules)))
  """
  path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
  run = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(code)],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': path},
  )
  assert (run.returncode, run.stdout, run.stderr) == (0, '[]\n', '')


def test_wandb_gets_metrics_and_its_run_goes_on(tmp_path, monkeypatch):
  calls = []

  class Run:
    id = 'r1'

    def define_metric(self, name, step_metric):
      calls.append(('define', name, step_metric))

    def log(self, values):
      calls.append(('log', values))

    def finish(self):
      calls.append(('finish',))

  def init(**arguments):
    calls.append(('init', arguments))
    if arguments.get('project') == 'refused':
      raise fake.Error('no API key\nmore')
    return Run()

  fake = types.ModuleType('wandb')
  fake.init, fake.Error, fake.Image = init, type('Error', (Exception,), {}), lambda p: p.size
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  w = Writer(tmp_path, 0, wandb={'project': 'ganjax'})
  w.write(2, {'loss_G': 1})
  w.image(2, 'samples', np.zeros((4, 6, 3), np.uint8))
  w.close()
  Writer(tmp_path, 2, wandb={'project': 'ganjax'}).close()
  start = {'dir': str(tmp_path), 'resume': 'allow', 'project': 'ganjax'}
  assert calls == [
    ('init', {'id': None, **start}),
    ('define', '*', 'step'),
    ('log', {'step': 2, 'loss_G': 1.0}),
    ('log', {'step': 2, 'samples': (6, 4)}),
    ('finish',),
    ('init', {'id': 'r1', **start}),
    ('define', '*', 'step'),
    ('finish',),
  ]
  with pytest.raises(UserError, match='W&B did not start: no API key$'):
    Writer(tmp_path, 2, wandb={'project': 'refused'})
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(UserError, match=r"in the checkout, pip install '.\[wandb\]'"):
    Writer(tmp_path, 2, wandb={})
