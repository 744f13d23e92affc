"""The engine: what it computes is what the metrics say of the features, however the work is cut up; what it records."""

import json
import re
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, run_record
from ganjax.devices.sharding import make_mesh
from ganjax.evaluation import measure as engine
from ganjax.evaluation import reference, sides
from ganjax.evaluation.extract import FeaturePlan, Stopped, extract
from ganjax.evaluation.measure import measure
from ganjax.evaluation.presets import PRESETS, higher_is_better, parse_metrics, parse_presets
from ganjax.features import Extractor
from ganjax.media import Field
from ganjax.metrics import cas, fid, inception_score, kid, prdc

DIM = 12


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  monkeypatch.setattr(reference, '_memory', {})
  return tmp_path / 'cache' / 'statistics'


class Networks:
  """A feature network of one matrix, in place of those that take minutes; `runs` counts what it was traced with."""

  def __init__(self, seed=0):
    self.matrix = np.random.default_rng(seed).normal(size=(4 * 4 * 3, DIM)).astype(np.float32)
    self._made = {}

  def get(self, network, preset):
    scale = {'resize': preset.resize, 'scale': list(preset.scale)} if network == 'inception' else {}
    key = (network, str(scale))
    if key not in self._made:
      offset, factor = preset.scale if scale else (0.0, 1 / 255)

      def apply(variables, images):
        x = (images.astype(jnp.float32) - offset) * factor
        x = jnp.tanh(x.reshape(len(x), -1) @ variables['matrix'])
        return {
          'features': x,
          'logits': x[:, :5] + 1,
          'logits_unbiased': x[:, :5],
          'spatial': x[:, ::2],
        }

      info = {
        'network': network,
        'resize': 'none',
        'scale': [0, 1],
        'dtype': 'float32',
        'weights_file': 'f',
      }
      info |= {'weights_sha256': f'{self.matrix.sum()}', **scale}
      self._made[key] = Extractor(network, {'matrix': self.matrix}, apply, info)
    return self._made[key]

  def features(self, images, offset=128.0, factor=1 / 128):
    x = (images.reshape(len(images), -1).astype(np.float32) - np.float32(offset)) * np.float32(
      factor
    )
    return np.tanh(x @ self.matrix)


def _pictures(n, seed=0, low=0):
  return np.random.default_rng(seed).integers(low, 256, (n, 4, 4, 3)).astype(np.uint8)


def _side(images, labels=None, name='x', content=None):
  labels = None if labels is None else (lambda labels=labels: labels)
  return sides._stored(len(images), {'name': name}, lambda i: images[i], labels, content)


def _measure(fake, real, metrics, presets='ttur', networks=None, devices=4, batch=32, **more):
  return measure(
    fake,
    real,
    parse_metrics(metrics),
    parse_presets(presets),
    extractors=networks or Networks(),
    mesh=make_mesh(jax.devices()[:devices]),
    batch_size=batch,
    **more,
  )


def _values(results):
  return {k: v for r in results for k, v in r.record['values'].items()}


def test_values_are_those_of_the_metrics_on_the_features(monkeypatch):
  monkeypatch.setattr(engine, 'KID_SUBSETS', 4)  # a hundred take their time
  a, b = _pictures(1100, 0), _pictures(1050, 1, low=60)
  found = _values(_measure(_side(b), _side(a), 'fid,kid,kid_full,is,prdc,sfid'))
  net = Networks()
  real, fake = net.features(a), net.features(b)
  frechet = lambda x, y: fid.frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
  real64, fake64 = real.astype(np.float64), fake.astype(np.float64)
  np.testing.assert_allclose(found['fid'], frechet(real64, fake64), rtol=1e-5)
  np.testing.assert_allclose(found['sfid'], frechet(real64[:, ::2], fake64[:, ::2]), rtol=1e-5)
  np.testing.assert_allclose(
    (found['kid'], found['kid_std']), kid.subsets(real, fake, subsets=4), rtol=1e-4
  )
  np.testing.assert_allclose(found['kid_full'], kid.full(real, fake), rtol=1e-4)
  mean, std = inception_score.score(fake[:, :5], splits=10, ddof=0, shuffle_seed=2020)
  np.testing.assert_allclose((found['is'], found['is_std']), (mean, std), rtol=1e-5)
  for name, value in prdc.prdc(real, fake).items():
    assert abs(found[name] - value) < 2e-3, name
  assert found['fid'] > 0.01


