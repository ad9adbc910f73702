"""Programs kept on disk: for whom, where, and what is left alone. Every case has its own process,
for the setting is one of the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bayesgmm import compilation

OURS = ("JAX_", "XDG_CACHE_HOME", "LOCALAPPDATA")

PRINT = """
import bayesgmm, jax
folder = bayesgmm.enable_compilation_cache({})
jax.jit(lambda x: x * 3 + 1)(2.0)
print(folder, jax.config.jax_compilation_cache_dir, sep="|")
"""


def python(code, home, **settings):
    """What a fresh process prints, at home in a folder of the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    kept |= {"HOME": str(home), "LOCALAPPDATA": str(home)} | settings
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=kept, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    return done.stdout.strip()


def programs(folder):
    return sorted(path.name for path in Path(folder).glob("*-cache"))


def test_small_programs_are_kept_in_a_folder_of_the_user(tmp_path):
    where = tmp_path / "caches"
    found, set_to = python(PRINT.format(""), tmp_path, XDG_CACHE_HOME=str(where)).split("|")
    assert found == set_to == str(where / "bayesgmm" / "programs")
    assert programs(found)
    before = programs(found)
    python(PRINT.format(""), tmp_path, XDG_CACHE_HOME=str(where))
    assert programs(found) == before  # the second process found what the first had kept


def test_folder_may_be_given(tmp_path):
    found, set_to = python(PRINT.format("'kept'"), tmp_path).split("|")
    assert found == set_to == str(tmp_path / "kept")
    assert programs(found)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"JAX_COMPILATION_CACHE_DIR": "theirs"}, "theirs|theirs"),
        ({"JAX_ENABLE_COMPILATION_CACHE": "false"}, "None|None"),
    ],
)
def test_setting_of_the_user_stays(tmp_path, settings, expected):
    assert python(PRINT.format("'ours'"), tmp_path, **settings) == expected
    assert not (tmp_path / "ours").exists()


def test_thresholds_of_the_user_stay(tmp_path):
    code = PRINT.format("") + "print(jax.config.jax_persistent_cache_min_compile_time_secs)"
    found = python(code, tmp_path, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="7").split()
    assert found[-1] == "7.0"
    assert not programs(found[0].split("|")[0])


def test_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    given = repr(str(tmp_path / "file" / "below"))
    assert python(PRINT.format(given), tmp_path) == "None|None"


def test_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    assert compilation._own(tmp_path / "mine") == tmp_path / "mine"
    monkeypatch.setattr(os, "getuid", lambda: 12345678, raising=False)
    assert compilation._own(tmp_path / "mine") is None


@pytest.mark.parametrize(
    ("platform", "below"), [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "")]
)
def test_default_folder_follows_the_platform(tmp_path, monkeypatch, platform, below):
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    for not_a_folder in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_a_folder)
        assert compilation.default_folder() == tmp_path / below / "bayesgmm" / "programs"


def test_oldest_programs_go_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "LARGEST", 100)
    for age in range(12):
        (tmp_path / f"{age:02d}").write_bytes(b"0123456789")
        os.utime(tmp_path / f"{age:02d}", (1000 - age, 1000 - age))
    compilation._prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00", "01", "02", "03", "04"]


def test_command_line_keeps_its_programs_and_a_call_of_main_does_not(tmp_path):
    where = tmp_path / ".cache" if sys.platform == "linux" else tmp_path
    settings = {"XDG_CACHE_HOME": str(where)}
    call = "from bayesgmm.cli import main\nassert main(['fit', 'faithful', '-k', '1', '--quiet', "
    call += "'--no-figures', '--n-init', '1']) == 0"
    python(call, tmp_path, **settings)
    assert not (where / "bayesgmm").exists()
    code = "import sys, runpy\nsys.argv[1:] = ['fit', 'faithful', '-k', '1', '--quiet', "
    code += "'--no-figures', '--n-init', '1']\n"
    code += "from bayesgmm.cli import main\nassert main() == 0"
    python(code, tmp_path, **settings)
    assert programs(where / "bayesgmm" / "programs")
