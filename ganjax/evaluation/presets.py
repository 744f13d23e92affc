"""What the reference codes for FID and its kin do differently, one preset each; and metrics by name.

FID of one and the same generator moves by 2 to 5 between these pipelines, so a number is only ever compared with
numbers of its own preset.
"""

from typing import NamedTuple

from ganjax import UserError, features
from ganjax.wording import closest

TF_SCALE = (128.0, 1 / 128)  # (x - 128) / 128, of the TensorFlow graph
UNIT_SCALE = (127.5, 1 / 127.5)  # 2 (x / 255) - 1; 0.4 % from the other


class Preset(NamedTuple):
  """How pictures become features, and features a number. Resize and scale are those of the FID Inception."""

  resize: str = 'tf1_bilinear'  # to 299, see `features.resize`
  scale: tuple = TF_SCALE
  quantiser: str = (
    'round'  # of generated pictures: floor(127.5 x + 128), or 'truncate': floor(127.5 (x + 1))
  )
  ddof: int = 1  # of the covariances
  is_splits: int | None = (
    10  # None: 5,000 fakes each, the last the rest, see `inception_score.edges`
  )
  is_logits: str = 'logits_unbiased'  # without the bias, or 'logits'
  is_ddof: int = 0
  is_shuffle_seed: int | None = None
  pr_k: int = 3
  pr_strict: bool = False
  dtype: str = 'float32'  # of the network's activations
  real_limit: int | None = None  # reals that precision and recall see, drawn with seed 0


PRESETS = {
  # Heusel et al. 2017 (arXiv:1706.08500) as torch-fidelity computes it.
  'ttur': Preset(is_shuffle_seed=2020),
  # StyleGAN2-ADA, StyleGAN3, R3GAN: all training images, none mirrored.
  'stylegan': Preset(ddof=0),
  'pytorch_fid': Preset(resize='torch_bilinear', scale=UNIT_SCALE),
  # Parmar et al. 2022 (arXiv:2104.11222).
  'clean': Preset(resize='pil_bicubic'),
  # Dhariwal and Nichol 2021 (arXiv:2105.05233).
  'adm': Preset(quantiser='truncate', is_splits=None, real_limit=10_000),
  # Kang et al. 2023 (arXiv:2206.09479), its `friendly` resizer.
  'studiogan': Preset(
    resize='pil_bilinear',
    scale=UNIT_SCALE,
    is_splits=1,
    is_logits='logits',
    is_ddof=1,
    pr_k=5,
    pr_strict=True,
  ),
  # For watching a run, never for a paper: bfloat16 where the device has it.
  'monitor': Preset(is_shuffle_seed=2020, dtype='bfloat16'),
}


class Metric(NamedTuple):
  """A metric that was asked for by name."""

  name: str  # as typed: 'fid', 'kid_efficientnet_lite0'
  kind: str  # 'fd', 'kid', ...
  network: str | None  # feature network; None where the metric looks at pixels

  @property
  def suffix(self) -> str:
    """What ends the names of its values: nothing on another network is ever called FID."""
    return '' if self.network in (None, 'inception') else f'_{self.network}'

  @property
  def values(self) -> tuple:
    """The names of its values; the first is what it is called for."""
    if self.network == 'inception' and self.kind in ('fd', 'sfd', 'intra_fd', 'frame_fd'):
      return (self.name,)
    return tuple(f'{value}{self.suffix}' for value in _VALUES.get(self.kind, (self.kind,)))

  @property
  def of(self) -> str:
    """The kind of the samples that it is of."""
    return 'clip' if self.kind in CLIPS else OF_KIND.get(self.kind, 'image')