@pytest.mark.parametrize(('devices', 'batch'), [(1, 7), (1, 300), (4, 10)])
def test_batches_and_devices_do_not_matter(devices, batch):
  a, b = _side(_pictures(101, 0)), _side(_pictures(90, 1))
  whole = _values(_measure(b, a, 'fid,is,prdc', batch=101, devices=1))
  cut = _values(_measure(b, a, 'fid,is,prdc', batch=batch, devices=devices))
  for name in whole:
    np.testing.assert_allclose(cut[name], whole[name], rtol=1e-5, err_msg=name)


def test_identical_sides_are_at_distance_zero():
  x = _side(_pictures(100))
  found = _values(_measure(x, x, 'fid,prdc'))
  assert abs(found['fid']) < 1e-6
  assert (found['precision'], found['recall'], found['coverage']) == (1, 1, 1)


def test_presets_differ_where_they_should_and_share_a_pass():
  a, b = _side(_pictures(60, 0)), _side(_pictures(50, 1))
  results = _measure(b, a, 'fid,is', 'ttur,stylegan,pytorch_fid')
  table = {(r.record['preset'], r.record['metric']): r.record for r in results}
  fids = {
    preset: table[preset, 'fid']['values']['fid'] for preset in ('ttur', 'stylegan', 'pytorch_fid')
  }
  assert len(set(fids.values())) == 3
  assert table['ttur', 'fid']['ddof'] == 1 and table['stylegan', 'fid']['ddof'] == 0
  assert table['pytorch_fid', 'fid']['scale'] == [127.5, 1 / 127.5]
  # ddof 0 from the same pass as ddof 1.
  net = Networks()
  x, y = (
    net.features(_pictures(60, 0)).astype(np.float64),
    net.features(_pictures(50, 1)).astype(np.float64),
  )
  biased = fid.frechet_distance(x.mean(0), np.cov(x.T, ddof=0), y.mean(0), np.cov(y.T, ddof=0))
  np.testing.assert_allclose(fids['stylegan'], biased, rtol=1e-5)
  alone = _values(_measure(b, a, 'fid', 'stylegan'))['fid']
  assert alone == fids['stylegan']
  # All presets look at a picture together: each is read once.
  read, images = [], _pictures(60, 0)
  counted = sides._stored(60, {'name': 'f'}, lambda i: (read.extend(i), images[i])[1], None, None)
  _measure(counted, None, 'is', 'ttur,stylegan,pytorch_fid', batch=20)
  assert sorted(read) == list(range(60))


def test_a_record_says_how_many_splits_there_were():
  images = _side(_pictures(5001))
  splits = {}
  for preset in ('adm', 'ttur'):
    (result,) = _measure(images, None, 'is', preset, batch=5004)
    splits[preset] = result.record['is_splits']
  assert splits == {'adm': 2, 'ttur': 10}


def test_a_record_names_reals_where_they_count():
  """And the commit that measured."""
  fake, real = _side(_pictures(40)), _side(_pictures(30, 1), name='r')
  found = {r.record['metric']: r.record for r in _measure(fake, real, 'fid,is,ms_ssim')}
  assert not {'num_real', 'real'} & found['is'].keys()
  for metric in ('fid', 'ms_ssim'):
    assert found[metric]['num_real'] == 30 and found[metric]['real'] == {'name': 'r'}
  assert {'is', 'ppl', 'ppl_w', 'eq_t', 'eq_t_frac', 'eq_r'} == {*engine.FAKES_ALONE}
  (alone,) = _measure(fake, None, 'ms_ssim')
  assert not {'num_real', 'real'} & alone.record.keys()
  assert {record['commit'] for record in found.values()} == {run_record.commit()}


