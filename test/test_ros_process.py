# SPDX-License-Identifier: Apache-2.0
"""The node as its own process: it stops cleanly in any state, and refuses to start with one clear line."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

import rclpy
import torch
from lifecycle_calls import LifecycleCalls
from lifecycle_msgs.msg import Transition
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from safetensors.torch import save_file
from sensor_msgs.msg import Image

from monodvps_ros.ros_environment import PROFILE_VARIABLES

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

NODE = [sys.executable, "-m", "monodvps_ros.ros.executables.perception_node", "--ros-args"]


class Process:
    """The node's process and the lines it says."""

    def __init__(self, *arguments):
        self.others = set(Path("/dev/shm").glob("fast*_*"))
        command = [*NODE, *(word for argument in arguments for word in ("-p", argument))]
        environment = {**os.environ, "RCUTILS_LOGGING_USE_STDOUT": "0", "RCUTILS_COLORIZED_OUTPUT": "0"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.end()

    def wait_for(self, words, timeout_s=60.0):
        end = time.monotonic() + timeout_s
        while not any(words in line for line in list(self.lines)):
            assert time.monotonic() < end, f"never said {words!r}: {self.lines}"
            assert self.process.poll() is None, self.lines
            time.sleep(0.02)

    def wait_until_it_hears(self):
        """Wait until the process handles SIGTERM, the second of the two; before that it has not even begun."""
        end = time.monotonic() + 60.0
        while not self._caught() >> (signal.SIGTERM - 1) & 1:
            assert time.monotonic() < end
            time.sleep(0.005)

    def _caught(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("SigCgt:")[1].split()[0], 16)

    def shared_memory(self):
        """Return the middleware's files that it made; they are memory, and stay where it forgets them.

        It also opens those of every process that it writes to: what was there before it is not its own.
        """
        maps = Path(f"/proc/{self.process.pid}/maps").read_text()
        opened = {Path(name) for name in re.findall(r"/dev/shm/fast(?:dds|rtps)_[0-9a-f]{16}$", maps, re.MULTILINE)}
        return opened - self.others

    def end(self):
        code = self.process.wait(60.0)
        self.reader.join()
        return code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.0, 2.0])
