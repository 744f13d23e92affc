"""Metrics of samples that are no pictures: closed forms, and sounds, solids and lines through the evaluation."""

import math

import jax
import numpy as np
import pytest
import scipy

from ganjax import UserError, data
from ganjax.data.sets import moving, notes, solids
from ganjax.devices import sharding
from ganjax.evaluation import measure, sides
from ganjax.evaluation.presets import higher_is_better, parse_metrics, parse_presets
from ganjax.features import notes as judge
from ganjax.media import Field, line, molecule
from ganjax.metrics import molecules, motion, ngrams, pitch, rolls, voxels

RATE = 8000


def test_the_tracker_hears_sines_saws_and_nothing():
  t = np.arange(2048) / RATE
  wanted = np.array([110.0, 261.63, 440.0, 987.77])
  phase = t * wanted[:, None]
  # Those of a saw at 8 samples a period lie between samples: an eighth of a semitone off at most.
  for wave in np.sin(2 * np.pi * phase), phase % 1 - 0.5:
    np.testing.assert_allclose(pitch.track(wave, RATE), wanted, rtol=1.5e-2)
  # A tone whose first partial is missing still has its pitch.
  missing = sum(np.sin(2 * np.pi * k * phase[:2]) for k in (2, 3, 4))
  np.testing.assert_allclose(pitch.track(missing, RATE), wanted[:2], rtol=5e-3)
  noise = np.random.default_rng(0).normal(size=(3, 2048))
  assert (pitch.track(noise, RATE) == 0).sum() >= 2
  assert pitch.track(np.zeros((1, 2048)), RATE) == [0]


def test_the_tracker_hears_the_notes_of_the_data():
  """All three instruments; a semitone off none is right."""
  rows = np.arange(72)
  midi, instrument = 72 + rows % 12, rows // 12 % 3
  x = notes.render(rows, 0, 4096, RATE, midi, instrument)[..., 0] / 2**15
  assert pitch.accuracy(x, RATE, midi) == 1
  assert pitch.accuracy(x, RATE, midi + 1) == 0


def test_names_of_notes():
  assert [pitch.midi(name) for name in ('A4', 'C4', 'C#5', 'B-1')] == [69, 60, 73, 11]
  assert all(pitch.midi(notes.name_of(n)) == n for n in range(128))
  with pytest.raises(UserError, match="notes, such as A4 or C#5, and there is 'cat'"):
    pitch.midi('cat')


def test_solids_in_pieces_are_not_valid():
  x = np.zeros((4, 8, 8, 8), bool)
  x[1, :4], x[2, :4], x[3, :2] = True, True, True
  x[2, 6, 0, 0] = True  # a crumb of 256
  x[3, 5:7] = True
  assert [voxels.validity(x[i : i + 1]) for i in range(4)] == [0, 1, 1, 0]
  overlap = voxels.overlaps(x[1:], x)
  assert overlap[0, 1] == 1 and overlap[0, 2] == pytest.approx(256 / 257)
  assert overlap[0, 3] == pytest.approx(128 / (256 + 256 - 128)) and not overlap[:, 0].any()
  assert voxels.coverage(overlap) == 3 / 4