def test_a_score_on_features_that_a_run_was_trained_on_says_so_in_its_name(capsys):
  """So that it does wherever it is shown, and is never the same row as that of another run."""
  fake = _side(_pictures(60, 1))
  fake = fake._replace(info={**fake.info, 'trained_on': ['efficientnet_lite0']})
  metrics = 'fd_efficientnet_lite0,fd_mobilenet_v2,prdc_efficientnet_lite0'
  results = _measure(fake, _side(_pictures(60)), metrics)
  own, other, rest = (r.record['values'] for r in results)
  assert own.keys() == {'fd_efficientnet_lite0_trained_on'}
  assert other.keys() == {'fd_mobilenet_v2'}
  assert rest.keys() == {
    f'{name}_efficientnet_lite0_trained_on'
    for name in ('precision', 'recall', 'density', 'coverage')
  }
  assert higher_is_better('fd_efficientnet_lite0_trained_on') is False
  said = capsys.readouterr().out
  assert said.count('was trained on the features of efficientnet_lite0') == 2
  assert all(r.record['fake']['trained_on'] == ['efficientnet_lite0'] for r in results)


def test_a_record_says_what_was_computed():
  latents = lambda seeds: jax.vmap(lambda s: jax.random.normal(jax.random.key(s), (48,)))(seeds)
  method = types.SimpleNamespace(
    rows=lambda seeds, examples: latents(seeds), examples=(), styles=None
  )
  stage = type(
    'S',
    (),
    {
      'sample': staticmethod(lambda s, z, train: (jnp.tanh(z.reshape(-1, 4, 4, 3)) * s['scale'], s))
    },
  )
  info = {'name': 'g', 'step': 7, 'weights': 'ema'}
  fake = sides.generator(
    stage, {'scale': 1.0}, method, num=40, seed=3, batch_norm='running', info=info
  )
  reals = _side(_pictures(50), name='reals', content='abc')
  (result,) = _measure(fake, reals, 'fid', 'adm')
  record = json.loads(json.dumps(result.record))  # it is JSON
  assert {
    k: record[k] for k in ('metric', 'preset', 'num_fake', 'num_real', 'ddof', 'quantiser')
  } == {
    'metric': 'fid',
    'preset': 'adm',
    'num_fake': 40,
    'num_real': 50,
    'ddof': 1,
    'quantiser': 'truncate',
  }
  assert (
    record['weights_sha256'] and record['resize'] == 'tf1_bilinear' and record['dtype'] == 'float32'
  )
  assert record['fake'] == {
    **info,
    'num': 40,
    'seed': 3,
    'batch_norm': 'running',
    'truncation': None,
    'classes': None,
  }
  assert record['real'] == {'name': 'reals'}
  assert record['device'] == {'kind': 'cpu', 'platform': 'cpu', 'count': 4}
  assert record['versions'].keys() >= {'ganjax', 'jax', 'numpy'} and record['x64'] is False
  # The quantiser reached the pixels.
  other = _values(_measure(fake, _side(_pictures(50)), 'fid', 'ttur'))['fid']
  assert other != record['values']['fid']


def test_reference_statistics_are_kept_by_content_and_reused(cache):
  reads = []

  def counted(images, content):
    def read(i):
      reads.append(len(i))
      return images[i]

    return sides._stored(len(images), {'name': 'reals'}, read, None, content)

  fake = _side(_pictures(40, 1))
  first = _values(_measure(fake, counted(_pictures(50), 'a'), 'fid,kid_full'))
  assert reads and len(list(cache.glob('*.npz'))) == 2
  reference._memory.clear()
  for _ in range(2):  # from the disk, then from memory
    reads.clear()
    assert _values(_measure(fake, counted(_pictures(50), 'a'), 'fid,kid_full')) == first
    assert not reads
    assert reference._memory
  # Another content, other weights, another preset: made anew.
  for content, networks, preset in [
    ('b', None, 'ttur'),
    ('a', Networks(1), 'ttur'),
    ('a', None, 'pytorch_fid'),
  ]:
    reads.clear()
    _measure(fake, counted(_pictures(50), content), 'fid', preset, networks)
    assert reads, (content, preset)
  # A metric that needs more makes only what is missing; a damaged entry is made anew.
  reads.clear()
  reference._memory.clear()
  for path in cache.glob('*.npz'):
    path.write_bytes(path.read_bytes()[:100])
  assert _values(_measure(fake, counted(_pictures(50), 'a'), 'fid,kid_full')) == first
  assert reads
  # Generated pictures are never kept.
  assert not [p for p in cache.glob('*') if 'x-' in p.name]


