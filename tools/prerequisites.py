# SPDX-License-Identifier: Apache-2.0
"""Find what the set-up stands on: Python, compiler, CMake, git, and a sourced ROS 2 where there is one."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "monodvps_ros"
FIRST_PYTHON, LAST_PYTHON = (3, 10), (3, 14)
FIRST_CMAKE = (3, 20)
#: Those that may be sourced, with the Ubuntu of their packages.
DISTRIBUTIONS = {"jazzy": "Ubuntu 24.04", "kilted": "Ubuntu 24.04", "lyrical": "Ubuntu 26.04"}
#: Those that PyPI has, and the one that is taken without a word; tools/NAME.txt lists the wheels.
WHEELS = ("jazzy", "kilted")
DEFAULT_WHEELS = "kilted"
#: Python that is preferred to the running one: that of the Ubuntu which the wheels stand in for in tests.
PREFERRED = {"jazzy": "3.12"}
#: Run by an interpreter to learn what it has.
PROBE = """
import importlib.util, json, pathlib, sys, sysconfig
def has(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
numpy = __import__("numpy").__version__ if has("numpy") else ""
header = pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file()
venv = has("venv") and has("ensurepip")
print(json.dumps([list(sys.version_info[:2]), venv, header, has("rclpy"), numpy]))
"""


class SetupError(Exception):
    """The set-up cannot go on; the text is for the user."""

    exit_code = 1


class PrerequisiteError(SetupError):
    """The user must install something first; one line names each thing and its Debian or Ubuntu package."""

    exit_code = 2


@dataclass(frozen=True)
class Interpreter:
    """A Python and what it has.

    Attributes:
        path: its executable.
        version: major and minor.
        has_venv: whether it can make virtual environments.
        has_headers: whether extensions can be compiled for it.
        has_rclpy: whether it imports rclpy.
        numpy: version of its NumPy; empty without.
    """

    path: str
    version: tuple[int, int]
    has_venv: bool
    has_headers: bool
    has_rclpy: bool
    numpy: str


def sourced_ros(at: Path) -> Path | None:
    """Find the prefix of the ROS 2 that the caller has sourced.

    An environment that this set-up made, below `at` or in another checkout, is none: it is in a virtual environment.
    """
    return next((prefix for prefix in _ros_prefixes(at) if not (prefix / "pyvenv.cfg").is_file()), None)


def other_ros(at: Path) -> list[Path]:
    """List the folders of every ROS 2 that the variables name but the one below `at`; of a checkout all of it."""
    return [prefix.parent if (prefix / "pyvenv.cfg").is_file() else prefix for prefix in _ros_prefixes(at)]


def _ros_prefixes(at: Path) -> list[Path]:
    entries = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    prefixes = [Path(entry).absolute() for entry in entries]
    index = "share/ament_index/resource_index/packages/rclpy"
    return [prefix for prefix in prefixes if (prefix / index).exists() and at not in prefix.parents]


def check(at: Path, sourced: Path | None, wheels: str = DEFAULT_WHEELS) -> Interpreter:
    """Check all prerequisites.

    Args:
        at: folder of the environment, whose own programs do not count.
        sourced: prefix of the sourced ROS 2, if there is one.
        wheels: distribution that is installed otherwise.

    Returns:
        The interpreter that the environment shall be made with.

    Raises:
        PrerequisiteError: something is missing, or the sourced ROS 2 is of a distribution that is not supported.
    """
    distribution = os.environ.get("ROS_DISTRO", "")
    if sourced and distribution and distribution not in DISTRIBUTIONS:
        supported = ", ".join(f"{name} ({system})" for name, system in DISTRIBUTIONS.items())
        raise PrerequisiteError(
            f"the sourced ROS 2 at {sourced} is '{distribution}'; supported: {supported}; source one of these, or "
            "none: Kilted is then installed from PyPI"
        )
    missing = missing_tools(sourced)
    interpreter = find_interpreter(at, sourced, PREFERRED.get(wheels, ""))
    range_text = "Python {}.{} to {}.{}".format(*FIRST_PYTHON, *LAST_PYTHON)
    if interpreter is None and sourced:
        missing.append(
            f"a python3 that imports rclpy of the sourced {sourced}, {range_text}: source its setup file in a shell "
            f"without a virtual environment; found {found_pythons(at)}"
        )
    elif interpreter is None:
        missing.append(f"{range_text}: sudo apt install python3 python3-venv python3-dev")
    else:
        name = "python{}.{}".format(*interpreter.version)
        if not interpreter.has_venv:
            missing.append(f"venv of {interpreter.path}: sudo apt install {name}-venv")
        if not interpreter.has_headers:
            missing.append(f"headers of {interpreter.path}: sudo apt install {name}-dev")
    if missing or interpreter is None:
        raise PrerequisiteError("\n".join(f"missing: {line}" for line in missing))
    return interpreter


def missing_tools(sourced: Path | None) -> list[str]:
    """Name the programs that are missing, one line each."""
    missing = []
    if not any(shutil.which(name) for name in [os.environ.get("CXX", "c++"), "c++", "g++", "clang++"]):
        missing.append("a C++ compiler: sudo apt install g++")
    if not any(shutil.which(name) for name in ("make", "ninja")):
        missing.append("make: sudo apt install make")
    if not shutil.which("git"):
        missing.append("git: sudo apt install git")
    cmake = cmake_version()
    if cmake < FIRST_CMAKE:
        found = "found {}.{}".format(*cmake) if cmake > (0, 0) else "found none"
        missing.append("CMake {}.{} or newer, {}: sudo apt install cmake".format(*FIRST_CMAKE, found))
    if sourced and not shutil.which("colcon"):
        missing.append("colcon: sudo apt install python3-colcon-common-extensions")
    if not sourced and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        missing.append(
            f"ROS 2: its wheels are for Linux on x86-64, this is {platform.platform()}; source a ROS 2 first"
        )
    return missing


def cmake_version() -> tuple[int, int]:
    """Ask CMake for its version; (0, 0) where there is none."""
    if not shutil.which("cmake"):
        return 0, 0
    answer = subprocess.run(["cmake", "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"version (\d+)\.(\d+)", answer)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def find_interpreter(at: Path, sourced: Path | None, preferred: str = "") -> Interpreter | None:
    """Find the first Python that can carry the environment; with a sourced ROS 2, the one that imports its rclpy.

    A preferred version comes before all others, from PATH or pyenv.
    """
    names = ["/usr/bin/python3"] if sourced else [f"python3.{minor}" for minor in (12, 13, 14, 11, 10)]
    first = preferred_pythons(preferred) if preferred and not sourced else []
    for found in itertools.chain(interpreters_named(at, first), interpreters(at, names)):
        if FIRST_PYTHON <= found.version <= LAST_PYTHON and (found.has_rclpy or not sourced):
            return found
    return None


def preferred_pythons(version: str) -> list[str]:
    """List where a version of Python may be: on PATH, and in pyenv, whose own command may point to another."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [
        f"python{version}",
        *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)),
    ]


