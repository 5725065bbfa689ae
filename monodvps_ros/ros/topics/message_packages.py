# SPDX-License-Identifier: Apache-2.0
"""Message packages that a ROS installation may lack, or have without loadable libraries: their topics are left out."""

from functools import cache

from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.type_support import check_for_type_support

from monodvps_ros.outputs import LABEL_INFO_TOPIC, OUTPUT_TOPICS
from monodvps_ros.ros.topics import filter_pairing
from monodvps_ros.ros.topics.conversions import message_class

LABEL_INFO_TYPE = "vision_msgs/msg/LabelInfo"


@cache
def loaded_class(type_name: str) -> type | None:
    """Return the class of a type such as ``sensor_msgs/msg/Image``; None where `problem` says why."""
    return None if problem(type_name) else message_class(type_name)


@cache
def problem(type_name: str) -> str:
    """Say why messages of a type cannot be made or sent here; empty where they can."""
    package = type_name.partition("/")[0]
    try:
        kind = message_class(type_name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in (package, f"{package}.msg")
        return "is not installed" if missing else f"cannot be loaded ({_first_line(error)})"
    try:
        check_for_type_support(kind)  # loads the libraries
    except Exception as error:  # of many kinds; rosidl logs what the loader said at level debug
        return f"cannot be loaded ({_first_line(error)})"
    return ""


def report_missing(logger: RcutilsLogger) -> None:
    """Name each package that is missing, and what is not published for that, in one line: INFO, or WARN.

    A package that is there and cannot be loaded is worth a warning; one that is not installed is a choice.
    """
    topics: dict[tuple[str, str], list[str]] = {}
    rows = [(row.topic, row.type_name) for row in OUTPUT_TOPICS]
    for topic, type_name in [*rows, (LABEL_INFO_TOPIC, LABEL_INFO_TYPE)]:
        if problem(type_name):
            topics.setdefault((type_name.partition("/")[0], problem(type_name)), []).append(topic)
    for (package, why), left_out in topics.items():
        text = f"{package} {why}; not published: {', '.join(left_out)}"
        if why == "is not installed":
            logger.info(text)
        else:
            logger.warning(f"{text}; install {package} for this distribution of ROS 2")
    if filter_pairing.problem:
        logger.warning(
            f"message_filters cannot be loaded ({filter_pairing.problem}); the node pairs image and camera_info itself"
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(": ")
