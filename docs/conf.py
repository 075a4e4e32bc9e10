"""How Sphinx builds the site: ``make docs``. It loads nothing from outside and works from disk."""

import numpy
from numpy.typing import NDArray

from sdmad import __version__
from sdmad.backbones import Backbone
from sdmad.baselines import registry
from sdmad.data.images import ImageSource
from sdmad.detector.base import Detector, Mask
from sdmad.signs import SignBank

# The catalogue imports its types for type checkers alone, so that a list of it is quick.
for name, value in (
    *(("np", numpy), ("NDArray", NDArray), ("Backbone", Backbone), ("ImageSource", ImageSource)),
    *(("Detector", Detector), ("Mask", Mask), ("SignBank", SignBank)),
):
    setattr(registry, name, value)

project = "sdmad"
author = copyright = "sdmad maintainers"  # noqa: A001
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a page's tables are headings of the third level

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "FloatArray", "BoolArray")}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True  # a name in a docstring that leads nowhere is a warning, and so an error
nitpick_ignore_regex = [("py:class", ".*")]  # types of other libraries

html_theme = "furo"
html_title = "sdmad"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
