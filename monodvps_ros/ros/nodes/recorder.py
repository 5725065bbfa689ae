# SPDX-License-Identifier: Apache-2.0
"""Records topics to a bag, byte for byte as they arrive.

SIGINT, SIGTERM and the end of stdin (the parent is gone) ask it to stop; what has been sent until then is still
written. stderr is for people: where the recording is, what it waits for, what is lost, how much there is in the end.
A parent that asks for events is told as well, by lines of JSON on stdout: ``{"event": "ready"}`` once every topic is
connected, ``{"event": "waiting", "missing": [topic]}`` where that takes long, ``{"event": "counts", "counts":
{topic: messages}}`` while it records, and ``{"event": "stopped", "counts": ...}`` when the bag is closed.
"""

import contextlib
import json
import math
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

from monodvps_ros.data.bag import BackgroundWriter, BagWriter
from monodvps_ros.errors import DataError, counted
from monodvps_ros.outputs import IMAGE_TYPE, POINT_CLOUD_TYPE
from monodvps_ros.process_memory import release_memory
from monodvps_ros.ros.nodes.running import initialize
from monodvps_ros.ros.topics.conversions import message_class
from monodvps_ros.ros_environment import starting_ros

QUEUE_DEPTH = 200  # messages of a topic that wait to be taken
LARGE_QUEUE_DEPTH = 10  # of a topic whose messages are megabytes
LARGE_TYPES = (IMAGE_TYPE, POINT_CLOUD_TYPE)
MOST_WAITING_BYTES = 64_000_000  # of messages that wait to be written
LOOK_EVERY_S = 0.25  # for topics that have appeared
QUIET_S = 1.0  # no message for this long after a stop request: recording is complete
MAX_DRAIN_S = 10.0  # recording ends here although messages still arrive
REPORT_EVERY_S = 0.25
TELL_LOSS_EVERY_S = 5.0
TELL_MISSING_AFTER_S = 10.0


class Recorder:
    """Subscribes to topics as they appear and writes each message as it came.

    Args:
        node: the node that owns the subscriptions.
        writer: of the open bag.
        topics: names, resolved by the node; types and QoS are those of the topics' publishers.
        optional: more topics, recorded from when they are published.
    """

    def __init__(
        self, node: Node, writer: BackgroundWriter, topics: Sequence[str], optional: Sequence[str] = ()
    ) -> None:
        self._node = node
        self._writer = writer
        self._subscriptions: dict[str, Any] = {}
        self._required = [*dict.fromkeys(node.resolve_topic_name(topic) for topic in topics)]
        self._topics = [node.resolve_topic_name(topic) for topic in [*topics, *optional]]
        self.last_receipt_s = time.monotonic()

    @property
    def counts(self) -> dict[str, int]:
        """Messages that are written, by topic."""
        return {topic: self._writer.written[topic] for topic in self._topics}

    @property
    def ready(self) -> bool:
        """True once every topic that is not optional has a subscription that is connected to a publisher."""
        return not self.missing

    @property
    def missing(self) -> list[str]:
        """Topics that are not optional and have no subscription that is connected to a publisher."""
        return [
            topic
            for topic in self._required
            if topic not in self._subscriptions or not self._subscriptions[topic].get_publisher_count()
        ]

    def subscribe(self) -> None:
        """Subscribe to the topics that have appeared since the last call.

        Raises:
            DataError: a topic has publishers of different types.
        """
        for topic in self._topics:
            if topic in self._subscriptions:
                continue
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
                _matching_qos(
                    [publisher.qos_profile for publisher in publishers],
                    LARGE_QUEUE_DEPTH if type_name in LARGE_TYPES else QUEUE_DEPTH,
                ),
                raw=True,
            )

    def _write(self, topic: str, type_name: str, data: bytes) -> None:
        self._writer.put(topic, type_name, data, time.time_ns())
        self.last_receipt_s = time.monotonic()


