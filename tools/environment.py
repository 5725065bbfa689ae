# SPDX-License-Identifier: Apache-2.0
"""Set up what this checkout needs to build, run and test, and run commands inside it.

    python3 tools/environment.py setup [--extras dev]             set up what is missing or has changed
    python3 tools/environment.py run [--extras dev] -- COMMAND    the same, then run COMMAND in the environment
    eval "$(python3 tools/environment.py variables)"              the same, then set the calling shell's variables

A sourced ROS 2 is used where there is one; else ROS 2 Kilted is installed from PyPI wheels into `.venv`, which is then
also the ROS prefix. Python packages go into `.venv`, the built package into `install`. Needs the standard library only.
`--ros jazzy` takes Jazzy from PyPI instead, whatever is sourced, with the NumPy and OpenCV of Ubuntu 24.04, and keeps
all in the folder `.jazzy`.

Each stage leaves a stamp with a hash of its inputs. A stage whose stamp fits is skipped. A stage that was begun and did
not end is never trusted: what it was making is removed and made again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prerequisites
from prerequisites import DEFAULT_WHEELS, PACKAGE, ROOT, WHEELS, Interpreter, SetupError

#: Run by the environment's Python, whose pip can read TOML even for 3.10: prints what extras bring, "" for the base.
READ_REQUIREMENTS = """
import sys
try:
    import tomllib
except ModuleNotFoundError:
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
known = {"": project["dependencies"], **project["optional-dependencies"]}
def expand(name):
    for line in known[name]:
        own = line.startswith(project["name"] + "[")
        extras = line.partition("[")[2].rstrip("]").split(",") if own else []
        yield from [line] if not own else [each for extra in extras for each in expand(extra)]
for name in sys.argv[2:]:
    print(*expand(name), sep="\\n")
"""


#: Packages that need NumPy 2; left out where messages were compiled for NumPy 1.
NEED_NUMPY_2 = ("rerun-sdk",)


@dataclass(frozen=True)
class Place:
    """Where the environment lies, and which ROS 2 it stands on.

    Attributes:
        at: folder that holds .venv, build, install and log.
        sourced: prefix of the sourced ROS 2; None where ROS 2 comes from wheels.
        wheels: the distribution that it comes from then.
    """

    at: Path
    sourced: Path | None
    wheels: str = DEFAULT_WHEELS

    @property
    def ros(self) -> str:
        """Names the ROS 2."""
        return str(self.sourced) if self.sourced else f"{self.wheels} from PyPI"

    @property
    def wheel_list(self) -> Path:
        """Requirements file of the wheels."""
        return ROOT / "tools" / f"{self.wheels}.txt"

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.at / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    @property
    def prefix(self) -> Path:
        """Where colcon installs the package."""
        return self.at / "install" / PACKAGE

    @property
    def log(self) -> Path:
        """What pip and colcon say."""
        return self.at / "log" / "setup.log"


@dataclass(frozen=True)
class Stamp:
    """A file that says how far a stage has come, and from which inputs."""

    path: Path

    def read(self) -> dict[str, Any]:
        """What was written last; empty where nothing was."""
        try:
            return dict(json.loads(self.path.read_text()))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return {}

    def write(self, *, done: bool, **inputs: Any) -> None:
        """Note inputs, and whether the stage has ended."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"done": done, **inputs}))


def main() -> int:
    """Do what the command line says; what users can mend ends as one line."""
    parser = argparse.ArgumentParser(description="Set up the environment of this checkout, or run a command in it.")
    parser.add_argument("action", choices=["setup", "run", "variables"])
    parser.add_argument("--extras", default="", help="extras of pyproject.toml to install, commas between them")
    parser.add_argument("--ros", choices=WHEELS, help="ROS 2 to take from PyPI (the sourced one, else kilted)")
    parser.add_argument(
        "--at", type=Path, help="folder for .venv, build, install and log (the checkout, or .jazzy in it)"
    )
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, command = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    if (arguments.action == "run") != bool(command):
        parser.error("run wants a command after --, the other actions want none")
    try:
        place = place_of(arguments.at, arguments.ros)
        set_up(place, {extra for extra in arguments.extras.split(",") if extra})
        if arguments.action == "variables":
            print_variables(place)
        elif command:
            execute(place, command)
    except SetupError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nInterrupted; the next set-up repeats what is incomplete.", file=sys.stderr)
        return 130
    return 0


def place_of(at: Path | None, ros: str | None) -> Place:
    """Choose folder and ROS 2, where the command line does not say, as `Place` tells and as they were before."""
    at = (at or (ROOT if ros in (None, DEFAULT_WHEELS) else ROOT / f".{ros}")).resolve()
    made_with = str(Stamp(at / ".venv" / "setup.json").read().get("ros", "")).partition(" ")[0]
    if ros is None and made_with in WHEELS and made_with != DEFAULT_WHEELS:
        ros = made_with
    return Place(at, None if ros else prerequisites.sourced_ros(at), ros or DEFAULT_WHEELS)


