"""Evaluation: two sets of pictures in, records of what was measured on them out."""
