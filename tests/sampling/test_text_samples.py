"""ganjax sample --text: a row a text, every seed in each; held-out captions without; films between texts."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_own_pictures import make_run

from ganjax import UserError, experiment
from ganjax import config as configs
from ganjax.evaluation import measure, presets, sides
from ganjax.sampling import grid, sample
from ganjax.sampling import own as mine


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """An untrained run whose weights do not make blocks the identity: pictures follow from their texts."""
  rng = np.random.default_rng(0)
  vary = lambda x: x + 0.2 * rng.normal(size=x.shape).astype(x.dtype)
  data = dict(
    dataset='emoji_captions', resolution=8, encoder='ngrams', encoder_path=None, text_size=None
  )
  return make_run(
    tmp_path_factory.mktemp('text') / 'run',
    vary,
    data=data,
    networks=dict(name='dfgan', width=2),
    method=dict(name='dfgan', z_dim=3),
    eval=dict(split='test'),
  )


def draw(run, out, *words):
  sample.COMMAND.read(['sample', '--workdir', str(run), '--out', str(out), *words])
  sample.main()


def pictures(path):
  with np.load(path) as file:
    return file['arr_0'], json.loads(str(file['metadata']))


def test_a_row_of_the_grid_is_a_text(run, tmp_path):
  words = ['--text', 'a red taxi', '--text', 'blue heart', '--seeds', '3-5']
  draw(run, tmp_path / 'grid.png', *words)
  draw(run, tmp_path / 'all.npz', *words)
  found, about = pictures(tmp_path / 'all.npz')
  assert found.shape == (6, 8, 8, 3) and about['texts'] == ['a red taxi', 'blue heart']
  assert len(np.unique(found.reshape(6, -1), axis=0)) == 6
  shown = np.asarray(Image.open(tmp_path / 'grid.png'))
  np.testing.assert_array_equal(
    shown, np.concatenate([np.concatenate([*row], 1) for row in np.split(found, 2)])
  )
  draw(run, tmp_path / 'one.npz', '--text', 'blue heart', '--seeds', '4')
  np.testing.assert_array_equal(pictures(tmp_path / 'one.npz')[0][0], found[4])
  draw(run, tmp_path / 'files', *words, '--format', 'files')
  names = sorted(path.name for path in (tmp_path / 'files').iterdir())
  assert names[0] == 'a_red_taxi-seed000003.png' and len(names) == 6
  assert Image.open(tmp_path / 'files' / names[0]).text['seed'] == '3, a red taxi'


def test_without_a_text_held_out_captions_are_drawn(run, tmp_path):
  draw(run, tmp_path / 'held.npz', '--seeds', '0-2')
  _, about = pictures(tmp_path / 'held.npz')
  loaded = experiment.load(run)
  source = loaded.held_out(loaded.spans[0])
  assert about['texts'] == mine.captions(source, np.arange(3))['texts'] and len(about['texts']) == 3
  # A training grid: the caption, the sample, the picture.
  found = grid.build(loaded.method, loaded.spans[0].fields, lambda: source)
  assert found.left[0].shape == (16, 64, 96, 1) and found.right[0].shape == (16, 8, 8, 3)
  assert grid.draw(found, found.right[0]).shape[1] % (96 + 2 * 64) == 0


@pytest.mark.slow
def test_from_one_text_to_the_next(run, tmp_path):
  words = ['--text', 'taxi', '--text', 'heart', '--seeds', '0', '--frames', '4']
  draw(run, tmp_path / 'strip.png', *words, '--format', 'strip')
  draw(run, tmp_path / 'ends.npz', *words[:6])
  strip, (ends, _) = np.asarray(Image.open(tmp_path / 'strip.png')), pictures(tmp_path / 'ends.npz')
  assert strip.shape == (8, 5 * 8, 3)
  np.testing.assert_array_equal(strip[:, :8], ends[0])
  np.testing.assert_array_equal(strip[:, -8:], ends[1])


@pytest.mark.parametrize('words, message', [
  (['--text', ' '], '--text is empty'),
  (['--text', '?!'], 'has no word that the encoder ngrams knows'),
  (['--text', 'taxi', '--source', 'x.png'], 'take one of them'),
])  # fmt: skip
def test_what_is_refused(run, tmp_path, words, message):
  with pytest.raises(UserError, match=message):
    draw(run, tmp_path / 'no.png', *words)


def test_a_run_without_texts_says_so(tmp_path):
  other = make_run(
    tmp_path / 'gan', networks=dict(name='dcgan', width=2), method=dict(name='gan', z_dim=2)
  )
  with pytest.raises(UserError, match='samples of this run do not start from a text'):
    draw(other, tmp_path / 'no.png', '--text', 'taxi')


def test_r_precision_is_of_the_texts_that_samples_were_drawn_from(run):
  loaded = experiment.load(run)
  source = loaded.held_out(loaded.spans[0])
  state = SimpleNamespace()
  about = dict(num=source.num_examples + 3, seed=1, info={'name': 'run'}, source=source)
  fake = sides.generator(loaded.spans[0].stage, state, loaded.method, **about)
  seeds, _ = fake.rows(np.arange(2))
  texts = fake.texts()
  assert texts.shape == (about['num'], 256)
  wanted = source.read(seeds % source.num_examples, ('sentence',))['sentence']
  np.testing.assert_array_equal(texts[:2], wanted)
  real = sides.of_source(source, 'image').take(5)
  pictures, everything = real.rows(np.arange(5)), source.read(np.arange(source.num_examples))
  for picture, one in zip(pictures, real.texts()):
    same = (everything['image'] == picture).all((1, 2, 3))
    assert (everything['sentence'][same] == one).all(1).any()
  metrics = presets.parse_metrics('r_precision_efficientnet_lite0')
  assert metrics[0].values[0] == 'r_precision_efficientnet_lite0'
  assert presets.higher_is_better(metrics[0].values[0])
  measure.check(metrics, fake, real)
  with pytest.raises(UserError, match='the reals, run, have none: give --workdir'):
    measure.check(metrics, fake, real._replace(texts=None, info={'name': 'run'}))


def test_another_encoder_is_refused(run):
  loaded, known = experiment.load(run), {'name': 'ngrams', 'size': 256, 'version': 1}
  of = (loaded.config, loaded.spans[0].fields, loaded.method.examples)
  assert mine.texts(['taxi'], *of, known=known).num_examples == 1
  with pytest.raises(UserError, match="'version': 0.* bring back the files"):
    mine.texts(['taxi'], *of, known={**known, 'version': 0})


@pytest.mark.slow
def test_words_are_read_in_their_order(tmp_path):
  """AttnGAN's: what the words are and how they follow each other; no weights of the frozen network are needed."""
  rng = np.random.default_rng(0)
  vary = lambda x: x + 0.5 * rng.normal(size=x.shape).astype(x.dtype)
  adam = configs.adam()
  sizes = dict(width=2, width_D=1, residuals=1, vocabulary=64, embedding=8, features=8)
  run = make_run(
    tmp_path / 'run',
    vary,
    data=dict(dataset='emoji_captions', resolution=16, words=3),
    networks=dict(name='attngan', sides=(8, 16), **sizes),
    method=dict(name='attngan', z_dim=3, condition_dim=2, pretrain=1),
    optim=dict(G=adam, D=adam, damsm=adam),
    eval=dict(split='test'),
  )
  words = [x for one in ('red taxi', 'taxi red', 'Red TAXI') for x in ('--text', one)]
  draw(run, tmp_path / 'all.npz', *words, '--seeds', '3')
  found, _ = pictures(tmp_path / 'all.npz')
  assert found.shape == (3, 16, 16, 3) and np.any(found[0] != found[1])
  np.testing.assert_array_equal(found[0], found[2])
