"""Sphinx configuration. It builds without a network; notebooks are run and shown as they ran."""

import importlib
import inspect
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent

project = "bayesgmm"
author = "The bayesgmm developers"
copyright = "2026, The bayesgmm developers"
release = version = metadata.version("bayesgmm")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
highlight_language = "none"

html_theme = "furo"
html_title = "bayesgmm"

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

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


def setup(app):
    copy_notebooks()
    write_reference()
    app.connect("autodoc-skip-member", skip_foreign)
