# SPDX-License-Identifier: Apache-2.0
"""tools/prerequisites.py: what must be there before a set-up, each thing that is not with its line."""

import json
import subprocess
import sys
from pathlib import Path

import prerequisites
import pytest
from prerequisites import Interpreter, PrerequisiteError

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.fixture
def tools_on_path(tmp_path, monkeypatch):
    """Leave on the PATH only the programs that are named, with what they do."""

    def only(**programs):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, script in programs.items():
            (folder / name.replace("cxx", "c++")).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name.replace("cxx", "c++")).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.delenv("CXX", raising=False)

    return only


ALL_TOOLS = {"cxx": "exit 0", "make": "exit 0", "git": "exit 0", "cmake": "echo cmake version 3.25.1"}


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        ("cxx", "missing: a C++ compiler: sudo apt install g++"),
        ("make", "missing: make: sudo apt install make"),
        ("git", "missing: git: sudo apt install git"),
        ("cmake", "missing: CMake 3.20 or newer, found none: sudo apt install cmake"),
    ],
)
def test_missing_tool_is_one_line_that_names_its_package(tools_on_path, tmp_path, tool, line):
    tools_on_path(**{name: script for name, script in ALL_TOOLS.items() if name != tool})
    command = [sys.executable, str(TOOLS / "environment.py"), "setup", "--at", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr, result.stdout) == (2, f"{line}\n", "")
    assert not (tmp_path / ".venv").exists()


def test_each_missing_tool_has_its_line(tools_on_path):
    tools_on_path(git="exit 0", cmake="echo cmake version 3.16.3")
    assert prerequisites.missing_tools(Path("/opt/ros/jazzy")) == [
        "a C++ compiler: sudo apt install g++",
        "make: sudo apt install make",
        "CMake 3.20 or newer, found 3.16: sudo apt install cmake",
        "colcon: sudo apt install python3-colcon-common-extensions",
    ]


def test_other_machines_need_a_sourced_ros(tools_on_path, monkeypatch):
    tools_on_path(**ALL_TOOLS, colcon="exit 0")
    monkeypatch.setattr(prerequisites.platform, "machine", lambda: "aarch64")
    (line,) = prerequisites.missing_tools(None)
    assert line.startswith("ROS 2: its wheels are for Linux on x86-64")
    assert prerequisites.missing_tools(Path("/opt/ros/jazzy")) == []


@pytest.mark.parametrize(
    ("found", "sourced", "line"),
    [
        (None, None, "Python 3.10 to 3.14: sudo apt install python3 python3-venv python3-dev"),
        (None, Path("/opt/ros/jazzy"), "a python3 that imports rclpy of the sourced /opt/ros/jazzy"),
        ((False, True), None, "venv of /usr/bin/python3: sudo apt install python3.12-venv"),
        ((True, False), None, "headers of /usr/bin/python3: sudo apt install python3.12-dev"),
    ],
)
def test_unfit_python_is_one_line(monkeypatch, found, sourced, line):
    python = found and Interpreter("/usr/bin/python3", (3, 12), *found, False, "")
    monkeypatch.setattr(prerequisites, "find_interpreter", lambda at, sourced, preferred: python)
    monkeypatch.setattr(prerequisites, "missing_tools", lambda sourced: [])
    with pytest.raises(PrerequisiteError) as error:
        prerequisites.check(Path("/nowhere"), sourced)
    assert str(error.value).startswith(f"missing: {line}")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_distribution_that_is_not_supported(monkeypatch):
    python = Interpreter("/usr/bin/python3", (3, 12), True, True, True, "")
    monkeypatch.setattr(prerequisites, "find_interpreter", lambda at, sourced, preferred: python)
    monkeypatch.setattr(prerequisites, "missing_tools", lambda sourced: ["the rest"])
    monkeypatch.setenv("ROS_DISTRO", "humble")
    words = r"is 'humble'; supported: jazzy \(Ubuntu 24.04\), kilted \(Ubuntu 24.04\), lyrical \(Ubuntu 26.04\);"
    with pytest.raises(PrerequisiteError, match=words):
        prerequisites.check(Path("/nowhere"), Path("/opt/ros/humble"))
    for name in ("jazzy", "kilted", "lyrical"):
        monkeypatch.setenv("ROS_DISTRO", name)
        with pytest.raises(PrerequisiteError, match="missing: the rest"):
            prerequisites.check(Path("/nowhere"), Path(f"/opt/ros/{name}"))


def test_a_python_that_is_too_new_for_the_package_is_named(tools_on_path, monkeypatch):
    tools_on_path(**ALL_TOOLS, colcon="exit 0", python3=answer([3, 15], rclpy=True))
    monkeypatch.setattr(sys, "base_exec_prefix", "/nowhere")
    monkeypatch.setattr(prerequisites, "interpreters", lambda at, names: iter(
        [Interpreter("/usr/bin/python3", (3, 15), True, True, True, "2.4.0")]))  # fmt: skip
    with pytest.raises(PrerequisiteError) as error:
        prerequisites.check(Path("/at"), Path("/opt/ros/lyrical"))
    text = str(error.value)
    assert "Python 3.10 to 3.14" in text and "found /usr/bin/python3 (3.15)" in text and "\n" not in text


def answer(version, rclpy=False):
    return f"echo '{json.dumps([version, True, True, rclpy, ''])}'"


def test_python_is_the_first_that_fits(tools_on_path, tmp_path, monkeypatch):
    tools_on_path(
        **{
            "python3": answer([3, 9]),
            "python3.12": "exit 127",
            "python3.13": answer([3, 13]),
            "python3.11": answer([3, 11]),
        }
    )
    monkeypatch.setattr(sys, "base_exec_prefix", "/nowhere")
    found = prerequisites.find_interpreter(Path("/at"), None)
    assert (found.version, Path(found.path).name) == ((3, 13), "python3.13")
    assert prerequisites.find_interpreter(tmp_path, None) is None, "its own programs do not count"


def test_a_preferred_python_comes_first_from_the_path_or_from_pyenv(tools_on_path, tmp_path, monkeypatch):
    tools_on_path(**{"python3": answer([3, 11]), "python3.12": "exit 127"})  # pyenv's command, without a version chosen
    monkeypatch.setattr(sys, "base_exec_prefix", "/nowhere")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert prerequisites.find_interpreter(Path("/at"), None, "3.12").version == (3, 11)
    for release in ("3.12.1", "3.13.0"):
        python = tmp_path / "pyenv/versions" / release / "bin/python3.12"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\n{answer([3, 12])}\n")
        python.chmod(0o755)
    found = prerequisites.find_interpreter(Path("/at"), None, "3.12")
    assert found.path == str(tmp_path / "pyenv/versions/3.12.1/bin/python3.12")
    assert prerequisites.find_interpreter(Path("/at"), None).version == (3, 11)
    assert prerequisites.find_interpreter(Path("/at"), Path("/opt/ros/jazzy"), "3.12") is None, "ROS decides"


def test_with_sourced_ros_python_is_the_one_that_imports_rclpy(tools_on_path, monkeypatch):
    tools_on_path(python3=answer([3, 12], rclpy=True))
    found = prerequisites.find_interpreter(Path("/at"), Path("/opt/ros/jazzy"))
    assert (found.version, Path(found.path).name) == ((3, 12), "python3")
