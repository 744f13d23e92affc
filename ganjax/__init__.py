"""Generative adversarial networks in JAX."""

__version__ = '0.4.0'


class UserError(Exception):
  """Something that the user can put right: printed as one line, never as a traceback."""
