# SPDX-License-Identifier: Apache-2.0
"""Records topics to a bag, byte for byte as they arrive.

It tells its parent what it does by lines of JSON on stdout: ``{"event": "ready"}`` once every topic is connected,
``{"event": "counts", "counts": {topic: messages}}`` while it records, and ``{"event": "stopped", "counts": ...}`` when
the bag is closed. SIGINT, SIGTERM and the end of stdin (the parent is gone) ask it to stop; what has been sent until
then is still written.
"""

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

from monodvps_ros.data.bag import BagWriter
from monodvps_ros.errors import DataError
from monodvps_ros.ros.nodes.running import initialize
from monodvps_ros.ros.topics.conversions import message_class

QUEUE_DEPTH = 200  # messages of a topic buffered for the disk
QUIET_S = 0.5  # no message for this long after a stop request: recording is complete
MAX_DRAIN_S = 10.0  # recording ends here although messages still arrive
REPORT_EVERY_S = 0.25


class Recorder:
    """Subscribes to topics as they appear and writes each message as it came.

    Args:
        node: the node that owns the subscriptions.
        writer: the open bag.
        topics: names, resolved by the node; types and QoS are those of the topics' publishers.
    """

    def __init__(self, node: Node, writer: BagWriter, topics: list[str]) -> None:
        self._node = node
        self._writer = writer
        self._subscriptions: dict[str, Any] = {}
        self.counts = {node.resolve_topic_name(topic): 0 for topic in topics}
        self.last_receipt_s = time.monotonic()

    @property
    def ready(self) -> bool:
        """True once every topic has a subscription that is connected to a publisher."""
        return len(self._subscriptions) == len(self.counts) and all(
            subscription.get_publisher_count() > 0 for subscription in self._subscriptions.values()
        )

    def subscribe(self) -> None:
        """Subscribe to the topics that have appeared since the last call.

        Raises:
            DataError: a topic has publishers of different types.
        """
        for topic in self.counts.keys() - self._subscriptions.keys():
            publishers = self._node.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            types = {publisher.topic_type for publisher in publishers}
            if len(types) > 1:
                raise DataError(
                    f"{topic} has publishers of several types ({', '.join(sorted(types))}); record one of them"
                )
            (type_name,) = types
            self._subscriptions[topic] = self._node.create_subscription(
                message_class(type_name),
                topic,
                partial(self._write, topic, type_name),
                _matching_qos([publisher.qos_profile for publisher in publishers]),
                raw=True,
            )

    def _write(self, topic: str, type_name: str, data: bytes) -> None:
        self._writer.raw(topic, type_name, data, time.time_ns())
        self.counts[topic] += 1
        self.last_receipt_s = time.monotonic()


def record(out: Path, topics: list[str], storage: str = "mcap") -> None:
    """Record topics to a bag until a signal or the end of stdin asks to stop.

    Args:
        out: folder of the bag; must not exist.
        topics: names of the topics.
        storage: mcap or sqlite3.

    Raises:
        ConfigError: rclpy cannot start.
        DataError: the bag cannot be written, or a topic has several types.
    """
    stop_requests: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: stop_requests.append(number))
    initialize()
    executor = SingleThreadedExecutor()
    try:
        with BagWriter(out, storage) as writer:
            node = Node("recorder", enable_rosout=False, start_parameter_services=False)
            executor.add_node(node)
            recorder = Recorder(node, writer, topics)
            _spin(executor, recorder, lambda: bool(stop_requests) or _stdin_ended())
            _drain(executor, recorder)
        _report("stopped", counts=recorder.counts)
    finally:
        executor.shutdown()
        rclpy.shutdown()


def _spin(executor: SingleThreadedExecutor, recorder: Recorder, stopped: Any) -> None:
    reported, reported_s, was_ready = dict(recorder.counts), 0.0, False
    while not stopped():
        if not recorder.ready:
            recorder.subscribe()
        elif not was_ready:
            _report("ready")
            was_ready = True
        executor.spin_once(timeout_sec=0.05)
        if recorder.counts != reported and time.monotonic() - reported_s > REPORT_EVERY_S:
            reported, reported_s = dict(recorder.counts), time.monotonic()
            _report("counts", counts=reported)


def _drain(executor: SingleThreadedExecutor, recorder: Recorder) -> None:
    begin_s = recorder.last_receipt_s = time.monotonic()
    while time.monotonic() - recorder.last_receipt_s < QUIET_S and time.monotonic() - begin_s < MAX_DRAIN_S:
        executor.spin_once(timeout_sec=0.05)


def _matching_qos(offered: list[QoSProfile]) -> QoSProfile:
    """Make the strictest QoS that connects to all the publishers."""
    reliable = all(qos.reliability == QoSReliabilityPolicy.RELIABLE for qos in offered)
    latched = all(qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=QUEUE_DEPTH,
        reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE,
    )


def _stdin_ended() -> bool:
    """True where stdin is a pipe or file at its end; a terminal or a closed stdin never ends."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return False
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(sys.stdin, selectors.EVENT_READ)
        except PermissionError:  # a regular file, or /dev/null
            return False
        return bool(selector.select(timeout=0)) and not os.read(sys.stdin.fileno(), 1)


def _report(event: str, **more: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent is gone; the bag is still closed properly
        sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
        sys.stdout.flush()
