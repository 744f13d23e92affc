"""Every recipe of sound, music, text, solids and molecules: three steps, the same when stopped after two; its files."""

import io
import struct
import wave

import jax
import numpy as np
import pytest
import slow
from PIL import Image
from test_config import load
from test_dispatch import Signalled, train  # noqa: F401

from ganjax import experiment
from ganjax.data import midi
from ganjax.media import roll
from ganjax.sampling import sample
from ganjax.weights import export

ALL = dict(batch_size=4, steps=3, log_every_steps=1, sample_every_steps=3, checkpoint_every_steps=3)
NARROW = {'networks.width': 2, 'networks.width_D': 2}
NOTES = {**NARROW, 'data.length': 256, 'data.count': 36}
SOUNDS = {**NARROW, 'data.length': 64, 'data.rate': 8000, 'networks.post_taps': 9}
ROLLS = {'networks.width': 1, 'networks.width_D': 1, 'data.bars': 1, 'data.steps': 2}
SOLIDS = {**NARROW, 'data.resolution': 8}
# What a recipe has here instead; `{}` is the folder below.
TINY = {
  'wavegan_notes': NOTES,
  'wavegan_folder': {**SOUNDS, 'data.data_dir': '{}/sounds'},
  'specgan_notes': {**NOTES, 'networks.rounds': 2},
  'musegan_chorales': {**ROLLS, 'data.count': 20},
  'musegan_folder': {**ROLLS, 'data.pitches': 24, 'data.data_dir': '{}/music'},
  'wgan_gp_text': {'networks.width': 2, 'data.length': 8, 'data.data_dir': '{}/lines.txt'},
  'gan3d_solids': {**SOLIDS, 'data.count': 20},
  'gan3d_folder': {**SOLIDS, 'data.data_dir': '{}/solids'},
  'molgan_smiles': {**NARROW, 'data.atoms': 4, 'data.data_dir': '{}/a.smi'},
}
PACKAGES = {'wavegan_folder': 'soundfile', 'musegan_folder': 'mido', 'molgan_smiles': 'rdkit'}
PACKAGES |= {'musegan_chorales': 'mido'}  # for files


class StoppedAfterTwo(Signalled):
  last = 2


@pytest.fixture
def own(tmp_path):
  """Sounds, music, solids, lines and molecules of one's own."""
  folder = tmp_path / 'own'
  for name in 'sounds', 'music', 'solids':
    (folder / name).mkdir(parents=True)
  rng = np.random.default_rng(0)
  for i in range(2):
    with wave.open(str(folder / f'sounds/{i}.wav'), 'wb') as file:
      file.setparams((1, 2, 16_000, 0, 'NONE', ''))
      file.writeframes(rng.integers(-9999, 9999, 500).astype(np.int16).tobytes())
  pairs = b''.join(struct.pack('?B', value, 1) for value in rng.integers(0, 2, 512))
  head = b'#binvox 1\ndim 8 8 8\ntranslate 0 0 0\nscale 1\ndata\n'
  (folder / 'solids/a.binvox').write_bytes(head + pairs)
  np.savez(folder / 'solids/b.npz', rng.integers(0, 2, (5, 8, 8, 8)).astype(bool))
  (folder / 'lines.txt').write_text('\n'.join(map(str, range(100, 140))))
  (folder / 'a.smi').write_text('CCO\nCCN\nC=O\nC#N\nCCF\nCCC\n')
  return folder


def read(content, ending, run):
  """A sample as its file has it."""
  field = run.spans[0].fields[run.method.makes]
  if ending == '.wav':
    with wave.open(io.BytesIO(content)) as file:
      assert (file.getframerate(), file.getnchannels()) == (field.rate, 1)
      return np.frombuffer(file.readframes(file.getnframes()), np.int16)[:, None]
  if ending == '.mid':
    try:
      return midi.read(content, field.rate, *field.shape[1:])
    except ValueError as e:
      assert 'no notes' in str(e)
      return np.zeros(field.shape, bool)
  return content.decode().splitlines()


@pytest.mark.parametrize('name', slow.but(TINY, 'gan3d_solids'))
def test_three_steps_and_a_file(name, train, own, tmp_path):  # noqa: F811
  if name in PACKAGES:
    pytest.importorskip(PACKAGES[name])
  if name == 'musegan_folder':
    x = np.random.default_rng(0).random((64, 24, 5)) < 0.1
    (own / 'music/a.mid').write_bytes(roll.to_midi(x, {}, 2))
  config, _ = load(name)
  fields = {k: v.format(own) if k == 'data.data_dir' else v for k, v in TINY[name].items()}
  config.update_from_flattened_dict({**ALL, **fields})
  config.method.n_critic = 1  # each more is compiled again
  status, whole, lines = train('whole', config)
  assert status == 0 and whole['step'] == 3 and [line['step'] for line in lines] == [1, 2, 3]
  values = [v for line in lines for v in line.values() if isinstance(v, float)]
  assert np.isfinite(values).all() and all(line['loss_G'] for line in lines)
  status, *_ = train('parts', config, make=lambda c: StoppedAfterTwo(*experiment.build(c)))
  assert status == 143
  status, resumed, again = train('parts', config)
  assert status == 0 and again == lines
  jax.tree.map(np.testing.assert_array_equal, resumed, whole)

  run, workdir = experiment.load(tmp_path / 'whole'), tmp_path / 'whole'
  kind = run.spans[0].fields[run.method.makes].kind
  grid = Image.open(workdir / 'samples/00000003.png')
  assert grid.text['Description'] == f'synthetic {kind}'
  about = export.describe(run, workdir, 3, 'ema', 'running', 0)
  assert about['Description'] == f'generator of synthetic {kind}s'
  made = lambda format, ending: sample.make(workdir, {'seeds': '5', 'format': format}, ending)
  with np.load(io.BytesIO(made('npz', '.npz')[0])) as file:
    stored = file['arr_0'][0]
  content, ending = made('files', '')
  assert f'"Description": "synthetic {kind}"'.encode() in content
  found = read(content, ending, run)
  if name == 'musegan_chorales':  # parts without notes are not counted
    stored = stored[..., np.argsort(~stored.any((0, 1)), kind='stable')]
  if kind in ('sound', 'roll'):
    np.testing.assert_array_equal(found, stored)
  elif kind == 'solid':
    sides = np.pad(stored[..., 0], 1).astype(int)
    faces = sum(np.abs(np.diff(sides, axis=axis)).sum() for axis in range(3))
    assert sum(line.startswith('f ') for line in found) == faces
  else:
    assert (ending, len(found)) in (('.txt', 2), ('.smi', 1), ('.smi', 2))
