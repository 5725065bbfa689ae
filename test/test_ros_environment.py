# SPDX-License-Identifier: Apache-2.0
"""Environments that rclpy refuses: one line that names the variable, and exit code 2, from each program."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monodvps_ros import ros_environment as environment
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.errors import ConfigError

PROGRAMS = {
    "perception_node": ["-m", "monodvps_ros.ros.executables.perception_node"],
    "training_node": ["-m", "monodvps_ros.ros.executables.training_node"],
    "recorder": ["-m", "monodvps_ros.ros.executables.recorder", "/topic", "--out", "bag"],
    "monodvps play": ["-m", "monodvps_ros.cli.main", "play", "input", "--wait-for", "0"],
    "monodvps demo": ["-m", "monodvps_ros.cli.main", "demo", "--frames", "1"],
}
VARIABLES = ("ROS_DOMAIN_ID", "RMW_IMPLEMENTATION", "RCL_ASSERT_RMW_ID_MATCHES", "ROS_LOG_DIR", "ROS_HOME")


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """An environment that is right, with a home of its own."""
    for name in (*VARIABLES, "AMENT_PREFIX_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize("text", ["", "0", "7", "232"])
def test_domains(clean, text):
    clean.setenv("ROS_DOMAIN_ID", text)
    environment.check_environment()


@pytest.mark.parametrize("text", ["abc", "-1", "233", "1.5", "3 ", "٣"])
def test_domains_that_are_refused(clean, text):
    clean.setenv("ROS_DOMAIN_ID", text)
    with pytest.raises(ConfigError, match=f"ROS_DOMAIN_ID is '{text}'; expected an integer from 0 to 232"):
        environment.check_environment()


def _install(prefix, *names):
    index = prefix / "share/ament_index/resource_index/rmw_typesupport"
    index.mkdir(parents=True)
    for name in names:
        (index / name).touch()


def test_middleware(clean, tmp_path):
    _install(tmp_path / "ros", "rmw_implementation", "rmw_fastrtps_cpp")
    clean.setenv("AMENT_PREFIX_PATH", f"{tmp_path}/absent:{tmp_path}/ros")
    clean.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    environment.check_environment()
    clean.setenv("RMW_IMPLEMENTATION", "rmw_zenoh_cpp")
    words = r"RMW_IMPLEMENTATION is 'rmw_zenoh_cpp', .*; installed: rmw_fastrtps_cpp; .*-rmw-zenoh-cpp\) or unset"
    with pytest.raises(ConfigError, match=words):
        environment.check_environment()


def test_a_middleware_that_is_asked_for_must_be_the_chosen_one(clean, tmp_path):
    _install(tmp_path / "ros", "rmw_fastrtps_cpp", "rmw_zenoh_cpp")
    clean.setenv("AMENT_PREFIX_PATH", f"{tmp_path}/ros")
    clean.setenv("RCL_ASSERT_RMW_ID_MATCHES", "rmw_zenoh_cpp")
    environment.check_environment()
    clean.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    with pytest.raises(
        ConfigError, match=r"RCL_ASSERT_RMW_ID_MATCHES is 'rmw_zenoh_cpp', but RMW_IMPLEMENTATION is 'rmw_f"
    ):
        environment.check_environment()
    clean.setenv("RCL_ASSERT_RMW_ID_MATCHES", "rmw_absent_cpp")
    with pytest.raises(ConfigError, match="RCL_ASSERT_RMW_ID_MATCHES is 'rmw_absent_cpp', which is not installed"):
        environment.check_environment()


@pytest.mark.parametrize("variable", environment.PROFILE_VARIABLES)
def test_a_profile_that_is_not_there_is_refused(clean, tmp_path, variable):
    clean.setenv(variable, str(tmp_path / "absent.xml"))
    with pytest.raises(ConfigError, match=f"variable {variable} is '.*absent.xml', which is not a file; correct or"):
        environment.check_environment()
    (tmp_path / "absent.xml").touch()
    environment.check_environment()


def test_what_ros_refuses_is_one_error_that_names_the_variables(clean):
    for name in [name for name in os.environ if name.startswith(("ROS_", "FASTDDS_", "FASTRTPS_"))]:
        clean.delenv(name)
    clean.setenv("ROS_STATIC_PEERS", "a;;b")
    clean.setenv("ROS_DISTRO", "kilted")
    words = r"^ROS 2 cannot be started: no peer a \(environment variables: ROS_STATIC_PEERS='a;;b'\)$"
    with pytest.raises(ConfigError, match=words), environment.starting_ros():
        raise RuntimeError("no\npeer a")
    with pytest.raises(ConfigError, match=r"^as it is$"), environment.starting_ros():
        raise ConfigError("as it is")


def test_log_folders(clean, tmp_path):
    environment.check_environment()
    assert (tmp_path / ".ros/log").is_dir()
    clean.setenv("ROS_HOME", str(tmp_path / "ros"))
    environment.check_environment()
    assert (tmp_path / "ros/log").is_dir()
    clean.setenv("ROS_LOG_DIR", "~/logs")
    environment.check_environment()
    assert (tmp_path / "logs").is_dir()


@pytest.mark.parametrize("variable", ["HOME", "ROS_HOME", "ROS_LOG_DIR"])
def test_a_log_folder_that_cannot_be_made_is_refused(clean, tmp_path, variable):
    (tmp_path / "file").touch()
    clean.setenv(variable, str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=f"variable {variable}\\): .*; set ROS_LOG_DIR to a writable folder"):
        environment.check_environment()


def test_a_log_folder_that_cannot_be_written_is_refused(clean, tmp_path):
    clean.setattr(environment.os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match=f"'{tmp_path}/.ros/log' .*variable HOME\\): not writable; set ROS_LOG_DIR"):
        environment.check_environment()


@pytest.mark.parametrize("home", [None, ""])
def test_without_home(clean, tmp_path, home):
    clean.delenv("HOME") if home is None else clean.setenv("HOME", home)
    with pytest.raises(ConfigError, match=r"HOME is not set, .*; set ROS_LOG_DIR to a writable folder"):
        environment.check_environment()
    clean.setenv("ROS_LOG_DIR", str(tmp_path))
    environment.check_environment()


def run(arguments, cwd, **variables):
    """Run a program with changed variables; None removes one. Returns its exit code and what it says on stderr."""
    changed = {**os.environ, "ROS_LOG_DIR": str(cwd), **variables}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={name: value for name, value in changed.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stderr.splitlines()


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"HOME": None, "ROS_LOG_DIR": None}, "HOME is not set"),
        ({"ROS_DOMAIN_ID": "abc"}, "ROS_DOMAIN_ID is 'abc'"),
        ({"RMW_IMPLEMENTATION": "rmw_absent_cpp"}, "RMW_IMPLEMENTATION is 'rmw_absent_cpp'"),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "/absent.xml"}, "FASTDDS_DEFAULT_PROFILES_FILE is '/absent.xml'"),
    ],
)
def test_each_program_names_the_variable(tmp_path, program, variables, words):
    pytest.importorskip("rclpy")
    code, (line,) = run(PROGRAMS[program], tmp_path, **variables)
    assert code == 2
    assert line.startswith(program.split()[0])
    assert words in line


def without(package, module):
    """Arguments of a Python in which a package is not installed, and which runs a module's main."""
    return ["-c", f"import sys; sys.modules[{package!r}] = None; import {module} as m; sys.exit(m.main())"]


