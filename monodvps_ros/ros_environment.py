# SPDX-License-Identifier: Apache-2.0
"""Checks, before rclpy is imported, the environment variables that it refuses; imports nothing of ROS.

rclpy's errors do not name the variable; for an absent middleware it ends the process while it is imported.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from monodvps_ros.errors import ConfigError, MonoDVPSError
from monodvps_ros.optional import missing_dependency

#: Exit code where a parameter, the weights, the data, the device or the environment are unusable.
REFUSED = 2
#: DDS computes its ports from the domain; beyond this they exceed 65535.
LAST_DOMAIN = 232


def check_environment() -> None:
    """Check the variables that rclpy needs.

    Raises:
        ConfigError: there is no folder for logs, or it cannot be written; the domain is not a number in its range; or
            the middleware is not installed. The message names the variable.
    """
    _check_domain(os.environ.get("ROS_DOMAIN_ID", ""))
    _check_middleware(os.environ.get("RMW_IMPLEMENTATION", ""))
    _check_log_folder()


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
        if (error.name or "").partition(".")[0] == "monodvps_ros":
            raise
        problem = str(missing_dependency(error, f"the {program.replace('_', ' ')}"))
    sys.stderr.write(f"{program}: {' '.join(problem.split())}\n")
    return REFUSED


def _check_domain(text: str) -> None:
    if text and not (text.isascii() and text.isdigit() and int(text) <= LAST_DOMAIN):
        raise ConfigError(
            f"environment variable ROS_DOMAIN_ID is '{text}'; expected an integer from 0 to {LAST_DOMAIN}; "
            "correct or unset it"
        )


def _check_middleware(name: str) -> None:
    folders = [
        Path(prefix, "share/ament_index/resource_index/rmw_typesupport")
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if prefix
    ]
    names = {file.name for folder in folders if folder.is_dir() for file in folder.iterdir()}
    installed = sorted(names - {"rmw_implementation"})  # which only loads one of the others
    if name and installed and name not in installed:
        raise ConfigError(
            f"environment variable RMW_IMPLEMENTATION is '{name}', which is not installed; installed: "
            f"{', '.join(installed)}; install it (sudo apt install ros-$ROS_DISTRO-{name.replace('_', '-')}) or unset "
            "the variable"
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
