"""Settings of the documentation's site.

pip install ".[docs]"  # in a clone, -r docs/requirements.txt
python -m sphinx -W docs site
"""

import os
from pathlib import Path
import re
import sys
from typing import Any

# In a clone, where nothing is installed: for this process and for tutorials'.
_ROOT = str(Path(__file__).parents[1])
sys.path.insert(0, _ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(
  filter(None, [_ROOT, os.environ.get("PYTHONPATH")])
)

import bamjax  # noqa: E402

project = "bamjax"
author = "The bamjax developers"
copyright = author
version = release = bamjax.__version__

extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "sphinx_copybutton",
]
# A single pair of backticks in docstrings marks code.
default_role = "code"
# Dashes, but Python's quotation marks stay straight.
smartquotes_action = "D"
# Headings can be linked to, as on GitHub.
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
# Tutorials run whenever the site is built; an error fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# Docstrings have them, with shapes.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "sphinx_book_theme"
html_title = "bamjax"
html_theme_options = {
  "use_download_button": False,
  # The side bar has the search; the theme's header has nothing else.
  **{f"navbar_{where}": [] for where in ("start", "center", "end")},
  "navbar_persistent": [],
}
exclude_patterns = ["figures/*.py"]


def setup(app: Any) -> None:
  """Registers what Sphinx calls."""
  app.connect("autodoc-process-signature", _short)


def _short(_app, what, _name, _object, _options, signature, returned):
  """Leaves out the fields that Linen adds to every module."""
  if what != "class" or not signature:
    return None
  return re.sub(r", parent=.*?, name=None", "", signature), returned
