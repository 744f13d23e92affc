"""Where each format keeps XMP, read as its specification says; and readers that know nothing of it."""

import struct
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.io.wavfile
from PIL import Image

from ganjax.media import image, sound, xmp

TEXT = image.describe('dcgan_emoji', 1200, 7)


def said(packet):
  """IPTC's word and the tool of a packet, of bytes that hold nothing else."""
  (about,) = ElementTree.fromstring(packet.decode()).iter(
    '{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description'
  )
  word = about.attrib['{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType']
  return word, about.attrib['{http://ns.adobe.com/xap/1.0/}CreatorTool']


def gif_packet(data):
  """A reader of XMP takes the bytes up to the 258 that lead others out."""
  _, found = data.split(b'!\xff\x0bXMP DataXMP')
  end = found.index(bytes([1, 255, 254]))
  assert found[end:] == bytes([1, *range(255, -1, -1), 0]) + b';'
  return found[:end]


def mp4_packet(data):
  boxes, at = {}, 0
  while at < len(data):
    size, kind = struct.unpack('>I4s', data[at : at + 8])
    boxes[kind] = data[at + 8 : at + size]
    at += size
  assert at == len(data) and {b'ftyp', b'moov', b'mdat'} < {*boxes}
  assert boxes[b'uuid'][:16].hex() == 'be7acfcb97a942e89c71999491e3afac'
  return boxes[b'uuid'][16:]


def wav_packet(data):
  chunks, at = {}, 12
  assert struct.unpack('<I', data[4:8])[0] == len(data) - 8
  while at < len(data):
    kind, size = struct.unpack('<4sI', data[at : at + 8])
    chunks[kind] = data[at + 8 : at + 8 + size]
    at += 8 + size + size % 2
  assert at == len(data) and b'LIST' in chunks
  return chunks[b'_PMX']


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
SOUND = np.arange(1001, dtype=np.int16)[:, None]
SAVES = {
  'gif': (image.save_gif, FRAMES, gif_packet),
  'mp4': (image.save_mp4, FRAMES, mp4_packet),
  'wav': (sound.save, SOUND, wav_packet),
}


@pytest.mark.parametrize('kind', SAVES)
def test_a_file_says_that_a_model_made_it(tmp_path, kind):
  if kind == 'mp4':
    pytest.importorskip('imageio_ffmpeg')
  save, x, find = SAVES[kind]
  path = tmp_path / f'a.{kind}'
  for tool in ('ganjax 1', 'ganjax 10'):  # packets of an even and of an odd number of bytes
    save(path, x, {**TEXT, 'Software': tool})
    assert said(find(path.read_bytes())) == (xmp.SYNTHETIC, tool)
  save(path, x, {})
  assert b'DigitalSourceType' not in path.read_bytes()


def test_readers_without_xmp(tmp_path):
  image.save_gif(tmp_path / 'a.gif', FRAMES, TEXT)
  with Image.open(tmp_path / 'a.gif') as read:
    assert read.n_frames == len(FRAMES)
  sound.save(tmp_path / 'a.wav', SOUND, TEXT, 8000)
  rate, read = scipy.io.wavfile.read(tmp_path / 'a.wav')
  assert rate == 8000
  np.testing.assert_array_equal(read, SOUND[:, 0])
  ffmpeg = pytest.importorskip('imageio_ffmpeg')
  image.save_mp4(tmp_path / 'a.mp4', FRAMES, TEXT)
  assert ffmpeg.count_frames_and_secs(str(tmp_path / 'a.mp4'))[0] == len(FRAMES)
