"""tests/toys/config.py:NAME, a run of eight steps on a kind of data."""

from ganjax import config as configs

RUNS = {
  'clip': (dict(has=('clip',)), dict(makes='clip')),
  'sound': (dict(has=('sound',)), dict(makes='sound')),
  'solid': (dict(has=('solid',)), dict(makes='solid')),
  'pairs': (dict(has=('source', 'target')), dict(makes='target', start='source')),
  'denoise': (dict(has=('sound',)), dict(name='denoise', makes='sound')),
  'words': (dict(has=('text', 'vector', 'target')), dict(makes='target', start='vector')),
  'cycle': (
    dict(has=('source', 'target'), paired=False),
    dict(makes='target', start='source', cycle=True, pool=True, stages=True),
  ),
}


def get_config(name):
  config, (data, method) = configs.base(f'toy_{name}'), RUNS[name]
  config.steps, config.batch_size = 8, 8
  config.log_every_steps = config.sample_every_steps = config.checkpoint_every_steps = 8
  config.data.dataset = 'toy'
  config.data.flip = True
  config.data.update(data)
  config.eval.split = 'test'
  config.networks = dict(name='toy', dtype='float32', param_dtype='float32', makes=method['makes'])
  if method.get('name'):
    config.networks = dict(name=method['name'], dtype='float32', param_dtype='float32')
  if method.get('cycle'):
    config.networks.back = 'source'
  config.method = {'name': 'toy', **method}
  config.ema.update(half_life_images=20)
  return config
