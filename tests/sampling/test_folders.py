"""Samples in a folder for each class."""

import types

import numpy as np
import pytest

from ganjax import UserError
from ganjax.sampling import sample


@pytest.mark.parametrize(
  'names, folders',
  [
    (['cat', 'Food & Drink', '..', 'a/b', ''], ['cat', 'Food & Drink', '0002', '0003', '0004']),
    (None, ['0000', '0001', '0002', '0003', '0004']),
  ],
)
def test_a_class_that_is_no_folders_name_is_its_number(monkeypatch, names, folders):
  """Names come from config.json, which may be somebody else's."""
  saved = {'data': [{'classes': names}]}
  monkeypatch.setattr('ganjax.run_record.saved_record', lambda place: saved)
  assert sample._class_folders('run', np.arange(5)) == folders


def test_samples_without_classes_have_no_folders():
  sample.COMMAND.read(['sample', 'run', '--format=folders'])
  method = types.SimpleNamespace(num_classes=0, styles=None)
  with pytest.raises(UserError, match='--format=folders is for samples of classes'):
    sample._check_tools(method, 'folders', '')
