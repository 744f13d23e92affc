"""ganjax sample and ganjax project on an untrained run of styles and classes: what files hold, and what is refused."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import style_run
from PIL import Image

from ganjax import UserError
from ganjax.media import image as images
from ganjax.sampling import project, sample


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return style_run.save(*style_run.start(), tmp_path_factory.mktemp('tools') / 'run')


def call(command, workdir, *arguments):
  command.COMMAND.read(['ganjax', f'--workdir={workdir}', *map(str, arguments)])
  command.main()


@pytest.fixture(scope='module')
def pictures(workdir):
  """Seeds 0 to 8 with constant noise, as films have it, uint8 [9, 8, 8, 3]."""
  out = workdir / 'plain.npz'
  call(sample, workdir, '--seeds=0-8', '--option=noise=constant', f'--out={out}')
  with np.load(out) as file:
    assert file['arr_1'].tolist() == [0, 1, 2] * 3
    return file['arr_0']


def cells(path, columns):
  """(pictures of a grid [R, C, 8, 8, 3], its metadata)."""
  with Image.open(path) as image:
    x, text = np.asarray(image), image.text
  return x.reshape(-1, 8, columns, 8, 3).swapaxes(1, 2), text


def test_a_film_passes_through_the_seeds(workdir, pictures, tmp_path):
  """Two paths side by side: at every fourth frame the seeds' own pictures, bit for bit; Pillow reads them."""
  out = tmp_path / 'film.gif'
  call(sample, workdir, '--seeds=0-5', '--paths=2', '--frames=4', '--fps=25', f'--out={out}')
  with Image.open(out) as gif:
    assert (gif.n_frames, gif.size, gif.info['loop'], gif.info['duration']) == (12, (16, 8), 0, 40)
    text, frames = json.loads(gif.info['comment']), []
    for i in range(12):
      gif.seek(i)
      frames.append(np.asarray(gif.convert('RGB')))
  for i in range(3):
    np.testing.assert_array_equal(frames[4 * i], np.concatenate(pictures[[i, 3 + i]], 1))
  assert all((a != b).any() for a, b in zip(frames, frames[1:]))
  assert (text['paths'], text['options'], text['seed']) == (2, {'noise': 'constant'}, '0-5')