@pytest.mark.parametrize(
    ("package", "module", "name"),
    [
        ("rclpy", "monodvps_ros.ros.executables.perception_node", "the perception node"),
        ("torch", "monodvps_ros.ros.executables.perception_node", "the perception node"),
        ("rclpy", "monodvps_ros.ros.executables.training_node", "the training node"),
        ("typer", "monodvps_ros.cli.main", "monodvps"),
    ],
)
@pytest.mark.slow
def test_packages_that_are_not_installed(tmp_path, package, module, name):
    if package != "rclpy" and "ros" in module:
        pytest.importorskip("rclpy")
    code, (line,) = run(without(package, module), tmp_path)
    assert code == 2
    assert f"{name} needs the Python package '{package}', which is not installed" in line


@pytest.mark.ros
@pytest.mark.slow
def test_any_other_refusal_is_one_line(tmp_path):
    pytest.importorskip("rclpy")
    with BagWriter(tmp_path / "input") as writer:
        writer.image("/cam/image_raw", 1, "cam", np.zeros((6, 8, 3), np.uint8), "rgb8")
    code, lines = run(
        PROGRAMS["monodvps play"], tmp_path, ROS_SECURITY_ENABLE="true", ROS_SECURITY_STRATEGY="Enforce",
        ROS_SECURITY_KEYSTORE=str(tmp_path / "none"),
    )  # fmt: skip
    assert code == 2
    assert lines[-1].startswith("monodvps: ROS 2 cannot be started: ")


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "monodvps demo"])
def test_a_peer_that_does_not_exist_is_named(tmp_path, program):
    pytest.importorskip("rclpy")
    with BagWriter(tmp_path / "input") as writer:
        writer.image("/cam/image_raw", 1, "cam", np.zeros((6, 8, 3), np.uint8), "rgb8")
    code, lines = run(PROGRAMS[program], tmp_path, ROS_STATIC_PEERS="no such peer")
    assert code == 2, lines
    assert "ROS 2 cannot be started: " in lines[-1] and "ROS_STATIC_PEERS='no such peer'" in lines[-1]