# On the FID Inception: name -> kind.
_INCEPTION = {
  'fid': 'fd',
  'kid': 'kid',
  'kid_full': 'kid_full',
  'is': 'is',
  'prdc': 'prdc',
  'sfid': 'sfd',
  'intra_fid': 'intra_fd',
  'neighbours': 'neighbours',
  'frame_fid': 'frame_fd',
}
# On another network: the kind, then the network's name.
_ANY = (
  'fd',
  'kid_full',
  'kid',
  'prdc',
  'intra_fd',
  'neighbours',
  'r_precision',
  'classes',
  'frame_fd',
)
_ANY_OF_CLIPS = ('fvd',)
CLIPS = ('frame_fd', *_ANY_OF_CLIPS)  # features of clips: of single frames, and of whole clips
PAIRED = ('psnr', 'ssim', 'lpips')  # the i-th picture of one side against the i-th of the other
PATHS = 'ppl', 'ppl_w'  # of a generator
MOVED = 'eq_t', 'eq_t_frac', 'eq_r'  # of a generator whose input may be moved
PIXELS = (*PAIRED, 'ms_ssim', *PATHS, *MOVED, 'cas', 'colours', 'parzen')
OF_KIND = {
  'pitch': 'sound',
  'fd_notes': 'sound',
  'voxels': 'solid',
  'ngrams': 'line',
  'rolls': 'roll',
  'molecules': 'molecule',
  'motion': 'clip',
}  # metrics of samples that are no pictures
_VALUES = {
  'pitch': ('pitch_accuracy', 'pitch_accuracy_real'),
  'voxels': ('voxels_valid', 'voxels_coverage', 'voxels_overlap', 'voxels_valid_real'),
  'ngrams': (*(f'ngrams_js_{n}' for n in (1, 2, 3, 4)), 'ngrams_copied'),
  'molecules': tuple(f'molecules_{value}' for value in ('valid', 'unique', 'novel', 'valid_real')),
  'rolls': tuple(
    f'rolls_{value}{end}'
    for end in ('', '_real')
    for value in ('empty_bars', 'pitch_classes', 'qualified', 'in_scale', 'tonal_distance')
  ),
  'motion': tuple(
    f'motion_{value}{end}'
    for end in ('', '_real')
    for value in ('speed', 'steady', 'bounce_error', 'blank')
  ),
  'kid': ('kid', 'kid_std'),
  'is': ('is', 'is_std'),
  'prdc': ('precision', 'recall', 'density', 'coverage'),
  'neighbours': ('nearest_distance',),
  'r_precision': ('r_precision', 'r_precision_real'),
  'ms_ssim': ('ms_ssim', 'ms_ssim_real'),
  'cas': ('cas_top1', 'cas_top5'),
  'colours': ('colours_moved',),
  'classes': ('classes_moved',),
  'parzen': ('parzen', 'parzen_error'),
}
_HIGHER = ('is', 'precision', 'recall', 'density', 'coverage', 'psnr', 'ssim', 'cas', 'r', 'eq')
_HIGHER += ('pitch', 'voxels', 'molecules', 'parzen')
_LOWER = ('fid', 'fd', 'sfid', 'kid', 'intra', 'lpips', 'ppl', 'ngrams', 'colours', 'classes')
_LOWER += ('frame', 'fvd')


def parse_metrics(text: str) -> list:
  """'fid,kid,fd_efficientnet_lite0' -> [Metric]. Raises UserError naming what there is."""
  metrics = [_parse(name.strip()) for name in text.split(',') if name.strip()]
  if not metrics:
    raise UserError(f'no metric is named: take some of {", ".join(_known())}')
  return list(dict.fromkeys(metrics))


def _parse(name) -> Metric:
  if name in PIXELS or name in OF_KIND:
    return Metric(name, name, None)
  if name in _INCEPTION:
    return Metric(name, _INCEPTION[name], 'inception')
  if name in (found := _named_by_networks()):
    return Metric(name, *found[name])
  known = _known()
  raise UserError(
    f'metric {name!r} is not known{closest(name, known)}; there are {", ".join(known)}'
  )


def _named_by_networks() -> dict:
  """{name: (kind, network)}, but for the Inception."""
  kinds = {'image': _ANY, 'clip': _ANY_OF_CLIPS}
  return {
    f'{kind}_{network}': (kind, network)
    for of, some in kinds.items()
    for network in features.names(of)
    for kind in some
    if network != 'inception'
  }


def _known() -> list:
  return [*_INCEPTION, *_named_by_networks(), *PIXELS, *OF_KIND]


def parse_presets(text: str) -> dict:
  """'ttur,clean' -> {name: Preset}. Raises UserError naming what there is."""
  names = [name.strip() for name in text.split(',') if name.strip()]
  unknown = [name for name in names if name not in PRESETS]
  if unknown or not names:
    name = (unknown or [text])[0]
    raise UserError(
      f'preset {name!r} is not known{closest(name, PRESETS)}; there are {", ".join(PRESETS)}'
    )
  return {name: PRESETS[name] for name in names}


def higher_is_better(value: str) -> bool | None:
  """Of a value's name, such as 'fid' (False) or 'recall_efficientnet_lite0' (True); None where neither end is good."""
  kind = value.split('_')[0]
  if '_std' in value or kind not in (*_HIGHER, *_LOWER):
    return None
  return kind in _HIGHER
