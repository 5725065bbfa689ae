# SPDX-License-Identifier: Apache-2.0
"""Starts the perception node, and stops it cleanly on SIGINT and SIGTERM whatever it is doing.

Only light modules are imported here: the signal handlers must stand before anything that takes time.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from monodvps_ros.ros_environment import run_checked, use_profile
from monodvps_ros.signals import StopRequest
from monodvps_ros.threads import let_threads_sleep


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the perception node until it is told to stop; end the process with 0, or with 2 where it refused to start.

    The process ends as soon as the node is taken down: the interpreter's own clean-up of torch takes longer than a
    launch file waits before it kills.

    Args:
        args: command line with ``--ros-args``; None: the process' own.
    """
    started_at = time.monotonic()
    stop = StopRequest()
    let_threads_sleep()

    def run() -> int:
        from monodvps_ros.ros.nodes.perception_node import PerceptionNode  # noqa: PLC0415 - takes seconds
        from monodvps_ros.ros.nodes.running import run_node  # noqa: PLC0415

        use_profile("perception_node")
        return run_node(args, stop, lambda: PerceptionNode(started_at=started_at))

    code = run_checked("perception_node", run)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
