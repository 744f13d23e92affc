"""Pictures of seeds 0 to N - 1, without ganjax: python load_generator.py G.stablehlo pictures.npz N [CLASS]

Needs `pip install jax flatbuffers`. Writes uint8 pictures [N, H, W, C] as arr_0, and what they come from as metadata.
"""

import json
import sys
import zipfile

import numpy as np
from jax import export

if '--help' in sys.argv:
  print(__doc__.strip())
  sys.exit()
try:
  path, out, count, *label = sys.argv[1:]
  count, label = int(count), [*map(int, label)]
  if count < 1 or len(label) > 1 or not out.endswith('.npz'):
    raise ValueError
except ValueError:
  sys.exit('usage: python load_generator.py G.stablehlo pictures.npz N [CLASS], N from 1')
try:
  with zipfile.ZipFile(path) as file:
    about = json.loads(file.read('meta.json'))
    latents, generator = (bytearray(file.read(f'{n}.stablehlo')) for n in ('latents', 'generator'))
except (OSError, KeyError, zipfile.BadZipFile) as error:
  sys.exit(f'error: {path} is no generator: {error}')
if (about.get('format'), about.get('version')) != ('ganjax generator', 1):
  sys.exit(f'error: {path} is of another format or version than this script')
# z [N, Z], or {'z', 'label'} with classes
rows = export.deserialize(latents).call(np.arange(count, dtype=np.int32))
if label:
  if not 0 <= label[0] < about['num_classes']:
    sys.exit(f'error: {path} has {about["num_classes"]} classes')
  rows['label'] = np.full(count, label[0], np.int32)
pictures = export.deserialize(generator).call(rows)
try:
  np.savez(out, arr_0=pictures, metadata=json.dumps(about))
except OSError as error:
  sys.exit(f'error: cannot write {out}: {error.strerror}')
