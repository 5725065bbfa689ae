# SPDX-License-Identifier: Apache-2.0
"""Starts the recorder: ``ros2 run monodvps_ros recorder TOPIC... --out FOLDER``."""

import argparse
import sys
from pathlib import Path

from monodvps_ros.ros_environment import run_checked


def main(arguments: list[str] | None = None) -> int:
    """Run the recorder; return 0, or 2 with one line on stderr for a user's error.

    Args:
        arguments: command line; None: the process' own.
    """
    parser = argparse.ArgumentParser(prog="recorder", description="Record ROS 2 topics to a bag, byte for byte.")
    parser.add_argument("topics", nargs="+", help="names of the topics")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bag; must not exist")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="storage of the bag")
    options = parser.parse_args(arguments)

    def run() -> int:
        from monodvps_ros.ros.nodes.recorder import record  # noqa: PLC0415 - imports rclpy

        record(options.out, options.topics, options.storage)
        return 0

    return run_checked("recorder", run)


if __name__ == "__main__":
    sys.exit(main())
