"""Text encoders: by letters, by meaning, and the user's own vectors; what they refuse."""

import json

import jax
import numpy as np
import pytest

from ganjax import UserError, text
from ganjax.text import minilm, ngrams

SMALL = dict(vocab_size=30, max_position_embeddings=12, hidden_size=8, num_attention_heads=2)
SMALL |= dict(intermediate_size=12, num_hidden_layers=2, layer_norm_eps=1e-12)
SMALL |= dict(model_type='bert', hidden_act='gelu')


def cosine(a, b, encoder=ngrams):
  x, y = encoder.encode([a, b])
  return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_letters_make_words_alike_and_order_does_not_matter():
  x = ngrams.encode(['a red taxi', 'Taxi, RED!', 'x'])
  assert x.shape == (3, 256) and x.dtype == np.float32
  np.testing.assert_allclose(x[0], x[1], rtol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(x, axis=1), 16, rtol=1e-6)
  assert cosine('taxi', 'taxis') > 0.2 > abs(cosine('taxi', 'dog'))
  assert cosine('red heart', 'heart') > 0.6
  assert ngrams.words('the') == ['the'] and ngrams.words('a dog') == ['dog']


def test_vectors_of_letters_are_the_same_for_ever():
  np.testing.assert_array_equal(ngrams._signs('<dog>')[:12], SIGNS)


SIGNS = [1, -1, -1, 1, -1, 1, -1, -1, -1, -1, -1, -1]


def tensors_of(config, seed=0):
  """Random weights of a BERT, by their names in the hub's files."""
  rng, features, hidden = (
    np.random.default_rng(seed),
    config['hidden_size'],
    config['intermediate_size'],
  )
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32) * 0.5
  found = {}
  for name, rows in ('word', config['vocab_size']), ('position', 12), ('token_type', 2):
    found[f'embeddings.{name}_embeddings.weight'] = draw(rows, features)
  sizes = {'attention.self.query': (features, features), 'attention.self.key': (features, features)}
  sizes |= {
    'attention.self.value': (features, features),
    'attention.output.dense': (features, features),
  }
  sizes |= {'intermediate.dense': (hidden, features), 'output.dense': (features, hidden)}
  norms = ['embeddings.LayerNorm']
  for i in range(config['num_hidden_layers']):
    of = f'encoder.layer.{i}'
    norms += [f'{of}.attention.output.LayerNorm', f'{of}.output.LayerNorm']
    for name, shape in sizes.items():
      found |= {f'{of}.{name}.weight': draw(*shape), f'{of}.{name}.bias': draw(shape[0])}
  for name in norms:
    found |= {f'{name}.weight': 1 + draw(features), f'{name}.bias': draw(features)}
  return found


def test_minilm_is_the_transformer_of_torch():
  """A batch of texts of several lengths against torch's own layers, which stop at the end of each."""
  torch = pytest.importorskip('torch')
  tensors = tensors_of(SMALL)
  get = lambda name: torch.tensor(tensors[name])
  ids = np.array([[1, 5, 7, 9, 2], [1, 3, 2, 0, 0]], np.int32)
  there = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
  network = minilm._network(SMALL)
  with jax.default_matmul_precision('highest'):
    params = {'params': minilm._convert(tensors, network)}
    found = jax.jit(network.apply)(params, ids, there)
  norm = lambda x, name: torch.nn.functional.layer_norm(
    x, (8,), get(f'{name}.weight'), get(f'{name}.bias'), 1e-12
  )
  layer = lambda: torch.nn.TransformerEncoderLayer(
    8, 2, 12, 0.0, 'gelu', layer_norm_eps=1e-12, batch_first=True
  )
  for row, count in enumerate((5, 3)):
    x = get('embeddings.word_embeddings.weight')[ids[row, :count]]
    x = x + get('embeddings.position_embeddings.weight')[:count]
    x = norm(x + get('embeddings.token_type_embeddings.weight')[0], 'embeddings.LayerNorm')[None]
    for i in range(2):
      of, one = f'encoder.layer.{i}', layer().eval()
      parts = [f'{of}.attention.self.{name}' for name in ('query', 'key', 'value')]
      names = {'out_proj': 'attention.output.dense', 'linear1': 'intermediate.dense'}
      names |= {
        'linear2': 'output.dense',
        'norm1': 'attention.output.LayerNorm',
        'norm2': 'output.LayerNorm',
      }
      weights = {
        f'self_attn.in_proj_{end}': torch.cat([get(f'{part}.{end}') for part in parts])
        for end in ('weight', 'bias')
      }
      for theirs, ours in names.items():
        prefix = 'self_attn.' if theirs == 'out_proj' else ''
        weights |= {
          f'{prefix}{theirs}.{end}': get(f'{of}.{ours}.{end}') for end in ('weight', 'bias')
        }
      one.load_state_dict(weights)
      with torch.no_grad():
        x = one(x)
    mean = x[0].mean(0)
    np.testing.assert_allclose(found[row], (mean / mean.norm()).numpy(), atol=2e-6)


