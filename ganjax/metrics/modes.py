"""Mode collapse where the modes are known: which of them samples fall into, and how evenly.

Stacked MNIST and Gaussian mixtures, as VEEGAN (Srivastava et al. 2017, arXiv:1705.07761, section 4) and PacGAN (Lin et
al. 2018, arXiv:1712.04086, section 4) measure them: 26,000 and 2,500 samples.
"""

import numpy as np

from ganjax import UserError


def modes(labels: np.ndarray, num_classes: int) -> int:
  """The number of classes that have at least one of `labels` int [N]. Raises as `counts` does."""
  return int(np.count_nonzero(counts(labels, num_classes)))


def kl_to_uniform(labels: np.ndarray, num_classes: int) -> float:
  """KL(p || uniform) in nats, p being the shares of the classes among `labels` int [N]: 0 to log(num_classes).

  N samples of the uniform distribution itself have about (num_classes - 1) / (2 N): 0.0192 for 26,000 of 1,000 classes.
  Raises as `counts` does.
  """
  p = counts(labels, num_classes) / len(labels)
  p = p[p > 0]
  return float(np.sum(p * np.log(p * num_classes)))


def counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """How many of `labels` int [N] are of each class, int [num_classes]. Raises UserError for none, or others."""
  labels = np.asarray(labels)
  if labels.ndim != 1 or not labels.size or labels.dtype.kind not in 'iu':
    raise UserError(f'modes need integer labels [N], N from 1, not {labels.dtype} {labels.shape}')
  if labels.min() < 0 or labels.max() >= num_classes:
    raise UserError(f'labels {labels.min()} to {labels.max()} are not 0..{num_classes - 1}')
  return np.bincount(labels, minlength=num_classes)


def mixture_modes(samples: np.ndarray, means: np.ndarray, std: float) -> tuple[int, float, float]:
  """(modes captured, share of high-quality samples, reverse KL) of samples of a mixture of equal Gaussians.

  A sample is of high quality within 3 std of the nearest mean; a mode is captured that has at least one of those. The
  reverse KL is `kl_to_uniform` of the nearest means of all samples, whatever their quality: the share of one Gaussian's
  own samples that are of high quality is 1 - exp(-9/2) = 0.989 in two dimensions.

  Args:
    samples: [N, d].
    means: [modes, d].
    std: of each Gaussian in each dimension.

  Raises:
    UserError: no samples, shapes that do not fit, or samples that are not finite.
  """
  samples, means = np.asarray(samples, np.float64), np.asarray(means, np.float64)
  if samples.ndim != 2 or means.ndim != 2 or not len(samples) or samples.shape[1] != means.shape[1]:
    raise UserError(
      f'samples {samples.shape} and means {means.shape} must be [N, d] and [modes, d]'
    )
  if not np.isfinite(samples).all():
    raise UserError('samples hold NaN or infinity: the generator has diverged')
  distances = np.linalg.norm(samples[:, None] - means, axis=-1)
  nearest = distances.argmin(1)
  high = distances.min(1) < 3 * std
  return len(set(nearest[high])), float(high.mean()), kl_to_uniform(nearest, len(means))