def execute(place: Place, command: list[str]) -> None:
    """Become a command that runs in the environment."""
    variables = environment(place)
    program = shutil.which(command[0], path=variables["PATH"])
    if program is None:
        raise SetupError(f"error: {command[0]}: there is no such command in {place.venv} nor on PATH")
    os.execve(program, command, variables)


def print_variables(place: Place) -> None:
    """Print what the environment changes, for a shell to read."""
    for name, value in environment(place).items():
        if os.environ.get(name) != value:
            print(f"export {name}={shlex.quote(value)}")


def environment(place: Place) -> dict[str, str]:
    """Give the variables of a process in the environment, the caller's own included."""
    variables = dict(os.environ)
    prefixes = [place.prefix] if place.sourced else [place.prefix, place.venv]
    libraries = [prefix / "lib" for prefix in prefixes]
    left_out = [] if place.sourced else prerequisites.other_ros(place.at)
    if not place.sourced:
        libraries += sorted(place.venv.glob("lib/python3*/site-packages/ros_*.libs"))
        # Without the last one the wheels restart every Python once, to set a library path in an order of chance.
        variables.update(
            ROS_DISTRO=place.wheels, ROS_VERSION="2", ROS_PYTHON_VERSION="3", _ROS_WHEELS_BOOTSTRAP_COMPLETE="1"
        )
    variables["VIRTUAL_ENV"] = str(place.venv)
    variables.pop("PYTHONHOME", None)
    for name, paths in {
        "AMENT_PREFIX_PATH": prefixes,
        "CMAKE_PREFIX_PATH": prefixes,
        "LD_LIBRARY_PATH": libraries,
        "PYTHONPATH": sorted(place.prefix.glob("lib/python3*/*-packages")),
        "PATH": [place.prefix / "bin", place.venv / "bin"],
    }.items():
        ours = [str(path) for path in paths]
        others = [path for path in variables.get(name, "").split(os.pathsep) if path and path not in ours]
        others = [path for path in others if not any(Path(path).is_relative_to(folder) for folder in left_out)]
        variables[name] = os.pathsep.join(ours + others)
    return variables


