"""R-precision: whether a picture's own text is found among others by what the picture shows (AttnGAN, Xu et al. 2018,
arXiv:1711.10485, section 4).

There an encoder of pictures and texts is trained with the generator's own loss, which then does well by it. Here
nothing that a generator was trained on judges: features of a frozen network are mapped to vectors of texts by ridge
regression on real pictures, in closed form. Values are comparable where network, text encoder and reals are the same.
"""

import numpy as np

from ganjax import UserError

CANDIDATES = 100  # the text itself and 99 others
FOLDS = 5
_RIDGE = 10.0 ** np.arange(
  -3, 4
)  # shares of the mean squared feature, of which the best by held-out reals is taken


def measure(
  real: np.ndarray, real_texts: np.ndarray, fake: np.ndarray, fake_texts: np.ndarray, seed: int = 0
) -> tuple[float, float]:
  """(share of fakes whose own text is the nearest of CANDIDATES by cosine, the same of real pictures).

  Real pictures are judged by maps that were fitted without theirs and those of equal texts. By chance both are 0.01.

  Args:
    real, real_texts: features [n, F] and vectors of texts [n, E], to fit the map by.
    fake, fake_texts: the same of what is judged.
    seed: of the other texts.

  Raises:
    UserError: too few texts that differ.
  """
  real, fake = (np.asarray(x, np.float64) for x in (real, fake))
  centre, scale = real.mean(0), real.std() + 1e-9
  real, fake = (real - centre) / scale, (fake - centre) / scale
  real_texts, fake_texts = (_unit(x) for x in (real_texts, fake_texts))
  for name, texts in ('reals', real_texts), ('fakes', fake_texts):
    if (count := len(np.unique(texts, axis=0))) < CANDIDATES:
      raise UserError(
        f'r_precision chooses among {CANDIDATES} texts, and the {name} have {count} that differ: take more'
      )
  middle = real_texts.mean(0)
  _, group = np.unique(real_texts, axis=0, return_inverse=True)
  fold = np.random.default_rng(seed).permutation(group.max() + 1)[group.ravel()] % FOLDS
  best = None
  for ridge in _RIDGE:
    found = np.zeros_like(real_texts)
    for k in range(FOLDS):
      weights = _fit(real[fold != k], real_texts[fold != k] - middle, ridge)
      found[fold == k] = real[fold == k] @ weights
    share = _share(found, real_texts - middle, seed)
    if best is None or share > best[0]:
      best = share, ridge
  share, ridge = best
  weights = _fit(real, real_texts - middle, ridge)
  return _share(fake @ weights, fake_texts - middle, seed), share


def _fit(x, y, ridge):
  """Weights [F, E] of the least squares of x @ weights - y, with a penalty."""
  gram = x.T @ x
  return np.linalg.solve(gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T @ y)


def _share(found, texts, seed) -> float:
  """How often `found` [n, E] is nearer to its own text than to 99 others of the n, none of which equals it."""
  rng = np.random.default_rng(seed)
  distinct, group = np.unique(texts, axis=0, return_inverse=True)
  group = group.ravel()
  scores = _unit(found) @ _unit(distinct).T
  hits = 0
  for row, own in enumerate(group):
    others = rng.choice(len(distinct) - 1, CANDIDATES - 1, replace=False)
    others += others >= own
    hits += bool(scores[row, own] > scores[row, others].max())
  return hits / len(group)


def _unit(x):
  x = np.asarray(x, np.float64)
  return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
