# SPDX-License-Identifier: Apache-2.0
"""One camera from its newest image to its published outputs; runs in the worker's thread."""

import threading
import time
import traceback
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo

from monodvps_ros.config import NodeConfig
from monodvps_ros.errors import DeviceError, EncodingError, MonoDVPSError, shortened
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.geometry.camera_model import CameraModel, CameraReader
from monodvps_ros.outputs import Output, ScaleEstimate
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.statistics import FAILED, UNDECODABLE, Statistics
from monodvps_ros.process_memory import release_memory
from monodvps_ros.ros.management.diagnostics import several_publishers
from monodvps_ros.ros.topics.camera_input import JUMPED, CameraInput, Received
from monodvps_ros.ros.topics.conversions import compressed_image_array, image_array, stamp_to_ns
from monodvps_ros.ros.topics.odometry import TransformPublisher
from monodvps_ros.ros.topics.outputs import OutputPublishers
from monodvps_ros.ros.topics.scale import ScalePublisher
from monodvps_ros.types import CameraFrame

#: What a message from outside may make the node say again and again is said at most this often.
THROTTLE_S = 5.0

#: Beyond this, what the middleware keeps of images and clouds is worth giving back: more than a hundred megabytes.
LARGE_PX = 2_000_000


class CameraStream:
    """One camera: its input, its pipeline, its outputs and what went through them.

    Args:
        node: that subscribes and publishes.
        name: of the camera; empty for a single one without a namespace.
        pipeline: of this camera only.
        config: of the node.
        wake: called when an image may be ready.
        first_frame: called with this stream after its first frame is published.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        pipeline: Pipeline,
        config: NodeConfig,
        wake: Callable[[], None],
        first_frame: Callable[["CameraStream"], None],
    ) -> None:
        prefix = f"{name}/" if name else ""
        self._node, self.name, self._first_frame = node, name, first_frame
        self._pipeline, self._config, self.config = pipeline, config, config
        self.statistics = Statistics()
        self.input = CameraInput(node, prefix, config, self.statistics, wake)
        self.incompatible_outputs: dict[str, str] = {}
        self._is_active, self._demand_lock = False, threading.Lock()
        self.outputs = OutputPublishers(
            node, prefix, config.output_depth, self.incompatible_outputs.__setitem__, self.follow_demand
        )
        self._size: tuple[int, int] | None = None
        self._largest_px = 0
        self._publishers: tuple[str, ...] = ()
        self._scale_publisher = ScalePublisher(node, prefix, self._label())
        self.transforms = TransformPublisher(node, self._label())
        self.camera_problem = ""
        self.frame_problem = ""
        self.image_description = ""
        self.frame_id = ""
        self.cloud_mb: float | None = None
        self.scale: ScaleEstimate | None = None
        self.device_lost = False
        self._cameras = CameraReader(config.rectified, self.input.image_topic)
        self.rectification = "none: the camera is not known"
        self.served_at = 0.0

    def start(self) -> None:
        """Subscribe to the camera as soon as an output has a subscriber, and as long."""
        self._is_active = True
        self.follow_demand()

    def stop(self) -> None:
        """Unsubscribe from the camera."""
        with self._demand_lock:
            self._is_active = False
            self.input.stop()

    def follow_demand(self) -> None:
        """Subscribe to the camera, or unsubscribe, where subscribers of the outputs have come or gone."""
        with self._demand_lock:
            if not self._is_active:
                return
            wanted, subscribed = bool(self._wanted()), self.input.subscribed_s is not None
            if wanted and not subscribed:
                self.input.start()
            elif subscribed and not wanted and self.outputs.is_settled:
                self.input.pause()
                self._forget(0)

    def publishers(self) -> tuple[str, ...]:
        """List the nodes that publish the camera's images, and warn once of more than one."""
        publishers = tuple(shortened(name) for name in self.input.publishers())
        if len(publishers) > 1 and publishers != self._publishers:
            text = f"{self._label()}: {several_publishers(self.input.image_topic, publishers)}"
            self._node.get_logger().warning(text, throttle_duration_sec=THROTTLE_S)
        self._publishers = publishers
        return publishers

    def check(self, config: NodeConfig) -> None:
        """Check that a configuration can be applied.

        Raises:
            ConfigError: it does not fit the model or the camera.
        """
        self._pipeline.check(config.pipeline)

    def configure(self, config: NodeConfig) -> None:
        """Take over a changed configuration before the next frame."""
        self.input.configure(config.max_gap_s, config.max_rate_hz)
        self.config = config
        self.follow_demand()

    def step(self) -> bool:
        """Process the newest image; false where none was ready. Never raises: what goes wrong is logged and counted."""
        received = self.input.take()
        if received is None:
            return False
        self.served_at = time.monotonic()
        try:
            self._serve(received)
        except EncodingError as error:
            self._note_error(received, str(error), UNDECODABLE)
        except MonoDVPSError as error:
            self.device_lost = self.device_lost or isinstance(error, DeviceError)
            self._note_error(received, f"{type(error).__name__}: {error}", FAILED)
        except Exception as error:  # the next frame may succeed
            self.device_lost = self.device_lost or is_device_loss(error)
            text = f"{type(error).__name__}: {error}"
            self._note_error(received, text, FAILED, traceback.format_exc())
        return True

    @property
    def withholds_unknown(self) -> bool:
        """Whether depth is withheld while the scale is unknown."""
        return self._config.pipeline.scale.unknown == "withhold"

    def has_image(self) -> bool:
        """Whether an image is waiting."""
        return self.input.has_image

    def destroy(self) -> None:
        """Take input and outputs down."""
        self.stop()
        self.outputs.destroy()
        self._scale_publisher.destroy()
        self.transforms.destroy()

    def _wanted(self) -> frozenset[Output]:
        """Return the outputs with subscribers, and the odometry where TF is asked for."""
        publish_tf = self.config.pipeline.odometry.publish_tf
        return self.transforms.demand(self.outputs.wanted(), publish_tf, self._pipeline.has_odometry)

    def _serve(self, received: Received) -> None:
        if self.config is not self._config:
            self._config = self.config
            self._pipeline.configure(self._config.pipeline)
        wanted = self._wanted()
        if received.restart:
            self._restart(received.restart)
        if not wanted:
            self.statistics.count_idle()
            return
        frame = self._frame(received)
        has_grown_or_shrunk, self._size = self._size not in (None, frame.size), frame.size
        pixels = frame.size[0] * frame.size[1]
        self._largest_px = max(self._largest_px, pixels)
        perception = self._pipeline.step(frame, wanted)
        self.scale = perception.scale
        if perception.cloud is not None:
            self.cloud_mb = perception.cloud.nbytes / 1e6
        self._scale_publisher.publish(perception.scale, received.message.header, self.withholds_unknown)
        self.outputs.publish(perception, received.message.header)
        self.transforms.publish(perception, self._config.pipeline.odometry.publish_tf)
        if self.statistics.count_processed((time.monotonic() - received.received_at) * 1e3):
            self._first_frame(self)
        if perception.problem:
            self.statistics.count_not_finite()
            self._report(received, perception.problem)
        if has_grown_or_shrunk:
            self._forget(pixels)

    def _forget(self, pixels: int) -> None:
        """Give back what was kept for images like the last ones: with large ones it is hundreds of megabytes.

        Args:
            pixels: of the images that come now; 0: none.
        """
        self.outputs.forget()
        if self._largest_px > LARGE_PX >= pixels:
            self._largest_px = pixels
            self.outputs.renew()
        release_memory()

    def _restart(self, reason: str) -> None:
        self._pipeline.reset()
        text = f"{self._label()}: {reason}; tracks, scale and odometry are reset"
        if reason == JUMPED:
            self.statistics.count_reset()
            self._node.get_logger().warning(text, throttle_duration_sec=THROTTLE_S)
        else:
            self._node.get_logger().info(text)

    def _frame(self, received: Received) -> CameraFrame:
        message = received.message
        if self._config.compressed:
            image = compressed_image_array(message, int(self._config.max_image_mpx * 1e6))
        else:
            image = image_array(message)
        encoding = shortened(message.format if self._config.compressed else message.encoding)
        self.image_description = f"{image.shape[1]}x{image.shape[0]} {encoding}"
        self.frame_id = shortened(message.header.frame_id)
        self._compare_frames(received.info)
        camera = self._camera_of(received.info, (image.shape[0], image.shape[1]))
        return CameraFrame(
            image=image,
            stamp_ns=stamp_to_ns(message.header.stamp),
            frame_id=message.header.frame_id,
            intrinsics=camera.intrinsics,
            rectification=camera.rectification,
        )

    def _camera_of(self, info: CameraInfo | None, size: tuple[int, int]) -> CameraModel:
        """Return what is known of the camera; where K is not, say why."""
        camera = self._cameras.read(None if info is None else Calibration.from_message(info), size)
        problem = camera.problem if info is not None else f"no camera_info on {self.input.info_topic}"
        if problem and problem != self.camera_problem:
            self._node.get_logger().warning(
                f"{self._label()}: {problem}; masks are published, no cloud", throttle_duration_sec=THROTTLE_S
            )
        self.camera_problem, self.rectification = problem, camera.treatment
        return camera

    def _compare_frames(self, info: CameraInfo | None) -> None:
        """Say where camera_info names another frame than the image; its K is used all the same."""
        other = self.frame_id if info is None else shortened(info.header.frame_id)
        problem = f"camera_info is of frame '{other}' but the image of '{self.frame_id}'"
        if other == self.frame_id:
            problem = ""
        elif problem != self.frame_problem:
            self._node.get_logger().warning(
                f"{self._label()}: {problem}; one of the two must be wrong", throttle_duration_sec=THROTTLE_S
            )
        self.frame_problem = problem

    def _note_error(self, received: Received, text: str, reason: str, details: str = "") -> None:
        self.statistics.count_dropped(reason)
        self._report(received, text, details)

    def _report(self, received: Received, text: str, details: str = "") -> None:
        stamp = received.message.header.stamp
        text = f"image of {stamp.sec}.{stamp.nanosec:09d}: {text}"
        self.statistics.note_error(text)
        self._node.get_logger().error(
            f"{self._label()}: {text}" + (f"\n{details}" if details else ""), throttle_duration_sec=1.0
        )

    def _label(self) -> str:
        return f"camera {self.name}" if self.name else "camera"


def is_device_loss(error: Exception) -> bool:
    """Whether an exception tells that the compute device is gone for this process, as CUDA's sticky errors do."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)
