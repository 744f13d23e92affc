"""Pretrained generators, by name: `ganjax sample emoji_upscaler`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ganjax import UserError, commandline, experiment, run_record
from ganjax.data import provenance
from ganjax.sampling import recipes, sample, sampler


class Generator:
  """A trained generator, ready to sample from.

  Attributes:
    run: the Experiment that made it.
    step: training step of its weights.
    weights: 'ema' for averaged weights, else 'raw'.
    class_names: names of the classes 0, 1, ..., or None.
    options: options of `sample` with their defaults, such as {'truncation': 1.0}.
  """

  def __init__(
    self, name: str | Path, *, step: int | None = None, weights: str = 'ema', seed_index: int = 0
  ) -> None:
    """Reads the generator.

    Args:
      name: a pretrained generator, a run's workdir, or a file of `ganjax export`, NAME.safetensors.
      step, weights, seed_index: of a workdir, see `run_state.read_generator`.

    Raises:
      UserError: no such generator, run or checkpoint.
    """
    self._place = place = Path(commandline.find_run(str(name)))
    self.run = experiment.load(place)
    self._opened = sample.read(self.run, place, step, weights, seed_index)
    self.step, self.weights = self._opened.step, self._opened.weights
    self.class_names = provenance.class_names(run_record.saved_record(place))
    self.options = self.run.method.options

  def sample(
    self,
    seeds: Sequence[int] | np.ndarray,
    classes: int | str | list | tuple | np.ndarray | None = None,
    batch_size: int = 64,
    **options: float | str,
  ) -> np.ndarray:
    """The same samples as `ganjax sample`, to the byte: pictures are uint8 [N, H, W, C].

    Args:
      seeds: whole numbers from 0, one sample each.
      classes: for conditional generators: one number or name for all, or one for each seed. By default the class
        follows from the seed.
      batch_size: samples computed at once.
      **options: see the attribute.

    Raises:
      UserError: an unknown option or class, classes of a generator that has none, or a seed out of range.
    """
    method, seeds = self.run.method, np.asarray(seeds, np.int64).reshape(-1)
    if len(seeds) == 0 or seeds.min() < 0:
      raise UserError('seeds: at least one whole number, none below 0')
    sampler.check_seeds(int(seeds.max()), 'seeds')
    options = sampler.parse_options([f'{k}={v}' for k, v in options.items()], method)
    span = self.run.span_at(self.step - 1)
    source = self._opened.held_out() if method.examples else None
    rows = sampler.rows(method, seeds, source, **options)
    if classes is not None:
      each = classes if isinstance(classes, (list, tuple, np.ndarray)) else [classes]
      text = ','.join(map(str, each))
      chosen = sampler.parse_classes(text, method.num_classes, self.class_names)
      if len(chosen) not in (1, len(seeds)):
        raise UserError(
          f'classes: {len(chosen)} for {len(seeds)} seeds; give one, or one for each seed'
        )
      rows['label'] = np.broadcast_to(chosen, len(seeds)).astype(np.int32)
    kind = span.fields[method.makes].kind
    how = dict(mesh=self._opened.mesh, batch_size=batch_size, kind=kind)
    return sampler.generate(span.stage, self._opened.state, rows, **how)

  def picture(self, recipe: dict) -> bytes:
    """The PNG that `ganjax sample --recipe` writes, to the byte.

    Args:
      recipe: flags of `ganjax sample`, such as {'seeds': '0-3', 'option': ['truncation=0.7']}.

    Raises:
      UserError: as that command, or a flag that names a file or folder.
    """
    given = {'step': self.step, **recipes.check(recipe, sample.IN_RECIPES)}
    return sample.make(self._place, given, '.png')[0]
