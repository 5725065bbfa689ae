# SPDX-License-Identifier: Apache-2.0
"""Starts the training node, and stops it with a checkpoint on SIGINT and SIGTERM.

Only light modules are imported here: the signal handlers must stand before anything that takes time.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from monodvps_ros.ros_environment import run_checked
from monodvps_ros.signals import StopRequest
from monodvps_ros.threads import let_threads_sleep


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Train until the end or until told to stop; end the process with 0, or with 2 where it could not.

    Args:
        args: command line with ``--ros-args``; None: the process' own.
    """
    stop = StopRequest()
    let_threads_sleep()

    def run() -> int:
        from monodvps_ros.ros.nodes.running import run_node  # noqa: PLC0415 - takes seconds
        from monodvps_ros.ros.nodes.training_node import TrainingNode  # noqa: PLC0415

        return run_node(args, stop, lambda: TrainingNode(on_end=stop.set))

    code = run_checked("training_node", run)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
