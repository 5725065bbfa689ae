# SPDX-License-Identifier: Apache-2.0
"""The demo over DDS: node and recorder as processes of their own, the player in this one."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from monodvps_ros.data.schedule import Schedule
from monodvps_ros.demo.output_folder import OutputFolder
from monodvps_ros.demo.processes import Child, ChildError
from monodvps_ros.demo.report import NodeCounts
from monodvps_ros.outputs import RECORDED_TOPICS
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.nodes.player import CameraPublisher, PlayCount, play
from monodvps_ros.ros.nodes.running import initialize
from monodvps_ros.ros_environment import starting_ros
from monodvps_ros.types import Sample

START_LIMIT_S = 180.0  # a cold disk may take this long to load the network
STALL_LIMIT_S = 120.0  # without progress while frames are waiting
QUIET_S = 1.5  # no change for this long: done
SETTLE_S = 1.0  # publishers discover subscribers slightly earlier than the reverse
DIAGNOSTICS = "/diagnostics"
DIAGNOSTICS_PERIOD_S = 0.5


class DemoSession:
    """Node, with parameters by name, and recorder: started and always stopped with the context."""

    def __init__(self, folder: OutputFolder, parameters: dict[str, str | float]) -> None:
        self._folder = folder
        self._parameters = {"diagnostics_period_s": DIAGNOSTICS_PERIOD_S, **parameters}
        self._stack = ExitStack()
        self._counts: NodeCounts | None = None
        self._counts_s = 0.0
        self.play_count = PlayCount(sent_ns=[])

    def __enter__(self) -> "DemoSession":
        """Start node and recorder, and wait until all are connected.

        Raises:
            ConfigError: rclpy cannot start.
            ChildError: one of them ended, or they did not connect in time.
        """
        with self._stack:
            initialize()
            self._stack.callback(rclpy.try_shutdown)
            with starting_ros():
                self._player = Node("player", enable_rosout=False, start_parameter_services=False)
            self._stack.callback(self._player.destroy_node)
            self._executor = SingleThreadedExecutor()
            self._executor.add_node(self._player)
            self._stack.callback(self._executor.shutdown)
            self._publisher = CameraPublisher(self._player)
            self._player.create_subscription(DiagnosticArray, DIAGNOSTICS, self._watch, 10)
            self._node = self._stack.enter_context(self._start_node())
            self._recorder = self._stack.enter_context(self._start_recorder())
            self._wait_until_connected()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop whatever is still running."""
        self._stack.close()

    @property
    def output_topics(self) -> dict[str, str]:
        """Full names of the node's outputs, and the names of their types."""
        return {self._player.resolve_topic_name(row.topic): row.type_name for row in RECORDED_TOPICS}

    def play(self, samples: Iterable[Sample], rate_hz: float, speed: float) -> Iterator[Sample]:
        """Publish samples at their rate times the speed.

        Yields:
            Each sample after it was published.

        Raises:
            ChildError: node or recorder ended.
        """
        for sample in play(samples, self._publisher, Schedule(rate_hz, speed), self.play_count):
            self._check()
            yield sample

    def finish(self) -> NodeCounts:
        """Wait until all frames are processed and recorded; stop both.

        Raises:
            ChildError: one of them ended early, failed, or stalled.
        """
        self._publisher.flush()
        counts = self._wait_until_done()
        for child in (self._recorder, self._node):  # the recorder first: once the node is gone no message is resent
            code = child.stop()
            if code:
                raise ChildError(child, f"failed (exit code {code})")
        return counts

    def _start_node(self) -> Child:
        command = [sys.executable, "-m", "monodvps_ros.ros.executables.perception_node", "--ros-args"]
        for name, value in self._parameters.items():
            command += ["-p", f"{name}:={json.dumps(value)}"]
        return Child("perception node", command, self._folder.log("node"))

    def _start_recorder(self) -> Child:
        inputs = [self._publisher.image_topic, self._publisher.camera_info_topic]
        command = [sys.executable, "-m", "monodvps_ros.ros.executables.recorder", "--out", str(self._folder.recording)]
        command += ["--events", *inputs, *self.output_topics, DIAGNOSTICS]
        return Child("recorder", command, self._folder.log("recorder"), events=True)

    def _wait_until_connected(self) -> None:
        begin_s = time.monotonic()
        while self._recorder.latest("ready") is None or min(self._publisher.subscribers()) < 2:
            self._check()
            if time.monotonic() - begin_s > START_LIMIT_S:
                waiting_for = self._recorder if self._recorder.latest("ready") is None else self._node
                raise ChildError(waiting_for, f"did not connect within {START_LIMIT_S:.0f} s")
            time.sleep(0.05)
        time.sleep(SETTLE_S)

    def _wait_until_done(self) -> NodeCounts:
        begin_s = moved_s = time.monotonic()
        state = None
        while True:
            self._check()
            self._executor.spin_once(timeout_sec=0.1)
            newest = (self._counts, self._recorded())
            if newest != state:
                state, moved_s = newest, time.monotonic()
            still_s = time.monotonic() - moved_s
            counts = self._counts
            if counts is not None and counts.settled and self._counts_s - begin_s > QUIET_S < still_s:
                return counts
            if still_s > STALL_LIMIT_S:
                raise ChildError(self._node, f"made no progress for {STALL_LIMIT_S:.0f} s")

    def _recorded(self) -> dict[str, int]:
        """Return the recorded messages by topic, without /diagnostics, which never stops."""
        event = self._recorder.latest("counts") or {"counts": {}}
        return {topic: count for topic, count in event["counts"].items() if topic != DIAGNOSTICS}

    def _check(self) -> None:
        for child in (self._node, self._recorder):
            if child.exit_code is not None:
                raise ChildError(child, f"ended by itself (exit code {child.exit_code})")

    def _watch(self, message: DiagnosticArray) -> None:
        counts = read_counts(message)
        if counts is not None:
            self._counts, self._counts_s = counts, time.monotonic()


def read_counts(message: DiagnosticArray) -> NodeCounts | None:
    """Return the counters of a perception node with one camera; None where the message is of something else."""
    values = {pair.key: pair.value for status in message.status for pair in status.values}
    if diagnostics.RECEIVED not in values or diagnostics.WEIGHTS not in values:
        return None
    prefix = diagnostics.DROPPED_PREFIX
    return NodeCounts(
        received=int(values[diagnostics.RECEIVED]),
        processed=int(values[diagnostics.PROCESSED]),
        idle=int(values[diagnostics.IDLE]),
        dropped={key.removeprefix(prefix): int(value) for key, value in values.items() if key.startswith(prefix)},
        device=values[diagnostics.DEVICE],
        weights=values[diagnostics.WEIGHTS],
    )
