"""The Parzen window log-likelihood: how likely pictures are under a Gaussian around each sample.

Goodfellow et al. 2014 (arXiv:1406.2661, section 5) judge the first GAN by it, by the width of Breuleux et al. 2011. It
says little of how good samples look (Theis et al. 2016, arXiv:1511.01844, section 3.2): it is here to compare with the
papers that give it.
"""

import numpy as np
import scipy

SIGMAS = np.logspace(
  -1, 0, 10
)  # widths to choose from, of pixels in [0, 1]: the authors' parzen_ll.py
ROWS = 500  # pictures at a time


def log_likelihood(samples: np.ndarray, x: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
  """log of the mean over samples of N(x; sample, sigma^2), in nats, float64 [len(sigmas), N].

  Args:
    samples: float [M, D], the centres.
    x: float [N, D].
    sigmas: standard deviations of every number, float [S].
  """
  samples, x = (np.asarray(a, np.float64) for a in (samples, x))
  centres, found = (samples**2).sum(1), []
  for start in range(0, len(x), ROWS):
    rows = x[start : start + ROWS]
    squares = (rows**2).sum(1)[:, None] + centres - 2 * rows @ samples.T
    found.append([scipy.special.logsumexp(-squares / (2 * s**2), axis=1) for s in sigmas])
  scale = x.shape[1] * np.log(np.sqrt(2 * np.pi) * np.asarray(sigmas)) + np.log(len(samples))
  return np.concatenate(found, 1) - scale[:, None]


def measure(samples: np.ndarray, x: np.ndarray) -> tuple[float, float, list[float]]:
  """(mean log-likelihood of pictures in nats, its standard error, the two widths).

  The paper chooses the width on pictures held out for that. Here each half of the pictures (every other one) is
  measured at the width, of `SIGMAS`, that makes the other half likeliest.

  Args:
    samples: uint8 [M, ...].
    x: uint8 [N, ...] of the same size, N at least 2.
  """
  samples, x = (a.reshape(len(a), -1) / 255 for a in (samples, x))
  found = log_likelihood(samples, x, SIGMAS)
  best = [found[:, half::2].mean(1).argmax() for half in (1, 0)]
  each = np.where(np.arange(len(x)) % 2, found[best[1]], found[best[0]])
  return float(each.mean()), float(each.std() / len(x) ** 0.5), [float(SIGMAS[i]) for i in best]
