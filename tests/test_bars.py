"""Progress bars: where they are drawn, and that their end may move away."""

import io
import sys

import pytest

from bayesgmm.bars import bar, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Notebook(io.StringIO):
    __module__ = "ipykernel.iostream"


@pytest.mark.parametrize("seen", [Terminal, Notebook])
def test_drawn_where_somebody_looks(seen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", seen())
    with progress("replicates", True) as step:
        step(begun=3)
        step(ended=2)
        step(begun=4)
        assert step.bar.n == 2 and step.bar.total == 7
        step(ended=5)
        step.bar.refresh()
    assert "replicates" in sys.stderr.getvalue() and "7/7" in sys.stderr.getvalue()


@pytest.mark.parametrize("seen, shown", [(io.StringIO, True), (Terminal, False)])
def test_not_drawn_otherwise(seen, shown, monkeypatch):
    monkeypatch.setattr(sys, "stderr", seen())
    with progress("replicates", shown) as step:
        step(begun=3)
        step(ended=3)
    assert sys.stderr.getvalue() == ""


def test_a_program_without_a_console(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress("replicates", True) as step:
        step(begun=1, ended=1)


def test_only_a_flag_turns_it_off():
    with pytest.raises(ValueError, match="progress_bar"), progress("replicates", "no"):
        pass


def test_no_word_of_widgets(recwarn):
    """A notebook without ipywidgets gets a line of text, and no warning about it."""
    with bar(total=1, disable=True):
        pass
    assert not [w for w in recwarn if "ipywidgets" in str(w.message)]
