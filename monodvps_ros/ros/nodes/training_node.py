# SPDX-License-Identifier: Apache-2.0
"""The training node: a lifecycle node whose active state is a training run."""

import io
import time
import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rich.console import Console

from monodvps_ros.config import TrainingNodeConfig
from monodvps_ros.errors import MonoDVPSError, line_of
from monodvps_ros.msg import TrainingProgress
from monodvps_ros.ros.management import parameters
from monodvps_ros.ros.management.training_status import progress_message, training_status
from monodvps_ros.ros.nodes.managed_node import ManagedNode
from monodvps_ros.ros_environment import REFUSED
from monodvps_ros.training.background_run import TrainingJob, TrainingRun, prepare
from monodvps_ros.training.progress import ENDS, Phase, Progress

#: Topic of the progress, relative.
PROGRESS_TOPIC = "training/progress"
#: Time for subscribers to acknowledge the outcome of a run.
ACK_TIMEOUT_S = 2.0
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class TrainingNode(ManagedNode):
    """Trains while it is active, resuming from the last checkpoint if its folder has one.

    configure opens and checks config and data; activate starts or resumes; deactivate stops after the current step and
    returns once the checkpoint is written.

    Args:
        name: of the node.
        on_end: called when the run has ended and the process should end with it (`autostart`).
        **options: for `rclpy.lifecycle.LifecycleNode`.

    Raises:
        ConfigError: a parameter has a value that it cannot take.
    """

    def __init__(self, name: str = "training", *, on_end: Callable[[], None] = lambda: None, **options: Any) -> None:
        super().__init__(name, **options)
        self._on_end = on_end
        self._job: TrainingJob | None = None
        self._run: TrainingRun | None = None
        self.progress = Progress()
        self._progress_at: float | None = None
        self.config = parameters.declare(self, TrainingNodeConfig)
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._publisher = self.create_publisher(TrainingProgress, PROGRESS_TOPIC, latched)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = self.create_timer(
            self.config.diagnostics_period_s, self.publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._end = self.create_guard_condition(self._on_run_ended)

    @property
    def autostart(self) -> bool:
        """Whether the process configures and activates the node, and ends with the run."""
        return self.config.autostart

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open config and data, and check the output folder."""
        try:
            self._job = prepare(self.config)
        except (MonoDVPSError, OSError) as error:
            self._fail_configuration(f"{type(error).__name__}: {line_of(error)}")
            return _FAILURE
        except Exception as error:  # rclpy would swallow it silently
            self._fail_configuration(f"{type(error).__name__}: {error}", traceback.format_exc())
            return _FAILURE
        self.state, self.problem, self.exit_code = "inactive", "", 0
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start, or go on from the last checkpoint."""
        result = super().on_activate(state)
        assert self._job is not None
        console = Console(
            markup=False, file=_LogLines(self.get_logger().info), width=1000, color_system=None, force_terminal=False
        )
        self.problem, self.exit_code = "", 0
        self._run = TrainingRun(self._job, self._publish, self._end.trigger, console)
        self.state = "active"
        self._run.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop with a checkpoint."""
        self._stop_run()
        self.state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the data."""
        self._job, self.state = None, "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop with a checkpoint, from whatever state."""
        self._stop_run()
        self._job, self.state = None, "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop with a checkpoint, and go back to unconfigured."""
        self._stop_run()
        self._job, self.state = None, "unconfigured"
        return super().on_error(state)

    def publish_diagnostics(self) -> None:
        """Publish the node's status."""
        silent_s = None if self._progress_at is None else time.monotonic() - self._progress_at
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(
            training_status(
                self.status_name,
                self.state,
                self.problem,
                self.progress,
                silent_s,
                self.config.out,
                self.callback_errors,
            )
        )
        self._diagnostics.publish(message)

    def destroy_node(self) -> None:
        """Stop with a checkpoint, then destroy the node."""
        self._stop_run()
        super().destroy_node()

    def _stop_run(self) -> None:
        run = self._run
        if run is None:
            return
        if run.is_alive:
            self.get_logger().info("stopping after the current step, with a checkpoint")
        run.stop()
        self._log_outcome(run)
        self._run = None

    def _on_run_ended(self) -> None:
        """Handle the end of a run that was not stopped by a transition."""
        run = self._run
        if run is None or self.state != "active":
            return
        if self.autostart:
            self._on_end()
        else:
            self.trigger_deactivate()

    def _log_outcome(self, run: TrainingRun) -> None:
        if run.problem:
            self.problem, self.exit_code = run.problem, REFUSED
            self.get_logger().fatal(f"training failed: {run.problem}")
        else:
            self.get_logger().info(self.progress.message)

    def _fail_configuration(self, problem: str, details: str = "") -> None:
        self.problem, self.exit_code = problem, REFUSED
        self.get_logger().fatal(f"cannot be configured: {details or problem}")
        self._publish(Progress(Phase.FAILED, problem))

    def _publish(self, progress: Progress) -> None:
        self.progress, self._progress_at = progress, time.monotonic()
        self._publisher.publish(progress_message(progress, self.get_clock().now().to_msg()))
        if progress.phase in ENDS:
            self._publisher.wait_for_all_acked(Duration(seconds=ACK_TIMEOUT_S))


class _LogLines(io.StringIO):
    """A file whose lines go to a log."""

    def __init__(self, log: Callable[[str], object]) -> None:
        super().__init__()
        self._log, self._rest = log, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._log(line.rstrip())
        return len(text)
