'use strict';
// A picture is a recipe: the flags of `ganjax sample`. The form makes a recipe; the address holds it.
const $ = (id) => document.getElementById(id);
const MODES = {
  samples: 'samples',
  mix: 'a mixing table',
  move: 'directions',
  film: 'a film from seed to seed',
  nearest: 'the nearest training pictures',
  find: 'my own picture, by styles',
};
let about = null;
let source = null; // the name of an upload, or of found styles
let running = null; // the request on its way
let timer = null;
let url = null;
let sent = 0; // uploads so far

async function ask(path, body, signal) {
  const raw = body instanceof Blob;
  const answer = await fetch(path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: body === undefined ? {} : { 'x-ganjax': '1', 'content-type': raw ? 'application/octet-stream' : 'application/json' },
    body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    signal,
  });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

function say(text, wrong = false) {
  $('status').textContent = text;
  $('status').classList.toggle('wrong', wrong);
}

function recipe() {
  const mode = $('mode').value;
  const out = { seeds: $('seeds').value };
  if (!$('for-classes').hidden && $('classes').value) out.classes = $('classes').value;
  const texts = $('text').value.split('\n').map((x) => x.trim()).filter(Boolean);
  if (!$('for-text').hidden && texts.length) out.text = texts;
  const options = [...document.querySelectorAll('#options input')]
    .filter((x) => Number(x.value) !== Number(x.dataset.default))
    .map((x) => x.name + '=' + x.value);
  if (options.length) out.option = options;
  if (mode === 'mix') {
    out.mix = $('mix').value;
    if ($('layers').value) out.layers = $('layers').value;
  }
  if (mode === 'move') {
    const far = Number($('strength').value);
    out.directions = $('directions').value;
    out.components = $('components').value;
    out.strengths = [-far, -far / 2, far / 2, far].join(',');
  }
  if (mode === 'film') Object.assign(out, { frames: Number($('frames').value), fps: Number($('fps').value) });
  if (about.steps.length) out.step = about.steps[Number($('step').value)];
  if (about.averaged) out.weights = $('weights').value;
  if (source && mode === 'samples') delete out.seeds;
  return out;
}

function restore(saved) {
  const given = saved.recipe || {};
  if (MODES[saved.mode]) $('mode').value = saved.mode;
  for (const name of ['seeds', 'classes', 'mix', 'layers', 'directions', 'components', 'frames', 'fps', 'weights']) {
    if (given[name] !== undefined) $(name).value = given[name];
  }
  if (given.text) $('text').value = [].concat(given.text).join('\n');
  if (given.strengths) $('strength').value = String(given.strengths).split(',').pop();
  for (const pair of [].concat(given.option || [])) {
    const [name, value] = pair.split('=');
    for (const x of document.querySelectorAll('#options input')) if (x.name === name) x.value = value;
  }
  const at = about.steps.indexOf(given.step);
  if (at >= 0) $('step').value = at;
}

function show() {
  const mode = $('mode').value;
  for (const one of document.querySelectorAll('[data-mode]')) one.hidden = !one.dataset.mode.split(' ').includes(mode);
  $('for-picture').hidden = !(mode === 'find' || (mode === 'samples' && about.picture));
  $('for-drawing').hidden = !(mode === 'samples' && about.paints);
  $('strength-value').value = $('strength').value;
  if (about.steps.length) $('step-value').value = about.steps[Number($('step').value)].toLocaleString('en');
  for (const x of document.querySelectorAll('#options input[type=range]')) x.previousElementSibling.lastElementChild.value = x.value;
}

function words(given) {
  const quote = (x) => (/^[\w.,=+:@%/-]+$/.test(x) ? x : "'" + x.replaceAll("'", "'\\''") + "'");
  return Object.entries(given).flatMap(([name, values]) => [].concat(values).map((x) => '--' + name + '=' + quote(String(x)))).join(' ');
}

