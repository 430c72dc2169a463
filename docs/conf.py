# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration: `make docs` builds the pages into build/docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / '_ext'))

from panoptic_ros.core.version import __version__

project = 'panoptic_ros'
author = 'the panoptic_ros maintainers'
release = __version__
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'generated',
]
exclude_patterns = ['generated']
default_role = 'code'  # docstrings put names between single backticks
myst_heading_anchors = 3
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_default_options = {'members': True}
nitpick_ignore_regex = [('py:(class|obj|attr|data|exc|meth|mod)', '.*')]  # types of libraries
nitpicky = True
html_theme = 'pydata_sphinx_theme'
html_theme_options = {'navigation_with_keys': False, 'show_toc_level': 2}
html_title = f'panoptic_ros {release}'
html_static_path = ['_static']
html_css_files = ['wide.css']
html_show_sourcelink = False
