"""The explorer's server, asked over HTTP: pictures equal those of the command, and what is not the page is refused."""

import contextlib
import http.client
import io
import json
import re
import socket
import threading
import time

import browser
import jax
import jax.numpy as jnp
import pytest
import style_run
import uvicorn
from PIL import Image

import ganjax
from ganjax import UserError, commandline, experiment
from ganjax import config as configs
from ganjax.pages import explore, server, studio
from ganjax.sampling import sample

TOKEN = 'token'
OWN = {'cookie': f'ganjax={TOKEN}'}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return style_run.save(*style_run.start(), tmp_path_factory.mktemp('explore') / 'run')


@contextlib.contextmanager
def serving(place):
  """The address of a server of a run, in a thread."""
  with studio.Studio(place) as made, socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    port = listener.getsockname()[1]
    app = server.build(made, TOKEN, f'http://127.0.0.1:{port}')
    running = uvicorn.Server(uvicorn.Config(app, log_level='error', lifespan='off'))
    thread = threading.Thread(target=running.run, kwargs={'sockets': [listener]}, daemon=True)
    thread.start()
    while not running.started:
      time.sleep(0.01)
    yield port
    running.should_exit = True
    thread.join()


@pytest.fixture(scope='module')
def port(workdir):
  with serving(workdir) as found:
    yield found


def ask(port, path, body=None, headers=None, method=None):
  """(status, headers, content) of a request as the page sends it, but for what `headers` say: None leaves one out."""
  sent = {**OWN, 'host': f'127.0.0.1:{port}'}
  if body is not None:
    sent |= {'origin': f'http://127.0.0.1:{port}', 'x-ganjax': '1'}
  sent |= headers or {}
  connection = http.client.HTTPConnection('127.0.0.1', port, timeout=100)
  content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
  method = method or ('GET' if body is None else 'POST')
  sent = {k: v for k, v in sent.items() if v is not None}
  connection.request(method, path, content, sent)
  answer = connection.getresponse()
  return answer.status, dict(answer.getheaders()), answer.read()


def refusal(answer, status):
  assert answer[0] == status
  return json.loads(answer[2])['error']


def command(workdir, *words):
  sample.COMMAND.read(['sample', str(workdir), *words])
  sample.main()


RECIPES = {
  'plain': {'seeds': '3-5,9'},
  'classes and truncation': {'seeds': '0-1', 'classes': '2,0', 'option': ['truncation=0.5']},
  'mixing': {'seeds': '0-1', 'mix': '7-8', 'layers': '0-1', 'option': ['noise=constant']},
  'directions': {'seeds': '4', 'directions': 'sefa', 'components': '0-1', 'strengths': '-2,2'},
}


@pytest.mark.parametrize(
  'name',
  [
    'plain',
    'mixing',
    *(pytest.param(x, marks=pytest.mark.slow) for x in ('classes and truncation', 'directions')),
  ],
)
def test_a_picture_is_its_recipe(port, workdir, tmp_path, name):
  """The page, the command with the recipe's flags, with the picture itself and with a JSON file: the same bytes."""
  recipe = {**RECIPES[name], 'step': 4}
  status, headers, content = ask(port, '/make', {'recipe': recipe})
  assert (status, headers['content-type']) == (200, 'image/png')
  page, file, out = tmp_path / 'page.png', tmp_path / 'recipe.json', tmp_path / 'out.png'
  page.write_bytes(content)
  with Image.open(page) as image:
    assert json.loads(image.text['recipe']) == recipe
  file.write_text(json.dumps(recipe))
  assert ganjax.from_pretrained(workdir).picture(recipe) == content
  for words in commandline.words(recipe), [f'--recipe={page}'], [f'--recipe={file}']:
    command(workdir, *words, f'--out={out}')
    assert out.read_bytes() == content


def test_what_is_typed_beside_a_recipe_comes_first(port, workdir, tmp_path):
  recipe = {'seeds': '3', 'option': ['truncation=0.5'], 'step': 4}
  (tmp_path / 'r.json').write_text(json.dumps(recipe))
  words = f'--recipe={tmp_path / "r.json"}', '--seeds=8', f'--out={tmp_path / "a.png"}'
  command(workdir, *words)
  _, _, content = ask(port, '/make', {'recipe': {**recipe, 'seeds': '8'}})
  with (
    Image.open(tmp_path / 'a.png') as a,
    Image.open(io.BytesIO(content)) as b,
  ):
    assert a.tobytes() == b.tobytes() and json.loads(a.text['recipe']) == {**recipe, 'seeds': '8'}


