"""Data sets, one file each, found by name; every other name is one of the TFDS catalogue (`catalogue.py`).

A file has `fields(...)`, {name: media.Field} known without opening anything, and `build(...)`, a `source.Source`. Both
name those fields of `config.data` that they need; whatever a configuration has beyond `config.base` is an argument of
the data set's own.
"""
