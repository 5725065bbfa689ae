# SPDX-License-Identifier: Apache-2.0
"""The node pressed hard: lifecycle cycles, parameter changes, subscribers that come and go, one that is frozen.

MONODVPS_ROUNDS multiplies what is done: 10 for a campaign (500 cycles, 1000 changes, 200 subscribers), 1 where it is
not set.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from lifecycle_calls import LifecycleCalls
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from ros_bench import TYPES, Bench, BoxModel, picture, wait_until

ROUNDS = int(os.environ.get("MONODVPS_ROUNDS", "1"))
_DOWN, _CLEAN = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP
_CONFIGURE, _ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(120 + 300 * ROUNDS)]

#: Subscribes to the clouds of a namespace with a deep, reliable queue.
FROZEN = """
import sys, rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2
rclpy.init()
node = Node("frozen", namespace=sys.argv[1])
node.create_subscription(PointCloud2, "points", lambda message: print("heard", flush=True), 10)
rclpy.spin(node)
"""


def held():
    """File descriptors, threads and resident megabytes of this process."""
    resident = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1000
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), resident


def accounted(counts):
    return counts.processed + counts.dropped_total + counts.idle


def serve(bench, index, topic="depth/image"):
    bench.frame(index)
    return bench.wait_for(topic, index)


def leave(bench, visitors):
    """Destroy subscriptions in the thread that may be waiting for them."""
    executor, _ = bench.threads[-1]
    task = executor.create_task(lambda: [bench.peer.destroy_subscription(visitor) for visitor in visitors])
    wait_until(task.done)


def assert_level(before, after, most_mb):
    """Nothing is kept: no descriptors or threads, and no more memory than that."""
    assert after[0] <= before[0] + 2 and after[1] <= before[1], (before, after)
    assert after[2] - before[2] < most_mb, (before, after)


def test_cycles_through_all_states_keep_nothing():
    with Bench(outputs=("depth/image",)) as bench:
        serve(bench, 0)
        lifecycle, before = LifecycleCalls(bench.peer, "perception", lambda: time.sleep(0.01)), None
        for cycle in range(50 * ROUNDS):
            for transition in (_DOWN, *((_CLEAN, _CONFIGURE) if cycle % 2 else ()), _ACTIVATE):
                assert lifecycle.change(transition), (cycle, transition)
            if cycle == 10:
                before = held()
        wait_until(lambda: bench.images.get_subscription_count() == 1)
        wait_until(bench.node.streams[0].outputs.wanted)
        assert_level(before, held(), 15.0)
        serve(bench, 1)


def test_parameters_that_change_at_every_image():
    """Half of the changes are refused; each image is processed with the settings of its time."""
    with Bench(outputs=("points",)) as bench:
        serve(bench, 0, "points")
        before = None
        for number in range(1, 100 * ROUNDS + 1):
            stride = 1 + number % 7
            [wrong] = bench.node.set_parameters([Parameter("pipeline.cloud.stride", value=1000 + number)])
            [right] = bench.node.set_parameters([Parameter("pipeline.cloud.stride", value=stride)])
            assert right.successful and not wrong.successful
            if number % 10 == 0:
                assert serve(bench, number, "points").height == -(-96 // stride)
                bench.received["points"].clear()
            if number == 20:
                before = held()
        assert_level(before, held(), 20.0)
        assert bench.counts().dropped_total == 0


def test_subscribers_that_come_and_go():
    with Bench(outputs=("depth/image",)) as bench:
        serve(bench, 0)
        topics = sorted(TYPES)
        before, index = None, 0
        for number in range(20 * ROUNDS):
            came = [topics[(number + step) % len(topics)] for step in (0, 3)]
            visitors = [bench.peer.create_subscription(TYPES[topic], topic, lambda _: None, 10) for topic in came]
            index += 1
            serve(bench, index)
            leave(bench, visitors)
            bench.received["depth/image"].clear()
            if number == 4:
                before = held()
        counts = bench.counts()
        assert accounted(counts) == counts.received and counts.processed == index + 1
        assert_level(before, held(), 30.0)


def test_ten_times_the_rate_beside_a_frozen_subscriber():
    """A subscriber that is stopped keeps no image from the others, and no memory grows with what it does not take."""
    with Bench(BoxModel(seconds=0.05), outputs=("depth/image", "points"), input_depth=100) as bench:
        frozen = subprocess.Popen([sys.executable, "-c", FROZEN, bench.namespace], stdout=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: bench.node.count_subscribers(f"{bench.namespace}/points") == 2, 30.0)
            begun, index, before = time.monotonic(), 0, None
            while (since := time.monotonic() - begun) < 4.0 + 4.0 * ROUNDS:
                bench.frame(index, picture(40 + index % 50))
                if before is None and since > 2.0:
                    frozen.send_signal(signal.SIGSTOP)
                    before = held()
                index += 1
                for messages in bench.received.values():
                    del messages[:-5]
                time.sleep(max(0.0, begun + index / 200 - time.monotonic()))
            bench.wait_for("depth/image", index - 1)
            wait_until(lambda: accounted(bench.counts()) == bench.counts().received, what=bench.counts)
            assert_level(before, held(), 30.0)
            assert bench.counts().processed > 20
            frozen.send_signal(signal.SIGCONT)
            assert frozen.stdout.readline() == "heard\n"
        finally:
            frozen.kill()
            frozen.wait()
