"""A real browser for tests, where one is installed: Debian's chromium, and pip's playwright."""

import contextlib
import importlib.util
import shutil
import time

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
needed = pytest.mark.skipif(
  not (CHROMIUM and importlib.util.find_spec('playwright')),
  reason='no browser: apt-get install chromium; pip install playwright',
)
QUIET = (
  *('--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
  *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
)


def expect(found):
  """Waits for what is to become true of a locator."""
  from playwright.sync_api import expect

  return expect(found)


def until(holds, seconds=60):
  """Waits until `holds()`: a page's policy forbids playwright's own way of waiting for a script."""
  last = time.monotonic() + seconds
  while not holds():
    assert time.monotonic() < last, 'it did not come true'
    time.sleep(0.1)


@contextlib.contextmanager
def page(width=1280, height=900):
  """A page, and the list of what it asks for, of its errors and of what it writes to the console."""
  from playwright.sync_api import sync_playwright

  with sync_playwright() as running:
    chromium = running.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
    one, seen = chromium.new_page(viewport={'width': width, 'height': height}), []
    one.on('console', lambda line: seen.append(f'console {line.text}'))
    one.on('pageerror', lambda error: seen.append(f'error {error}'))
    known = ('data:', 'blob:')
    one.on(
      'request',
      lambda asked: None if asked.url.startswith(known) else seen.append(f'request {asked.url}'),
    )
    yield one, seen
    chromium.close()