@pytest.mark.slow
def test_a_film_in_mp4(workdir, pictures, tmp_path):
  ffmpeg = pytest.importorskip('imageio_ffmpeg')
  out = tmp_path / 'film.mp4'
  call(sample, workdir, '--seeds=0-2', '--frames=4', f'--out={out}')
  assert ffmpeg.count_frames_and_secs(str(out)) == (12, 0.6)
  frames = ffmpeg.read_frames(str(out))
  assert next(frames)['size'] == (8, 8)
  first = np.frombuffer(next(frames), np.uint8).reshape(8, 8, 3)
  # Colours are halved: brightness is what stays.
  assert np.abs(first.mean(2) - pictures[0].mean(2)).mean() < 12
  # Not what ffmpeg says of a file, where a comment ends after 255 characters.
  tell = [ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', out, '-f', 'ffmetadata', '-']
  (comment,) = re.findall('^comment=(.*)', subprocess.check_output(tell, text=True), re.MULTILINE)
  about = json.loads(re.sub(r'\\(.)', r'\1', comment))
  assert about['Description'] == 'synthetic image' and about['options'] == {'noise': 'constant'}
  assert [path.name for path in tmp_path.iterdir()] == ['film.mp4']


def test_a_film_of_odd_sides_and_without_ffmpeg(tmp_path, monkeypatch):
  ffmpeg = pytest.importorskip('imageio_ffmpeg')
  grey = np.full((3, 5, 7, 1), 200, np.uint8)
  images.save_mp4(tmp_path / 'a.mp4', grey, {}, 10)
  frames = ffmpeg.read_frames(str(tmp_path / 'a.mp4'))
  assert next(frames)['size'] == (8, 6)
  x = np.frombuffer(next(frames), np.uint8).reshape(6, 8, 3).astype(int)
  assert abs(x[:4, :6] - 200).max() < 12
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
  with pytest.raises(UserError, match='films in MP4 need ffmpeg: pip install imageio-ffmpeg'):
    images.save_mp4(tmp_path / 'b.mp4', grey, {})


def test_a_table_of_an_option(workdir, tmp_path):
  """A row a seed: as it is, then with each value; those of the default are as it is, at 0 all are the mean's."""
  out = tmp_path / 'sweep.png'
  how = '--seeds=0-3', '--option=noise=constant', f'--out={out}'
  call(sample, workdir, *how, '--option=truncation=0,0.5,1')
  table, text = cells(out, 4)
  assert table.shape[:2] == (4, 4)
  np.testing.assert_array_equal(table[:, 0], table[:, 3])
  assert (table[:, 1] == table[0, 1]).all() and (table[:, 1] != table[:, 2]).any((1, 2, 3)).all()
  assert json.loads(text['options']) == {'noise': 'constant', 'truncation': [0.0, 0.5, 1.0]}


@pytest.mark.slow
def test_a_table_of_mixed_styles(workdir, pictures, tmp_path):
  out = tmp_path / 'mix.png'
  how = '--seeds=0-1', '--option=noise=constant', f'--out={out}'
  call(sample, workdir, *how, '--mix=4-6', '--layers=0-1')
  table, text = cells(out, 4)
  assert table.shape[:2] == (3, 4) and (table[0, 0] == 255).all()
  np.testing.assert_array_equal(table[0, 1:], pictures[4:7])
  np.testing.assert_array_equal(table[1:, 0], pictures[:2])
  flat = [*table[1, 1:], *table[2, 1:], *pictures]
  assert len(np.unique(flat, axis=0)) == len(flat)
  assert (text['mix'], text['layers']) == ('4-6', '[0, 1]')


@pytest.mark.parametrize('kind', ['sefa', pytest.param('ganspace', marks=pytest.mark.slow)])
def test_a_table_of_directions(workdir, pictures, tmp_path, kind):
  out = tmp_path / 'directions.png'
  how = '--seeds=2-3', '--option=noise=constant', f'--out={out}', '--components=0,3'
  call(sample, workdir, *how, f'--directions={kind}', '--strengths=-2,0,2')
  table, text = cells(out, 4)
  assert table.shape[:2] == (4, 4)  # two seeds, of each two directions
  np.testing.assert_array_equal(table[:, 0], pictures[[2, 2, 3, 3]])
  np.testing.assert_array_equal(table[:, 2], table[:, 0])
  assert (table[:, 1] != table[:, 3]).any((1, 2, 3)).all()
  assert text['directions'] == kind and json.loads(text['strengths']) == [-2, 0, 2]
  assert json.loads(text['components']) == [0, 3] and json.loads(text['layers']) == [0, 1, 2, 3]


@pytest.mark.slow
def test_the_average_of_each_class(workdir, tmp_path):
  out = tmp_path / 'averages.npz'
  how = '--option=noise=constant', '--option=truncation=0', '--class_averages', f'--out={out}'
  call(sample, workdir, '--classes=0-2', '--seeds=0-1', *how)
  with np.load(out) as file:
    x, labels, text = file['arr_0'], file['arr_1'], json.loads(str(file['metadata']))
  assert labels.tolist() == [0, 0, 1, 1, 2, 2] and text['class_averages']
  np.testing.assert_array_equal(x[::2], x[1::2])
  assert len(np.unique(x, axis=0)) == 3


@pytest.mark.slow
def test_a_projected_picture_comes_back(workdir, pictures, tmp_path, capsys):
  (tmp_path / 'own').mkdir()
  for i in (4, 7):
    images.save_png(tmp_path / 'own' / f'{i}.png', pictures[i], {})
  out = tmp_path / 'found.npz'
  how = '--distance=pixels', '--steps=40', '--space=w+'
  call(project, workdir, f'--source={tmp_path / "own"}', f'--out={out}', *how)
  said = capsys.readouterr().out
  assert len(re.findall(r'^4  step \d+/40  distance \d\.\d{4}  \d+s left$', said, re.M)) == 40
  with np.load(out) as file:
    w, text = file['w'], json.loads(str(file['metadata']))
  assert w.shape == (2, 4, 6) and len(np.unique(w[0], axis=0)) == 4
  assert (text['source'], text['space'], text['distance']) == (['4', '7'], 'w+', 'pixels')
  assert all(end < start for start, end in zip(text['start'], text['end']))
  # Beside it each picture and what was found, and the course; `sample` makes the same of the file.
  table, _ = cells(out.with_suffix('.png'), 2)
  np.testing.assert_array_equal(table[:, 0], pictures[[4, 7]])
  with Image.open(out.with_suffix('.gif')) as gif:
    assert gif.size == (16, 16) and gif.n_frames > 20
  call(sample, workdir, f'--styles={out}', '--format=files', f'--out={tmp_path / "again"}')
  for i in range(2):
    with Image.open(tmp_path / 'again' / f'found-{i}.png') as image:
      assert np.abs(np.asarray(image, int) - table[i, 1]).max() <= 1
      assert image.text['seed'] == f'found-{i}' and json.loads(image.text['styles']) == [
        'found-0',
        'found-1',
      ]


@pytest.mark.parametrize(
  ('arguments', 'line'),
  [
    ('--mix=1 --directions=sefa', '--mix and --directions make a table each: take one'),
    ('--mix=1 --option=truncation=0,1', '--mix and several values of --option=truncation make'),
    ('--option=truncation=0,1 --option=cutoff=1,2', 'one at a time may have several values'),
    ('--option=trunction=0,1', r'did you mean truncation\?'),
    ('--mix=1 --out=x.gif', r'--mix makes a table, a PNG'),
    ('--mix=1 --layers=0-4', r'--layers=0-4: there are 0 to 3'),
    ('--directions=sefa --components=6', '--components=6: there are 0 to 5'),
    ('--directions=sefa --strengths=1,b', '--strengths=.* must be numbers joined by commas'),
    ('--directions=sofa', r'should be one of <sefa\|ganspace> \(did you mean sefa\?\)'),
    ('--layers=1', '--layers goes with --mix or --directions'),
    ('--strengths=1', '--strengths goes with --directions'),
    ('--paths=2', '--paths=2 goes with --format strip, gif, mp4'),
    ('--seeds=0-2 --paths=2 --out=x.gif', r'2 path\(s\) of equally many; there are 3'),
    ('--fps=0', '--fps must be at least 1'),
    ('--styles=x.npz --seeds=1', 'leave --seeds out'),
    ('--styles=x.npz', 'x.npz is not there'),
    ('--out=x.jpg', 'grid writes .png files'),
  ],
)
def test_tools_that_do_not_go_together(workdir, arguments, line):
  with pytest.raises(UserError, match=line):
    call(sample, workdir, *arguments.split())


@pytest.mark.parametrize(
  ('command', 'arguments', 'line'),
  [
    (sample, '--mix=1', '--mix: this run has no styles w, which StyleGANs have'),
    (sample, '--directions=sefa', '--directions: this run has no styles w'),
    (sample, '--styles=x.npz', '--styles: this run has no styles w'),
    (project, '--source=x.png', 'has no styles w, which StyleGANs have: ganjax project cannot'),
    (project, '', '--source is missing'),
    (project, '--source=x.png --steps=0', '--steps=0 must be at least 1'),
    (project, '--source=x.png --out=x.png', 'ganjax project writes .npz files: name it x.npz'),
    (project, '--source=x.png --space=w++', r'should be one of <w\|w\+>'),
  ],
)
def test_runs_without_styles(tmp_path, command, arguments, line):
  config = style_run.config('gan').to_dict()
  (tmp_path / 'config.json').write_text(json.dumps({'name': 'tiny', 'config': config}))
  with pytest.raises(UserError, match=line):
    call(command, tmp_path, *arguments.split())


@pytest.mark.parametrize(
  ('arguments', 'line'),
  [
    ('--source=x.png', '--source=x.png is not there'),
    ('--source={tmp} --distance=pixel', r'did you mean pixels\?'),
  ],
)
def test_projections_of_nothing(workdir, pictures, tmp_path, arguments, line):
  images.save_png(tmp_path / 'a.png', pictures[0], {})
  with pytest.raises(UserError, match=line):
    call(project, workdir, *arguments.format(tmp=tmp_path).split())
