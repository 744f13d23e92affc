"""The site: pip install '.[docs]' && sphinx-build -n -W docs docs/_build"""

from ganjax import __version__

project = 'ganjax'
author = 'The ganjax authors'
copyright = author
version = release = __version__

extensions = ['myst_nb']
exclude_patterns = ['_build']
html_theme = 'sphinx_book_theme'
html_title = f'ganjax {__version__}'
html_theme_options = {'show_toc_level': 2}

myst_heading_anchors = 3  # links to headings, as GitHub makes them
nb_execution_mode = 'cache'
nb_execution_raise_on_error = True
nb_execution_timeout = 600