def test_a_signal_while_it_starts(number, delay_s):
    with Process("pipeline.weights:=random") as node:
        node.wait_until_it_hears()
        time.sleep(delay_s)
        node.process.send_signal(number)
        assert node.end() == 0
        assert not [line for line in node.lines if "Traceback" in line or "ERROR" in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_active(number):
    with Process("pipeline.weights:=random") as node:
        node.wait_for("active: /image")
        segments = node.shared_memory()
        assert segments or "fastrtps" not in rclpy.get_rmw_implementation_identifier()
        node.process.send_signal(number)
        assert node.end() == 0
        assert not [line for line in node.lines if "Traceback" in line or "ERROR" in line]
        assert not [segment for segment in segments if segment.exists()]


@contextlib.contextmanager
def peer(namespace):
    """A node of our own beside the process."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("peer", context=context, namespace=namespace)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


_CONFIGURE, _ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE


@pytest.mark.parametrize(
    ("number", "transitions"),
    [
        pytest.param(signal.SIGINT, (), id="SIGINT-unconfigured"),
        pytest.param(signal.SIGTERM, (), id="SIGTERM-unconfigured"),
        pytest.param(signal.SIGTERM, (_CONFIGURE,), id="SIGTERM-inactive"),
        pytest.param(signal.SIGINT, (_CONFIGURE, _ACTIVATE, Transition.TRANSITION_DEACTIVATE), id="SIGINT-deactivated"),
        pytest.param(signal.SIGTERM, (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,), id="SIGTERM-finalized"),
    ],
)
def test_a_signal_in_a_state_that_a_lifecycle_manager_brought_it_to(number, transitions):
    with Process("autostart:=false", "pipeline.weights:=random") as node, peer("/") as (watcher, executor):
        node.wait_for("waiting to be configured")
        lifecycle = LifecycleCalls(watcher, "/perception", lambda: executor.spin_once(0.05))
        for transition in transitions:
            assert lifecycle.change(transition)
        node.process.send_signal(number)
        assert node.end() == 0
        assert not [line for line in node.lines if "Traceback" in line or "ERROR" in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_processes_images(number):
    with Process("pipeline.weights:=random") as node, peer("/") as (watcher, executor):
        watcher.create_subscription(Image, "/depth/image", lambda message: None, 10)
        images = watcher.create_publisher(Image, "/image", 10)
        message = Image(height=96, width=160, step=480, encoding="rgb8")
        message.data.frombytes(bytes(96 * 480))
        end = time.monotonic() + 60.0
        while not any("first frame out: 160x96 rgb8 from /image, " in line for line in list(node.lines)):
            assert time.monotonic() < end, node.lines
            message.header.stamp.nanosec += 1_000_000
            images.publish(message)
            executor.spin_once(0.02)
        for _ in range(3):
            message.header.stamp.nanosec += 1_000_000
            images.publish(message)
        node.process.send_signal(number)
        assert node.end() == 0
        assert not [line for line in node.lines if "Traceback" in line or "ERROR" in line]
        [first] = [line for line in node.lines if "first frame out" in line]
        assert re.search(r"[0-9.]+ s after start, [0-9]+ ms after it came in", first)


@pytest.mark.slow
def test_after_it_was_stopped_for_3_s_it_hears_all_again(monkeypatch):
    """As with a debugger, or a computer that was suspended; started without a launch file, so without its profile."""
    for name in PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with Process("pipeline.weights:=random", "pipeline.scale.mode:=fixed") as node, peer("/") as (watcher, executor):
        said = set()
        watcher.create_subscription(Image, "/depth/image", lambda message: said.add(message.header.stamp.sec), 10)
        images = watcher.create_publisher(Image, "/image", 10)
        message = Image(height=720, width=960, step=2880, encoding="rgb8")  # 2 MB
        message.data.frombytes(bytes(720 * 2880))

        def answers(seconds, timeout_s=20.0):
            """Publish images of these stamps, each when the one before is answered; return the stamps answered."""
            for second in seconds:
                message.header.stamp.sec = second
                images.publish(message)
                end = time.monotonic() + timeout_s
                while second not in said and time.monotonic() < end:
                    executor.spin_once(0.02)
            return said & set(seconds)

        node.wait_for("FASTDDS_DEFAULT_PROFILES_FILE is not set; using")
        end = time.monotonic() + 60.0
        while not (images.get_subscription_count() and any("first frame" in line for line in list(node.lines))):
            assert time.monotonic() < end, node.lines
            answers([int(time.monotonic())], 0.5)
        node.process.send_signal(signal.SIGSTOP)
        answers(range(10**8, 10**8 + 30), 0.1)  # 60 MB in 3 s
        node.process.send_signal(signal.SIGCONT)
        after = range(2 * 10**8, 2 * 10**8 + 10)
        assert answers(after) == set(after)
        node.process.send_signal(signal.SIGINT)
        assert node.end() == 0


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Damaged weights files by name."""
    folder = tmp_path_factory.mktemp("weights")
    save_file({"layer": torch.zeros(8)}, folder / "other.safetensors")
    whole = (folder / "other.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) - 9])
    (folder / "text.safetensors").write_text("no weights at all")
    return folder


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("pipeline.weights:={}/other.safetensors", "other.safetensors"),
        ("pipeline.weights:={}/truncated.safetensors", "truncated.safetensors"),
        ("pipeline.weights:={}/text.safetensors", "text.safetensors"),
        ("pipeline.device:=cuda:99", "device 'cuda:99' is absent"),
        ("pipeline.scale.camera_height_m:=2", "expecting type 'DOUBLE'"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(weights, argument, words):
    with Process(argument.format(weights)) as node:
        assert node.end() == 2
        [line] = [line for line in node.lines if "_PROFILES_FILE is not set" not in line]  # said where it is not
        assert "[FATAL]" in line
        assert words in line


def test_a_parameter_file_that_is_not_there_is_one_line_of_ours():
    command = [*NODE, "--params-file", "/no/such/file.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "/no/such/file.yaml" in result.stderr.splitlines()[-1]
