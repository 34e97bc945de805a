"""Sphinx configuration of the documentation; ``nox -s docs`` builds it, without network."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

# What the pages execute finds this tree, and leaves nothing in it.
os.environ["PYTHONPATH"] = os.environ["SUPERNET_BENCH_CLONE"] = str(ROOT)
os.environ["SUPERNET_BENCH_RESULTS"] = tempfile.mkdtemp(prefix="supernet-bench-docs-")
# Nothing that a page times is published: it need not wait for other programs' timings.
os.environ["SUPERNET_BENCH_LOCKS"] = tempfile.mkdtemp(prefix="supernet-bench-locks-")
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["COLUMNS"] = "120"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
copyright = author
version = release = PROJECT["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["build_pages", "generated/methods.md", "jupyter_execute", "**.ipynb_checkpoints"]
nitpicky = True
# Types of other libraries, and aliases that stand for them in benchmarks.api: no page of ours describes them.
nitpick_ignore_regex = [(r"py:.*", r".*")]

html_theme = "furo"
html_title = f"{project} {version}"
html_theme_options = {
    "light_css_variables": {"font-stack": "system-ui, sans-serif"},
    "top_of_page_buttons": [],
}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
html_math_renderer = "mathml"
copybutton_prompt_text = r"\$ "

# Always: a cache would not notice that the code behind a command has changed. "off" is for writing pages.
nb_execution_mode = os.environ.get("SUPERNET_BENCH_DOCS_EXECUTE", "force")
nb_execution_timeout = 1800
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
default_role = "code"
napoleon_use_ivar = True


def setup(app: Any) -> None:
    """Generate pages before sources are read, and ``llms.txt`` after the build."""
    from build_pages import generate, links, llms, mathml, streams
    from myst_nb.core import render

    merge = render.coalesce_streams
    render.coalesce_streams = lambda outputs: merge(streams.joined(outputs))
    app.add_html_math_renderer("mathml", (mathml.inline, None), (mathml.block, None))
    app.connect("config-inited", lambda app, config: generate.write_all(Path(app.srcdir) / "generated"))
    app.connect("source-read", links.adapt)
    app.connect("build-finished", llms.write)
