"""Trains a GAN: python train.py --config configs/dcgan_cifar.py --workdir runs/dcgan; the same as `ganjax train`."""

from ganjax import commandline

if __name__ == '__main__':
  commandline.run('train')
