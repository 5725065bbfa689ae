# SPDX-License-Identifier: Apache-2.0
"""The perception node: a lifecycle node that wires cameras, one network, parameters and diagnostics together."""

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, JumpHandle, JumpThreshold, TimeJump
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from monodvps_ros.config import NodeConfig, PipelineConfig
from monodvps_ros.engines import thread_count
from monodvps_ros.errors import MonoDVPSError, counted, line_of
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.device import gpu_memory_mb, resolve_device
from monodvps_ros.perception.loading import load_model, load_pose
from monodvps_ros.perception.worker import Worker
from monodvps_ros.process_memory import process_memory_mb, release_memory
from monodvps_ros.ros.management import parameters
from monodvps_ros.ros.management.diagnostics import CameraHealth, NodeHealth, camera_status, node_status
from monodvps_ros.ros.nodes.managed_node import ManagedNode
from monodvps_ros.ros.topics.camera_input import RESET
from monodvps_ros.ros.topics.camera_stream import CameraStream
from monodvps_ros.ros.topics.label_info import LabelInfoPublisher
from monodvps_ros.ros.topics.message_packages import report_missing
from monodvps_ros.types import PerceptionModel

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(ManagedNode):
    """Cameras in; depth, panoptic masks with persistent ids and labelled clouds out.

    Args:
        name: of the node.
        load: makes the model that all cameras share.
        started_at: `time.monotonic` of the process' start, for the start-up time; None: now.
        **options: for `rclpy.lifecycle.LifecycleNode`.

    Raises:
        ConfigError: a parameter is out of its range.
    """

    def __init__(
        self,
        name: str = "perception",
        *,
        load: Callable[[PipelineConfig], PerceptionModel] = load_model,
        started_at: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._load = load
        self._started_at = time.monotonic() if started_at is None else started_at
        self._model: PerceptionModel | None = None
        self._device: torch.device | None = None
        self._start_up_s: float | None = None
        self.streams: list[CameraStream] = []
        self._worker: Worker | None = None
        self._labels: LabelInfoPublisher | None = None
        self._jump: JumpHandle | None = None
        self.config = parameters.declare(self, NodeConfig)
        self._cameras: Mapping[str, NodeConfig] = parameters.read_cameras(self)
        parameters.accept_changes(self, self._check, self._change)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: diagnostics continue with use_sim_time and no /clock.
        self._timer = self.create_timer(
            self.config.diagnostics_period_s, self.publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._reset = self.create_service(Trigger, "~/reset", self._on_reset)
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True),
            post_callback=self._on_time_jump,
        )

    @property
    def autostart(self) -> bool:
        """Whether the process configures and activates the node."""
        return self.config.autostart

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network, make each camera's pipeline and its topics."""
        try:
            self._configure()
        except (MonoDVPSError, OSError) as error:
            self._fail_configuration(f"{type(error).__name__}: {line_of(error)}")
            return _FAILURE
        except Exception:  # rclpy would swallow it silently
            self._fail_configuration(traceback.format_exc())
            return _FAILURE
        self.state, self.problem = "inactive", ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, as soon as somebody listens, and start processing."""
        result = super().on_activate(state)
        assert self._worker is not None
        self._worker.start()
        self.state = "active"
        for stream in self.streams:
            stream.start()
        self.get_logger().info("active: " + ", ".join(stream.input.image_topic for stream in self.streams))
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the current frame."""
        self._stop_work()
        self._worker = Worker(self.streams)
        self.state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release network and topics."""
        self._tear_down()
        self.state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state."""
        self._tear_down()
        self.state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured."""
        self._tear_down()
        self.state = "unconfigured"
        return super().on_error(state)

    def publish_diagnostics(self) -> None:
        """Publish one status for the node and one for each camera."""
        for stream in self.streams:
            stream.follow_demand()  # should the middleware not tell
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(node_status(self._health()))
        message.status += [camera_status(self._camera_health(stream)) for stream in self.streams]
        self._diagnostics.publish(message)

    def destroy_node(self) -> None:
        """Stop the work, then destroy the node."""
        self._tear_down()
        if self._jump is not None:
            self._jump.unregister()
            self._jump = None
        super().destroy_node()

    def _configure(self) -> None:
        begun_at = time.monotonic()
        self._model = self._load(self.config.pipeline)
        self._device = resolve_device(self.config.pipeline.device)
        pose = load_pose(self.config.pipeline, self._device)
        self.streams = [
            CameraStream(
                self, name, Pipeline(self._model, config.pipeline, pose), config, self._wake, self._on_first_frame
            )
            for name, config in self._cameras.items()
        ]
        self._worker = Worker(self.streams)
        release_memory()  # of reading the weights
        self._labels = LabelInfoPublisher(self, self._model.label_space)
        report_missing(self.get_logger())
        height, width = self._model.input_size
        self.get_logger().info(
            f"network: {self._model.description}, input {width}x{height}, on {self._device_description}, "
            f"ready after {time.monotonic() - begun_at:.1f} s"
        )

    @property
    def _device_description(self) -> str:
        if self._device is None:
            return ""
        if self._device.type == "cuda":
            return f"{self._device} ({torch.cuda.get_device_name(self._device)})"
        return f"{self._device} ({counted(thread_count(self.config.pipeline.threads), 'thread')})"

    def _fail_configuration(self, problem: str) -> None:
        self._tear_down()
        self.problem = problem
        self.get_logger().fatal(f"cannot be configured: {problem}")

    def _stop_work(self) -> None:
        for stream in self.streams:
            stream.stop()
        if self._worker is not None:
            self._worker.stop()

    def _tear_down(self) -> None:
        self._stop_work()
        for stream in self.streams:
            stream.destroy()
        if self._labels is not None:
            self._labels.destroy()
        self.streams, self._worker, self._labels, self._model = [], None, None, None

    def _wake(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.wake()

    def _check(self, cameras: Mapping[str, NodeConfig]) -> None:
        for stream in self.streams:
            stream.check(cameras[stream.name])

    def _change(self, config: NodeConfig, cameras: Mapping[str, NodeConfig]) -> None:
        self.config, self._cameras = config, cameras
        for stream in self.streams:
            stream.configure(cameras[stream.name])

    def _on_time_jump(self, jump: TimeJump) -> None:
        for stream in self.streams:
            stream.input.restart()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        for stream in self.streams:
            stream.input.restart(RESET)
        names = ", ".join(stream.input.image_topic for stream in self.streams)
        response.success = bool(self.streams)
        response.message = (
            f"tracks and scale are reset with the next image of {names}"
            if names
            else (f"nothing to reset: the node is {self.state}")
        )
        return response

    def _on_first_frame(self, stream: CameraStream) -> None:
        if self._start_up_s is None:
            self._start_up_s = time.monotonic() - self._started_at
        latency_ms = stream.statistics.snapshot().latency_max_ms
        self.get_logger().info(
            f"first frame out: {stream.image_description} from {stream.input.image_topic}, "
            f"{time.monotonic() - self._started_at:.1f} s after start, {latency_ms:.0f} ms after it came in"
        )

    def _health(self) -> NodeHealth:
        problem = self.problem
        if self.state == "active" and self._worker is not None and not self._worker.is_alive:
            problem = "the worker thread ended; restart the node"
        device = self._device
        return NodeHealth(
            name=self.status_name,
            state=self.state,
            problem=problem,
            device=self._device_description,
            weights=self._model.description if self._model is not None else "",
            start_up_s=self._start_up_s,
            callback_errors=self.callback_errors,
            memory_mb=process_memory_mb(),
            gpu_memory_mb=None if device is None else gpu_memory_mb(device),
        )

    def _camera_health(self, stream: CameraStream) -> CameraHealth:
        return CameraHealth(
            name=f"{self.status_name}: camera {stream.name}".rstrip(),
            active=self.state == "active",
            snapshot=stream.statistics.snapshot(),
            image_topic=stream.input.image_topic,
            stamps=stream.input.stamps,
            max_rate_hz=stream.config.max_rate_hz,
            subscribed_s=stream.input.subscribed_s,
            publishers=stream.publishers(),
            reliability=stream.input.reliability,
            lost_in_transport=stream.input.lost_in_transport,
            incompatible={**stream.input.incompatible, **stream.incompatible_outputs},
            image=stream.image_description,
            frame_id=stream.frame_id,
            camera_problem=stream.camera_problem,
            frame_problem=stream.frame_problem,
            rectification=stream.rectification,
            cloud_mb=stream.cloud_mb,
            scale=stream.scale,
            withholds_unknown=stream.withholds_unknown,
            device_lost=stream.device_lost,
            odometry_problem=stream.transforms.problem,
        )
