"""Sphinx configuration. It builds without a network; notebooks are run and shown as they ran."""

import importlib
import inspect
import os
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import latex2mathml.converter
from docutils.nodes import SkipNode

HERE = Path(__file__).parent

project = "bayesgmm"
author = "The bayesgmm developers"
copyright = "2026, The bayesgmm developers"
release = version = metadata.version("bayesgmm")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
highlight_language = "none"

html_theme = "pydata_sphinx_theme"
html_title = "bayesgmm"
html_theme_options = {
    "show_toc_level": 2,
    "header_links_before_dropdown": 4,  # in one row beside the search
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
ALONE = "guide", "big_data", "trust", "benchmarks", "glossary", "design", "changelog"
html_sidebars = {page: [] for page in ALONE}
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["bayesgmm.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

os.environ.pop("MPLBACKEND", None)  # of whoever builds this: a notebook's own shows its figures
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "none"  # the docstrings say types and shapes
numpydoc_show_class_members = False  # autodoc lists them


# --- the notebooks lie beside this folder: copies go where Sphinx looks for pages


def toctree(names):
    """The reStructuredText lines of a table of contents."""
    return [".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in names)]


def copy_notebooks():
    folder = HERE / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    notebooks = sorted((HERE.parent / "notebooks").glob("*.ipynb"))
    for notebook in notebooks:
        shutil.copy(notebook, folder)
    lines = [
        "Notebooks",
        "=========",
        "",
        "Each was run, from its top, when these pages were made.",
        "",
    ]
    lines += toctree([notebook.stem for notebook in notebooks])
    (folder / "index.rst").write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- the reference: a page a public module, generated from its __all__


def public(module):
    """Public names of a module with their objects."""
    return {name: getattr(module, name) for name in module.__all__}


def entry(name, value):
    """The reStructuredText lines that document one public name."""
    if inspect.isclass(value):
        return [f".. autoclass:: {name}", "   :members:", "   :inherited-members:", ""]
    if callable(value):
        return [f".. autofunction:: {name}", ""]
    lines = [f".. py:data:: {name}", ""]
    if isinstance(value, Mapping):
        lines += ["   Keys: " + ", ".join(f"``{key!r}``" for key in value) + ".", ""]
    return lines


def page(module, title):
    """A page of the reference: the module's own words, a table of its names, each in full."""
    names = {name: value for name, value in public(module).items() if not inspect.ismodule(value)}
    documented = [name for name, value in names.items() if callable(value)]
    lines = [title, "=" * len(title), "", f".. py:module:: {module.__name__}", ""]
    lines += [inspect.getdoc(module) or "", "", f".. currentmodule:: {module.__name__}", ""]
    lines += [".. autosummary::", "", *(f"   {name}" for name in documented), ""]
    for name, value in names.items():
        lines += entry(name, value)
    return "\n".join(lines) + "\n"


def write_reference():
    folder = HERE / "reference"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    package = importlib.import_module("bayesgmm")
    modules = [value for value in public(package).values() if inspect.ismodule(value)]
    modules.append(importlib.import_module("bayesgmm.core"))
    modules = list(dict.fromkeys(modules))
    for module in modules:
        name = module.__name__
        (folder / f"{name}.rst").write_text(page(module, name), encoding="utf-8")
    lines = [page(package, "Reference"), *toctree([module.__name__ for module in modules])]
    (folder / "index.rst").write_text("\n".join(lines) + "\n", encoding="utf-8")


def skip_foreign(app, what, name, value, skip, options):
    """Leave out what is inherited from other packages, and the bare fields of named tuples."""
    target = getattr(value, "fget", value)
    home = getattr(inspect.unwrap(target), "__module__", None) if callable(target) else "bayesgmm"
    foreign = not str(home).startswith("bayesgmm")
    return True if foreign or type(value).__name__ == "_tuplegetter" else None


# --- formulas as MathML, which browsers show without a network

FIRST = {"script": 0x1D49C, "double-struck": 0x1D538}
"""Code points of A; letters that were there before are elsewhere."""

ELSEWHERE = {"script": ("BEFHILMR", "ℬℰℱℋℐℒℳℛ"), "double-struck": ("CHNPQRZ", "ℂℍℕℙℚℝℤ")}


def letter(found):
    """A capital in a script that browsers draw by its own character only."""
    variant, own = found[1], found[2]
    letters, signs = ELSEWHERE[variant]
    sign = dict(zip(letters, signs, strict=True)).get(own)
    return f"<mi>{sign or chr(FIRST[variant] + ord(own) - ord('A'))}</mi>"


def formula(text, display):
    """MathML of LaTeX, with the signs and spaces that the converter leaves out."""
    text = text.replace(r"\lvert", "|").replace(r"\rvert", "|")
    found = latex2mathml.converter.convert(text, display=display)
    found = found.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")
    found = re.sub(r'<mi mathvariant="(script|double-struck)">([A-Z])</mi>', letter, found)
    return re.sub(r"(<mi>(?:log|exp|max|min)</mi>)(?!<mo|<mspace)", rf"\1{THIN}", found)


THIN = '<mspace width="0.167em"/>'


def visit_math(translator, node):
    translator.body.append(formula(node.astext(), "inline"))
    raise SkipNode


def visit_display(translator, node):
    translator.body.append(f'<div class="formula">{formula(node.astext(), "block")}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_display, None))
    copy_notebooks()
    write_reference()
    app.connect("autodoc-skip-member", skip_foreign)