def test_statistics_as_the_real_side(cache, tmp_path):
  a, fake = _side(_pictures(50), name='reals', content='a'), _side(_pictures(40, 1))
  (result,) = _measure(fake, a, 'fid')
  path = Path(result.record['reference'])
  assert path.parent == cache
  assert _values(_measure(fake, path, 'fid')) == result.record['values']
  with pytest.raises(UserError, match='statistics of another preset or network: resize is'):
    _measure(fake, path, 'fid', 'pytorch_fid')
  with pytest.raises(UserError, match='weights_sha256'):
    _measure(fake, path, 'fid', networks=Networks(1))
  with pytest.raises(
    UserError, match='kid needs the pictures of a real side, and .* holds statistics'
  ):
    _measure(fake, path, 'kid')
  # As TTUR and pytorch-fid keep them: no word on where they come from.
  x = Networks().features(_pictures(50)).astype(np.float64)
  np.savez(tmp_path / 'stats.npz', mu=x.mean(0), sigma=np.cov(x.T))
  assert reference.is_statistics(tmp_path / 'stats.npz')
  (foreign,) = _measure(fake, tmp_path / 'stats.npz', 'fid')
  np.testing.assert_allclose(
    foreign.record['values']['fid'], result.record['values']['fid'], rtol=1e-4
  )
  np.savez(tmp_path / 'small.npz', mu=np.zeros(3), sigma=np.eye(3))
  with pytest.raises(UserError, match='statistics of 3 features cannot be compared with 12'):
    _measure(fake, tmp_path / 'small.npz', 'fid')
  for sigma, line in (
    (np.diag([1.0, -1000.0, *np.ones(10)]), 'broken.npz: its sigma has a negative variance, -1e'),
    (np.triu(np.ones((12, 12))), 'broken.npz: its sigma is not symmetric'),
    (np.full((12, 12), np.nan), 'broken.npz: its statistics hold NaN'),
  ):
    np.savez(tmp_path / 'broken.npz', mu=np.zeros(12), sigma=sigma)
    with pytest.raises(UserError, match=line):
      _measure(fake, tmp_path / 'broken.npz', 'fid')
  # Kept in float32, of fewer pictures than features.
  few = np.cov(x[:4].T).astype(np.float32)
  np.savez(tmp_path / 'stats.npz', mu=x.mean(0), sigma=few)
  assert _values(_measure(fake, tmp_path / 'stats.npz', 'fid'))['fid'] > 0
  with np.load(path) as file:
    ours = dict(file)
  for broken in (
    {**ours, 'identity': np.array('{')},
    {**ours, 'identity': np.array('[1]')},
    {**ours, 'mean': np.array(['a'] * 12)},
    {name: array for name, array in ours.items() if name != 'factor'},
    {**ours, 'factor': np.ones((3, 3))},
    {**ours, 'factor': np.float64(1)},
    {**ours, 'n': np.ones(2)},
    {**ours, 'factor': np.full((12, 12), 'a')},
    {**ours, 'cov': -ours['cov']},
    {'mu': np.array(['a', 'b']), 'sigma': np.eye(2)},
    {'mu': np.float64(1), 'sigma': np.float64(1)},
  ):
    np.savez(tmp_path / 'broken.npz', **broken)
    with pytest.raises(UserError, match='broken.npz'):
      _measure(fake, tmp_path / 'broken.npz', 'fid')


def test_intra_class_distance_is_the_mean_over_classes():
  a, b = _pictures(90, 0), _pictures(80, 1, low=50)
  la, lb = np.arange(90) % 3, np.arange(80) % 3
  (result,) = _measure(_side(b, lb), _side(a, la), 'intra_fid')
  net = Networks()
  x, y = net.features(a).astype(np.float64), net.features(b).astype(np.float64)
  each = []
  for c in range(3):
    p, q = x[la == c], y[lb == c]
    each.append(fid.frechet_distance(p.mean(0), np.cov(p.T), q.mean(0), np.cov(q.T)))
  np.testing.assert_allclose(result.record['values']['intra_fid'], np.mean(each), rtol=1e-5)
  np.testing.assert_allclose(result.record['by_class'], each, rtol=1e-5)


