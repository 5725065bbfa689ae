# SPDX-License-Identifier: Apache-2.0
"""The command line: help without imports, one line for a user's error, exit codes."""

import importlib
import io
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer

from monodvps_ros.cli import application as entry
from monodvps_ros.cli.main import main
from monodvps_ros.errors import DataError


def run(arguments):
    with pytest.raises(SystemExit) as exit_info:
        entry.run(arguments)
    return exit_info.value.code or 0


@pytest.fixture
def command(monkeypatch):
    """Put one function behind the command `probe`."""

    def install(function):
        module = types.ModuleType("probe_module")
        module.probe = function
        monkeypatch.setitem(sys.modules, "probe_module", module)
        monkeypatch.setattr(entry, "COMMANDS", {"probe": ("probe_module:probe", "Probe the command line.")})

    return install


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys\n"
        "from monodvps_ros.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'cv2', 'rclpy', 'lightning', 'matplotlib', 'rosbags'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in entry.COMMANDS:
        assert re.search(rf"\b{name}\b", done.stdout)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.ros) if name in ("demo", "play") else name for name in entry.COMMANDS],
)
def test_every_command_in_the_table_exists(name):
    module, _, function = entry.COMMANDS[name][0].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_version_is_shown(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("monodvps ")


def test_unknown_command_is_a_usage_error(capsys):
    assert run(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_words_and_options_reach_the_command(command):
    seen = []

    def probe(path: str, count: int = 1, loud: bool = False) -> None:
        seen.append((path, count, loud))

    command(probe)
    assert run(["probe", "--count", "3", "a b", "--loud"]) == 0
    assert seen == [("a b", 3, True)]


def test_help_of_a_command_is_its_own(command, capsys):
    def probe(count: int = 1) -> None:
        """Count to a number."""

    command(probe)
    assert run(["probe", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Count to a number" in out
    assert "--count" in out
    assert "monodvps probe" in out


def test_wrong_option_of_a_command_is_a_usage_error(command, capsys):
    def probe(count: int = 1) -> None: ...

    command(probe)
    assert run(["probe", "--count", "many"]) == 2
    assert "--count" in capsys.readouterr().err


def test_users_error_is_one_line_and_code_2(command, capsys):
    def probe() -> None:
        raise DataError("/no/such.bag: not found;\ngive a path")

    command(probe)
    assert run(["probe"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "monodvps: /no/such.bag: not found; give a path\n"
    assert captured.out == ""


def test_programming_error_keeps_its_traceback(command):
    def probe() -> None:
        raise RuntimeError("a bug")

    command(probe)
    with pytest.raises(RuntimeError, match="a bug"):
        entry.run(["probe"])


def test_interruption_is_quiet_and_130(command, capsys):
    def probe() -> None:
        raise KeyboardInterrupt

    command(probe)
    assert run(["probe"]) == 130
    assert capsys.readouterr().err == ""


def test_an_interruption_that_a_compiled_module_reports_as_failed_import_is_130(command, capsys):
    def probe() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as pressed:
            raise ImportError("initialization failed") from pressed

    command(probe)
    assert run(["probe"]) == 130
    assert capsys.readouterr().err == ""


def test_an_interruption_while_it_imports_is_quiet_and_130():
    code = (
        "import os, signal, sys\n"
        "class Press:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "from monodvps_ros.cli.main import main\n"
        "sys.meta_path.insert(0, Press)\n"
        "main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_installed_program_is_interrupted_quietly_from_its_first_import(tmp_path):
    template = (Path(__file__).parents[1] / "resource/executable.py.in").read_text()
    (tmp_path / "program.py").write_text(template.replace("@EXECUTABLE_MODULE@", "pressed"))
    (tmp_path / "pressed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nmain = print\n")
    program = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_command_that_runs_can_be_interrupted(command):
    found = []

    def probe() -> None:
        found.append(signal.getsignal(signal.SIGINT))

    command(probe)
    with pytest.raises(SystemExit):
        main(["probe"])
    assert found == [signal.default_int_handler] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("value", "code"), [(None, 0), (0, 0), (1, 1)])
def test_what_a_command_returns_is_the_exit_code(command, value, code):
    def probe() -> int:
        return value

    command(probe)
    assert run(["probe"]) == code


def test_exit_raised_in_a_command_is_kept(command):
    def probe() -> None:
        raise typer.Exit(7)

    command(probe)
    assert run(["probe"]) == 7


def test_missing_optional_package_is_named(command, capsys):
    def probe() -> None:
        importlib.import_module("a_package_that_is_not_there.inner")

    command(probe)
    assert run(["probe"]) == 2
    assert "a_package_that_is_not_there" in capsys.readouterr().err


def test_a_name_that_is_not_in_the_encoding_of_the_output_is_printed(command, monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="utf-8", errors="strict"))
    command(lambda: print("\udcff.png", flush=True))
    assert run(["probe"]) == 0
    assert printed.getvalue() == rb"\udcff.png" + b"\n"


def test_a_current_folder_that_was_removed_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run(["--version"]) == 2
    assert capsys.readouterr().err == "monodvps: the current folder was removed; change to one that exists\n"
