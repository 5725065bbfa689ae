# SPDX-License-Identifier: Apache-2.0
"""Checks and sets environment variables before rclpy is imported; imports nothing of ROS.

rclpy's errors do not name the variable; for an absent middleware it ends the process while it is imported.

With Fast DDS's default shared memory large messages are lost, and a process that was stopped for seconds (a debugger,
a suspended computer) hears nothing afterwards; with the profile that ships neither happens.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from monodvps_ros.errors import ConfigError, MonoDVPSError
from monodvps_ros.files import shipped_file
from monodvps_ros.optional import is_own, missing_dependency

#: Exit code where a parameter, the weights, the data, the device or the environment are unusable.
REFUSED = 2
#: DDS computes its ports from the domain; beyond this they exceed 65535.
LAST_DOMAIN = 232
PROFILE = "fastdds_large_messages.xml"
RECORDER_PROFILE = "fastdds_recorder.xml"
#: Variables that name a profile of Fast DDS; the second is of older versions.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

_OF_ROS = ("ROS_", "RMW_", "RCL_", "RCUTILS_", "FASTDDS_", "FASTRTPS_", "CYCLONEDDS_", "ZENOH_")
_OF_SETUP = {"ROS_DISTRO", "ROS_VERSION", "ROS_PYTHON_VERSION"}
_MIDDLEWARE, _EXPECTED_MIDDLEWARE = "RMW_IMPLEMENTATION", "RCL_ASSERT_RMW_ID_MATCHES"


def check_environment() -> None:
    """Check the variables that rclpy needs.

    Raises:
        ConfigError: there is no folder for logs, or it cannot be written; the domain is not a number in its range; the
            middleware is not installed; or a profile of Fast DDS does not exist. The message names the variable.
    """
    _check_domain(os.environ.get("ROS_DOMAIN_ID", ""))
    _check_middleware()
    _check_profiles()
    _check_log_folder()


@contextmanager
def starting_ros() -> Iterator[None]:
    """Turn what rclpy refuses when it is initialized, or when a node is made, into a ConfigError.

    rclpy does not say which variable it does not like: those that are set for ROS and its middleware are named.
    """
    try:
        yield
    except MonoDVPSError:
        raise
    except Exception as error:  # rclpy's errors have no base of their own
        given = sorted(name for name in os.environ if name.startswith(_OF_ROS) and name not in _OF_SETUP)
        variables = ", ".join(f"{name}='{os.environ[name]}'" for name in given)
        hint = f" (environment variables: {variables})" if variables else ""
        raise ConfigError(f"ROS 2 cannot be started: {' '.join(str(error).split())}{hint}") from error


def run_checked(program: str, run: Callable[[], int]) -> int:
    """Check the environment and run a program.

    Args:
        program: its name, for the error message.
        run: imports what needs ROS, runs, and returns the exit code.

    Returns:
        The exit code; `REFUSED`, with one line on stderr, where the environment is unusable, a package is not
        installed, a file cannot be written, or a `MonoDVPSError` was raised.
    """
    try:
        check_environment()
        return run()
    except (MonoDVPSError, OSError) as error:  # the latter: a folder that cannot be made, a full disk
        problem = str(error)
    except ImportError as error:
        if is_own(error):
            raise
        problem = str(missing_dependency(error, f"the {program.replace('_', ' ')}"))
    sys.stderr.write(f"{program}: {' '.join(problem.split())}\n")
    return REFUSED


def is_profile_set() -> bool:
    """Say whether the user has chosen a profile of Fast DDS."""
    return not os.environ.keys().isdisjoint(PROFILE_VARIABLES)


def shipped_profile(name: str = PROFILE) -> Path:
    """Return a profile that ships.

    Raises:
        ConfigError: it is not installed.
    """
    path = shipped_file(f"config/{name}")
    if path is None:
        raise ConfigError(f"config/{name} is not installed; build again")
    return path


def use_profile(program: str) -> None:
    """Set the profile that ships where the user has set none, and say so.

    Raises:
        ConfigError: it is not found.
    """
    if not is_profile_set():
        os.environ[PROFILE_VARIABLES[0]] = str(shipped_profile())
        sys.stderr.write(f"{program}: {PROFILE_VARIABLES[0]} is not set; using {shipped_profile()}\n")


def use_recorder_profile() -> None:
    """Set the recorder's profile in place of the one that ships; leave a profile of the user's.

    The one that ships is the sender's that counts, and to who only receives it costs 67 MB.

    Raises:
        ConfigError: it is not found.
    """
    for name in PROFILE_VARIABLES:
        if Path(os.environ.get(name, "")).name == PROFILE:
            del os.environ[name]
    if not is_profile_set():
        os.environ[PROFILE_VARIABLES[0]] = str(shipped_profile(RECORDER_PROFILE))
        os.environ.setdefault("RMW_FASTRTPS_USE_QOS_FROM_XML", "1")


def _check_domain(text: str) -> None:
    if text and not (text.isascii() and text.isdigit() and int(text) <= LAST_DOMAIN):
        raise ConfigError(
            f"environment variable ROS_DOMAIN_ID is '{text}'; expected an integer from 0 to {LAST_DOMAIN}; "
            "correct or unset it"
        )


def _check_middleware() -> None:
    """Check the middleware that is chosen and the one that is asked for, by which rclpy ends the process."""
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = [Path(prefix, "share/ament_index/resource_index/rmw_typesupport") for prefix in prefixes]
    names = {file.name for folder in folders if folder.is_dir() for file in folder.iterdir()}
    installed = sorted(names - {"rmw_implementation"})  # which only loads one of the others
    chosen, expected = os.environ.get(_MIDDLEWARE, ""), os.environ.get(_EXPECTED_MIDDLEWARE, "")
    for variable, name in ((_MIDDLEWARE, chosen), (_EXPECTED_MIDDLEWARE, expected)):
        if name and installed and name not in installed:
            raise ConfigError(
                f"environment variable {variable} is '{name}', which is not installed; installed: "
                f"{', '.join(installed)}; install it (sudo apt install ros-$ROS_DISTRO-{name.replace('_', '-')}) or "
                "unset the variable"
            )
    if chosen and expected and chosen != expected:
        raise ConfigError(
            f"environment variable {_EXPECTED_MIDDLEWARE} is '{expected}', but {_MIDDLEWARE} is '{chosen}'; unset one"
        )


def _check_profiles() -> None:
    """Check that the profiles of Fast DDS are there: it goes on without, and then loses large messages."""
    for name in PROFILE_VARIABLES:
        path = os.environ.get(name, "")
        if path and "fastrtps" in os.environ.get(_MIDDLEWARE, "fastrtps") and not Path(path).is_file():
            raise ConfigError(
                f"environment variable {name} is '{path}', which is not a file; correct or unset the variable"
            )


def _check_log_folder() -> None:
    """Find the folder as rcl_logging_interface does, and make it."""
    log, ros_home = os.environ.get("ROS_LOG_DIR"), os.environ.get("ROS_HOME")
    text = log or (f"{ros_home}/log" if ros_home else "~/.ros/log")
    home = os.environ.get("HOME")
    if text.startswith("~") and not home:
        raise ConfigError(
            "environment variable HOME is not set, so that ROS has no folder for its logs; set ROS_LOG_DIR to a "
            "writable folder"
        )
    folder = Path(f"{home}{text[1:]}" if text.startswith("~") else text)
    problem = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = error.strerror or str(error)
    if not problem and not os.access(folder, os.W_OK | os.X_OK):
        problem = "not writable"
    if problem:
        given = "ROS_LOG_DIR" if log else "ROS_HOME" if ros_home else "HOME"
        raise ConfigError(
            f"ROS cannot write its logs to '{folder}' (from environment variable {given}): {problem}; set ROS_LOG_DIR "
            "to a writable folder"
        )
