# SPDX-License-Identifier: Apache-2.0
"""Runs the perception node for a long time on a recording in a loop, and tells whether anything grows or is lost.

    python tools/soak.py --data RECORDING --minutes 20

The node is a process of its own, with the shipped weights. In the middle quarter images come at ten times the rate.
Subscribers of other outputs come and go all the time. Each minute prints memory, threads and file descriptors of the
node and where the images went; the end compares the last quarter with the second one. Exit code 1: something grew, an
image is not accounted for, or the node reported an error.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from monodvps_ros.data import open_source
from monodvps_ros.errors import counted
from monodvps_ros.msg import PanopticSegments
from monodvps_ros.outputs import OUTPUT_TOPICS
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.nodes.player import CameraPublisher, frames_to_play
from monodvps_ros.ros.topics.message_packages import loaded_class

NODE = [sys.executable, "-m", "monodvps_ros.ros.executables.perception_node", "--ros-args", "-p", "input_depth:=100"]
TIMES_FASTER = 10
VISIT_S = 4.0
#: Memory may grow by this much from the second to the last quarter; what ten times the rate takes is kept in part.
MOST_GROWTH = 0.05
START_UP_S = 120.0
SETTLING_S = 30.0


class Watch(Node):
    """Subscribes to one output for good and to others for a while, and samples the node's process once a second."""

    def __init__(self, process_id: int) -> None:
        super().__init__("soak")
        self._process = Path(f"/proc/{process_id}")
        self.camera: dict[str, str] = {}
        self.usage: list[tuple[float, int, int]] = []
        self.answers = self.visits = 0
        self._visitors: list[Any] = []
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_subscription(PanopticSegments, "panoptic/segments", self._on_segments, 100)
        self.create_timer(1.0, self._sample)
        self.create_timer(VISIT_S / 2, self._visit)

    def _on_segments(self, _: PanopticSegments) -> None:
        self.answers += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if "camera" in status.name:
                self.camera = {pair.key: pair.value for pair in status.values}

    def _sample(self) -> None:
        try:
            status = (self._process / "status").read_text(encoding="ascii")
            descriptors = len(list((self._process / "fd").iterdir()))
        except OSError:  # it has ended, which the main thread tells
            return
        memory_mb = int(status.split("VmRSS:")[1].split()[0]) / 1000
        self.usage.append((memory_mb, int(status.split("Threads:")[1].split()[0]), descriptors))

    def _visit(self) -> None:
        """Let the older of two visitors go, and another come."""
        if len(self._visitors) > 1:
            self.destroy_subscription(self._visitors.pop(0))
        row = OUTPUT_TOPICS[self.visits % len(OUTPUT_TOPICS)]
        self.visits += 1
        kind = loaded_class(row.type_name)
        if kind is not None:
            self._visitors.append(self.create_subscription(kind, row.topic, lambda message: None, 5))


def publish(
    publisher: CameraPublisher, recording: Path, rate_hz: float, seconds: float, check: Callable[[], None]
) -> Iterator[int]:
    """Publish a recording in a loop, the middle quarter of the time faster; yield the number published."""
    begin, due = time.monotonic(), 0.0
    for published, sample in enumerate(frames_to_play(open_source(recording), loop=True), 1):
        since = time.monotonic() - begin
        if since > seconds:
            return
        is_fast = 0.375 < since / seconds < 0.625
        due = max(due + 1.0 / (rate_hz * (TIMES_FASTER if is_fast else 1)), since - 1.0)  # a late camera stays late
        time.sleep(max(0.0, due - since))
        check()
        publisher.publish(sample.frame)
        yield published


def went(camera: dict[str, str]) -> dict[str, int]:
    """Say where the images that the node received went, by reason."""
    found = {"processed": int(camera[diagnostics.PROCESSED]), "without subscriber": int(camera[diagnostics.IDLE])}
    for key, value in camera.items():
        if key.startswith(diagnostics.DROPPED_PREFIX) and int(value):
            found[key.removeprefix(diagnostics.DROPPED_PREFIX)] = int(value)
    return found


