"""Metrics and presets by name."""

import pytest

from ganjax import UserError
from ganjax.evaluation.presets import (
  PRESETS,
  TF_SCALE,
  UNIT_SCALE,
  higher_is_better,
  parse_metrics,
  parse_presets,
)


def test_names_of_the_inception_have_no_suffix():
  found = parse_metrics('fid,kid,is,prdc,sfid,intra_fid')
  assert [m.kind for m in found] == ['fd', 'kid', 'is', 'prdc', 'sfd', 'intra_fd']
  assert {m.network for m in found} == {'inception'} and {m.suffix for m in found} == {''}


def test_another_network_is_named_in_every_value():
  (fd, kid, full, prdc) = parse_metrics(
    'fd_efficientnet_lite0,kid_efficientnet_lite0,kid_full_mobilenet_v2,prdc_mobilenet_v2'
  )
  assert (fd.kind, fd.network, fd.suffix) == ('fd', 'efficientnet_lite0', '_efficientnet_lite0')
  assert (kid.kind, kid.network) == ('kid', 'efficientnet_lite0')
  assert (full.kind, full.network) == ('kid_full', 'mobilenet_v2')
  assert prdc.suffix == '_mobilenet_v2'


@pytest.mark.parametrize(
  'name', ['fid_efficientnet_lite0', 'fd_inception', 'is_mobilenet_v2', 'fidd', 'fd']
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
  row = lambda name: PRESETS[name][:6]
  assert row('ttur') == ('tf1_bilinear', (128.0, 1 / 128), 'round', 1, 10, 'logits_unbiased')
  assert row('stylegan') == ('tf1_bilinear', TF_SCALE, 'round', 0, 10, 'logits_unbiased')
  assert row('pytorch_fid')[:4] == ('torch_bilinear', (127.5, 1 / 127.5), 'round', 1)
  assert row('clean')[:4] == ('pil_bicubic', TF_SCALE, 'round', 1)
  assert row('adm')[:4] == ('tf1_bilinear', TF_SCALE, 'truncate', 1)
  assert row('studiogan') == ('pil_bilinear', UNIT_SCALE, 'round', 1, 1, 'logits')
  assert (PRESETS['studiogan'].pr_k, PRESETS['studiogan'].pr_strict) == (5, True)
  assert (PRESETS['ttur'].pr_k, PRESETS['ttur'].pr_strict) == (3, False)
  assert PRESETS['monitor'].dtype == 'bfloat16'


def test_an_unknown_preset_lists_the_known():
  assert list(parse_presets('clean,ttur')) == ['clean', 'ttur']
  with pytest.raises(UserError, match="preset 'tutr' is not known; there are ttur, stylegan"):
    parse_presets('ttur,tutr')


def test_which_way_is_better():
  assert higher_is_better('is') and higher_is_better('recall_efficientnet_lite0')
  assert higher_is_better('coverage') and higher_is_better('cas_top1')
  assert not higher_is_better('fid') and not higher_is_better('kid_efficientnet_lite0')