def found_pythons(at: Path) -> str:
    """Name the Pythons that were found, and what speaks against each."""
    found = {python.path: python for python in interpreters(at, ["/usr/bin/python3"])}
    texts = [
        f"{path} ({python.version[0]}.{python.version[1]}{'' if python.has_rclpy else ', no rclpy'})"
        for path, python in found.items()
    ]
    return ", ".join(texts) or "none"


def interpreters(at: Path, names: list[str]) -> Iterator[Interpreter]:
    """Probe the running Python, python3, and others by name, in this order."""
    running = "python{}.{}".format(*sys.version_info)
    return interpreters_named(at, [str(Path(sys.base_exec_prefix, "bin", running)), "python3", *names])


def interpreters_named(at: Path, names: list[str]) -> Iterator[Interpreter]:
    """Probe Pythons by their names or paths."""
    for name in names:
        path = shutil.which(name)
        found = probe(path) if path and at not in Path(path).absolute().parents else None
        if found:
            yield found


def probe(path: str) -> Interpreter | None:
    """Ask an interpreter what it has; None where it does not run."""
    result = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return None
    version, has_venv, has_headers, has_rclpy, numpy = json.loads(result.stdout)
    return Interpreter(path, tuple(version), has_venv, has_headers, has_rclpy, numpy)