def test_files_of_another_architecture_are_refused():
  with pytest.raises(UserError, match="model_type is bert, and this one has 'mpnet'"):
    minilm._network({**SMALL, 'model_type': 'mpnet'})
  tensors = tensors_of({**SMALL, 'vocab_size': 31})
  with pytest.raises(UserError, match='not of the shapes that its config.json says'):
    minilm._convert(tensors, minilm._network(SMALL))


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
  """A folder in the hub's layout, of three words."""
  tokenizers = pytest.importorskip('tokenizers')
  numpy = pytest.importorskip('safetensors.numpy')
  folder = tmp_path_factory.mktemp('minilm')
  words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'red', 'taxi', '##s']
  made = tokenizers.Tokenizer(
    tokenizers.models.WordPiece({w: i for i, w in enumerate(words)}, unk_token='[UNK]')
  )
  made.normalizer = tokenizers.normalizers.BertNormalizer()
  made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  made.post_processor = tokenizers.processors.BertProcessing(('[SEP]', 3), ('[CLS]', 2))
  made.save(str(folder / 'tokenizer.json'))
  (folder / 'config.json').write_text(json.dumps(SMALL))
  numpy.save_file(tensors_of(SMALL), folder / 'model.safetensors')
  return folder


def test_minilm_of_a_folder(tiny):
  found = text.load('minilm', tiny, 8)
  x = found.encode(['A red taxis', 'red', 'red ' * 40])
  assert x.shape == (3, 8)
  np.testing.assert_allclose(np.linalg.norm(x, axis=1), 8**0.5, rtol=1e-5)
  # A text does not depend on what it is read beside; what is beyond the positions is not read.
  np.testing.assert_allclose(found.encode(['red'])[0], x[1], atol=1e-5)
  np.testing.assert_allclose(found.encode(['red ' * 90])[0], x[2], atol=1e-5)
  assert found.knows('a zebra') and not found.knows('zebra')
  found.check('a zebra', '--text')
  for bad, message in ('zebra', 'no word that the encoder minilm knows'), (' ', '--text is empty'):
    with pytest.raises(UserError, match=message):
      found.check(bad, '--text')
  with pytest.raises(UserError, match='set data.text_size=8'):
    text.load('minilm', tiny)
  with pytest.raises(UserError, match='is no encoder, which is config.json'):
    text.load('minilm', tiny.parent)


@pytest.mark.slow
def test_minilm_has_the_cosines_of_its_card():
  """Of the model's page: three sentences, and four of its widget."""
  pytest.importorskip('tokenizers')
  pytest.importorskip(minilm.PACKAGE)
  x = text.load('minilm').encode([
    'The weather is lovely today.', "It's so sunny outside!", 'He drove to the stadium.',
    'That is a happy person', 'That is a happy dog', 'That is a very happy person', 'Today is a sunny day',
  ]) / 384**0.5  # fmt: skip
  cosines = x @ x.T
  wanted = {
    (0, 1): 0.6660,
    (0, 2): 0.1046,
    (1, 2): 0.1411,
    (3, 4): 0.695,
    (3, 5): 0.943,
    (3, 6): 0.257,
  }
  for at, one in wanted.items():
    assert cosines[at] == pytest.approx(one, abs=1e-3)
  import tokenizers

  tokenizer = tokenizers.Tokenizer.from_file(str(minilm._installed() / 'tokenizer.json'))
  assert tokenizer.encode('The weather is lovely today.').ids[:8] == [
    101,
    1996,
    4633,
    2003,
    8403,
    2651,
    1012,
    102,
  ]


def test_the_users_own_vectors(tmp_path):
  path = tmp_path / 'clip.npz'
  vectors = np.arange(6, dtype=np.float16).reshape(2, 3)
  np.savez(path, captions=np.array(['a dog', 'a cat']), vectors=vectors)
  found = text.load('vectors', path, 3)
  np.testing.assert_array_equal(found.encode(['a cat', 'a dog', 'a cat']), vectors[[1, 0, 1]])
  assert found.info['file'] == 'clip.npz' and len(found.info['sha256']) == 64
  with pytest.raises(UserError, match="has no vector of 'a dgo' .did you mean a dog"):
    found.encode(['a dgo'])
  np.savez(path, captions=np.array(['a dog']), vectors=vectors)
  with pytest.raises(
    UserError, match=r'captions must be strings \[n\] and vectors numbers \[n, E\]'
  ):
    text.load('vectors', path, 3)
  np.savez(path, vectors=vectors)
  with pytest.raises(UserError, match='must hold captions and vectors'):
    text.load('vectors', path, 3)


@pytest.mark.parametrize('arguments, message', [
  (('ngram',), 'not known .did you mean ngrams'),
  (('vectors',), 'needs data.text_size'),
  (('vectors', None, 8), 'needs data.encoder_path'),
  (('vectors', '/nowhere.npz', 8), 'is not there'),
  (('ngrams', None, 12), 'have 256 numbers here'),
  (('ngrams', None, -1), 'must be a whole number'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    text.load(*arguments)
