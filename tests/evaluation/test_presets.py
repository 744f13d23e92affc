"""Metrics and presets by name."""

import pytest

from ganjax import UserError
from ganjax.evaluation.presets import (
  PRESETS,
  higher_is_better,
  parse_metrics,
  parse_presets,
)


def test_names_of_the_inception_have_no_suffix():
  found = parse_metrics('fid,kid,is,prdc,sfid,intra_fid')
  assert [m.kind for m in found] == ['fd', 'kid', 'is', 'prdc', 'sfd', 'intra_fd']
  assert {m.network for m in found} == {'inception'} and {m.suffix for m in found} == {''}
  prdc = ('precision', 'recall', 'density', 'coverage')
  assert [m.values for m in found] == [
    ('fid',),
    ('kid', 'kid_std'),
    ('is', 'is_std'),
    prdc,
    ('sfid',),
    ('intra_fid',),
  ]


def test_another_network_is_named_in_every_value():
  (fd, kid, full, prdc) = parse_metrics(
    'fd_efficientnet_lite0,kid_efficientnet_lite0,kid_full_mobilenet_v2,prdc_mobilenet_v2'
  )
  assert (fd.kind, fd.network, fd.suffix) == ('fd', 'efficientnet_lite0', '_efficientnet_lite0')
  assert (kid.kind, kid.network) == ('kid', 'efficientnet_lite0')
  assert (full.kind, full.network) == ('kid_full', 'mobilenet_v2')
  assert fd.values == ('fd_efficientnet_lite0',) and full.values == ('kid_full_mobilenet_v2',)
  assert kid.values == ('kid_efficientnet_lite0', 'kid_std_efficientnet_lite0')
  four = ('precision', 'recall', 'density', 'coverage')
  assert prdc.values == tuple(f'{value}_mobilenet_v2' for value in four)


def test_of_clips_the_name_says_what_is_compared():
  frames, other, clips, motion = parse_metrics('frame_fid,frame_fd_mobilenet_v2,fvd_i3d,motion')
  assert (frames.kind, frames.network, frames.values) == ('frame_fd', 'inception', ('frame_fid',))
  assert (other.kind, other.network) == ('frame_fd', 'mobilenet_v2')
  assert other.values == ('frame_fd_mobilenet_v2',)
  assert (clips.kind, clips.network, clips.values) == ('fvd', 'i3d', ('fvd_i3d',))
  assert {m.of for m in (frames, other, clips, motion)} == {'clip'}
  assert higher_is_better('fvd_i3d') is higher_is_better('frame_fid') is False


@pytest.mark.parametrize(
  'name',
  [
    'fid_efficientnet_lite0',
    'fd_inception',
    'is_mobilenet_v2',
    'fidd',
    'fd',
    'fvd',
    'fvd_mobilenet_v2',
    'fd_i3d',
  ],
)
def test_nothing_else_passes_for_a_metric(name):
  with pytest.raises(UserError, match=f"metric '{name}' is not known.*there are fid, kid"):
    parse_metrics(name)


def test_near_names_are_offered_and_nothing_is_an_error():
  with pytest.raises(UserError, match=r'did you mean fd_efficientnet_lite0\?'):
    parse_metrics('fd_efficientnet_lite')
  with pytest.raises(UserError, match='no metric is named'):
    parse_metrics(' , ')


def test_a_metric_that_is_named_twice_is_measured_once():
  assert len(parse_metrics('fid, fid,kid')) == 2


def test_presets_hold_the_constants_of_their_codes():
  """The table of the published pipelines: resize, scale, ddof, quantiser, splits."""
  tf, unit = (128.0, 1 / 128), (127.5, 1 / 127.5)
  # resize, scale, quantiser, ddof, IS: splits, logits, ddof, shuffle; precision and recall: k, strict; dtype, reals
  ttur = ('tf1_bilinear', tf, 'round', 1, 10, 'logits_unbiased', 0, 2020, 3, False, 'float32', None)
  rest = ('round', 1, 10, 'logits_unbiased', 0, None, 3, False, 'float32', None)
  assert {
    'ttur': ttur,
    'stylegan': (*ttur[:3], 0, *ttur[4:7], None, *ttur[8:]),
    'pytorch_fid': ('torch_bilinear', unit, *rest),
    'clean': ('pil_bicubic', tf, *rest),
    'adm': ('tf1_bilinear', tf, 'truncate', 1, None, *rest[3:-1], 10_000),
    'studiogan': ('pil_bilinear', unit, 'round', 1, 1, 'logits', 1, None, 5, True, 'float32', None),
    'monitor': (*ttur[:10], 'bfloat16', None),
  } == PRESETS


def test_an_unknown_preset_lists_the_known():
  assert list(parse_presets('clean,ttur')) == ['clean', 'ttur']
  with pytest.raises(
    UserError,
    match="preset 'tutr' is not known \\(did you mean ttur\\?\\); there are ttur, stylegan",
  ):
    parse_presets('ttur,tutr')


def test_which_way_is_better():
  assert higher_is_better('is') and higher_is_better('recall_efficientnet_lite0')
  assert higher_is_better('coverage') and higher_is_better('cas_top1')
  assert higher_is_better('kid_std') is higher_is_better('sample_diversity') is None
  assert not higher_is_better('fid') and not higher_is_better('kid_efficientnet_lite0')