@pytest.mark.parametrize(
  'content, line',
  [
    ('{"out": "/tmp/x.png"}', "'out' is no part of a recipe"),
    ('{"source": "x"}', "'source' is no part of a recipe"),
    ('{"seeds": {"a": 1}}', 'seeds is no value'),
    ('[1]', 'holds no recipe'),
    ('{', 'holds no recipe'),
  ],
)
def test_a_file_that_holds_no_recipe(workdir, tmp_path, content, line):
  path = tmp_path / 'r.json'
  path.write_text(content)
  with pytest.raises(UserError, match=line):
    command(workdir, f'--recipe={path}')


def test_a_picture_without_a_recipe_and_none_at_all(workdir, tmp_path):
  Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
  (tmp_path / 'b.png').write_bytes(b'no picture')
  for name, line in ('a', 'holds no recipe'), ('b', 'neither JSON nor'), ('c', 'No such file'):
    with pytest.raises(UserError, match=line):
      command(workdir, f'--recipe={tmp_path / name}.png')


def test_a_film_holds_its_recipe(port, workdir, tmp_path):
  recipe = {'seeds': '0-1', 'frames': 3, 'fps': 10, 'step': 4}
  status, headers, content = ask(port, '/make', {'recipe': {**recipe, 'form': 'gif'}})
  assert (status, headers['content-type']) == (200, 'image/gif')
  (tmp_path / 'a.gif').write_bytes(content)
  command(workdir, f'--recipe={tmp_path / "a.gif"}', f'--out={tmp_path / "b.gif"}')
  assert (tmp_path / 'b.gif').read_bytes() == content


def test_the_page_is_told_what_there_is(port):
  about = json.loads(ask(port, '/about')[2])
  assert (about['styles'], about['num_classes'], about['steps']) == (True, style_run.CLASSES, [4])
  assert about['options']['truncation'] == 1.0 and not about['text'] and not about['picture']


def test_only_who_knows_the_address_comes_in(port):
  for path in ('/', '/about', '/explore.js'):
    line = refusal(ask(port, path, headers={'cookie': None}), 403)
    assert line == 'open the address that ganjax explore printed'
  assert refusal(ask(port, '/about', headers={'cookie': 'ganjax=other'}), 403)
  assert refusal(ask(port, '/?token=other'), 403)
  status, headers, _ = ask(port, f'/?token={TOKEN}', headers={'cookie': None})
  assert (status, headers['location']) == (303, '/')
  assert re.search(r'HttpOnly; .*SameSite=strict', headers['set-cookie'])


def test_other_pages_and_other_hosts_are_refused(port):
  body = {'recipe': {'seeds': '0'}}
  for wrong in (
    {'origin': 'http://evil.example'},
    {'origin': None},
    {'origin': f'http://localhost:{port}'},
    {'x-ganjax': None},
  ):
    assert refusal(ask(port, '/make', body, wrong), 403) == 'only the page itself may ask for that'
  # A name of someone else's that leads here: DNS rebinding.
  assert ask(port, '/about', headers={'host': 'evil.example'})[0] == 400
  assert ask(port, '/make', headers={'x-ganjax': '1'}, method='GET')[0] == 405


def test_answers_may_be_used_by_the_page_alone(port):
  for path in ('/', '/about', '/nowhere'):
    _, headers, _ = ask(port, path)
    assert headers['content-security-policy'].startswith("default-src 'none'; script-src 'self'")
    assert headers['x-content-type-options'] == 'nosniff'
    assert 'access-control-allow-origin' not in headers
  for path in ('/../setup.cfg', '/..%2f..%2fsetup.cfg', '/server.py', '/explore.js/../server.py'):
    assert ask(port, path)[0] == 404


@pytest.mark.parametrize(
  'recipe, line',
  [
    ({'out': '/tmp/x'}, "'out' is no part"),
    ({'workdir': '/tmp'}, "'workdir' is no part"),
    ({'source': '/etc/passwd'}, "'source' is no part"),
    ({'styles': ['/etc/passwd']}, "'styles' is no part"),
    ({'seeds': '0-1000000'}, 'more than 256 samples'),
    ({'seeds': '0-99', 'classes': '0,1,2'}, 'more than 256 samples'),
    ({'seeds': '0-99', 'classes': '0-2'}, 'more than 256 samples'),
    ({'seeds': '0', 'option': ['truncation=' + ','.join('1' * 300)]}, 'more than 256 samples'),
    ({'seeds': '0-9', 'directions': 'sefa', 'components': '0-9'}, 'more than 256 samples'),
    ({'seeds': '0-1', 'frames': 1000, 'form': 'gif'}, 'frames'),
    ({'seeds': 'x'}, "--seeds='x' is not understood"),
    ({'seeds': '0', 'form': 'x'}, "no form 'x'"),
    ({'seeds': ['0', '1']}, 'seeds'),
    ({'seeds': '0', 'step': 7}, 'no checkpoint'),
    ({'seeds': '0', 'option': ['truncation=x']}, 'truncation must be a number'),
  ],
)
def test_recipes_that_are_refused(port, recipe, line):
  assert line in refusal(ask(port, '/make', {'recipe': recipe}), 400)


