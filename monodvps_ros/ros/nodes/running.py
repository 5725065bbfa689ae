# SPDX-License-Identifier: Apache-2.0
"""Runs a node as a process, from start to shutdown."""

import gc
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from monodvps_ros.errors import ConfigError
from monodvps_ros.ros.nodes.managed_node import ManagedNode
from monodvps_ros.ros_environment import REFUSED, starting_ros
from monodvps_ros.signals import Phase, StopRequest

#: Time for a running callback to finish at shutdown.
SHUTDOWN_TIMEOUT_S = 30.0


def initialize(args: Sequence[str] = ()) -> None:
    """Initialize rclpy without its signal handlers.

    Args:
        args: of ROS (``--ros-args ...``); the process' own do not count.

    Raises:
        ConfigError: rclpy refuses arguments, a parameter file or the environment.
    """
    with starting_ros():
        rclpy.init(args=list(args), signal_handler_options=SignalHandlerOptions.NO)


def run_node(args: Sequence[str] | None, stop: StopRequest, make: Callable[[], ManagedNode]) -> int:
    """Start a node, spin it until stop is requested, and shut it down.

    Args:
        args: command line with ``--ros-args``; None: the process' own.
        stop: the stop request.
        make: makes the node; where it raises a `ConfigError`, the start is refused.

    Returns:
        The node's exit code, or `REFUSED`.
    """
    stop.phase = Phase.STARTING
    try:
        return _run(args, stop, make)
    except Exception:
        if stop.requested:  # raised by a library because of the interruption
            return 0
        raise


def _run(args: Sequence[str] | None, stop: StopRequest, make: Callable[[], ManagedNode]) -> int:
    node = None
    try:
        try:
            initialize(sys.argv if args is None else args)
            node = make()
        except ConfigError as error:
            get_logger("monodvps_ros").fatal(str(error))
            return REFUSED
        if not node.autostart:
            node.get_logger().info("waiting to be configured: autostart is false")
        elif not _activate(node):
            return 0 if stop.requested else REFUSED
        stop.phase = Phase.RUNNING
        _serve_until(stop, node)
        if node.state != "finalized":
            node.trigger_shutdown()
        return node.exit_code
    finally:
        stop.phase = Phase.RUNNING
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        node = None
        gc.collect()  # the middleware's shared memory outlives the process unless the node is collected
        rclpy.get_default_context().destroy()


def _activate(node: ManagedNode) -> bool:
    success = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == success and node.trigger_activate() == success


def _serve_until(stop: StopRequest, node: ManagedNode) -> None:
    """Spin the node in its own thread; the main thread waits, since only it receives signals."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    server = threading.Thread(target=_serve, args=(executor, node, stop), name="executor")
    server.start()
    stop.wait()
    executor.shutdown(timeout_sec=SHUTDOWN_TIMEOUT_S)
    server.join(SHUTDOWN_TIMEOUT_S)


def _serve(executor: Executor, node: ManagedNode, stop: StopRequest) -> None:
    while not _spin(executor, node):
        pass
    stop.set()


def _spin(executor: Executor, node: ManagedNode) -> bool:
    """Spin until shutdown; false where a callback failed: the caller spins again."""
    try:
        executor.spin()
    except (ExternalShutdownException, ShutdownException):
        return True
    except Exception as error:
        node.note_callback_error(error)
        return False
    return True
