"""A user's own clips, for samples that start from clips."""

import numpy as np
import pytest

from ganjax import UserError, data
from ganjax.data import folder
from ganjax.media import image
from ganjax.sampling import own


def test_samples_start_from_the_edges_of_ones_own_clip(tmp_path):
  level = lambda t: np.full((8, 8, 3), 40 * t, np.uint8)
  frames = [level(t) for t in range(5)]
  for frame in frames:
    frame[:, 4:] = 250
  (tmp_path / 'own').mkdir()
  image.save_gif(tmp_path / 'own/a.gif', frames, {})
  image.save_gif(tmp_path / 'own/b.gif', frames[:3], {})
  field = data.fields(dataset='edges', resolution=8, frames=3)['source']
  how = dict(name='source', channels=3, make=data.of_own('edges'))
  source, mine = own.clips(str(tmp_path / 'own'), field, **how)
  assert mine.names == ['a', 'b'] and source.num_examples == 2
  found = source.read(np.arange(2))['source']
  assert found.shape == (2, 3, 8, 8, 1)
  np.testing.assert_allclose(found[0, :, 4, 4, 0], [250, 210, 170], atol=8)
  np.testing.assert_array_equal(found[0], found[1])
  plain, _ = own.clips(str(tmp_path / 'own/a.gif'), field, **{**how, 'make': data.of_own('moving')})
  assert plain.read([0])['source'].shape == (1, 3, 8, 8, 3)
  long = field._replace(shape=(4, 8, 8, 1))
  with pytest.raises(UserError, match='b.gif has 3 frames, and clips of this run have 4'):
    own.clips(str(tmp_path / 'own'), long, **how)[0].read(np.arange(2))
  (tmp_path / 'none').mkdir()
  for place, message in (tmp_path / 'none', 'no clips in'), (tmp_path / 'no', 'is not there'):
    with pytest.raises(UserError, match=message):
      own.clips(str(place), field, **how)
  (tmp_path / 'c.gif').write_bytes(b'no clip')
  with pytest.raises(UserError, match='c.gif cannot be decoded'):
    own.clips(str(tmp_path / 'c.gif'), field, **how)[0].read([0])


def test_a_decoder_says_in_a_line_why_it_fails():
  """ffmpeg's own words are twenty lines."""
  said = 'Could not load meta information\n=== stderr ===\n\nffmpeg version 9'
  assert folder.reason(OSError(said)) == 'Could not load meta information'
  assert folder.reason(OSError(2, 'No such file')) == 'No such file'
  assert folder.reason(ValueError()) == 'ValueError'
