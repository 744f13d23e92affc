"""What a run leaves besides checkpoints: metrics.jsonl, TensorBoard events, W&B, config.

TensorBoard's event files are written here, record by record, rather than by tensorboardX's writers:
those hand records to a thread, which dies silently on a full disk and then blocks the training.
Their layout: TFRecord framing (length, CRC of it, data, CRC of that) around Event messages.
"""

import contextlib
import io
import json
import math
import pathlib
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image

from ganjax import UserError
from ganjax.workdir import files

_ADVICE = (
  '. Earlier checkpoints are intact: make the place writable or free some space, then run the same '
  'command again'
)


class Writer:
  """Writes a run's metrics and pictures below `workdir`. One per run: only process 0 makes one.

  Opened at the step that the run was restored at, it drops what was written after that step (and a
  half-written end), so that a run that was killed and resumed leaves the metrics.jsonl of one that
  never stopped. Step 0 is a fresh start: it drops everything.

  Args:
    workdir: folder, made if missing.
    step: the step of the restored checkpoint, 0 for none.
    wandb: None, or a dict of arguments for `wandb.init` (project, name, config, ...). The run id is
      kept in workdir/wandb_id, so a resumed run goes on in the same W&B run; points after the
      restored step then appear twice there, as W&B cannot forget them.

  Every method raises UserError if the disk is full or the workdir cannot be written.
  """

  def __init__(
    self, workdir: str | pathlib.Path, step: int, wandb: dict[str, Any] | None = None
  ) -> None:
    self._workdir = pathlib.Path(workdir)
    self._metrics_path = self._workdir / 'metrics.jsonl'
    folder = self._workdir / 'tensorboard'
    with files.user_errors(folder, _ADVICE):
      folder.mkdir(parents=True, exist_ok=True)
      if self._metrics_path.exists():
        _cut(self._metrics_path, _cut_lines, step)
      for path in folder.glob('*tfevents*'):
        _cut(path, _cut_events, step)
      self._metrics = self._metrics_path.open('ab', buffering=0)
      self._events_path = folder / f'events.out.tfevents.{time.time():.6f}.ganjax'
      self._events = self._events_path.open('xb', buffering=0)
    self._write_event(file_version='brain.Event:2')
    if step:  # A TensorBoard that is open forgets the later steps it has shown.
      self._write_event(step=step + 1, session_log={'status': 'START'})
    self._wandb = None if wandb is None else _open_wandb(self._workdir, wandb)

  def write(self, step: int, metrics: Mapping[str, float | Sequence[float]]) -> None:
    """Appends {'step': step, **metrics} to metrics.jsonl and TensorBoard; values are numbers, or lists of seeds'.

    A list becomes its mean under the name, its deviation as NAME_std, and NAME/0, NAME/1, ...
    JSON has no NaN and Inf: they become null in metrics.jsonl and stay as they are in TensorBoard.
    The line is handed to the system at once: after kill -9 at most the last one is cut short.
    """
    metrics = {name: float(value) for name, value in _spread(metrics)}
    line = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
    with files.user_errors(self._metrics_path, _ADVICE):
      _append(self._metrics, json.dumps({'step': int(step), **line}).encode() + b'\n')
    values = [{'tag': name, 'simple_value': value} for name, value in metrics.items()]
    self._write_event(step=int(step), summary={'value': values})
    if self._wandb:
      self._wandb.log({'step': int(step), **metrics})

  def image(self, step: int, name: str, array: np.ndarray) -> None:
    """Shows array uint8 [H, W, 1 or 3] in TensorBoard (and W&B) under `name`."""
    array = np.asarray(array)
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    png = io.BytesIO()
    picture.save(png, 'PNG')
    height, width, channels = array.shape
    image = {'height': height, 'width': width, 'colorspace': channels}
    image['encoded_image_string'] = png.getvalue()
    self._write_event(step=int(step), summary={'value': [{'tag': name, 'image': image}]})
    if self._wandb:
      import wandb

      self._wandb.log({'step': int(step), name: wandb.Image(picture)})

  def close(self) -> None:
    """Closes the files; nothing may be written afterwards."""
    self._metrics.close()
    self._events.close()
    if self._wandb:
      self._wandb.finish()

  def _write_event(self, **fields):
    event_pb2, checksum = _tensorboard()
    data = event_pb2.Event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack('<Q', len(data))
    record = length + struct.pack('<I', checksum(length)) + data + struct.pack('<I', checksum(data))
    with files.user_errors(self._events_path, _ADVICE):
      _append(self._events, record)


def _spread(metrics):
  for name, value in metrics.items():
    if np.ndim(value) == 0:
      yield name, value
    else:
      yield name, np.mean(value)
      yield f'{name}_std', np.std(value, ddof=1)
      yield from ((f'{name}/{k}', v) for k, v in enumerate(value))


