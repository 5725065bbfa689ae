# SPDX-License-Identifier: Apache-2.0
"""The Fast DDS profile for large messages, which ships with the package. Imports no rclpy: it is set before that is.

With Fast DDS's default shared memory large messages are lost, and a process that was stopped for seconds (a debugger,
a suspended computer) hears nothing afterwards; with the profile neither happens.
"""

import os
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from monodvps_ros.errors import MonoDVPSError

PROFILE = "fastdds_large_messages.xml"
#: Variables that name a profile; the second is of older versions.
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def is_profile_set() -> bool:
    """Say whether the user has chosen a profile."""
    return not os.environ.keys().isdisjoint(VARIABLES)


def shipped_profile() -> Path:
    """Return the profile that ships: beside a source tree's package, or in the installed share folder.

    Raises:
        MonoDVPSError: it is in neither place.
    """
    beside = Path(__file__).parents[2] / "config" / PROFILE
    if beside.is_file():
        return beside
    try:
        installed = Path(get_package_share_directory("monodvps_ros")) / "config" / PROFILE
    except PackageNotFoundError:
        installed = beside
    if not installed.is_file():
        raise MonoDVPSError(f"{PROFILE} is neither in {beside.parent} nor in the package's share folder; build again")
    return installed


def use_profile(program: str) -> None:
    """Set the profile for this process where the user has set none, and say so.

    Raises:
        MonoDVPSError: it is not found.
    """
    if not is_profile_set():
        os.environ[VARIABLES[0]] = str(shipped_profile())
        sys.stderr.write(f"{program}: {VARIABLES[0]} is not set; using {os.environ[VARIABLES[0]]}\n")


def leave_profile() -> None:
    """Unset the profile: it is the sender's that counts, and to a process that only receives it costs 256 MB."""
    for name in VARIABLES:
        if Path(os.environ.get(name, "")).name == PROFILE:
            del os.environ[name]
