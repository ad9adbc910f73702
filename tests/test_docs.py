"""What the documentation says is run: doctests, blocks of pages, notebooks, the build itself."""

import ast
import doctest
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import bayesgmm
import bayesgmm.core

ROOT = Path(__file__).parents[1]
MODULES = ["bayesgmm", *(m.name for m in pkgutil.walk_packages(bayesgmm.__path__, "bayesgmm."))]
# design.md shows sketches of the code, not examples of its use.
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
PAGES = [page for page in PAGES if not page.startswith(("docs/design", "docs/reference", "docs/_"))]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own for files that examples write; figures stay off any screen."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# --- docstrings


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_docstrings(name, elsewhere):
    failed, report = run_doctests(import_module(name))
    assert not failed, report


def run_doctests(module):
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    report = []
    for found in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(found, out=report.append)
    return runner.summarize(verbose=False).failed, "".join(report)


@pytest.mark.parametrize("name", bayesgmm.__all__)
def test_every_public_name_has_an_example(name):
    public = getattr(bayesgmm, name)
    if callable(public):
        assert ">>>" in (public.__doc__ or ""), f"bayesgmm.{name} has no example in its docstring"


# --- pages


def blocks(text, language):
    """``(lines before it, source)`` of each fenced block of a language, in order."""
    return [
        (text[: found.start(1)].count("\n"), found[1])
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_the_page(page, elsewhere):
    """Blocks of a page run in order and in one namespace, as a reader would paste them."""
    names = {"__name__": "__main__"}
    for line, source in blocks((ROOT / page).read_text(encoding="utf-8"), "python"):
        tree = ast.increment_lineno(ast.parse(source), line)
        exec(compile(tree, str(ROOT / page), "exec"), names)


def test_readme_opens_with_its_two_commands():
    """Each is one line that can be pasted as it stands; continuous integration runs the second."""
    (_, main_job), (_, tests) = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "sh")[:2]
    for command in (main_job, tests):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv ")
    assert "&& bayesgmm " in main_job
    assert tests.endswith("&& pytest -n 2 --dist worksteal\n")


# --- notebooks and build


@pytest.fixture(scope="module")
def site(tmp_path_factory, shared_programs):
    """The documentation, built once; this runs every notebook, each from its top."""
    folder = tmp_path_factory.mktemp("site")
    for part in ("docs", "notebooks"):
        if (ROOT / part).exists():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("_*build"))
    for page in ("CHANGELOG.md", "benchmarks/README.md"):
        (folder / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, folder / page)
    # -P keeps the folder of the build off sys.path: what is documented is the installed package
    command = [sys.executable, "-P", "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "docs", "site"],
        cwd=folder,
        env={
            **os.environ,
            **shared_programs,
            "IPYTHONDIR": str(folder / "ipython"),
            "LC_ALL": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return folder / "site"


def test_documentation_builds_without_a_warning(site):
    for page in (
        "index",
        "guide",
        "design",
        "changelog",
        "theory/em",
        "theory/vb",
        "migration/mclust",
        "trust",
        "benchmarks",
        "glossary",
        "reference/index",
    ):
        assert (site / f"{page}.html").is_file()


def test_formulas_need_no_network(site):
    page = (site / "theory" / "em.html").read_text(encoding="utf-8")
    assert page.count("<math ") > 50 and "<script>window.MathJax" not in page
    assert "mathjax@" not in page and "mathjax.js" not in page
    assert "merror" not in page and "<mi>&</mi>" not in page


def test_reference_lists_the_public_names(site):
    from sphinx.util.inventory import InventoryFile

    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.loads(file.read(), uri="").data
    for module in (bayesgmm, bayesgmm.core):
        pattern = re.compile(rf"{re.escape(module.__name__)}\.(\w+)")
        listed = {
            found[1]
            for role, objects in inventory.items()
            if role.startswith("py:")
            for name in objects
            if (found := pattern.fullmatch(name))
        }
        assert listed == set(module.__all__)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_shown_with_its_outputs(notebook, site):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in code), "commit notebooks without outputs"
    page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    assert page.count("cell_input") >= len(code) > 0
    assert "cell_output" in page
    if any("plot" in "".join(cell["source"]) for cell in code):
        assert "<img " in page, "it draws, and its page has no figure"


# --- the runners themselves


def test_doctest_runner_sees_a_wrong_example():
    module = type(sys)("wrong")
    module.__doc__ = ">>> 1 + 1\n3\n"
    failed, report = run_doctests(module)
    assert failed == 1
    assert "Expected:\n    3\nGot:\n    2" in report


def test_blocks_are_found_with_their_lines():
    text = "a\n\n```python\nx = 1\n```\n\n```sh\nls\n```\n```python\ny = x\n```\n"
    assert blocks(text, "python") == [(3, "x = 1\n"), (10, "y = x\n")]