def report(minute: int, watch: Watch, published: int) -> None:
    """Print a line of figures."""
    memory, threads, descriptors = np.median(watch.usage[-60:], axis=0)
    camera = watch.camera
    where = ", ".join(f"{count} {reason}" for reason, count in went(camera).items())
    print(
        f"minute {minute:3d}: {memory:7.1f} MB, {threads:.0f} threads, {descriptors:.0f} descriptors; {published} "
        f"published, {camera[diagnostics.RECEIVED]} received: {where}; {counted(watch.answers, 'answer')}; "
        f"{counted(watch.visits, 'visit')}",
        flush=True,
    )


def judge(watch: Watch, published: int, lines: list[str]) -> list[str]:
    """Return what is wrong, in sentences."""
    usage, camera = np.array(watch.usage), watch.camera
    quarter = max(len(usage) // 4, 1)
    second, last = (
        np.median(part, axis=0) for part in (usage[quarter : max(int(1.5 * quarter), quarter + 1)], usage[-quarter:])
    )
    received, processed = int(camera[diagnostics.RECEIVED]), int(camera[diagnostics.PROCESSED])
    accounted = sum(went(camera).values())
    print(
        f"memory {second[0]:.1f} -> {last[0]:.1f} MB ({last[0] / second[0] - 1:+.2%}), threads {second[1]:.0f} -> "
        f"{last[1]:.0f}, descriptors {second[2]:.0f} -> {last[2]:.0f}; {published} published = {received} received + "
        f"{published - received} lost before the node (it knows of {camera[diagnostics.LOST]}); {received} received = "
        f"{accounted} accounted for; {processed} processed, {counted(watch.answers, 'answer')}"
    )
    found = {
        "memory grew": last[0] > second[0] * (1 + MOST_GROWTH),
        "threads grew": last[1] > usage[: -quarter or None, 1].max(),
        "file descriptors grew": last[2] > usage[: -quarter or None, 2].max(),
        "images are not accounted for": accounted != received,
        "more images were received than published": received > published,
        "answers are missing": watch.answers != processed,
        f"the node reported: {camera[diagnostics.LAST_ERROR]}": bool(camera[diagnostics.LAST_ERROR]),
        "the log has errors": any("Traceback" in line or "[ERROR]" in line for line in lines),
    }
    return [text for text, is_so in found.items() if is_so]


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; false where the time ran out."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def soak(process: "subprocess.Popen[str]", recording: Path, rate_hz: float, minutes: float) -> tuple[Watch, int]:
    """Play to the node for so long; return what was seen, and the number of images published."""
    watch = Watch(process.pid)
    executor = SingleThreadedExecutor()
    executor.add_node(watch)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    threading.Thread(target=spin, daemon=True).start()
    publisher = CameraPublisher(watch)

    def check() -> None:
        if process.poll() is not None:
            raise SystemExit(f"the node ended with exit code {process.returncode}")

    def is_ready() -> bool:
        check()
        return publisher.subscribers() == (1, 1) and watch.camera.get(diagnostics.RELIABILITY) == "reliable"

    if not wait_until(is_ready, START_UP_S):
        raise SystemExit(f"the node is not ready after {START_UP_S:g} s")
    begin, minute, published = time.monotonic(), 0, 0
    for published in publish(publisher, recording, rate_hz, 60.0 * minutes, check):
        if time.monotonic() - begin >= 60.0 * (minute + 1):
            minute += 1
            report(minute, watch, published)
    publisher.flush()
    wait_until(
        lambda: (
            sum(went(watch.camera).values()) == int(watch.camera[diagnostics.RECEIVED])
            and watch.answers == int(watch.camera[diagnostics.PROCESSED])
        ),
        SETTLING_S,
    )
    executor.shutdown()
    return watch, published


def main() -> int:
    """Run, print and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Recording, folder of images or video.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=5.0, help="Images per second; ten times that in the middle.")
    given = parser.parse_args()
    rclpy.init()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(NODE, stderr=log, stdout=log, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        try:
            watch, published = soak(process, given.data, given.rate, given.minutes)
            process.send_signal(signal.SIGINT)
            code = process.wait(30.0)
        finally:
            process.kill()
            process.wait()
            log.seek(0)
            lines = log.readlines()
    problems = judge(watch, published, lines)
    if code:
        problems.append(f"the node ended with exit code {code}")
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
