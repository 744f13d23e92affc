"""The page of a run: what it says, that it needs no network, and that it works in a browser."""

import base64
import hashlib
import html
import io
import json
import re
import shutil

import browser
import command
import numpy as np
import pytest
from PIL import Image

from ganjax import UserError
from ganjax.pages import report

HOSTILE = '</script><img src=x onerror="alert(1)">'


def run(tmp_path, folder='run', **changes):
  """A finished run without its checkpoints; `changes` are fields of its configuration."""
  place = tmp_path / folder
  shutil.copytree(
    command.finished()[0], place, ignore=shutil.ignore_patterns('checkpoints', 'tensorboard')
  )
  record = json.loads((place / 'config.json').read_text())
  record['config'] |= changes
  (place / 'config.json').write_text(json.dumps(record))
  return place


def write(place, *more):
  """(the text of the page, its data, the paths) of a report."""
  paths = report.write([place, *more], place / 'report.html', place / 'film.gif')
  text = paths[0].read_text()
  return text, json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1]), paths


def picture(uri):
  head, _, code = uri.partition(',')
  assert head == 'data:image/webp;base64'
  return Image.open(io.BytesIO(base64.b64decode(code)))


def evaluated(place, *values, by='training', **more):
  """Adds records of fid to a run, [(step, value)]."""
  with open(place / 'evaluations.jsonl', 'a') as file:
    for step, value in values:
      side = {'weights': 'ema', 'batch_norm': 'running'}
      record = dict(metric='fid', preset='monitor', values={'fid': value}, num_fake=10, fake=side)
      record |= dict(num_real=10, real={'name': 'test'}, step=step, by=by, **more)
      file.write(json.dumps(record) + '\n')


def test_a_finished_run_has_its_page():
  workdir = command.finished()[0]
  text = (workdir / 'report.html').read_text()
  assert 'finished at step 100 of 100; 800 real images seen' in text
  with Image.open(workdir / 'film.gif') as film:
    assert (film.n_frames, film.size) == (5, (256, 256))
  assert f'report: {workdir / "report.html"}' in command.finished()[1]


def test_grids_of_all_steps_are_in_the_page(tmp_path):
  place = run(tmp_path)
  _, data, paths = write(place)
  assert data['steps'] == [0, 25, 50, 75, 100] and len(data['pictures']) == 1
  for step, uri in data['pictures'][0].items():
    original = np.asarray(Image.open(place / f'samples/{int(step):08}.png'), float)
    assert np.abs(np.asarray(picture(uri), float) - original).mean() < 12  # WebP loses a little
  assert [path.name for path in paths] == ['report.html', 'film.gif']


def test_nothing_is_fetched_and_no_other_script_runs(tmp_path):
  text, *_ = write(run(tmp_path))
  policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
  script = re.search(r'<script>(.*?)</script>', text, re.S)[1]
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert policy == (
    f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
  )
  found = re.findall(r'(?:src|href|action)="([^"]*)"', text)
  assert found and all(one.startswith(('data:image/webp', '#')) for one in found)


def test_what_users_typed_is_text(tmp_path):
  place = run(tmp_path, name=HOSTILE)
  text, *_ = write(place.rename(tmp_path / 'a<b>$x$'))
  assert HOSTILE not in text and html.escape(HOSTILE) in text
  assert '<h1>a&lt;b&gt;$x$</h1>' in text


def test_evaluations_warnings_and_settings_stand_there(tmp_path):
  place = run(tmp_path)
  evaluated(place, (50, 3.5), (100, 9.25))
  (place / 'checkpoints_broken' / '90').mkdir(parents=True)
  text, data, _ = write(place)
  row = ['run', 'fid', 'monitor', 'ema', '10', '10 test', '9.25', '100', '3.5', '50']
  assert ''.join(f'<td>{cell}</td>' for cell in row) in text
  assert 'diverging: fid 9.25 at step 100, more than twice its best, 3.5 at 50' in text
  assert '1 damaged checkpoint(s)' in text
  assert '<td>networks.width</td><td>32</td><td>4</td>' in text
  assert '--config.networks.width=4' in text
  assert len(data['moves']) == text.count('id="now')
  # The last panel is that of the evaluation: its axis begins near its first step.
  assert 40 < data['moves'][-1][1] < 50


def test_runs_stand_side_by_side_with_a_floor(tmp_path):
  a, b = run(tmp_path, 'a'), run(tmp_path, 'b', batch_size=4, steps=200)
  shutil.rmtree(b / 'samples')
  evaluated(a, (100, 2.0))
  floor = tmp_path / 'floor.jsonl'
  evaluated(tmp_path, (None, 0.5), by='command')
  (tmp_path / 'evaluations.jsonl').rename(floor)
  text, data, _ = write(a, b, floor)
  assert len(data['pictures']) == 1
  assert '<td>batch_size</td><td>64</td><td>8</td><td>4</td>' in text
  assert 'stopped at step 100 of 200' in text
  assert '<td>floor</td><td>fid</td>' in text


def test_many_and_large_grids_are_thinned_to_fit(tmp_path, monkeypatch):
  place, rng = run(tmp_path), np.random.default_rng(0)
  for step in range(200, 260):
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(place / f'samples/{step:08}.png')
  monkeypatch.setattr(report, 'MOST_BYTES', 100_000)
  text, data, _ = write(place)
  steps = data['steps']
  assert 2 < len(steps) < 48 and (steps[0], steps[-1]) == (0, 259)
  assert sum(map(len, data['pictures'][0].values())) <= 100_000


def test_a_run_without_pictures_or_metrics(tmp_path):
  place = run(tmp_path)
  shutil.rmtree(place / 'samples')
  (place / 'metrics.jsonl').unlink()
  text, data, paths = write(place)
  assert len(paths) == 1 and 'There are no grids yet' in text and 'no metrics yet' in text
  assert 'stopped at step 0 of 100' in text


def test_no_run_is_one_line(tmp_path):
  with pytest.raises(UserError, match='is not there'):
    report.write([tmp_path], tmp_path / 'report.html', tmp_path / 'film.gif')


@pytest.mark.slow
@browser.needed
def test_in_a_browser(tmp_path):
  """The slider shows the grid of its step, by mouse and by keyboard; nothing is asked of a network; a phone's width."""
  place = run(tmp_path)
  text, data, paths = write(place)
  with browser.page() as (page, seen):
    page.goto(f'file://{paths[0]}')
    image, slider = page.locator('figure img'), page.locator('#slider')
    shown = lambda: image.get_attribute('src')
    assert shown() == data['pictures'][0]['100']
    slider.focus()
    page.keyboard.press('Home')
    assert shown() == data['pictures'][0]['0'] and page.locator('#step').inner_text() == 'step 0'
    page.keyboard.press('ArrowRight')
    assert shown() == data['pictures'][0]['25']
    where = lambda: page.locator(f'#{data["moves"][0][0]}').get_attribute('transform')
    before = where()
    page.keyboard.press('ArrowRight')
    assert before.startswith('translate(') and where() != before
    page.locator('#play').click()
    browser.expect(slider).to_have_value('4')
    assert page.locator('#play').inner_text() == 'Play'
    page.set_viewport_size({'width': 400, 'height': 800})
    assert page.evaluate('document.documentElement.scrollWidth') <= 400
    assert seen == [f'request file://{paths[0]}']
