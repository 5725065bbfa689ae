# SPDX-License-Identifier: Apache-2.0
"""The node as its own process: it stops cleanly in any state, and refuses to start with one clear line."""

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

import torch
from safetensors.torch import save_file

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

NODE = [sys.executable, "-m", "monodvps_ros.ros.perception_node", "--ros-args"]


class Process:
    """The node's process and the lines it says."""

    def __init__(self, *arguments):
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
        node.process.send_signal(number)
        assert node.end() == 0
        assert not [line for line in node.lines if "Traceback" in line or "ERROR" in line]


def test_a_signal_while_it_is_unconfigured():
    with Process("autostart:=false") as node:
        node.wait_for("waits to be configured")
        node.process.send_signal(signal.SIGINT)
        assert node.end() == 0
        assert not [line for line in node.lines if "Traceback" in line or "ERROR" in line]


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
        [line] = node.lines
        assert "[FATAL]" in line
        assert words in line
