"""Sphinx's settings. `make site` copies the sources to build/site-source first: see build.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import mlsan

project = "ML-SAN companion"
author = "The ML-SAN companion authors"
project_copyright = "The ML-SAN companion authors. MIT licence; nEMO's data: CC BY-NC-SA 4.0"
release = mlsan.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.bibtex",
    "extension",
]
exclude_patterns = ["files"]

# The notebooks carry their outputs.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_image_options = {"loading": "lazy"}
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
# Links to files of the repository, written by build.py. All pages are in one folder.
myst_url_schemes = {
    "http": None,
    "https": None,
    "code": "_modules/{{path}}.html",
    "repo": "files/{{path}}",
}

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
viewcode_follow_imported_members = False
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
default_role = "py:obj"  # a name in backticks is a link where it can be one

html_theme = "sphinx_book_theme"
html_title = "ML-SAN companion"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("sliders.js", {"defer": "defer"}), ("slides.js", {"defer": "defer"})]
html_extra_path = ["extra"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "navigation_with_keys": False,
    "navbar_persistent": [],
}