def test_classes_are_matched_by_name(capsys):
  """Identical pictures in folders {ant, bee, cat} and {bee, cat} are at 0, whatever the numbers of their classes."""
  images, labels = _pictures(60), np.arange(60) % 3
  images[labels == 0] |= 192
  images[labels == 1] //= 4
  whole = _side(images, labels)._replace(class_names=('ant', 'bee', 'cat'))
  part = _side(images[labels > 0], labels[labels > 0] - 1)._replace(class_names=('bee', 'cat'))
  for fake, real, where in (whole, part, 'fakes'), (part, whole, 'reals'):
    (result,) = _measure(fake, real, 'intra_fid')
    assert abs(result.record['values']['intra_fid']) < 1e-6
    assert result.record['classes'] == ['bee', 'cat']
    assert f'only the {where} have ant\n' in capsys.readouterr().out
  # By number where a side has no names.
  (result,) = _measure(part._replace(class_names=None), part, 'intra_fid')
  assert abs(result.record['values']['intra_fid']) < 1e-6 and not capsys.readouterr().out
  assert result.record['classes'] == ['0', '1']
  (result,) = _measure(whole, part._replace(class_names=None), 'intra_fid')
  assert result.record['values']['intra_fid'] > 1
  assert 'only the fakes have 2\n' in capsys.readouterr().out
  other = part._replace(class_names=('dog', 'emu'))
  line = 'no class of the fakes, ant, bee, cat, has the name of one of the reals, dog, emu'
  with pytest.raises(UserError, match=line):
    _measure(whole, other, 'intra_fid')
  few = _side(images[1:2], labels[1:2])._replace(class_names=whole.class_names)
  with pytest.raises(UserError, match='class bee has 1 pictures on one side'):
    _measure(few, part, 'intra_fid')


def test_a_classifier_is_tested_on_the_classes_it_was_taught_by_name(monkeypatch, capsys):
  """By nearest means in place of a network: all are right, whatever the numbers of the classes on either side."""

  def classify(images, labels, test_images, test_labels, *, num_classes, **fit):
    means = np.stack([images[labels == c].mean(0) for c in range(num_classes)])
    distances = ((test_images[:, None] - means) ** 2).sum((2, 3, 4))
    return {'cas_top1': 100 * np.mean(distances.argmin(1) == test_labels)}

  monkeypatch.setattr(cas, 'classification_accuracy', classify)
  images, labels = _pictures(60) // 4, np.arange(60) % 3
  images += (64 * labels[:, None, None, None]).astype(np.uint8)

  def side(*names):
    """Of ant, bee and cat those that are named, numbered in this order."""
    numbers = np.array([names.index(n) if n in names else -1 for n in ('ant', 'bee', 'cat')])[
      labels
    ]
    return _side(images[numbers >= 0], numbers[numbers >= 0])._replace(class_names=names)

  whole, part, turned = (side(*n.split()) for n in ('ant bee cat', 'bee cat', 'cat ant bee'))
  for fake, real, shared, said in [
    (whole, part, ['bee', 'cat'], 'only the fakes have ant\n'),
    (part, whole, ['bee', 'cat'], 'only the reals have ant\n'),
    (whole, turned, ['cat', 'ant', 'bee'], ''),
  ]:
    (result,) = _measure(fake, real, 'cas')
    assert result.record['values']['cas_top1'] == 100
    assert result.record['classes'] == shared
    assert capsys.readouterr().out.rpartition(': ')[2] == said
  # By number where a side has no names.
  (result,) = _measure(whole, turned._replace(class_names=None), 'cas')
  assert result.record['values']['cas_top1'] == 0


