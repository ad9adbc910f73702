"""The code against the two tables of docs/design.md, section 2: imports of files, third parties.

Imports are read from the sources of the installed package, those inside functions included.
"""

import ast
import graphlib
import re
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
PACKAGE = Path(str(resources.files("bayesgmm")))
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
EVERYTHING = "everything"

# The one arrow upward: plotting methods and reports of the estimators, inside the call.
UPWARD = {"plots.py", "report/__init__.py"}


class Import(NamedTuple):
    """One import of a file: the dotted name, and whether it stands inside a function."""

    module: str
    inside: bool


# --- the tables


def section(text, number):
    """The text of section `number`, up to the next heading of its level."""
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", text, flags=re.M | re.S)
    if found is None:
        raise ValueError(f"docs/design.md has no section {number}")
    return found[0]


def rows(text, *header):
    """Rows of the Markdown table with these column titles, each a list of its cells."""
    lines = iter(text.splitlines())
    for line in lines:
        if cells(line) == list(header):
            break
    else:
        raise ValueError(f"docs/design.md has no table with the columns {header}")
    next(lines)  # the rule below the header
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(cells(line))
    return found


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def file_table(text):
    """``{file: [names]}`` of what each file may import; rows of a folder have no imports."""
    table = {}
    for file, _, lines, imports in rows(section(text, 2), "file", "idea", "lines", "imports"):
        if not lines:
            continue
        name = file.strip("`")
        assert name not in table, f"two lines for {name}"
        table[name] = [] if imports == "-" else [word.strip() for word in imports.split(",")]
    return table


def door_table(text):
    """``{third party: [places]}``."""
    table = {}
    for parties, places in rows(section(text, 2), "third party", "may be imported by"):
        for party in parties.split(","):
            table[party.strip()] = [place.strip() for place in places.split(",")]
    return table


def expand(name, file, files):
    """Files that `name` in the line of `file` stands for: a sibling first, then the top."""
    if name == EVERYTHING:
        return {other for other in files if other != file}
    folder = file.rpartition("/")[0]
    path = name.replace(".", "/")
    for base in dict.fromkeys([f"{folder}/{path}" if folder else path, path]):
        found = {other for other in files if other == f"{base}.py" or other.startswith(f"{base}/")}
        if found:
            return found
    raise ValueError(f"the line of {file} allows {name!r}, which has no line itself")


def allowed(file, table):
    """Files that `file` may import: its line; for a folder's ``__init__.py`` the folder."""
    files = {*table, *FILES}
    if file not in table and file.endswith("/__init__.py"):
        folder = file.removesuffix("__init__.py")
        return {other for other in files if other.startswith(folder) and other != file}
    return set().union(*(expand(name, file, files) for name in table[file]))


# --- the code


def imports(source, package):
    """Every import of a source text, `package` being the one that a relative import starts from."""
    return list(_imports(ast.parse(source), package, inside=False))


def _imports(node, package, inside):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = ".".join(package.split(".")[: 1 - child.level or None]) if child.level else ""
            module = ".".join(part for part in (base, child.module) if part)
            yield from (Import(f"{module}.{alias.name}", inside) for alias in child.names)
        elif isinstance(child, ast.Call):
            # importlib.import_module("bayesgmm.plots"), as a lazy __getattr__ would write it
            if ast.unparse(child.func).endswith("import_module") and child.args:
                if isinstance(child.args[0], ast.Constant):
                    yield Import(str(child.args[0].value), inside)
            yield from _imports(child, package, inside)
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, package, inside or function)


def resolve(module, files):
    """File of a dotted name: ``bayesgmm.core.arrays.Data`` and ``bayesgmm.core.arrays`` alike."""
    parts = module.split(".")[1:]
    for size in range(len(parts), -1, -1):
        path = "/".join(parts[:size])
        for file in (f"{path}.py", f"{path}/__init__.py" if path else "__init__.py"):
            if file in files:
                return file
    raise ValueError(f"{module} is no file of the package")


def imports_of(file):
    package = ".".join(["bayesgmm", *file.split("/")[:-1]])
    return imports((PACKAGE / file).read_text(encoding="utf-8"), package)


def internal(file):
    """``{(imported file, inside a function)}`` of the package's own files."""
    return {
        (resolve(found.module, FILES), found.inside)
        for found in imports_of(file)
        if found.module.split(".")[0] == "bayesgmm"
    }


def third_parties(file):
    """``{(package, inside a function)}``, neither ours nor the standard library's."""
    return {
        (top, found.inside)
        for found in imports_of(file)
        if (top := found.module.split(".")[0]) != "bayesgmm" and top not in sys.stdlib_module_names
    }


