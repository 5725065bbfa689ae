# SPDX-License-Identifier: Apache-2.0
"""The parts of the node that need no ROS: pairing, sequences of stamps, counters, the worker, stop requests."""

import math
import subprocess
import sys
import threading
import time

import pytest
from pairing_contract import PairingContract

from monodvps_ros.data.sequence_watch import SequenceWatch, Step
from monodvps_ros.data.stamp_pairing import DictPairing
from monodvps_ros.perception import statistics
from monodvps_ros.perception.statistics import Statistics
from monodvps_ros.perception.worker import Worker


class TestDictPairing(PairingContract):
    make = DictPairing


class TestSequenceWatch:
    def test_steps(self):
        watch = SequenceWatch(max_gap_ns=100)
        steps = [watch.check(stamp) for stamp in (50, 60, 60, 160, 261, 260)]
        assert steps == [Step.FORWARD, Step.FORWARD, Step.REPEATED, Step.FORWARD, Step.GAP, Step.BACKWARD]

    def test_reset_forgets(self):
        watch = SequenceWatch(max_gap_ns=100)
        watch.check(50)
        assert watch.has_begun
        watch.reset()
        assert not watch.has_begun
        assert watch.check(10) is Step.FORWARD


class TestStatistics:
    def test_empty(self):
        snapshot = Statistics().snapshot()
        assert (snapshot.received, snapshot.processed, snapshot.dropped_total, snapshot.idle) == (0, 0, 0, 0)
        assert (snapshot.input_rate_hz, snapshot.output_rate_hz) == (0.0, 0.0)
        assert math.isnan(snapshot.latency_p50_ms)
        assert math.isnan(snapshot.latency_max_ms)
        assert snapshot.since_received_s is None
        assert snapshot.since_error_s is None
        assert set(snapshot.dropped) == set(statistics.DROP_REASONS)

    def test_counts(self):
        counters = Statistics()
        for _ in range(5):
            counters.count_received()
        assert counters.count_processed(10.0)
        assert not counters.count_processed(30.0)
        counters.count_idle()
        counters.count_dropped(statistics.REPLACED)
        counters.count_dropped(statistics.FAILED)
        snapshot = counters.snapshot()
        assert snapshot.received == snapshot.processed + snapshot.idle + snapshot.dropped_total
        assert snapshot.dropped[statistics.REPLACED] == 1
        assert (snapshot.latency_p50_ms, snapshot.latency_max_ms) == (20.0, 30.0)

    def test_rates_are_of_the_last_seconds(self, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        counters = Statistics()
        for index in range(11):
            now[0] = 100.0 + 0.1 * index
            counters.count_received()
        assert counters.snapshot().input_rate_hz == pytest.approx(10.0)
        now[0] += statistics.WINDOW_S + 0.1
        assert counters.snapshot().input_rate_hz == 0.0
        assert counters.snapshot().since_received_s == pytest.approx(statistics.WINDOW_S + 0.1)


class Camera:
    """A stream that contains as many images as it is told."""

    def __init__(self, images, served):
        self.images, self.served, self.served_at = images, served, 0.0
        self.ready = True
        self.lock = threading.Lock()

    def has_image(self):
        return self.images > 0

    def step(self):
        if not self.images or not self.ready:
            return False
        self.served_at = time.monotonic()
        self.images -= 1
        self.served.append(self)
        return True


def wait_until(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


class TestWorker:
    def test_serves_cameras_in_turn(self):
        served = []
        one, two = Camera(3, served), Camera(3, served)
        worker = Worker([one, two])
        worker.start()
        wait_until(lambda: len(served) == 6)
        worker.stop()
        assert served == [one, two, one, two, one, two]
        assert not worker.is_alive

    def test_sleeps_until_woken(self):
        served = []
        camera = Camera(0, served)
        worker = Worker([camera])
        worker.start()
        time.sleep(0.05)
        camera.images = 1
        time.sleep(0.05)
        assert not served
        worker.wake()
        wait_until(lambda: served)
        worker.stop()

    def test_looks_again_at_an_image_that_was_not_ready(self):
        served = []
        camera = Camera(1, served)
        camera.ready = False
        worker = Worker([camera])
        worker.start()
        time.sleep(0.05)
        assert not served
        camera.ready = True
        wait_until(lambda: served)
        worker.stop()

    def test_may_be_stopped_before_it_was_started(self):
        Worker([]).stop()


STOP_SCRIPT = """
import os, signal
from monodvps_ros.signals import Phase, StopRequest
stop = StopRequest()
stop.phase = Phase.{phase}
try:
    os.kill(os.getpid(), signal.{signal})
    stop.wait()
    print("stopped in order")
finally:
    print("unwound", stop.requested)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("phase", "said"),
    [("IMPORTING", ""), ("STARTING", "unwound True\n"), ("RUNNING", "stopped in order\nunwound True\n")],
)
def test_what_a_signal_does(name, phase, said):
    script = STOP_SCRIPT.format(phase=phase, signal=name)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, said, "")
