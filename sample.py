"""Pictures from a run: python sample.py --workdir runs/dcgan; the same as `ganjax sample`."""

from ganjax import commandline

if __name__ == '__main__':
  commandline.run('sample')
