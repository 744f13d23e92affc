"""Detects the watermark of ganjax: ganjax marked PICTURE [FOLDER ...] [--resized]

`ganjax sample --mark` adds the watermark to the pixels. It is not in the metadata, and it survives JPEG and cropping;
small pictures lose it sooner. Output is a line for each picture: marked or not, and the probability that a picture
without the watermark looks as marked as this one.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'PICTURE ...')
RESIZED = COMMAND.switch(
  'resized',
  'Also searches other sizes, from half to twice, for resized pictures. It takes seconds for each picture.',
)

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import sys

from ganjax import UserError
from ganjax import config as configs
from ganjax.media import mark
from ganjax.sampling import own


def main() -> int:
  """The exit status: 1 where a picture cannot be decoded."""
  if not COMMAND.arguments:
    raise UserError('name pictures, folders or zip archives of pictures: ganjax marked picture.png')
  marked = count = broken = 0
  for place in COMMAND.arguments:
    found = own.find(place, 'PICTURE')
    for i, path in enumerate(found.paths):
      try:
        picture = found.load(i, 3).colours
      except UserError as error:
        print(f'left out: {error}', file=sys.stderr)
        broken += 1
        continue
      seen = mark.find(picture, RESIZED.value)
      at = f', at {seen.scale:.3g} times its size' if seen.marked and seen.scale != 1 else ''
      print(f'{path}: {"marked" if seen.marked else "no mark found"}{at}, chance {seen.chance:.1g}')
      marked, count = marked + seen.marked, count + 1
  print(f'{marked} of {count} pictures are marked')
  return int(broken > 0)


if __name__ == '__main__':
  configs.run(main)