async function make() {
  show();
  const mode = $('mode').value;
  if (mode === 'find') return;
  if (running) running.abort();
  running = new AbortController();
  const mine = running;
  const given = recipe();
  const form = mode === 'film' ? 'gif' : about.restores && source && about.picture ? 'file' : 'grid';
  history.replaceState(null, '', '#' + encodeURIComponent(JSON.stringify({ mode, recipe: given })));
  $('recipe').textContent = JSON.stringify(given, null, 2);
  $('command').textContent = 'ganjax sample ' + about.place + ' ' + words(given) + (form === 'gif' ? ' --format=gif' : '') + (source ? ' --source=PICTURE' : '');
  $('picture').classList.add('stale');
  const began = Date.now();
  const clock = setInterval(() => say('Making ... ' + Math.round((Date.now() - began) / 1000) + ' s'), 1000);
  say('Making ...');
  try {
    const body = { recipe: { ...given, form }, source: mode === 'samples' ? source : null };
    const answer = await ask(mode === 'nearest' ? '/nearest' : '/make', body, mine.signal);
    const content = await answer.blob();
    if (mine !== running) return;
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(content);
    $('picture').src = url;
    $('picture').alt = MODES[mode] + (given.seeds ? ', seeds ' + given.seeds : ' of your own picture');
    $('picture').hidden = false;
    $('picture').classList.remove('stale');
    $('download').href = url;
    $('download').download = about.name + (content.type === 'image/gif' ? '.gif' : '.png');
    $('download').hidden = false;
    clearInterval(clock);
    if (about.kind === 'sound' && mode === 'samples') await listen(given, mine);
    say(mode === 'nearest' ? 'Each row: a sample, then the training pictures nearest to it by pixels.' : '');
  } catch (error) {
    if (error.name !== 'AbortError' && mine === running) say(error.message, true);
  } finally {
    clearInterval(clock);
  }
}

async function listen(given, mine) {
  const first = String(given.seeds).split(/[-,]/)[0];
  const answer = await ask('/make', { recipe: { ...given, seeds: first, form: 'file' } }, mine.signal);
  $('audio').src = URL.createObjectURL(await answer.blob());
  $('audio').hidden = false;
}

function soon() {
  show();
  clearTimeout(timer);
  timer = setTimeout(make, 200);
}

function page(by) {
  const found = $('seeds').value.match(/^(\d+)-(\d+)$/);
  const [first, last] = found ? found.slice(1).map(Number) : [0, 15];
  const count = last - first + 1;
  const start = Math.max(0, first + by * count);
  $('seeds').value = start + '-' + (start + count - 1);
  make();
}

async function upload(file) {
  const mine = ++sent;
  source = null;
  if (file) {
    say('Sending ...');
    try {
      const kept = (await (await ask('/upload', file)).json()).source;
      if (mine !== sent) return undefined;
      source = kept;
      say('');
    } catch (error) {
      $('picture-file').value = '';
      return say(error.message, true);
    }
  }
  return make();
}

// Lines of a pen on white. Each finished line sends the drawing, which the generator paints.
function draw() {
  const pad = $('pad');
  const pen = pad.getContext('2d', { willReadFrequently: true });
  const before = []; // the pad as it was before each line
  let last = null;
  const place = (event) => {
    const at = pad.getBoundingClientRect();
    return [((event.clientX - at.left) * pad.width) / at.width, ((event.clientY - at.top) * pad.height) / at.height];
  };
  const wipe = () => pen.fillRect(0, 0, pad.width, pad.height);
  const line = (event) => {
    pen.beginPath();
    pen.moveTo(...last);
    last = place(event);
    pen.lineTo(...last);
    pen.stroke();
  };
  const send = () => pad.toBlob(upload);
  const lift = () => {
    if (last) send();
    last = null;
  };
  // 2.5 of 64 pixels: as thick as the lines that are learnt from.
  Object.assign(pen, { lineWidth: (2.5 * pad.width) / 64, lineCap: 'round', lineJoin: 'round', fillStyle: '#fff' });
  wipe();
  pad.addEventListener('pointerdown', (event) => {
    pad.setPointerCapture(event.pointerId);
    before.push(pen.getImageData(0, 0, pad.width, pad.height));
    if (before.length > 30) before.shift();
    last = place(event);
    line(event);
  });
  pad.addEventListener('pointermove', (event) => last && line(event));
  pad.addEventListener('pointerup', lift);
  pad.addEventListener('pointercancel', lift);
  $('undo').addEventListener('click', () => {
    if (!before.length) return;
    pen.putImageData(before.pop(), 0, 0);
    send();
  });
  $('clear').addEventListener('click', () => {
    before.length = 0;
    wipe();
    upload();
  });
}

