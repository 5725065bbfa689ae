# SPDX-License-Identifier: Apache-2.0
"""A training node as its own process with a peer over real DDS, and something small for it to train on."""

import os
import signal
import subprocess
import sys
import threading
import time

import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_calls import LifecycleCalls
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from tiny import DEPTH_ALONE

from monodvps_ros.config import SceneConfig
from monodvps_ros.msg import TrainingProgress
from monodvps_ros.scenes import Drive, write_bag

ENDLESS = {**DEPTH_ALONE, "max_steps": 100000, "checkpoint_every": 100000}


def write_given(folder):
    """Write a bag of six frames, and a training config that does not end by itself."""
    write_bag(Drive(SceneConfig(frames=6, height=64, width=96, traffic=0.0), 1), folder / "bag")
    (folder / "config.yaml").write_text(yaml.safe_dump(ENDLESS))
    return folder


class Process:
    """The node's process and what it says, and a peer that hears its topics and calls its services."""

    def __init__(self, given, out, *arguments, data=None):
        words = [f"data:=['{data or given / 'bag'}']", f"config:={given / 'config.yaml'}", f"out:={out}", *arguments]
        command = [sys.executable, "-m", "monodvps_ros.ros.executables.training_node", "--ros-args"]
        command += [word for argument in words for word in ("-p", argument)]
        environment = {**os.environ, "RCUTILS_LOGGING_USE_STDOUT": "0", "RCUTILS_COLORIZED_OUTPUT": "0"}
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.peer = Node("peer", context=self.context)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.heard, self.statuses = [], []
        self.peer.create_subscription(TrainingProgress, "training/progress", self.heard.append, latched)
        self.peer.create_subscription(DiagnosticArray, "/diagnostics", self.statuses.append, 10)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.peer)
        self.lifecycle = LifecycleCalls(self.peer, "/training", self.spin)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                        env=environment, start_new_session=True)  # fmt: skip
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()
        self.executor.shutdown()
        self.peer.destroy_node()
        rclpy.shutdown(context=self.context)

    def wait_until(self, condition, timeout_s=120.0):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, (self.lines, self.heard[-1:])
            self.spin()

    def spin(self):
        assert self.process.poll() is None, self.lines
        self.executor.spin_once(0.05)

    def wait_for_step(self, step):
        self.wait_until(lambda: self.heard and self.heard[-1].step >= step)

    def end(self):
        end = time.monotonic() + 120.0
        while self.process.poll() is None:
            assert time.monotonic() < end, self.lines
            self.executor.spin_once(0.05)
        self.reader.join()
        self.executor.spin_once(0.05)
        return self.process.returncode


def phases_of(messages):
    """Phases in their order, each once where it lasts."""
    phases = [message.phase for message in messages]
    return [phase for place, phase in enumerate(phases) if place == 0 or phases[place - 1] != phase]
