# SPDX-License-Identifier: Apache-2.0
"""The node left running on a recording that is played in a loop: memory, threads, ids and counts.

MONODVPS_SOAK_S says for how many seconds; 1200 for the figures worth having, 60 where it is not set.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2

from monodvps_ros.config import SceneConfig
from monodvps_ros.data.schedule import Schedule
from monodvps_ros.msg import PanopticSegments
from monodvps_ros.perception import statistics
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.nodes.player import CameraPublisher, PlayCount, frames_to_play, play
from monodvps_ros.ros.topics.conversions import stamp_to_ns
from monodvps_ros.scenes import Drive

SECONDS = float(os.environ.get("MONODVPS_SOAK_S", "60"))
FRAMES = 15
#: Half a second without a callback fills the default queue of five, and nobody counts what the middleware drops then.
DEEP_INPUT = ("--ros-args", "-p", "input_depth:=100")

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(SECONDS + 300)]


class Watch(Node):
    """Subscribes to what the node publishes, and looks at its process."""

    def __init__(self, process_id):
        super().__init__("watch")
        self.status = Path(f"/proc/{process_id}/status")
        self.memory_kb, self.threads, self.camera = [], [], {}
        self.ids, self.last_ns = [set()], 0
        self.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        self.create_subscription(PanopticSegments, "panoptic/segments", self.on_segments, 10)
        for topic, kind in (("depth/image", Image), ("panoptic/color", Image), ("points", PointCloud2)):
            self.create_subscription(kind, topic, lambda message: None, 10)

    def on_diagnostics(self, message):
        """Comes once a second."""
        for status in message.status:
            if "camera" in status.name:
                self.camera = {pair.key: pair.value for pair in status.values}
        text = self.status.read_text()
        self.memory_kb.append(int(text.split("VmRSS:")[1].split()[0]))
        self.threads.append(int(text.split("Threads:")[1].split()[0]))

    def on_segments(self, message):
        stamp_ns = stamp_to_ns(message.header.stamp)
        if stamp_ns < self.last_ns:
            self.ids.append(set())
        self.last_ns = stamp_ns
        self.ids[-1] |= {segment.track_id for segment in message.segments if segment.track_id}


@pytest.fixture
def process():
    command = [sys.executable, "-m", "monodvps_ros.ros.executables.perception_node", *DEEP_INPUT]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr))
    reader.start()
    process.lines = lines
    yield process
    process.kill()
    process.wait()
    reader.join()


@pytest.fixture
def watch(process):
    rclpy.init()
    watch = Watch(process.pid)
    executor = SingleThreadedExecutor()
    executor.add_node(watch)

    def spin():
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin)
    thread.start()
    yield watch
    executor.shutdown()
    thread.join(5.0)
    watch.destroy_node()
    rclpy.shutdown()


def growth(values):
    """Of the last tenth over the tenth that follows the first quarter, which is the warm-up."""
    tenth = max(len(values) // 10, 3)
    begin = len(values) // 4
    return np.median(values[-tenth:]) / np.median(values[begin : begin + tenth]) - 1


def test_a_recording_played_in_a_loop_for_a_long_time(process, watch):
    drive = list(Drive(SceneConfig(frames=FRAMES, height=96, width=320), 1))
    publisher = CameraPublisher(watch)
    while publisher.subscribers() != (1, 1) or watch.camera.get(diagnostics.RELIABILITY) != "reliable":
        assert process.poll() is None, process.lines
        time.sleep(0.1)
    end = time.monotonic() + SECONDS
    count = PlayCount()
    for _ in play(frames_to_play(drive, loop=True), publisher, Schedule(5.0), count, lambda: time.monotonic() > end):
        assert process.poll() is None, process.lines
    time.sleep(3.0)
    said, loops = watch.camera, (count.published - 1) // FRAMES

    assert int(said[diagnostics.RECEIVED]) == count.published
    assert int(said[diagnostics.RESETS]) == loops
    assert said[diagnostics.LAST_ERROR] == ""
    replaced = said[diagnostics.DROPPED_PREFIX + statistics.REPLACED]
    assert replaced == said[diagnostics.DROPPED]
    done = sum(int(said[key]) for key in (diagnostics.PROCESSED, diagnostics.DROPPED, diagnostics.IDLE))
    assert done == count.published
    assert len(watch.ids) <= loops + 1
    every = [track_id for ids in watch.ids for track_id in ids]
    assert len(every) == len(set(every)) > len(watch.ids)  # no id comes back in a later loop
    print(
        f"{loops} loops, {done} images, {replaced} replaced, memory grew by {growth(watch.memory_kb):.2%} "
        f"to {watch.memory_kb[-1] / 1000:.0f} MB, {watch.threads[-1]} threads"
    )
    assert len(set(watch.threads[len(watch.threads) // 4 :])) == 1
    assert growth(watch.memory_kb) < 0.02

    process.send_signal(signal.SIGINT)
    assert process.wait(30.0) == 0
    assert not [line for line in process.lines if "Traceback" in line or "ERROR" in line]