def test_runs_of_characters():
  same, other = ['abab', 'ba'], ['cdcd']
  assert ngrams.divergence(same, same, 2) == 0
  assert ngrams.divergence(same, other, 2) == pytest.approx(math.log(2))
  assert ngrams.shares(['aab'], 2) == {'aa': 0.5, 'ab': 0.5}
  # {a: 1} beside {a: 1/2, b: 1/2}.
  by_hand = (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
  assert ngrams.divergence(['a'], ['ab'], 1) == pytest.approx(by_hand)
  assert ngrams.copied(['abab', 'x'], same) == 0.5


def test_counts_of_rolls():
  """Two bars of 16 steps for two voices: a C major scale over a C, then one voice alone, then silence."""
  x = np.zeros((2, 32, 24, 2), bool)
  for i, key in enumerate((0, 2, 4, 5, 7, 9, 11, 12)):
    x[0, 2 * i : 2 * i + 2, key, 0] = True
  x[0, :16, 0, 1] = True
  x[0, 16:20, 6, 1] = True
  x[0, 31, 6, 1] = True  # one step alone
  assert rolls.empty_bars(x, 4) == (1 + 4) / 8
  assert rolls.pitch_classes(x, 4) == (7 + 1 + 1) / 3
  assert rolls.qualified(x, 4) == 10 / 11
  assert rolls.qualified(x, 24) == (1 + 1) / 11  # of three steps at least, as in the paper
  assert rolls.in_scale(x) == 35 / 37  # G major lacks the F alone
  assert all(rolls.in_scale(np.roll(x, k, 2)) == rolls.in_scale(x) for k in range(12))
  with_drums = np.concatenate([np.ones_like(x[..., :1]), x, x], -1)
  assert rolls.in_scale(with_drums) == rolls.in_scale(x)
  for value in rolls.pitch_classes(x[1:], 4), rolls.qualified(x[1:], 4), rolls.in_scale(x[1:]):
    assert math.isnan(value)
  assert rolls.empty_bars(x[1:], 4) == 1 and math.isnan(rolls.tonal_distance(x[1:], 4))


def test_counts_of_molecules():
  found = ['CO', 'CO', None, 'C', 'N']
  assert molecules.validity(found) == 0.8 and molecules.uniqueness(found) == 0.75
  assert molecules.novelty(found, ['CO', None, 'F']) == 0.5
  assert molecules.validity([None]) == 0 and math.isnan(molecules.uniqueness([None]))
  assert math.isnan(molecules.novelty([None], ['C']))


def test_tonal_distance_is_by_the_circles_of_fifths_and_thirds():
  def between(a, b):
    x = np.zeros((1, 16, 24, 2), bool)
    x[0, :, a, 0], x[0, :8, b, 1] = True, True
    return rolls.tonal_distance(x, 4)

  # Chords of the angles that a step on each circle turns by, r = 1, 1, 1/2.
  chord = lambda k: math.sqrt(
    sum(
      (2 * r * math.sin(k * turn * math.pi / 2)) ** 2
      for r, turn in ((1, 7 / 6), (1, 1.5), (0.5, 2 / 3))
    )
  )
  assert between(0, 0) == between(0, 12) == 0
  for k in range(1, 12):
    assert between(0, k) == pytest.approx(chord(k)) and between(3, 3 + k) == pytest.approx(chord(k))
  assert between(0, 7) < between(0, 4) < between(0, 6)


ROOM, SPEED = (20.0, 13.0), (1.0, 4.0)


def paths(count, length, speed=SPEED):
  """Float paths [count, length, 2] that reflect, each at an offset of its own."""
  _, path = moving.lay_out('train', 1, ROOM, speed)
  found = np.stack([path(i, np.arange(length))[:, 0] for i in range(count)])
  return found + np.random.default_rng(0).uniform(0, 5, (count, 1, 2))


def test_paths_that_reflect_are_found_with_their_turns():
  x = paths(60, 16)
  nearest, turns = motion.fit(x, ROOM, SPEED)
  assert np.sqrt(((x - nearest) ** 2).sum(2).mean(1)).max() < 0.25  # by the grid of paths
  steps = np.diff(x, axis=1)
  bends = np.linalg.norm(np.diff(steps, axis=1), axis=2) > 0.6
  assert 0.1 < turns.mean() < 0.6
  # Where a path bends there is a turn in the step before or after.
  assert (bends <= (turns[:, 1:] | turns[:, :-1])).all()
  # A path of another speed, or between borders that lie nearer, is none of these.
  distance = lambda *how: np.sqrt(((x - motion.fit(x, *how)[0]) ** 2).sum(2).mean(1)).mean()
  assert distance(ROOM, (5.0, 6.0)) > 2 and distance((10.0, 6.0), SPEED) > 2


def drawn(paths, side=40):
  """Clips with a square of 6 pixels at the nearest whole pixels; its middle is 2.5 further."""
  clips = np.full((*paths.shape[:2], side, side, 3), 255, np.uint8)
  for clip, path in zip(clips, np.round(paths).astype(int)):
    for frame, (y, x) in zip(clip, path):
      frame[y : y + 6, x : x + 6] = 0, 90, 230
  return clips


def test_motion_of_drawings():
  x = paths(40, 12)
  clips = drawn(x)
  np.testing.assert_allclose(motion.positions(clips, 255), np.round(x) + 2.5, rtol=1e-12)
  measure = lambda clips: motion.measure(motion.positions(clips, 255), (34, 34), SPEED)
  # Borders 34 apart in the clips, which the paths do not reach; so of those that fly straight.
  straight = np.array([4, 5]) + np.arange(12)[:, None] * np.array([2.0, 1.0])
  found = measure(drawn(straight[None]))
  assert found.speed == pytest.approx(5**0.5) and found.steady == 1 and found.blank == 0
  assert found.bounce_error < 0.1
  shuffled = measure(drawn(straight[None, np.random.default_rng(0).permutation(12)]))
  assert shuffled.bounce_error > 3 and shuffled.steady < 0.3 and shuffled.speed > 5
  still = measure(drawn(straight[None, :1].repeat(12, 1)))
  assert still.speed == 0
  # Of the slowest path, 1 pixel a frame, that turns halfway: the deviation of 6 numbers in a row.
  assert still.bounce_error == pytest.approx((35 / 12) ** 0.5, rel=0.05)
  # Faint noise is ground. A frame without a drawing leaves its clip out.
  noisy = drawn(straight[None].repeat(4, 0)).astype(int)
  noisy += np.random.default_rng(0).integers(-30, 1, noisy.shape) * (noisy == 255)
  noisy[0, 3] = 250
  found = measure(noisy.astype(np.uint8))
  assert found.blank == 1 / 4 and found.bounce_error < 0.1
  assert math.isnan(measure(np.full((2, 5, 40, 40, 3), 255, np.uint8)).speed)


def test_motion_goes_through_the_evaluation():
  how = dict(dataset='moving', resolution=32, size=8, frames=10)
  source = data.build(**how)
  real = sides.of_source(source, 'clip').take(24)
  x = source.read(np.arange(24, 40))['clip'].astype(np.float32) / 127.5 - 1
  values = found('motion', fakes(source.fields['clip'], jax.numpy.asarray(x), 16), real)
  assert len(values) == 8 and values['motion_blank'] == values['motion_blank_real'] == 0
  for end in '', '_real':
    assert values[f'motion_bounce_error{end}'] < 0.5 and values[f'motion_steady{end}'] > 0.9
  still = fakes(source.fields['clip'], jax.numpy.asarray(x[:, :1].repeat(10, 1)), 16)
  values = found('motion', still, real)
  assert values['motion_speed'] == 0 < 1.5 < values['motion_speed_real']
  two = sides.of_source(data.build(**how, number=2), 'clip')
  with pytest.raises(UserError, match='motion follows the one drawing of data.dataset=moving'):
    found('motion', still, two)
  short = fakes(source.fields['clip'], jax.numpy.asarray(x[:, :2]), 16)
  with pytest.raises(UserError, match='of 3 frames and more, and fakes has 2'):
    found('motion', short, real)


def fakes(field, x, count, labels=None, names=None):
  """A side of a generator that gives x, floats [N, ...]."""
  sample = lambda state, rows: x[rows % len(x)]
  return sides.Side(
    count=count, info={'name': 'fakes'}, rows=lambda i: i, images=sample, sample=sample,
    field=field, labels=labels, class_names=names,
  )  # fmt: skip


def found(metric, fake, real):
  mesh = sharding.make_mesh(jax.devices()[:2])
  how = dict(extractors=None, mesh=mesh, batch_size=8)
  results = measure.measure(fake, real, parse_metrics(metric), parse_presets('ttur,clean'), **how)
  (result,) = results  # of one preset, whatever presets there are
  assert result.record['preset'] is None
  return result.record['values']


def test_samples_go_through_the_evaluation():
  source = data.build(dataset='notes', length=4096, rate=RATE, count=36, cache=False)
  real = sides.of_source(source, 'sound')
  x = np.asarray(source.read(np.arange(36))['sound'], np.float32) / 2**15
  names, labels = source.class_names, (np.arange(36) % 12)
  wrong = np.where(np.arange(36) < 9, (labels + 1) % 12, labels)
  fake = fakes(source.fields['sound'], jax.numpy.asarray(x), 36, lambda: wrong, names)
  assert found('pitch', fake, real) == {'pitch_accuracy': 0.75, 'pitch_accuracy_real': 1}
  source = data.build(dataset='solids', resolution=16, count=20)
  real = sides.of_source(source, 'solid')
  x = np.where(solids.draw(20, 0, 16)['solid'][:10], 0.9, -0.9)
  values = found('voxels', fakes(source.fields['solid'], jax.numpy.asarray(x), 20), real)
  assert values['voxels_coverage'] == 0.5 and values['voxels_overlap'] == 1
  assert values['voxels_valid'] == values['voxels_valid_real'] == 1
  with pytest.raises(UserError, match='solids:train has 20 solids, fewer than the 21 asked for'):
    real.take(21)
  source = data.build(dataset='lines', length=8)
  real = sides.of_source(source, 'line')
  x = line.to_float(source.read(np.arange(40))['line'])
  values = found('ngrams', fakes(source.fields['line'], x, 40), real)
  assert values['ngrams_copied'] == 1 and 0 < values['ngrams_js_1'] < values['ngrams_js_4']

  source = data.build(dataset='chorales', count=24)
  real = sides.of_source(source, 'roll')
  x = np.where(source.read(np.arange(8))['roll'], 0.9, -0.9)
  values = found('rolls', fakes(source.fields['roll'], jax.numpy.asarray(x), 8), real)
  assert values['rolls_in_scale'] == values['rolls_in_scale_real'] == 1
  assert values['rolls_empty_bars'] == 0 and len(values) == 10
  assert values['rolls_tonal_distance'] == rolls.tonal_distance(x > 0, 4)


def test_the_distance_of_sounds_orders_them():
  """Other notes of the data, at either rate, are near; the further off pitch, instrument and noise, the farther."""
  rows, instrument = np.arange(144), np.arange(144) // 12 % 3

  def side(higher=0.0, instrument=instrument, noise=0.0, split=1, rate=RATE):
    x = notes.render(rows, split, rate // 2, rate, 72 + rows % 12 + higher, instrument) / 2**15
    x = x + noise * np.random.default_rng(0).normal(size=x.shape)
    return fakes(Field('sound', x.shape[1:], rate), jax.numpy.asarray(x, 'float32'), len(x))

  real = side(split=0)
  distance = lambda **how: found('fd_notes', side(**how), real)['fd_notes']
  same, other, faster = distance(split=0), distance(), distance(rate=2 * RATE)
  network = jax.jit(lambda x: judge.Classifier().apply({'params': judge.load()[0]}, x)['features'])
  of = lambda side: network(judge.resample(side.images({}, rows)[..., 0], RATE))
  a, b = (np.asarray(of(one), float) for one in (real, side()))
  mean, (c, d) = a.mean(0) - b.mean(0), (np.cov(x.T) for x in (a, b))
  root = scipy.linalg.sqrtm(c @ d + 1e-9 * np.eye(64)).real
  assert other == pytest.approx(mean @ mean + np.trace(c + d - 2 * root), rel=1e-2)
  assert same == pytest.approx(0, abs=1e-3) and 0 < other < 30 and faster < 30
  assert 1.5 * max(other, faster) < distance(higher=0.25) < distance(higher=1) < distance(higher=7)
  some, all_sines = np.where(rows % 2, 0, instrument), 0 * instrument
  assert 10 * other < distance(instrument=some) < distance(instrument=all_sines)
  noisy = [distance(split=0, noise=size) for size in (1e-3, 1e-2, 0.1)]
  assert 1 < noisy[0] < 0.1 * noisy[1] < 0.1 * noisy[2]
  assert higher_is_better('fd_notes') is False
  with pytest.raises(UserError, match='fd_notes needs the pictures of a real side'):
    measure.check(parse_metrics('fd_notes'), real, None)


def test_molecules_go_through_the_evaluation():
  pytest.importorskip('rdkit')
  source = data.build(dataset='molecules', count=30)
  real = sides.of_source(source, 'molecule')
  x = np.array(source.read(np.arange(8))['molecule'], np.float32)
  x[:2, :, 0] = 2  # no atoms
  values = found('molecules', fakes(source.fields['molecule'], jax.numpy.asarray(x), 8), real)
  different = len({molecule.smiles(one) for one in x[2:]}) / 6
  assert values == {
    'molecules_valid': 0.75, 'molecules_unique': different, 'molecules_novel': 0, 'molecules_valid_real': 1
  }  # fmt: skip
  assert higher_is_better('molecules_valid')


def test_metrics_are_of_their_kind():
  assert higher_is_better('rolls_qualified') is None
  assert higher_is_better('pitch_accuracy') and not higher_is_better('ngrams_js_4')
  sound = fakes(Field('sound', (64, 1), RATE), np.zeros((2, 64, 1)), 2)
  picture = fakes(None, np.zeros((2, 8, 8, 3)), 2)
  for metric, side, message in (
    ('pitch', picture, 'pitch is for sounds, and fakes has images'),
    ('ms_ssim', sound, 'ms_ssim is for pictures, and fakes has sounds'),
    ('voxels', sound, 'voxels is for solids, and fakes has sounds'),
  ):
    with pytest.raises(UserError, match=message):
      measure.check(parse_metrics(metric), side, None)
  with pytest.raises(UserError, match='pitch needs labels that are notes'):
    found('pitch', sound, None)
