# SPDX-License-Identifier: Apache-2.0
"""Starts the recorder: ``ros2 run monodvps_ros recorder TOPIC... --out FOLDER``."""

import argparse
import sys
from pathlib import Path

from monodvps_ros.process_memory import share_freed_memory
from monodvps_ros.ros_environment import run_checked, use_recorder_profile

#: Files of this size are moved, copied and repaired in a moment.
SPLIT_MB = 1000


def main(arguments: list[str] | None = None) -> int:
    """Run the recorder; return 0, or 2 with one line on stderr for a user's error.

    Args:
        arguments: command line; None: the process' own.
    """
    parser = argparse.ArgumentParser(prog="recorder", description="Record ROS 2 topics to a bag, byte for byte.")
    parser.add_argument("topics", nargs="+", help="names of the topics")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bag; must not exist")
    parser.add_argument(
        "--optional", action="append", default=[], metavar="TOPIC", help="topic to record once it is published"
    )
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="storage of the bag")
    parser.add_argument("--compression", choices=("zstd", "none"), default="zstd", help="of the chunks of an MCAP file")
    parser.add_argument(
        "--split-mb", type=int, default=SPLIT_MB, help="begin another file at this size; 0: never (%(default)s)"
    )
    parser.add_argument("--events", action="store_true", help="print lines of JSON, for a program that reads them")
    options = parser.parse_args(arguments)
    share_freed_memory()

    def run() -> int:
        from monodvps_ros.data.bag import BagWriter  # noqa: PLC0415 - imports numpy
        from monodvps_ros.ros.nodes.recorder import record  # noqa: PLC0415 - imports rclpy

        use_recorder_profile()
        writer = BagWriter(
            options.out,
            options.storage,
            compressed=options.compression == "zstd",
            split_bytes=options.split_mb * 1_000_000,
            keep_unfinished=True,
        )
        record(writer, options.topics, options.optional, options.events)
        return 0

    return run_checked("recorder", run)


if __name__ == "__main__":
    sys.exit(main())
