# SPDX-License-Identifier: Apache-2.0
"""tools/environment.py: what is done when, what is trusted, what is said. Steps are recorded here, not run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
VENV, WHEELS, PACKAGES, BUILD = "venv", "ros-wheels", "packages", "build"


def install_this_python(path):
    """Put a program there that is the interpreter of these tests; a link to it would lose its packages."""
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import environment

    for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    return environment


@pytest.fixture
def checkout(environment, tmp_path, monkeypatch):
    """A small checkout, in which the set-up works."""
    root = tmp_path / "checkout"
    for name in ("msg/A.msg", "resource/x", "monodvps_ros/a.py", "launch/a.py", "config/a.yaml", "package.xml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "tools").mkdir()
    for name in ("pyproject.toml", "CMakeLists.txt", "tools/kilted.txt"):
        shutil.copy(ROOT / name, root / name)
    monkeypatch.setattr(environment, "ROOT", root)
    return root


@pytest.fixture
def steps(environment, monkeypatch):
    """The steps that were run, in order; a name put into `steps.broken` makes that step fail."""

    class Steps(list):
        broken: set = set()  # noqa: RUF012
        commands: dict = {}  # noqa: RUF012

        def take(self):
            taken = list(self)
            self.clear()
            return taken

    steps = Steps()
    steps.broken, steps.commands = set(), {}

    def record(step, command, place, lock):
        words = [str(word) for word in command]
        kind = VENV if "venv" in words else BUILD if words[0] == "colcon" else PACKAGES
        if any(word.startswith("ros-rclpy") for word in words):
            kind = WHEELS
        steps.append(kind)
        steps.commands[kind] = words
        if kind == VENV:
            install_this_python(place.python)
        if kind in steps.broken:
            raise KeyboardInterrupt

    monkeypatch.setattr(environment, "run", record)
    return steps


@pytest.fixture
def set_up(environment, checkout, steps, monkeypatch):
    """Set the checkout up with some extras and return the steps that this took."""
    interpreter = environment.Interpreter(sys.executable, sys.version_info[:2], True, True, False, "1.26.4")
    monkeypatch.setattr(environment.prerequisites, "check", lambda at, sourced: interpreter)

    def once(*extras, sourced=None):
        environment.set_up(environment.Place(checkout, sourced), set(extras))
        return steps.take()

    return once


def test_a_second_set_up_does_nothing(set_up):
    assert set_up() == [VENV, WHEELS, PACKAGES, BUILD]
    assert set_up() == []


@pytest.mark.parametrize("name", ["CMakeLists.txt", "package.xml", "msg/A.msg", "resource/x"])
def test_a_changed_build_file_is_built_alone(set_up, checkout, name):
    set_up()
    (checkout / name).write_text("changed")
    assert set_up() == [BUILD]
    assert set_up() == []


def test_a_new_or_removed_module_is_built_and_an_edited_one_is_not(set_up, checkout):
    set_up()
    (checkout / "monodvps_ros" / "a.py").write_text("edited")
    assert set_up() == []
    (checkout / "monodvps_ros" / "b.py").write_text("")
    assert set_up() == [BUILD]
    (checkout / "monodvps_ros" / "b.py").unlink()
    assert set_up() == [BUILD]


@pytest.mark.parametrize("name", ["pyproject.toml", "tools/kilted.txt"])
def test_changed_requirements_are_installed_into_the_same_environment(set_up, checkout, name):
    set_up()
    path = checkout / name
    path.write_text(path.read_text() + "\n")
    assert set_up() == [WHEELS, PACKAGES, BUILD]


def test_extras_are_added_and_kept(set_up, steps):
    set_up()
    assert not any(word.startswith("pytest") for word in steps.commands[PACKAGES])
    assert PACKAGES in set_up("dev")
    for package in ("pytest", "lightning", "transformers", "onnxruntime"):  # "dev" brings "all", which brings the rest
        assert any(word.startswith(package) for word in steps.commands[PACKAGES])
    assert not any(word.startswith("monodvps_ros") for word in steps.commands[PACKAGES])
    assert set_up() == []
    assert set_up("all") == [WHEELS, PACKAGES, BUILD]
    assert set_up("dev") == []


def test_unknown_extra_is_an_error(set_up, environment):
    with pytest.raises(environment.SetupError, match="nonsense"):
        set_up("nonsense")


@pytest.mark.parametrize("step", [VENV, WHEELS, PACKAGES])
def test_half_made_environment_is_made_anew(set_up, steps, checkout, step):
    steps.broken = {step}
    with pytest.raises(KeyboardInterrupt):
        set_up()
    steps.take()
    rest = checkout / ".venv" / "half-made"
    rest.write_text("")
    steps.broken = set()
    assert set_up() == [VENV, WHEELS, PACKAGES, BUILD]
    assert not rest.exists()


def test_half_made_build_is_made_anew_in_the_same_environment(set_up, steps, checkout):
    steps.broken = {BUILD}
    with pytest.raises(KeyboardInterrupt):
        set_up()
    steps.take()
    rests = [checkout / "build" / "monodvps_ros" / "rest", checkout / "install" / "monodvps_ros" / "rest"]
    for rest in rests:
        rest.parent.mkdir(parents=True)
        rest.write_text("")
    steps.broken = set()
    assert set_up() == [BUILD]
    assert not any(rest.exists() for rest in rests)


def test_environment_whose_python_is_gone_is_made_anew(set_up, checkout):
    set_up()
    (checkout / ".venv" / "bin" / "python").unlink()
    assert set_up() == [VENV, WHEELS, PACKAGES, BUILD]


def test_moved_checkout_is_set_up_anew(set_up, checkout, environment, steps, monkeypatch):
    set_up()
    moved = checkout.rename(checkout.with_name("moved"))
    monkeypatch.setattr(environment, "ROOT", moved)
    environment.set_up(environment.Place(moved, None), set())
    assert steps.take() == [VENV, WHEELS, PACKAGES, BUILD]


def test_links_to_removed_modules_are_removed(set_up, checkout):
    set_up()
    links = checkout / "install" / "monodvps_ros" / "lib"
    links.mkdir(parents=True)
    (links / "gone.py").symlink_to(checkout / "monodvps_ros" / "gone.py")
    (links / "a.py").symlink_to(checkout / "monodvps_ros" / "a.py")
    (checkout / "msg" / "A.msg").write_text("changed")
    set_up()
    assert [path.name for path in links.iterdir()] == ["a.py"]


def test_foreign_environment_is_left_alone(set_up, checkout, environment):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").write_text("")
    with pytest.raises(environment.SetupError, match="not made by this set-up"):
        set_up()
    assert (checkout / ".venv" / "mine").exists()


def test_sourced_ros_needs_no_wheels_and_keeps_its_numpy(set_up, steps, checkout):
    assert set_up(sourced=Path("/opt/ros/jazzy")) == [VENV, PACKAGES, BUILD]
    assert "--system-site-packages" in steps.commands[VENV]
    assert (checkout / ".venv" / "constraints.txt").read_text() == "numpy>=1.26.4,<2\n"
    assert set_up() == [VENV, WHEELS, PACKAGES, BUILD], "the sourced ROS 2 is gone"


def test_sourced_ros_is_found_and_the_environment_itself_is_not_one(environment, tmp_path, monkeypatch):
    for prefix in ("opt", "at/.venv"):
        (tmp_path / prefix / "share/ament_index/resource_index/packages").mkdir(parents=True)
        (tmp_path / prefix / "share/ament_index/resource_index/packages/rclpy").write_text("")
    find = environment.prerequisites.sourced_ros
    assert find(tmp_path / "at") is None
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}/overlay:{tmp_path}/at/.venv")
    assert find(tmp_path / "at") is None
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}/overlay:{tmp_path}/opt")
    assert find(tmp_path / "at") == tmp_path / "opt"


def test_variables_put_the_environment_first_and_are_the_same_inside_it(environment, tmp_path, monkeypatch):
    place = environment.Place(tmp_path, None)
    (tmp_path / "install/monodvps_ros/lib/python3.11/site-packages").mkdir(parents=True)
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("PYTHONPATH", "/mine")
    variables = environment.environment(place)
    assert variables["PATH"] == f"{tmp_path}/install/monodvps_ros/bin:{tmp_path}/.venv/bin:/usr/bin"
    assert variables["AMENT_PREFIX_PATH"] == f"{tmp_path}/install/monodvps_ros:{tmp_path}/.venv"
    assert variables["PYTHONPATH"] == f"{tmp_path}/install/monodvps_ros/lib/python3.11/site-packages:/mine"
    monkeypatch.setattr(os, "environ", variables)
    assert environment.environment(place) == variables


def test_builders_folders_are_replaced_once_and_for_all(environment, tmp_path):
    place = environment.Place(tmp_path, None)
    install_this_python(place.python)
    export = place.venv / "share" / "std_msgs" / "cmake" / "export.cmake"
    export.parent.mkdir(parents=True)
    builder = "/opt/python/cp311-cp311"
    text = f'"{builder}/include/python3.11;{builder}/lib/python3.11/site-packages/numpy/_core/include"'
    export.write_text(text)
    environment.repair_wheels(place)
    repaired = export.read_text()
    folders = [Path(folder) for folder in repaired.strip('"').split(";")]
    assert (folders[0] / "Python.h").exists()
    assert (folders[1] / "numpy" / "arrayobject.h").exists()
    environment.repair_wheels(place)
    assert export.read_text() == repaired

    export.write_text(f'"{builder}/share/other"')
    with pytest.raises(environment.SetupError, match=r"export\.cmake names a folder below /opt/python"):
        environment.repair_wheels(place)


def test_failing_step_shows_its_last_words_and_names_the_log(environment, tmp_path, capsys):
    place = environment.Place(tmp_path, None)
    place.log.parent.mkdir()
    place.log.write_text("")
    with place.log.open() as lock, pytest.raises(environment.SetupError) as error:
        environment.run("Trying", ["sh", "-c", "echo alas; exit 3"], place, lock.fileno())
    assert "    alas\n" in str(error.value)
    assert str(error.value).endswith(f"error: Trying failed (exit code 3); all of it: {place.log}")


def test_second_set_up_waits_for_the_first(tmp_path):
    (tmp_path / "log").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
         "print('held', flush=True); sys.stdin.read()", tmp_path / "log" / "setup.lock"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    holder.stdout.readline()
    waiting = subprocess.Popen(
        [sys.executable, TOOLS / "environment.py", "setup", "--at", tmp_path],
        stderr=subprocess.PIPE, text=True, env={"PATH": str(tmp_path)},
    )  # fmt: skip
    assert waiting.stderr.readline() == "Another set-up of this folder is at work; waiting for it.\n"
    assert waiting.poll() is None
    holder.communicate()
    _, rest = waiting.communicate(timeout=30)
    assert waiting.returncode == 2, "then it found nothing on its PATH"
    assert "missing: git" in rest


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
def test_missing_tool_is_one_line_that_names_its_package(environment, tools_on_path, tmp_path, tool, line):
    tools_on_path(**{name: script for name, script in ALL_TOOLS.items() if name != tool})
    command = [sys.executable, str(TOOLS / "environment.py"), "setup", "--at", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr, result.stdout) == (2, f"{line}\n", "")
    assert not (tmp_path / ".venv").exists()


def test_each_missing_tool_has_its_line(environment, tools_on_path):
    tools_on_path(git="exit 0", cmake="echo cmake version 3.16.3")
    assert environment.prerequisites.missing_tools(Path("/opt/ros/jazzy")) == [
        "a C++ compiler: sudo apt install g++",
        "make: sudo apt install make",
        "CMake 3.20 or newer, found 3.16: sudo apt install cmake",
        "colcon: sudo apt install python3-colcon-common-extensions",
    ]


def test_other_machines_need_a_sourced_ros(environment, tools_on_path, monkeypatch):
    tools_on_path(**ALL_TOOLS, colcon="exit 0")
    monkeypatch.setattr(environment.prerequisites.platform, "machine", lambda: "aarch64")
    (line,) = environment.prerequisites.missing_tools(None)
    assert line.startswith("ROS 2: its wheels are for Linux on x86-64")
    assert environment.prerequisites.missing_tools(Path("/opt/ros/jazzy")) == []


@pytest.mark.parametrize(
    ("found", "sourced", "line"),
    [
        (None, None, "Python 3.10 to 3.13: sudo apt install python3 python3-venv python3-dev"),
        (None, Path("/opt/ros/jazzy"), "a python3 that imports rclpy of the sourced /opt/ros/jazzy"),
        ((False, True), None, "venv of /usr/bin/python3: sudo apt install python3.12-venv"),
        ((True, False), None, "headers of /usr/bin/python3: sudo apt install python3.12-dev"),
    ],
)
def test_unfit_python_is_one_line(environment, monkeypatch, found, sourced, line):
    prerequisites = environment.prerequisites
    python = found and prerequisites.Interpreter("/usr/bin/python3", (3, 12), *found, False, "")
    monkeypatch.setattr(prerequisites, "find_interpreter", lambda at, sourced: python)
    monkeypatch.setattr(prerequisites, "missing_tools", lambda sourced: [])
    with pytest.raises(prerequisites.PrerequisiteError) as error:
        prerequisites.check(Path("/nowhere"), sourced)
    assert str(error.value).startswith(f"missing: {line}")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_distribution_that_is_not_supported(environment, monkeypatch):
    prerequisites = environment.prerequisites
    monkeypatch.setattr(prerequisites, "missing_tools", lambda sourced: ["the rest"])
    monkeypatch.setenv("ROS_DISTRO", "lyrical")
    with pytest.raises(prerequisites.PrerequisiteError, match="is 'lyrical'; supported: jazzy, kilted;"):
        prerequisites.check(Path("/nowhere"), Path("/opt/ros/lyrical"))
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    with pytest.raises(prerequisites.PrerequisiteError, match="missing: the rest"):
        prerequisites.check(Path("/nowhere"), Path("/opt/ros/kilted"))


def answer(version, rclpy=False):
    return f"echo '{json.dumps([version, True, True, rclpy, ''])}'"


def test_python_is_the_first_that_fits(environment, tools_on_path, tmp_path, monkeypatch):
    tools_on_path(
        **{
            "python3": answer([3, 9]),
            "python3.12": "exit 127",
            "python3.13": answer([3, 13]),
            "python3.11": answer([3, 11]),
        }
    )
    monkeypatch.setattr(sys, "base_exec_prefix", "/nowhere")
    found = environment.prerequisites.find_interpreter(Path("/at"), None)
    assert (found.version, Path(found.path).name) == ((3, 13), "python3.13")
    assert environment.prerequisites.find_interpreter(tmp_path, None) is None, "its own programs do not count"


def test_with_sourced_ros_python_is_the_one_that_imports_rclpy(environment, tools_on_path, monkeypatch):
    tools_on_path(python3=answer([3, 12], rclpy=True))
    found = environment.prerequisites.find_interpreter(Path("/at"), Path("/opt/ros/jazzy"))
    assert (found.version, Path(found.path).name) == ((3, 12), "python3")