def progress(
  step: int,
  steps: int,
  images_per_second: float,
  seconds_left: float | None,
  metrics: Mapping[str, float | Sequence[float]],
) -> str:
  """One console line: step, speed, time left, then the losses and D's outputs.

  Shows loss_real, loss_fake, loss_G, D_real and D_fake as far as they are there, then any other
  `loss_...`; of metrics that hold none of these, the first six. Of lists of several seeds' values mean and deviation.
  """
  main = ('loss_real', 'loss_fake', 'loss_G', 'D_real', 'D_fake')
  names = [n for n in main if n in metrics]
  names += [n for n in metrics if n.startswith('loss') and n not in main]
  text = lambda v: f'{v:.3f}' if abs(v) < 1000 else f'{v:.3g}'
  spread = lambda v: f'+-{text(np.std(v, ddof=1))}' if np.ndim(v) else ''
  values = {n: metrics[n] for n in names or list(metrics)[:6]}
  done = f'step {step:>{len(str(steps))}}/{steps}'
  speed = f'{images_per_second:.0f}' if images_per_second > 9.5 else f'{images_per_second:.2g}'
  shown = [f'{n} {text(np.mean(v))}{spread(v)}' for n, v in values.items()]
  return '  '.join([done, f'{speed} images/s', f'{duration(seconds_left)} left', *shown])


def parse_lines(content: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
  """Yields (line, record) for every whole line of metrics.jsonl that has a step."""
  for line in content.splitlines(keepends=True):
    with contextlib.suppress(ValueError):
      record = json.loads(line)
      if line.endswith(b'\n') and isinstance(record, dict) and 'step' in record:
        yield line, record


def _cut_lines(content, step):
  return b''.join(line for line, record in parse_lines(content) if 0 < step >= record['step'])


def _cut_events(content, step):
  """The records of an event file up to `step` that are whole; empty if none has a summary."""
  event_pb2, checksum = _tensorboard()
  kept, summaries, start = [], 0, 0
  while start + 12 <= len(content):
    length, length_crc = struct.unpack_from('<QI', content, start)
    end = start + 12 + length + 4
    if length_crc != checksum(content[start : start + 8]) or end > len(content):
      break
    data = content[start + 12 : end - 4]
    # The checksum of the data takes 50 ns a byte, and only what was written last can be damaged.
    if end == len(content) and checksum(data) != struct.unpack('<I', content[-4:])[0]:
      break
    try:
      event = event_pb2.Event.FromString(data)
    except DecodeError:
      break
    if event.file_version or event.step <= step:
      kept.append(content[start:end])
      summaries += event.HasField('summary')
    start = end
  return b''.join(kept) if summaries and step else b''


def _cut(path, cut, step):
  content = path.read_bytes()
  kept = cut(content, step)
  if not kept:
    path.unlink()
  elif len(kept) < len(content):
    with files.replace_file(path) as file:
      file.write(kept)


def _append(file, data):
  """Writes all of `data` to an unbuffered file: no buffer is left that fails again on closing."""
  data = memoryview(data)
  while data:
    data = data[file.write(data) :]


def _tensorboard():
  """Returns (event_pb2, masked_crc32c) of tensorboardX, kept from importing torch as it would."""
  absent = 'torch' not in sys.modules
  if absent:
    sys.modules['torch'] = None
  try:
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c
  finally:
    if absent:
      del sys.modules['torch']
  return event_pb2, masked_crc32c


def _open_wandb(workdir, arguments):
  try:
    import wandb
  except ImportError:
    raise UserError(
      "W&B is not installed: in the checkout, pip install '.[wandb]', or leave it off"
    ) from None
  path = workdir / 'wandb_id'
  run_id = path.read_text().strip() if path.exists() else None
  try:
    run = wandb.init(**{'dir': str(workdir), 'id': run_id, 'resume': 'allow', **arguments})
  except wandb.Error as error:
    raise UserError(f'W&B did not start: {str(error).splitlines()[0]}') from error
  run.define_metric('*', step_metric='step')
  with files.replace_file(path) as file:
    file.write(run.id.encode())
  return run


def duration(seconds: float | None) -> str:
  """As a line of progress has it: 42s, 3m07s, 2h05m, 4d01h."""
  if seconds is None or not math.isfinite(seconds):
    return '?'
  seconds = int(seconds)
  if seconds < 60:
    return f'{seconds}s'
  if seconds < 3600:
    return f'{seconds // 60}m{seconds % 60:02}s'
  if seconds < 100 * 3600:
    return f'{seconds // 3600}h{seconds // 60 % 60:02}m'
  return f'{seconds // 86400}d{seconds // 3600 % 24:02}h'
