"""StyleGAN2 of TensorFlow, by the names and with the axes of stylegan2-ada-pytorch: .pkl of NVlabs/stylegan2 (configs E
and F) and NVlabs/stylegan2-ada.

There convolutions are [k, k, C, F] and dense layers [C, F]. A style's bias counts from 1. A convolution that doubles a
map slides over the map with zeros between its pixels; PyTorch's transposed convolution has the same kernel flipped.
"""

import re
from pathlib import Path

from ganjax import UserError
from ganjax.weights import pickles
from ganjax.wording import closest

# 'Conv' is the first layer of G and the last convolution of D.
LAYERS = {'Conv0_up': 'conv0', 'Conv1': 'conv1', 'ToRGB': 'torgb', 'Skip': 'skip'}
LAYERS |= {'FromRGB': 'fromrgb', 'Conv0': 'conv0', 'Conv1_down': 'conv1', 'Dense0': 'fc'}
KINDS = {'mod_weight': 'affine.weight', 'mod_bias': 'affine.bias'}
# Arguments of networks of which one value alone is read, and those that shapes tell or that are of training alone.
FIXED = {'nonlinearity': 'lrelu', 'mapping_nonlinearity': 'lrelu', 'resample_kernel': [1, 3, 3, 1]}
FIXED |= {'normalize_latents': True, 'use_noise': True, 'use_spectral_norm': False}
FIXED |= {'use_pagan': False, 'adaptive_dropout': 0}
OTHERS = """version latent_size label_size dlatent_size resolution num_channels mapping_layers mapping_fmaps
  mapping_lrmul label_fmaps fmap_base fmap_decay fmap_min fmap_max fmap_const architecture conv_clamp mapping_func
  synthesis_func mbstd_group_size mbstd_num_features score_size score_max dlatent_avg_beta w_avg_beta style_mixing_prob
  truncation_psi truncation_cutoff truncation_psi_val truncation_cutoff_val randomize_noise fused_modconv num_fp16_res
  dtype structure freeze_layers augment_strength pagan_num pagan_fade"""
RATE = 0.01  # the learning-rate multiplier of a mapping's layers here, which scales their arrays when they are used


def convert(net: str, network: pickles.Module, path: Path) -> pickles.Module:
  """A network of TensorFlow as stylegan2-ada-pytorch has it.

  Args:
    net: 'G', 'D' or 'G_ema'.
    network: of `pickles.read`.
    path: of the file, for messages.

  Raises:
    UserError: another version or architecture than StyleGAN2's, or settings that are not read.
  """
  given, arrays = network.settings, network.tensors
  version = given.get('version', 0)
  if version < 4:
    raise UserError(
      f'{path}: {net} is of version {version} of dnnlib.tflib.Network, which StyleGAN has; StyleGAN2, from version 4 '
      'on, is read'
    )
  grows = next((name for name in arrays if '_lod' in name), None)
  if grows:
    raise UserError(
      f'{path}: {grows} of {net} is of a network that grows, as StyleGAN and the configs A to D of StyleGAN2 are; '
      'configs E and F are read'
    )
  if 'mapping/LabelConcat/weight' in arrays:
    raise UserError(
      f'{path}: {net} has mapping/LabelConcat: classes as in NVlabs/stylegan2 are not read, those of '
      'NVlabs/stylegan2-ada are'
    )
  for name, value in given.items():
    if name in FIXED and value != FIXED[name]:
      raise UserError(f'{path}: {name} of {net} is not {FIXED[name]!r}, which alone is read')
    if name not in (known := [*FIXED, *OTHERS.split()]):
      raise UserError(
        f'{path}: {net} has a setting {str(name)[:40]!r}, which is not known{closest(name, known)}'
      )
  try:
    rate = given.get('mapping_lrmul', 0.1 if net == 'D' else RATE) / RATE
    found = dict(_place(name, x, net, rate) for name, x in arrays.items() if name != 'lod')
  except (ValueError, IndexError, TypeError) as error:
    raise UserError(f'{path}: {net} has an array of another shape: {error}') from None
  return pickles.Module(network.name, found, {'conv_clamp': None, **given})


def _place(name, x, net, rate) -> tuple:
  """(the name, the array) there. What is not known keeps its name, by which it is refused where it has no place."""
  if m := re.fullmatch(r'synthesis/noise(\d\d?)', name):
    layer = int(m[1]) + 1
    return f'synthesis.b{4 << layer // 2}.conv{layer % 2}.noise_const', x[0, 0]
  if name == 'synthesis/4x4/Const/const':
    return 'synthesis.b4.const', x[0]
  if name == 'dlatent_avg':
    return 'mapping.w_avg', x
  *scope, layer, kind = ['', '', *name.split('/')]
  if layer == 'LabelEmbed':
    return f'mapping.embed.{kind}', x.T
  if m := re.fullmatch(r'(?:mapping/Dense|Mapping)(\d+)/(\w+)', name):
    return f'mapping.fc{m[1]}.{m[2]}', x.T * rate
  if layer == 'Output':
    return f'b4.out.{kind}', x.T
  m = re.fullmatch(r'(\d+)x\1', scope[-1])
  if not m:
    return name, x
  known = {**LAYERS, 'Conv': 'conv' if net == 'D' else 'conv1'}
  block = f'b{m[1]}' if net == 'D' else f'synthesis.b{m[1]}'
  if x.ndim == 4:
    x = (x[::-1, ::-1] if layer == 'Conv0_up' else x).transpose(3, 2, 0, 1)
  elif kind == 'mod_bias':
    x = x + 1
  return f'{block}.{known.get(layer, layer)}.{KINDS.get(kind, kind)}', x.T if x.ndim == 2 else x
