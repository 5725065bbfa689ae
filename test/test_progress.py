# SPDX-License-Identifier: Apache-2.0
"""The progress bar: drawn on terminals alone; items pass through unchanged."""

import io

import pytest
from rich.console import Console

from monodvps_ros.progress import tracked


@pytest.mark.parametrize(("is_terminal", "transient"), [(True, False), (True, True), (False, False)])
def test_tracked(is_terminal, transient, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")  # on a dumb terminal rich draws no bar
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=is_terminal, width=100)
    assert list(tracked("abc", "labelling", 3, console, transient)) == ["a", "b", "c"]
    assert ("labelling" in screen.getvalue() and "3/3" in screen.getvalue()) is is_terminal


def test_an_exception_passes(capsys):
    def items():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(tracked(items(), "reading", None))
    assert capsys.readouterr().err == ""
