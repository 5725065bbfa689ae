# SPDX-License-Identifier: Apache-2.0
"""A perception node over real DDS, with a peer in a context of its own that plays the camera and listens."""

import contextlib
import itertools
import threading
import time

import numpy as np
import rclpy
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.outputs import OUTPUT_TOPICS, Output, topic_of
from monodvps_ros.ros.nodes.perception_node import PerceptionNode
from monodvps_ros.ros.topics.message_packages import loaded_class
from monodvps_ros.types import NetworkOutput

NETWORK = (64, 128)
CAMERA = (96, 160)
K = [120.0, 0, 79.5, 0, 110.0, 47.5, 0, 0, 1]
CAR, SKY, ROAD = 13, 10, 0
#: Outputs that this installation of ROS has the messages for, and those of them that every model gives.
TYPES = {row.topic: loaded_class(row.type_name) for row in OUTPUT_TOPICS if loaded_class(row.type_name)}
OUTPUTS = {topic: kind for topic, kind in TYPES.items() if topic != topic_of(Output.ODOMETRY)}
_namespaces = (f"/bench{index}" for index in itertools.count())


class BoxModel:
    """Sky above road, and one car where the image is brighter than 200; depth falls from 40 to 5 towards the bottom."""

    label_space = CITYSCAPES
    input_size = NETWORK
    depth_range_m = (0.1, 100.0)
    is_metric = False
    canonical_focal_px = 0.0
    has_flow = False
    description = "bright boxes are cars"

    def __init__(self, seconds=0.0, fail_on=()):
        self.seconds, self.fail_on, self.calls = seconds, set(fail_on), 0

    def infer(self, image, memory=()):
        self.calls += 1
        if self.calls in self.fail_on:
            raise RuntimeError(f"call {self.calls} was to fail")
        time.sleep(self.seconds)
        height, width = NETWORK
        logits = torch.zeros(1, 19, height, width)
        logits[:, SKY, : height // 4] = 8.0
        logits[:, ROAD, height // 4 :] = 8.0
        bright = image.mean(1) > 200 / 255
        logits[:, CAR][bright] = 16.0
        depth = torch.linspace(40.0, 5.0, height)[None, None, :, None].expand(1, 1, height, width)
        return NetworkOutput(logits, instances=bright.long(), depth_m=depth)


def picture(left=40, size=CAMERA):
    """A dark picture with one bright box; the colours of the rest differ by place."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack((columns % 100, rows % 100, (rows + columns) % 100), axis=2).astype(np.uint8)
    image[height // 2 : height // 2 + 24, left : left + 32] = 240
    return image


def stamp_of(index, rate_hz=10):
    nanoseconds = 1_000_000_000_000 + index * 1_000_000_000 // rate_hz
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def stamp_in(message):
    """Stamp of a message, or of the first in an array of markers."""
    return message.header.stamp if hasattr(message, "header") else message.markers[0].header.stamp


def wait_until(condition, timeout_s=10.0, what="condition"):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what() if callable(what) else what}"
        time.sleep(0.01)


class Bench:
    """The node under test and its peer; use as a context manager.

    Args:
        model: of the node.
        outputs: topics the peer listens to from the start.
        start: take the node to active.
        reliability: of the peer's camera.
        spin: serve the node; else the test does.
        **parameters: of the node, ``__`` for a dot.
    """

    def __init__(self, model=None, outputs=tuple(OUTPUTS), start=True, reliability=ReliabilityPolicy.RELIABLE,
                 load=None, camera="", spin=True, **parameters):  # fmt: skip
        self.model = model or BoxModel()
        self.namespace = next(_namespaces)
        self.contexts = [Context(), Context()]
        for context in self.contexts:
            rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        values = {
            "diagnostics_period_s": 0.1,
            "pipeline__scale__mode": "fixed",
            "pipeline__grouping__min_stuff_area": 0,
        }
        values.update(parameters)
        self.node = PerceptionNode(
            load=load or (lambda config: self.model),
            context=self.contexts[0],
            namespace=self.namespace,
            parameter_overrides=[Parameter(name.replace("__", "."), value=value) for name, value in values.items()],
        )
        self.peer = Node("peer", context=self.contexts[1], namespace=self.namespace)
        self.received, self.statuses, self.subscriptions = {}, {}, {}
        self.peer.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.prefix = f"{camera}/" if camera else ""
        qos = QoSProfile(depth=10, reliability=reliability)
        self.images = self.peer.create_publisher(Image, f"{self.prefix}image", qos)
        self.compressed = self.peer.create_publisher(CompressedImage, f"{self.prefix}image/compressed", qos)
        self.infos = self.peer.create_publisher(CameraInfo, f"{self.prefix}camera_info", qos)
        for topic in outputs:
            self.listen(topic)
        self.threads = [
            self._spin(node, context)
            for node, context in zip((self.node, self.peer), self.contexts, strict=True)
            if spin or node is self.peer
        ]
        if start:
            self.start()
            wait_until(lambda: self._matched(outputs), what="discovery")
            time.sleep(0.1)  # a change of reliability follows the discovery

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for executor, thread in self.threads:
            executor.shutdown()
            thread.join(5.0)
        self.node.destroy_node()
        self.peer.destroy_node()
        for context in self.contexts:
            rclpy.shutdown(context=context)

    def start(self):
        self.node.trigger_configure()
        self.node.trigger_activate()

    def listen(self, topic):
        self.received.setdefault(topic, [])
        self.subscriptions[topic] = self.peer.create_subscription(
            TYPES[topic], self.prefix + topic, self.received[topic].append, 10
        )

    def ignore(self, topic):
        self.peer.destroy_subscription(self.subscriptions.pop(topic))

    def camera_info(self, index, **changes):
        info = CameraInfo(
            height=CAMERA[0], width=CAMERA[1], k=K, p=[*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0], r=np.eye(3).ravel()
        )
        info.header.stamp, info.header.frame_id = stamp_of(index), "camera_optical"
        for name, value in changes.items():
            setattr(info, name, value)
        self.infos.publish(info)

    def image(self, index, pixels=None, **changes):
        pixels = picture() if pixels is None else pixels
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=3 * pixels.shape[1])
        message.data.frombytes(pixels.tobytes())
        message.header.stamp, message.header.frame_id = stamp_of(index), "camera_optical"
        for name, value in changes.items():
            setattr(message, name, value)
        self.images.publish(message)

    def frame(self, index, pixels=None):
        self.camera_info(index)
        self.image(index, pixels)

    def wait_for(self, topic, index, timeout_s=10.0):
        """Return the message of the index-th stamp."""
        stamp = stamp_of(index)
        found = lambda: [message for message in self.received[topic] if stamp_in(message) == stamp]  # noqa: E731
        wait_until(found, timeout_s, lambda: f"{topic} of frame {index}; {self.camera()}")
        return found()[-1]

    def camera(self, name=""):
        """Newest diagnostics of a camera: values by key, and level and message."""
        return self.statuses.get(f"{self.namespace[1:]}/perception: camera {name}".rstrip(), {})

    def node_status(self):
        return self.statuses.get(f"{self.namespace[1:]}/perception", {})

    def counts(self, name=""):
        """Counters as they are now, not as they were in the last message."""
        stream = next(stream for stream in self.node.streams if stream.name == name)
        return stream.statistics.snapshot()

    def wait_for_status(self, level, words, name=""):
        wait_until(
            lambda: self.camera(name).get("level") == level and words in self.camera(name)["message"],
            what=lambda: f"status {level} with {words!r}; it is {self.camera(name)}",
        )

    def _matched(self, outputs):
        if not outputs:  # then the node does not subscribe to the camera
            return True
        return (
            all(publisher.get_subscription_count() for publisher in (self.infos,))
            and self.images.get_subscription_count() + self.compressed.get_subscription_count() > 0
            and all(
                self.node.count_subscribers(f"{self.namespace}/{self.prefix}{topic}") > 0
                and self.subscriptions[topic].get_publisher_count() > 0
                for topic in outputs
            )
        )

    def _on_diagnostics(self, message):
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.statuses[status.name] = {**values, "level": status.level, "message": status.message}

    def _spin(self, node, context):
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)

        def spin():
            with contextlib.suppress(ExternalShutdownException):
                executor.spin()

        thread = threading.Thread(target=spin)
        thread.start()
        return executor, thread
