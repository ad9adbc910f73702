"""The recipe of docs/big_data.md for `jax.distributed`: what is shown is what is run."""

import ast
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bayesgmm import GaussianMixture

PAGE = Path(__file__).parents[2] / "docs" / "big_data.md"
(RECIPE,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
MEETING = r"jax\.(config|distributed)\."
TELL = "import json\nprint(json.dumps([model.weights_.tolist(), model.means_.tolist()]))"


def points(n=900):
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [6.0, 1.0], [-2.0, 7.0]])
    return 1e3 + [1.0, 50.0] * (centres[rng.integers(0, 3, n)] + rng.normal(size=(n, 2)))


def by_weight(weights, means):
    order = np.argsort(weights)
    return np.asarray(weights)[order], np.asarray(means)[order]


def assert_is_the_fit(weights, means, X):
    model = GaussianMixture(3, random_state=0, reg_covar=0).fit(X)
    for found, wanted in zip(
        by_weight(weights, means), by_weight(model.weights_, model.means_), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_recipe_with_one_process(tmp_path, monkeypatch):
    """Where there is nobody to meet: the same code but for the lines that meet."""
    X = points()
    np.save(tmp_path / "part-0.npy", X)
    monkeypatch.chdir(tmp_path)
    tree = ast.parse(RECIPE)
    meeting = [line for line in tree.body if re.match(MEETING, ast.unparse(line))]
    assert len(meeting) == 2
    tree.body = [line for line in tree.body if line not in meeting]
    names = {"__name__": "__main__"}
    exec(compile(tree, str(PAGE), "exec"), names)
    assert_is_the_fit(names["model"].weights_, names["model"].means_, X)


@pytest.mark.slow
def test_two_processes_end_with_the_fit_of_one(tmp_path):
    X = points()
    np.save(tmp_path / "part-0.npy", X[:200])
    np.save(tmp_path / "part-1.npy", X[200:])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "COORDINATOR": f"127.0.0.1:{port}", "PROCESSES": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"{RECIPE}\n{TELL}"],
            env={**environment, "PROCESS": str(i)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ended = [process.communicate(timeout=300) for process in started]
    for process, (_, errors) in zip(started, ended, strict=True):
        assert process.returncode == 0, errors
    first, second = (out.splitlines()[-1] for out, _ in ended)
    assert_is_the_fit(*json.loads(first), X)
    assert first == second, "the same to the last bit"
