# SPDX-License-Identifier: Apache-2.0
"""Starts the perception node, and stops it cleanly on SIGINT and SIGTERM whatever it is doing.

Only light modules are imported here: the signal handlers must stand before anything that takes time.
"""

import sys
import time
from collections.abc import Sequence

from monodvps_ros.ros.stop_request import StopRequest


def main(args: Sequence[str] | None = None) -> int:
    """Run the perception node until it is told to stop.

    Args:
        args: command line with ``--ros-args``; None: the process' own.

    Returns:
        0 after a stop on request; 2 where the node refused to start.
    """
    started_at = time.monotonic()
    stop = StopRequest()
    from monodvps_ros.ros.running import run_node  # noqa: PLC0415 - takes seconds

    return run_node(args, stop, started_at)


if __name__ == "__main__":
    sys.exit(main())