@pytest.mark.ros
@pytest.mark.parametrize(
    ("program", "arguments"), [("monodvps play", ["--namespace", "a b"]), ("recorder", ["--optional", "a topic"])]
)
def test_names_that_ros_refuses_are_one_line(tmp_path, program, arguments):
    pytest.importorskip("rclpy")
    with BagWriter(tmp_path / "input") as writer:
        writer.image("/cam/image_raw", 1, "cam", np.zeros((6, 8, 3), np.uint8), "rgb8")
    code, (*_, line) = run([*PROGRAMS[program], *arguments], tmp_path)
    assert code == 2 and "ROS 2 cannot be started: " in line and "name" in line
    assert not list(tmp_path.glob(".bag*"))


def test_a_profile_is_set_where_the_user_has_set_none_and_the_recorder_has_its_own(clean, capsys):
    for name in (*environment.PROFILE_VARIABLES, "RMW_FASTRTPS_USE_QOS_FROM_XML"):
        clean.delenv(name, raising=False)
    environment.use_profile("node")
    ours = os.environ["FASTDDS_DEFAULT_PROFILES_FILE"]
    assert ours.endswith("/fastdds_large_messages.xml") and Path(ours).is_file()
    assert capsys.readouterr().err == f"node: FASTDDS_DEFAULT_PROFILES_FILE is not set; using {ours}\n"
    environment.use_recorder_profile()
    theirs = os.environ["FASTDDS_DEFAULT_PROFILES_FILE"]
    assert theirs.endswith("/fastdds_recorder.xml") and Path(theirs).is_file()
    assert os.environ["RMW_FASTRTPS_USE_QOS_FROM_XML"] == "1"
    del os.environ["FASTDDS_DEFAULT_PROFILES_FILE"], os.environ["RMW_FASTRTPS_USE_QOS_FROM_XML"]
    clean.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    environment.use_profile("node")
    environment.use_recorder_profile()
    assert os.environ.keys().isdisjoint({"FASTDDS_DEFAULT_PROFILES_FILE", "RMW_FASTRTPS_USE_QOS_FROM_XML"})
    assert os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/mine.xml"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("module", ["monodvps_ros.ros.nodes.recorder", "monodvps_ros.cli.play"])
def test_recorder_and_player_do_without_torch(module):
    """It would be most of their memory."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
