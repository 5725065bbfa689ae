# SPDX-License-Identifier: Apache-2.0
"""Finds the definitions of messages: this package's own, and those that a ROS installation brings."""

import os
import sys
from pathlib import Path

from monodvps_ros.errors import DataError

_OWN_PACKAGE = "monodvps_ros"


def message_definition(type_name: str) -> str:
    """Return the text of a ``.msg`` file.

    This package's messages are taken from the source tree where there is one. All others, and these in an installed
    package, are looked for in ``share/<package>/msg`` of each prefix in AMENT_PREFIX_PATH and of Python's own.

    Args:
        type_name: such as ``sensor_msgs/msg/Image``.

    Raises:
        DataError: the name has another form, or there is no such file.
    """
    parts = type_name.split("/")
    if len(parts) != 3 or parts[1] != "msg":
        raise DataError(f"'{type_name}' is not a message type; expected <package>/msg/<Name>")
    package, _, name = parts
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = [Path(prefix) / "share" / package / "msg" for prefix in prefixes]
    if package == _OWN_PACKAGE:
        folders.insert(0, Path(__file__).parents[3] / "msg")
    for folder in folders:
        file = folder / f"{name}.msg"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise DataError(
        f"the definition of {type_name} is not found in {', '.join(map(str, folders))}; "
        f"source the ROS environment that has {package}"
    )
