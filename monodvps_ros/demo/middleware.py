# SPDX-License-Identifier: Apache-2.0
"""ROS 2 environment variables that the demo sets for itself and its children unless the user has."""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

from monodvps_ros.errors import MonoDVPSError
from monodvps_ros.ros_environment import PROFILE_VARIABLES, is_profile_set

#: Domains whose ports lie below Linux' ephemeral ports (REP-like rule of the ROS 2 documentation).
HIGHEST_DOMAIN = 101


def environment(profile: Callable[[], Path]) -> dict[str, str]:
    """Return the variables to set: what the user has set already is not among them.

    A free domain and discovery limited to this machine separate the demo from other ROS 2 systems; the profile gives
    Fast DDS enough shared memory for large images and clouds.

    Args:
        profile: finds the Fast DDS profile that ships with the package; called only where the user has set none.

    Raises:
        MonoDVPSError: no domain is free, or the profile is not found.
    """
    settings = {}
    if "ROS_DOMAIN_ID" not in os.environ:
        settings["ROS_DOMAIN_ID"] = str(free_domain())
    if not {"ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"} & os.environ.keys():
        settings["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if not is_profile_set():
        settings[PROFILE_VARIABLES[0]] = str(profile())
    return settings


def free_domain() -> int:
    """Find a domain in which nobody on this machine listens now.

    Raises:
        MonoDVPSError: there is none.
    """
    domains = list(range(1, HIGHEST_DOMAIN + 1))
    random.shuffle(domains)  # two demos that start at once seldom meet
    for domain in domains:
        if _is_free(domain):
            return domain
    raise MonoDVPSError(f"all ROS domains from 1 to {HIGHEST_DOMAIN} are in use; set ROS_DOMAIN_ID yourself")


def _is_free(domain: int) -> bool:
    """Try the unicast ports of a domain's first two participants (DDSI-RTPS 2.5, section 9.6.2.4)."""
    base = 7400 + 250 * domain
    for port in (base + 10, base + 11, base + 12, base + 13):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