@pytest.mark.parametrize(
  'body, line',
  [
    (b'text', 'no picture that can be read'),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'no picture that can be read'),
    (b'\x89PNG\r\n\x1a\n' + bytes(50), 'no picture that can be read'),
    (bytes(16_000_001), 'more than 16 MB'),
  ],
)
def test_uploads_that_are_refused(port, body, line):
  assert line in refusal(ask(port, '/upload', body), 400)


def test_an_upload_of_too_many_pixels_is_not_decoded(port):
  file = io.BytesIO()
  Image.new('1', (30_000, 30_000)).save(file, 'PNG')
  began = time.monotonic()
  line = refusal(ask(port, '/upload', file.getvalue()), 400)
  assert line == 'the picture has more than 16 million pixels' and time.monotonic() - began < 5


@pytest.mark.parametrize('body', [b'{', b'[]', b'{"recipe": 1}', b'\xff'])
def test_requests_that_are_not_understood(port, body):
  assert refusal(ask(port, '/make', body), 400) == 'the request is not understood'


@pytest.mark.slow
def test_styles_of_an_own_picture_are_found_and_shown(port, workdir):
  file = io.BytesIO()
  Image.new('RGB', (8, 8), (90, 140, 60)).save(file, 'PNG')
  source = json.loads(ask(port, '/upload', file.getvalue())[2])['source']
  before = sorted(workdir.rglob('*'))
  started = ask(port, '/find', {'source': source, 'space': 'w+', 'steps': 3})
  name = json.loads(started[2])['job']
  for _ in range(600):
    job = json.loads(ask(port, f'/jobs/{name}')[2])
    if job['done'] or job['error']:
      break
    time.sleep(0.1)
  assert job['error'] is None and job['line']
  status, _, content = ask(port, '/make', {'recipe': {}, 'source': job['done']})
  with Image.open(io.BytesIO(content)) as image:
    assert status == 200 and image.size == (8, 8)
  assert sorted(workdir.rglob('*')) == before  # the run is left alone
  assert 'not there' in refusal(ask(port, '/find', {'source': '../../x'}), 400)
  assert 'no such job' in refusal(ask(port, '/jobs/x'), 400)


def test_what_fails_is_said_on_the_page_and_whole_in_the_terminal(port, monkeypatch, capfd):
  """A fault of ganjax itself ends a request and a job; the server goes on."""

  def fail(*_, **__):
    raise ZeroDivisionError('a fault')

  picture = io.BytesIO()
  Image.new('RGB', (8, 8)).save(picture, 'PNG')
  source = json.loads(ask(port, '/upload', picture.getvalue())[2])['source']
  monkeypatch.setattr('ganjax.sampling.sample.make', fail)
  monkeypatch.setattr('ganjax.sampling.project.main', fail)
  line = 'it failed, as the terminal says: ZeroDivisionError'
  assert refusal(ask(port, '/make', {'recipe': {'seeds': '0'}}), 500) == line
  name = json.loads(ask(port, '/find', {'source': source, 'steps': 1})[2])['job']
  for _ in range(100):
    if (job := json.loads(ask(port, f'/jobs/{name}')[2]))['error']:
      break
    time.sleep(0.05)
  assert job['error'] == line
  assert capfd.readouterr().err.count('ZeroDivisionError: a fault') == 2
  monkeypatch.undo()
  assert ask(port, '/make', {'recipe': {'seeds': '0'}})[0] == 200


def test_a_missing_package_and_a_port_in_use(monkeypatch, workdir, port):
  explore.COMMAND.read(['explore', str(workdir), f'--port={port}'])
  with pytest.raises(UserError, match=f'--port={port}: .*in use'):
    explore.main()
  monkeypatch.setitem(__import__('sys').modules, 'uvicorn', None)
  with pytest.raises(UserError, match=r"the package uvicorn is missing: .*'\.\[explore\]'"):
    explore.main()