async function find() {
  if (!source) return say('choose a picture first', true);
  $('find').disabled = true;
  try {
    const asked = { source, space: $('space').value, steps: Number($('updates').value) };
    const { job } = await (await ask('/find', asked)).json();
    for (;;) {
      const state = await (await ask('/jobs/' + job)).json();
      if (state.error) throw new Error(state.error);
      if (state.done) {
        source = state.done;
        break;
      }
      say(state.line || 'Looking ...');
      await new Promise((done) => setTimeout(done, 500));
    }
    const given = {};
    const answer = await ask('/make', { recipe: given, source });
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(await answer.blob());
    Object.assign($('picture'), { src: url, hidden: false, alt: 'the picture that was found' });
    $('picture').classList.remove('stale');
    say('Found.');
  } catch (error) {
    say(error.message, true);
  } finally {
    source = null;
    $('picture-file').value = '';
    $('find').disabled = false;
  }
  return undefined;
}

async function begin() {
  about = await (await ask('/about')).json();
  $('name').textContent = about.name;
  $('place').textContent = about.place;
  document.title = about.name + ' - ganjax explore';
  const offered = ['samples'];
  if (about.styles) offered.push('mix', 'move');
  if (about.moves) offered.push('film');
  if (about.nearest) offered.push('nearest');
  if (about.styles) offered.push('find');
  for (const mode of offered) $('mode').append(new Option(MODES[mode], mode));
  $('for-classes').hidden = !about.num_classes;
  for (const name of about.classes || []) $('names').append(new Option(name));
  $('for-text').hidden = !about.text;
  for (const [name, value] of Object.entries(about.options)) {
    const label = document.createElement('label');
    const input = document.createElement('input');
    const range = value === 1;
    Object.assign(input, { id: 'option-' + name, name, type: range ? 'range' : 'number', step: 'any' });
    if (range) Object.assign(input, { min: 0, max: 1.5, step: 0.05 });
    input.dataset.default = value;
    input.value = value;
    label.htmlFor = input.id;
    label.append(name.replaceAll('_', ' ') + ' ');
    if (range) label.append(document.createElement('output'));
    $('options').append(label, input);
  }
  if (about.steps.length > 1) $('for-step').hidden = false;
  $('step').max = Math.max(about.steps.length - 1, 0);
  $('step').value = $('step').max;
  $('for-weights').hidden = !about.averaged;
  if (about.picture) $('seeds').value = '0-7';
  try {
    restore(JSON.parse(decodeURIComponent(location.hash.slice(1))));
  } catch {
    // No recipe in the address.
  }
  $('controls').addEventListener('input', (event) => event.target.type !== 'file' && soon());
  $('controls').addEventListener('submit', (event) => { event.preventDefault(); make(); });
  $('picture-file').addEventListener('change', () => upload($('picture-file').files[0]));
  draw();
  $('before').addEventListener('click', () => page(-1));
  $('after').addEventListener('click', () => page(1));
  $('find').addEventListener('click', find);
  make();
}

begin().catch((error) => say(error.message, true));
