"""XMP packets that say which files a generator made, where each format keeps them (ISO 16684-3).

Readers look there, not into comments: IPTC's DigitalSourceType is how search engines and archives know synthetic media.
"""

# What IPTC calls media that a trained model made.
SYNTHETIC = 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'
_PACKET = (
  '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
  '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
  'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
  'Iptc4xmpExt:DigitalSourceType="{DigitalSourceType}" xmp:CreatorTool="{Software}"/></rdf:RDF></x:xmpmeta>'
  '<?xpacket end="w"?>'
)
_MP4_BOX = bytes.fromhex('be7acfcb97a942e89c71999491e3afac')


def packet(text: dict) -> str:
  """The packet of a sample's metadata; '' where they do not say that it is synthetic."""
  return _PACKET.format(**text) if 'DigitalSourceType' in text else ''


def gif_block(text: dict) -> bytes:
  """An application extension, or b''. Readers that do not know it skip its bytes as lengths of blocks to the end."""
  skip = bytes([1, *range(255, -1, -1), 0])
  found = packet(text).encode()
  return b'!\xff\x0bXMP DataXMP' + found + skip if found else b''


def mp4_box(text: dict) -> bytes:
  """A box of its own at the top of the file, or b''."""
  found = packet(text).encode()
  size = 8 + len(_MP4_BOX) + len(found)
  return size.to_bytes(4, 'big') + b'uuid' + _MP4_BOX + found if found else b''


def wav_chunk(text: dict) -> bytes:
  """A chunk of an even number of bytes, or b''."""
  found = packet(text).encode()
  size = len(found).to_bytes(4, 'little')
  return b'_PMX' + size + found + b'\0' * (len(found) % 2) if found else b''