def save_painter(workdir, channels=3):
  """A run that paints line drawings, untrained; its pictures are grey with one channel."""
  made = configs.base('painter')
  made.update(batch_size=4, steps=4)
  made.data.update(dataset='sketches', of='emoji', split='rest', resolution=16, channels=channels)
  made.networks = dict(name='pix2pix', width=4, width_D=4, downs=3, layers_D=1)
  made.networks.update(dropout_levels=(), norm='instance')
  made.method = dict(name='pix2pix')
  made.optim.G = made.optim.D = configs.adam(lr=1e-3)
  made.eval.split = 'test'
  run = experiment.build(made)
  state = jax.jit(run.init)(jax.random.key(0)).replace(step=jnp.int32(4))
  return style_run.save(run, state, workdir)


@pytest.fixture(scope='module')
def painter(tmp_path_factory):
  return save_painter(tmp_path_factory.mktemp('painter') / 'run')


@pytest.mark.slow
def test_who_may_draw(painter, workdir, tmp_path):
  """The page offers its pad for line drawings in, coloured pictures out."""
  with studio.Studio(painter) as made:
    assert made.about()['picture'] and made.about()['paints']
  for other in workdir, save_painter(tmp_path / 'grey', channels=1):
    with studio.Studio(other) as made:
      assert not made.about()['paints']


@pytest.mark.slow
@browser.needed
def test_drawing_in_a_browser(painter):
  """A finished line is painted; undone, the pad and the picture are as before; cleared, held-out drawings are back."""
  with serving(painter) as port, browser.page() as (page, seen):
    made = '#picture:not([hidden]):not(.stale)'
    page.goto(f'http://127.0.0.1:{port}/?token={TOKEN}')
    page.wait_for_selector(made)
    wide = lambda side: browser.until(lambda: page.evaluate('picture.naturalWidth') == side)
    inked = lambda: page.evaluate(
      "pad.getContext('2d').getImageData(0, 0, 512, 512).data.filter((x, i) => i % 4 == 0 && x < 128).length"
    )
    address = lambda: page.evaluate('picture.src')
    wide(3 * 16)  # 8 held-out drawings
    assert inked() == 0

    def line(y):
      before, box = address(), page.locator('#pad').bounding_box()
      page.mouse.move(box['x'] + box['width'] / 4, box['y'] + y * box['height'])
      page.mouse.down()
      page.mouse.move(box['x'] + box['width'] * 3 / 4, box['y'] + y * box['height'])
      page.mouse.up()
      browser.until(lambda: address() != before)
      wide(16)

    line(0.25)
    one = inked()
    # Half of the pad long, 2.5 of 64 pixels thick, with round ends.
    assert abs(one - (256 * 20 + 10**2 * 3.14)) < 300
    line(0.75)
    assert abs(inked() - 2 * one) < 50
    before = address()
    page.locator('#undo').click()
    browser.until(lambda: address() != before)
    assert inked() == one
    page.locator('#clear').click()
    wide(3 * 16)
    assert inked() == 0
    assert not [x for x in seen if not x.startswith(f'request http://127.0.0.1:{port}/')]


@pytest.mark.slow
@browser.needed
def test_in_a_browser(workdir):
  """By keyboard, on a phone's width, and back from the address; nothing else is asked for and nothing goes wrong."""
  with serving(workdir) as port, browser.page() as (page, seen):
    address = f'http://127.0.0.1:{port}'
    made = '#picture:not([hidden]):not(.stale)'
    page.goto(f'{address}/?token={TOKEN}')
    page.wait_for_selector(made)
    wide = lambda side: browser.until(lambda: page.evaluate('picture.naturalWidth') == side)
    wide(32)  # 16 seeds of 8 pixels

    def shown():
      with page.expect_download() as found:
        page.locator('#download').click()
      return found.value.path().read_bytes()

    recipe = {'seeds': '0-15', 'step': 4}
    assert shown() == ask(port, '/make', {'recipe': recipe})[2]
    page.locator('#seeds').fill('2')
    wide(8)
    before = shown()
    page.locator('#option-truncation').focus()
    for _ in range(4):
      page.keyboard.press('ArrowLeft')
    browser.expect(page.locator('#recipe')).to_contain_text('truncation=0.8')
    page.wait_for_selector(made)
    assert shown() != before
    page.locator('#mode').select_option('mix')
    wide(7 * 8)
    kept, at = shown(), page.url
    page.goto('about:blank')
    page.goto(at)
    wide(7 * 8)
    assert shown() == kept
    page.locator('#seeds').fill('x')
    page.wait_for_selector('#status.wrong')
    assert 'is not understood' in page.locator('#status').inner_text()
    page.set_viewport_size({'width': 400, 'height': 800})
    assert page.evaluate('document.documentElement.scrollWidth') <= 400
    wrong = [x for x in seen if not x.startswith(f'request {address}/')]
    # The browser says of each refused recipe that its status was 400.
    assert all('400 (Bad Request)' in x for x in wrong), wrong