def upward(file, target, inside):
    return file.startswith("estimators/") and target in UPWARD and inside


# --- the tests

TABLE = file_table(DESIGN)
DOORS = door_table(DESIGN)


def test_every_file_has_its_line():
    folders = {f"{name.rpartition('/')[0]}/__init__.py" for name in TABLE if "/" in name}
    missing = [file for file in FILES if file not in TABLE and file not in folders]
    assert not missing, f"without a line in docs/design.md, section 2: {missing}"


@pytest.mark.parametrize("file", FILES)
def test_imports_are_those_of_its_line(file):
    may = allowed(file, TABLE)
    extra = [
        target
        for target, inside in internal(file)
        if target not in may and target != file and not upward(file, target, inside)
    ]
    assert not extra, f"{file} imports {sorted(extra)}, which its line does not allow"


@pytest.mark.parametrize("file", FILES)
def test_third_parties_come_by_their_doors(file):
    for party, _ in third_parties(file):
        assert party in DOORS, f"{file} imports {party}, which has no line among the third parties"
        assert any(opens(place, file) for place in DOORS[party]), (
            f"{file} imports {party}, which only {DOORS[party]} may"
        )


def opens(place, file):
    """Whether a place of the table of doors (a file, a folder, all but one folder) holds `file`."""
    if place.startswith(EVERYTHING):
        closed = place.removeprefix(EVERYTHING).removeprefix(" but ")
        return not closed or not file.startswith(f"{closed}/")
    return file == place or file.startswith(f"{place}/")


def test_third_parties_outside_functions_are_dependencies():
    """What is an extra may be imported only where it is used."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        requirements = tomllib.load(file)["project"]["dependencies"]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}
    installed = {name.replace("-", "_") for name in names} - {"scikit_learn"} | {"sklearn"}
    for file in FILES:
        needed = {party for party, inside in third_parties(file) if not inside}
        assert needed <= installed, f"{file} needs {sorted(needed - installed)} when it is imported"


def test_no_circle_in_the_code():
    graph = {
        file: {
            target
            for target, inside in internal(file)
            if target != file and not upward(file, target, inside)
        }
        for file in FILES
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_no_circle_in_the_table():
    graph = {
        file: {target for target in allowed(file, TABLE) if not target.endswith("__init__.py")}
        for file in TABLE
    }
    graphlib.TopologicalSorter(graph).prepare()


# --- the reader of the code


def test_reader_sees_every_form_of_import():
    source = """
import bayesgmm.core.arrays as arrays
from bayesgmm.core import mixture
from ..core.weights import Dirichlet
from . import loop

def call():
    if True:
        from bayesgmm import plots
    importlib.import_module("bayesgmm.report")

class Lazy:
    import scipy.stats
"""
    assert imports(source, "bayesgmm.inference") == [
        Import("bayesgmm.core.arrays", False),
        Import("bayesgmm.core.mixture", False),
        Import("bayesgmm.core.weights.Dirichlet", False),
        Import("bayesgmm.inference.loop", False),
        Import("bayesgmm.plots", True),
        Import("bayesgmm.report", True),
        Import("scipy.stats", False),
    ]


def test_resolve_finds_modules_members_and_packages():
    files = {"__init__.py", "core/__init__.py", "core/arrays.py", "plots.py"}
    assert resolve("bayesgmm.core.arrays.Data", files) == "core/arrays.py"
    assert resolve("bayesgmm.core.arrays", files) == "core/arrays.py"
    assert resolve("bayesgmm.core.Mixture", files) == "core/__init__.py"
    assert resolve("bayesgmm.plots", files) == "plots.py"
    assert resolve("bayesgmm.GaussianMixture", files) == "__init__.py"


def test_expand_prefers_the_sibling():
    engines = {"inference/em.py", "inference/loop.py"}
    files = {"estimators/em.py", "core/arrays.py", *engines}
    assert expand("em", "estimators/selection.py", files) == {"estimators/em.py"}
    assert expand("inference", "estimators/em.py", files) == engines
    assert expand("inference.loop", "estimators/em.py", files) == {"inference/loop.py"}
    with pytest.raises(ValueError, match="'gone', which has no line"):
        expand("gone", "estimators/em.py", files)


def test_doors_open_for_their_places_only():
    assert opens("everything", "core/arrays.py")
    assert opens("everything but core", "datasets.py")
    assert not opens("everything but core", "core/arrays.py")
    assert opens("estimators", "estimators/em.py")
    assert not opens("plots.py", "estimators/plots.py")