def set_up(place: Place, extras: set[str]) -> None:
    """Bring both stages up to date, packages and build; where they are, that costs a few file reads."""
    place.log.parent.mkdir(parents=True, exist_ok=True)
    with (place.log.parent / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up of this folder is running; waiting for it.", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        packages, build = Stamp(place.venv / "setup.json"), Stamp(place.at / "build" / "setup.json")
        base = hash_of(place.at, ROOT, place.sourced)
        wanted = {
            "base": base,
            "extras": sorted(extras | set(packages.read().get("extras", []))),
            "requirements": hash_of(ROOT / "pyproject.toml", place.wheel_list),
            "ros": place.ros,
        }
        ready = packages.read() == {"done": True, **wanted} and place.python.exists()
        inputs = {"base": hash_of(json.dumps(wanted)), "sources": hash_of(*build_inputs())}
        if ready and build.read() == {"done": True, **inputs}:
            return
        interpreter = prerequisites.check(place.at, place.sourced, place.wheels)
        place.log.write_text("")
        if not ready:
            install_packages(place, packages, wanted, interpreter, lock.fileno())
        build_package(place, build, inputs, lock.fileno())


def hash_of(*parts: object) -> str:
    """Hash files by their content and all else by its text."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) and part.is_file() else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def build_inputs() -> list[Path | str]:
    """List what the build reads; of the files that it links to only the names count."""
    read = [ROOT / "CMakeLists.txt", ROOT / "package.xml", *(ROOT / "msg").iterdir(), *(ROOT / "resource").iterdir()]
    linked = [path for folder in (PACKAGE, "launch", "config") for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = [str(path) for path in linked if path.suffix != ".pyc"]
    return [*sorted(read), *sorted(names)]


def install_packages(place: Place, stamp: Stamp, wanted: dict[str, Any], interpreter: Interpreter, lock: int) -> None:
    """Fill the virtual environment: ROS 2 wheels where they are needed, and the Python packages."""
    before = stamp.read()
    if place.venv.exists() and not before:
        raise SetupError(f"error: {place.venv} was not made by this set-up; move it away and try again")
    if place.venv.exists() and before.get("ros", place.ros) != place.ros:
        raise SetupError(
            f"error: {place.venv} stands on ROS 2 {before['ros']}, and this shell on {place.ros}; use a shell like the "
            "one before, or remove it first: make clean"
        )
    if not (before.get("done") and before.get("base") == wanted["base"] and place.python.exists()):
        shutil.rmtree(place.venv, ignore_errors=True)
    stamp.write(done=False, **wanted)
    if not place.python.exists():
        options = ["--system-site-packages"] if place.sourced else []
        run("Making the virtual environment", [interpreter.path, "-m", "venv", *options, place.venv], place, lock)
    constraints = place.wheel_list
    if place.sourced:
        # Messages that were compiled for one major version of NumPy cannot be loaded with another.
        constraints = place.venv / "constraints.txt"
        constraints.write_text(f"numpy>={interpreter.numpy},<{int(interpreter.numpy.split('.')[0]) + 1}\n")
    quiet = ["--no-input", "--disable-pip-version-check"]
    pip: list[str | Path] = [place.python, "-m", "pip", "install", *quiet, "-c", constraints]
    if not place.sourced:
        run(f"Installing ROS 2 {place.wheels.capitalize()} from PyPI", [*pip, "-r", place.wheel_list], place, lock)
    packages = requirements(place, "", *wanted["extras"])
    if re.search(r"^numpy[>=]=1\.", constraints.read_text(), re.MULTILINE):
        left_out = [each for each in packages if each.startswith(NEED_NUMPY_2)]
        packages = [each for each in packages if each not in left_out]
        if left_out:
            print(f"Left out, since messages of {place.ros} need NumPy 1: {', '.join(left_out)}", file=sys.stderr)
    run("Installing Python packages (torch is large)", [*pip, *packages], place, lock)
    if not place.sourced:
        repair_wheels(place)
    stamp.write(done=True, **wanted)


def requirements(place: Place, *extras: str) -> list[str]:
    """Read the requirements of extras from pyproject.toml; "" stands for those of the package itself."""
    command: list[str | Path] = [place.python, "-c", READ_REQUIREMENTS, ROOT / "pyproject.toml", *extras]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SetupError(f"error: no extras {extras} in pyproject.toml: {result.stderr.strip().splitlines()[-1]}")
    return result.stdout.splitlines()


def repair_wheels(place: Place) -> None:
    """Point the CMake files of message packages to this environment's headers, not to those of the builder's machine.

    Raises:
        SetupError: a file still names the builder's machine.
    """
    question = "import numpy, sysconfig; print(numpy.get_include(), sysconfig.get_path('include'), sep='\\n')"
    answer = subprocess.run([place.python, "-c", question], capture_output=True, text=True, check=True)
    numpy_headers, python_headers = answer.stdout.split("\n")[:2]
    builder = r"/opt/python/cp[^/;\"]+"
    for path in place.venv.glob("share/*/cmake/*.cmake"):
        text = path.read_text()
        repaired = re.sub(builder + r"/lib/python[^/;\"]+/site-packages/numpy/_?core/include", numpy_headers, text)
        repaired = re.sub(builder + r"/include/python[^/;\"]+", python_headers, repaired)
        if "/opt/python/" in repaired:
            raise SetupError(f"error: {path} names a folder below /opt/python that this set-up cannot replace")
        if repaired != text:
            path.write_text(repaired)


def build_package(place: Place, stamp: Stamp, inputs: dict[str, str], lock: int) -> None:
    """Generate the messages and install the package with links to the sources, so that edits count at once."""
    before = stamp.read()
    if not (before.get("done") and before.get("base") == inputs["base"]):
        shutil.rmtree(place.at / "build" / PACKAGE, ignore_errors=True)
        shutil.rmtree(place.prefix, ignore_errors=True)
    stamp.write(done=False, **inputs)
    bases: list[str | Path] = [
        "--build-base",
        place.at / "build",
        "--install-base",
        place.at / "install",
        "--base-paths",
        ROOT,
    ]
    cmake = ["--cmake-args", f"-DPython3_EXECUTABLE={place.python}", "-DBUILD_TESTING=OFF"]
    build = ["build", *bases, "--packages-select", PACKAGE, "--symlink-install", *cmake]
    run("Building messages and package with colcon", ["colcon", "--log-base", place.at / "log", *build], place, lock)
    for path in place.prefix.rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()  # its source was removed
    stamp.write(done=True, **inputs)


def run(step: str, command: Sequence[str | Path], place: Place, lock: int) -> None:
    """Run one step with its output in the log and the time that it takes on the terminal.

    The step holds the lock as well, so that one that outlives this process is not disturbed by a second set-up.

    Raises:
        SetupError: it failed.
    """
    start = time.monotonic()
    words = [str(word) for word in command]
    live = sys.stderr.isatty()
    print(f"{step} ...", end="" if live else "\n", file=sys.stderr, flush=True)
    with place.log.open("a") as log:
        log.write(f"\n$ {shlex.join(words)}\n")
        log.flush()
        process = subprocess.Popen(
            words, cwd=place.at, env=environment(place), stdout=log, stderr=subprocess.STDOUT, pass_fds=[lock]
        )
        while process.poll() is None:
            time.sleep(0.1)
            if live:
                print(f"\r{step} ... {time.monotonic() - start:.0f} s", end="", file=sys.stderr, flush=True)
    if process.returncode != 0:
        last = "".join(f"\n    {line}" for line in place.log.read_text().strip().splitlines()[-8:])
        raise SetupError(f"{last}\nerror: {step} failed (exit code {process.returncode}); all of it: {place.log}")
    print(f"{chr(13) if live else ''}{step}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