def test_pictures_without_a_label_are_in_no_class():
  images, labels = _pictures(60), np.arange(60) % 3
  labels[labels == 2] = -1
  (result,) = _measure(_side(images, labels), _side(images, labels), 'intra_fid')
  assert result.record['classes'] == ['0', '1'] and len(result.record['by_class']) == 2
  side = _side(images, labels)._replace(class_names=('ant', 'bee'))
  (named,) = _measure(side, side, 'intra_fid')
  assert named.record['by_class'] == result.record['by_class']
  with pytest.raises(UserError, match='no class of the fakes, none, has the number of one'):
    _measure(_side(images, np.full(60, -1)), _side(images, labels), 'intra_fid')


def test_shares_of_classes_are_of_the_reals_labels():
  reals = _pictures(40)
  labels = np.arange(40) % 4
  labels[39] = -1
  fakes = reals[labels == 2]
  (result,) = _measure(_side(fakes), _side(reals, labels), 'classes_mobilenet_v2')
  each = result.record['by_class']
  assert next(iter(each)) == '2' and set(each) == {'0', '1', '2', '3'}
  assert result.record['values'] == {'classes_moved_mobilenet_v2': each['2']} and each['2'] > 0.4
  with pytest.raises(
    UserError, match='classes_mobilenet_v2 needs reals with labels, and x has none'
  ):
    _measure(_side(fakes), _side(reals), 'classes_mobilenet_v2')


def test_nearest_neighbours_find_a_copy():
  a = _pictures(50)
  fakes = _pictures(12, 1)
  fakes[3] = a[17]
  (result,) = _measure(_side(fakes), _side(a), 'neighbours')
  assert result.picture.shape == (8 * 4, 8 * 4, 3)  # 8 fakes, each with 7 neighbours
  row = result.picture[3 * 4 : 4 * 4]
  np.testing.assert_array_equal(row[:, :4], fakes[3])
  np.testing.assert_array_equal(row[:, 4:8], a[17])
  assert result.record['values']['nearest_distance'] > 0


def test_what_does_not_go_together_is_one_line():
  x, y = _side(_pictures(40), name='f'), _side(_pictures(30), name='r')
  for metrics, fake, real, line in [
    (
      'fid',
      x,
      None,
      'fid needs the pictures of a real side, and there is none: name one with --real',
    ),
    ('intra_fid', x, y, 'intra_fid needs labels, and the fakes, f, have none'),
    ('cas', _side(_pictures(4), np.arange(4)), y, 'cas needs labels, and the reals, r, have none'),
    ('psnr', x, y, '40 fakes and 30 reals are not pairs'),
    ('ppl', x, None, 'ppl needs a generator'),
    (
      'kid',
      x,
      y,
      'subsets of 1,000, and there are 40 fakes and 30 reals: take more, or kid_full, which',
    ),
  ]:
    with pytest.raises(UserError, match=line):
      _measure(fake, real, metrics)


@pytest.mark.parametrize('kind', ['is', 'psnr'])
def test_a_long_pass_says_how_long_it_takes(monkeypatch, capsys, kind):
  side = _side(_pictures(100))
  _measure(side, side, kind, batch=40)
  assert ' left' not in capsys.readouterr().err
  monkeypatch.setattr('ganjax.evaluation.extract.FIRST_SECONDS', 0)
  _measure(side, side, kind, batch=40)
  line = r'x: 40 of 100 pictures, \d+(\.\d)? a second, \d+s left\n'
  assert re.fullmatch(line, capsys.readouterr().err)


def test_it_can_be_stopped_between_batches():
  asked = iter([False, True])
  with pytest.raises(Stopped):
    _measure(_side(_pictures(100)), None, 'is', batch=40, stop=lambda: next(asked))


def test_nan_features_are_an_error():
  networks = Networks()
  networks.matrix[0, 0] = np.nan
  with pytest.raises(UserError, match='features of x are NaN or infinite'):
    _measure(_side(_pictures(10)), None, 'is', networks=networks)