def record(writer: BagWriter, topics: Sequence[str], optional: Sequence[str] = (), events: bool = False) -> None:
    """Record topics to a bag until a signal or the end of stdin asks to stop.

    Args:
        writer: of the bag; not entered yet.
        topics: names of the topics.
        optional: names of more topics, recorded from when they are published; "ready" does not wait for them.
        events: tell the parent too, by lines of JSON on stdout.

    Raises:
        ConfigError: rclpy cannot start, or refuses the name of a topic.
        DataError: the bag cannot be written, or a topic has several types.
    """
    stop_requests: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: stop_requests.append(number))
    initialize()
    executor = SingleThreadedExecutor()
    try:
        with starting_ros():
            node = Node("recorder", enable_rosout=False, start_parameter_services=False)
            for topic in (*topics, *optional):
                node.resolve_topic_name(topic)
        executor.add_node(node)
        with writer:
            _log(f"recording to {writer.path}; until it is closed, the data are in {writer.unfinished}")
            with BackgroundWriter(writer, MOST_WAITING_BYTES) as background:
                recorder = Recorder(node, background, topics, optional)
                report = partial(_report, events)
                _spin(executor, recorder, background, report, lambda: bool(stop_requests) or _stdin_ended())
                _drain(executor, recorder, lambda: signal.SIGTERM in stop_requests[1:])
        report("stopped", counts=recorder.counts)
        _log(f"{counted(background.written.total(), 'message')} recorded to {writer.path}{_lost(background)}")
    finally:
        executor.shutdown()
        rclpy.shutdown()


def _spin(
    executor: SingleThreadedExecutor,
    recorder: Recorder,
    writer: BackgroundWriter,
    report: Callable[..., None],
    stopped: Callable[[], bool],
) -> None:
    reported, reported_s, looked_s, was_ready = recorder.counts, 0.0, 0.0, False
    lost, told_s, missing_from_s = 0, 0.0, time.monotonic() + TELL_MISSING_AFTER_S
    while not stopped():
        if not was_ready or time.monotonic() - looked_s > LOOK_EVERY_S:
            recorder.subscribe()
            looked_s = time.monotonic()
        if not was_ready and recorder.ready:
            release_memory()  # of what only the start needed; before a player is told to begin
            report("ready")
            was_ready = True
        if not was_ready and time.monotonic() > missing_from_s:
            missing_from_s = math.inf
            report("waiting", missing=recorder.missing)
        executor.spin_once(timeout_sec=0.05)
        writer.check()
        if time.monotonic() - reported_s > REPORT_EVERY_S and recorder.counts != reported:
            reported, reported_s = recorder.counts, time.monotonic()
            report("counts", counts=reported)
        if writer.lost.total() != lost and time.monotonic() - told_s > TELL_LOSS_EVERY_S:
            lost, told_s = writer.lost.total(), time.monotonic()
            _log(f"the disk is too slow{_lost(writer)}")


def _drain(executor: SingleThreadedExecutor, recorder: Recorder, hurried: Callable[[], bool]) -> None:
    """Write what is on its way, until all is quiet; a launch that ends sends SIGTERM in the end, and then kills."""
    begin_s = recorder.last_receipt_s = time.monotonic()
    while (
        time.monotonic() - recorder.last_receipt_s < QUIET_S
        and time.monotonic() - begin_s < MAX_DRAIN_S
        and not hurried()
    ):
        executor.spin_once(timeout_sec=0.05)


def _matching_qos(offered: list[QoSProfile], depth: int) -> QoSProfile:
    """Make the strictest QoS that connects to all the publishers."""
    reliable = all(qos.reliability == QoSReliabilityPolicy.RELIABLE for qos in offered)
    latched = all(qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
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


def _report(events: bool, event: str, **more: Any) -> None:
    """Tell people on stderr and, with events, the parent on stdout."""
    if event == "ready":
        _log("all topics are connected; Ctrl-C ends the recording")
    elif event == "waiting":
        _log(f"waiting for a publisher of {', '.join(more['missing'])}")
    if events:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone; the bag is still closed properly
            sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
            sys.stdout.flush()


def _lost(writer: BackgroundWriter) -> str:
    parts = ", ".join(f"{count} of {topic}" for topic, count in writer.lost.items())
    return f"; lost: {parts}" if parts else ""


def _log(sentence: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"recorder: {sentence}\n")
        sys.stderr.flush()
