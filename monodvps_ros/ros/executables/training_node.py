# SPDX-License-Identifier: Apache-2.0
"""Starts the training node, and stops it with a checkpoint on SIGINT and SIGTERM.

Only light modules are imported here: the signal handlers must stand before anything that takes time.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from monodvps_ros.optional import missing_dependency
from monodvps_ros.signals import StopRequest


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Train until the end or until told to stop; end the process with 0, or with 2 where it could not.

    Args:
        args: command line with ``--ros-args``; None: the process' own.
    """
    stop = StopRequest()
    code = _run(args, stop)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(args: Sequence[str] | None, stop: StopRequest) -> int:
    from monodvps_ros.ros.nodes.running import REFUSED, run_node  # noqa: PLC0415 - takes seconds

    try:
        from monodvps_ros.ros.nodes.training_node import TrainingNode  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "monodvps_ros":
            raise
        sys.stderr.write(f"{missing_dependency(error.name, 'the training node')}\n")
        return REFUSED
    return run_node(args, stop, lambda: TrainingNode(on_end=stop.set))


if __name__ == "__main__":
    main()
