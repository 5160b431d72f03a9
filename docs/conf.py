"""Sphinx: ``make docs`` builds all of it, ``tests/test_docs.py`` all but the output of the examples."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import matgl_fill  # noqa: E402

project = "matgl_fill"
author = "the matgl_fill developers"
copyright = f"2026, {author}"
version = release = matgl_fill.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "sphinx_gallery.gen_gallery", "extension"]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Nothing is fetched from elsewhere: the page's own fonts, and formulas as MathML.
html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"matgl_fill {release}"
html_copy_source = False

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

nitpicky = True
# Of other packages, whose pages cannot be asked without a network; type variables and constants of the code.
OTHERS = """torch nn numpy np ase matgl pymatgen pydantic annotated_types matplotlib rich huggingface_hub
pathlib collections types"""
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join(OTHERS.split())})\..*"),
    ("py:class", r"AliasChoices|Atoms|Field|Figure|Flow|Job|JobStore|Path|Projection|Tensor|.*Item|.*\.Array"),
    ("py:data", "[A-Z]+"),
    ("py:(func|class|mod)", r"matgl_fill\.(roughness\.landscape\..*|roughness\.tree\.Tree|adapters\.batching)"),
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # M3GNet of the DGL time needs another environment, so that its page has no output.
    "filename_pattern": r"/(?!dgl_)\w+\.py$",
    "within_subsection_order": "extension.GalleryOrder",
    "image_scrapers": ("extension.figures",),
    "reset_argv": "extension.arguments",
    "reset_modules": (),
    "capture_repr": (),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 0,
    "write_computation_times": False,
    "only_warn_on_example_error": False,
}
