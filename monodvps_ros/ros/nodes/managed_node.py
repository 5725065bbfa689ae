# SPDX-License-Identifier: Apache-2.0
"""Base of the package's nodes: a lifecycle node that continues after a callback failed."""

import traceback
from abc import abstractmethod
from typing import Any

from rclpy.lifecycle import LifecycleNode

from monodvps_ros.ros_environment import starting_ros


class ManagedNode(LifecycleNode):
    """A lifecycle node that `running.run_node` can run as a process.

    Attributes:
        state: name of the lifecycle state.
        problem: why it does not work; empty where it does.
        callback_errors: uncaught exceptions of callbacks.
        exit_code: of the process, once it is stopped.

    Args:
        name: of the node.
        **options: for `rclpy.lifecycle.LifecycleNode`.

    Raises:
        ConfigError: rclpy refuses the environment or the arguments of ROS.
    """

    def __init__(self, name: str, **options: Any) -> None:
        with starting_ros():
            super().__init__(name, **options)
        self.state = "unconfigured"
        self.problem = ""
        self.callback_errors = 0
        self.exit_code = 0

    @property
    @abstractmethod
    def autostart(self) -> bool:
        """Whether the process configures and activates the node."""

    @property
    def status_name(self) -> str:
        """Name of its status on /diagnostics."""
        return self.get_fully_qualified_name().lstrip("/")

    def note_callback_error(self, error: Exception) -> None:
        """Log and count an uncaught exception of a callback; the node continues."""
        self.callback_errors += 1
        details = "".join(traceback.format_exception(error))
        self.get_logger().error(f"a callback failed: {details}", throttle_duration_sec=1.0)