def test_presets_of_one_pipeline_share_the_network_and_it_is_compiled_once():
  """ttur and stylegan differ in arithmetic alone: one plan; and both sides run one program."""
  from ganjax.evaluation.measure import _plan

  plans, keys = _plan(parse_metrics('fid,kid'), parse_presets('ttur,stylegan'), Networks())
  assert len(plans) == 1 and set(keys.values()) == set(plans)
  three = parse_presets('ttur,adm,clean')
  # Stored pictures are quantised already.
  assert len(_plan(parse_metrics('fid'), three, Networks())[0]) == 2
  assert len(_plan(parse_metrics('fid'), three, Networks(), drawn=True)[0]) == 3

  traces = []
  networks = Networks()
  extractor = networks.get('inception', PRESETS['ttur'])

  def apply(variables, images):
    traces.append(images.shape)
    return extractor.apply(variables, images)

  plan = {'x': FeaturePlan(extractor._replace(apply=apply), 'round', rows=frozenset({'features'}))}
  for images in _pictures(20), _pictures(33, 1):
    extract(_side(images), plan, mesh=make_mesh(), batch_size=8)
  assert traces == [(8, 4, 4, 3)]


def _clips(n, seed, low=0, frames=3):
  """A side of clips, and their frames as pictures."""
  pictures = _pictures(n * frames, seed, low)
  clips = pictures.reshape(n, frames, *pictures.shape[1:])
  return _side(clips)._replace(field=Field('clip', clips.shape[1:])), pictures


@pytest.mark.parametrize(('devices', 'batch'), [(1, 7), (4, 100)])
def test_clips_are_seen_frame_by_frame(devices, batch):
  """As the network's features of the frames as pictures are; never called FID or FD."""
  net = Networks()

  def get(network, preset):
    # Of clips features are [B, T, DIM], as `features.load` has it.
    made = net.get(network, preset)

    def apply(variables, clips):
      found = made.apply(variables, clips.reshape(-1, *clips.shape[2:]))
      return {k: y.reshape(*clips.shape[:2], -1) for k, y in found.items()}

    return made._replace(apply=apply)

  fake, b = _clips(25, 1, low=60)
  real, a = _clips(31, 0)
  both = types.SimpleNamespace(get=get)
  how = dict(networks=both, devices=devices, batch=batch)
  results = _measure(fake, real, 'frame_fid,frame_fd_mobilenet_v2', **how)
  (fid_, fd) = (r.record for r in results)
  assert list(fid_['values']) == ['frame_fid']
  assert list(fd['values']) == ['frame_fd_mobilenet_v2']
  frechet = lambda x, y: fid.frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
  x, y = (net.features(frames).astype(np.float64) for frames in (a, b))
  np.testing.assert_allclose(fid_['values']['frame_fid'], frechet(x, y), rtol=1e-4)
  assert (fd['num_fake'], fd['num_real']) == (25, 31)
  assert (fd['frames_fake'], fd['frames_real']) == (75, 93)
  with pytest.raises(UserError, match='fd_mobilenet_v2 is for pictures, and x has clips'):
    _measure(fake, real, 'fd_mobilenet_v2', **how)
  with pytest.raises(UserError, match='frame_fid is for clips, and x has images'):
    _measure(_side(a), _side(a), 'frame_fid', **how)


def test_fvd_is_of_whole_clips():
  """Of one row of features for each clip."""
  fake, b = _clips(25, 1, low=60)
  real, a = _clips(31, 0)
  matrix = np.random.default_rng(0).normal(size=(3 * 4 * 4 * 3, 5)).astype(np.float32)

  def apply(variables, clips):
    x = clips.astype(jnp.float32).reshape(len(clips), -1) / 255
    return {'features': jnp.tanh(x @ variables)}

  info = {'network': 'i3d', 'resize': 'none', 'scale': [0, 1], 'dtype': 'float32'}
  extractor = Extractor('i3d', matrix, apply, info | {'weights_verified': False})
  networks = types.SimpleNamespace(get=lambda network, preset: extractor)
  (result,) = _measure(fake, real, 'fvd_i3d', networks=networks, batch=8)
  found = lambda x, n: np.tanh(x.reshape(n, -1).astype(np.float64) / 255 @ matrix)
  x, y = found(a, 31), found(b, 25)
  wanted = fid.frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
  np.testing.assert_allclose(result.record['values']['fvd_i3d'], wanted, rtol=1e-4)
  assert result.record['network'] == 'i3d' and result.record['weights_verified'] is False
  assert result.record['num_real'] == 31
