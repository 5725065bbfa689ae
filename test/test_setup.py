# SPDX-License-Identifier: Apache-2.0
"""tools/environment.py: what is done when, what is trusted, what is said. Steps are recorded here, not run."""

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
    for name in ("pyproject.toml", "CMakeLists.txt", "tools/kilted.txt", "tools/jazzy.txt"):
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
        if "-r" in words:
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
    monkeypatch.setattr(environment.prerequisites, "check", lambda at, sourced, wheels: interpreter)

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


def test_what_needs_numpy_2_is_left_out_beside_messages_for_numpy_1(set_up, steps, checkout, capsys):
    set_up("dev")
    assert any(word.startswith("rerun-sdk") for word in steps.commands[PACKAGES])
    (checkout / "tools" / "kilted.txt").write_text("ros-rclpy==7.1.6\nnumpy==1.26.4\n")
    assert PACKAGES in set_up("dev")
    assert not any(word.startswith("rerun-sdk") for word in steps.commands[PACKAGES])
    assert "Left out, since messages of kilted from PyPI need NumPy 1: rerun-sdk" in capsys.readouterr().err


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


def test_an_environment_of_another_ros_is_never_removed(set_up, environment, checkout):
    set_up(sourced=Path("/opt/ros/jazzy"))
    mine = checkout / ".venv" / "mine"
    mine.touch()
    for now, place in (("kilted from PyPI", None), ("/opt/ros/kilted", Path("/opt/ros/kilted"))):
        with pytest.raises(environment.SetupError) as error:
            set_up(sourced=place)
        assert str(error.value) == (
            f"error: {checkout / '.venv'} stands on ROS 2 /opt/ros/jazzy, and this shell on {now}; use a shell like "
            "the one before, or remove it first: make clean"
        )
    assert mine.exists()
    assert set_up(sourced=Path("/opt/ros/jazzy")) == []


def test_jazzy_from_wheels_has_a_folder_of_its_own_and_stays_jazzy(environment, checkout, steps, monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/kilted")
    place = environment.place_of(None, "jazzy")
    assert (place.at, place.sourced, place.ros) == (checkout / ".jazzy", None, "jazzy from PyPI")
    interpreter = environment.Interpreter(sys.executable, sys.version_info[:2], True, True, False, "1.26.4")
    monkeypatch.setattr(environment.prerequisites, "check", lambda at, sourced, wheels: interpreter)
    environment.set_up(place, set())
    assert steps.take() == [VENV, WHEELS, PACKAGES, BUILD]
    assert steps.commands[WHEELS][-2:] == ["-r", str(checkout / "tools" / "jazzy.txt")]
    assert environment.environment(place)["ROS_DISTRO"] == "jazzy"
    assert environment.place_of(place.at, None) == place
    assert environment.place_of(None, None) == environment.Place(checkout, None, "kilted")
    assert environment.place_of(None, "kilted") == environment.Place(checkout, None, "kilted")


@pytest.mark.parametrize("name", ["jazzy", "kilted"])
def test_every_wheel_is_pinned(name):
    lines = [line for line in (TOOLS / f"{name}.txt").read_text().splitlines() if line and not line.startswith("#")]
    ros = [line for line in lines if line.startswith("ros-")]
    assert len(ros) > 80 and all("==" in line for line in ros) and len(lines) == len({*lines})
    for package in ("rclpy", "sensor-msgs", "rmw-fastrtps-cpp", "rosidl-default-generators"):
        assert sum(line.startswith(f"ros-{package}==") for line in ros) == 1


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


def test_the_environment_of_another_checkout_is_no_sourced_ros_and_is_left_out(environment, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (other / ".venv/share/ament_index/resource_index/packages").mkdir(parents=True)
    (other / ".venv/share/ament_index/resource_index/packages/rclpy").touch()
    (other / ".venv/pyvenv.cfg").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{other}/install/monodvps_ros:{other}/.venv:{tmp_path}/overlay")
    monkeypatch.setenv("PYTHONPATH", f"{other}/install/monodvps_ros/lib/python3.11/site-packages:/mine")
    monkeypatch.setenv("PATH", f"{other}/.venv/bin:/usr/bin")
    assert environment.prerequisites.sourced_ros(tmp_path / "at") is None
    place = environment.place_of(tmp_path / "at", None)
    variables = environment.environment(place)
    assert not any(str(other) in variables[name] for name in ("AMENT_PREFIX_PATH", "PYTHONPATH", "PATH"))
    assert variables["AMENT_PREFIX_PATH"].endswith(f"/at/.venv:{tmp_path}/overlay")
    assert variables["PYTHONPATH"] == "/mine" and variables["PATH"].endswith(":/usr/bin")


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
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": str(tmp_path)},
    )
    assert waiting.stderr.readline() == "Another set-up of this folder is running; waiting for it.\n"
    assert waiting.poll() is None
    holder.communicate()
    _, rest = waiting.communicate(timeout=30)
    assert waiting.returncode == 2, "then it found nothing on its PATH"
    assert "missing: git" in rest
