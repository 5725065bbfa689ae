# SPDX-License-Identifier: Apache-2.0
"""The per-frame pipeline: image in; depth, panoptic map with persistent ids, segments and cloud out.

One `Pipeline` follows one camera; several may share one model. The same `step` serves the ROS node, the command line,
the evaluation and the demo.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import PipelineConfig
from monodvps_ros.errors import ConfigError, shortened
from monodvps_ros.geometry import canonical_factor, crop_intrinsics, disparity_to_inverse_depth
from monodvps_ros.geometry.resizing import resize_image, resize_live, resize_nearest
from monodvps_ros.labels import VOID_CLASS_ID
from monodvps_ros.network import PoseNetwork
from monodvps_ros.outputs import ALL_OUTPUTS, Odometry, Output, Perception, ScaleEstimate, Stage
from monodvps_ros.perception.device import Download, resolve_device, to_device
from monodvps_ros.perception.finite import (
    all_finite,
    count_not_finite,
    describe,
    spares_flow,
    spares_tracks,
    without_not_finite,
)
from monodvps_ros.perception.flow import DisFlow
from monodvps_ros.perception.grouping import Grouping, classify, group
from monodvps_ros.perception.metric_scale import ScaleEstimator, fit_road, why_unknown
from monodvps_ros.perception.odometry import make_odometry
from monodvps_ros.perception.plan import Plan, make_plan
from monodvps_ros.perception.publishing import FrameResult, publish
from monodvps_ros.perception.rectification import DeviceRectification
from monodvps_ros.perception.timing import StageTimer
from monodvps_ros.perception.tracker import TrackedInstances, Tracker
from monodvps_ros.perception.views import View
from monodvps_ros.types import CameraFrame, NetworkOutput, PerceptionModel


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the network sees, by pixel; attributes as of `FrameResult`."""

    unseen: Tensor | None
    semantic: Tensor
    probability: Tensor | None
    grouping: Grouping | None
    inverse_depth: Tensor
    fit: Callable[[], list[NDArray[np.float64]]] | None  # of the road: as `fit_road_height`, and its number of pixels
    problem: str = ""


class Pipeline:
    """The pipeline of one camera.

    Args:
        model: keeps the `PerceptionModel` protocol; its weights must lie on the configuration's device.
        config: what to publish, tracker, scale, cloud.
        pose_network: of the same weights, for odometry; None for none.

    Raises:
        DeviceError: the configured device is absent.
        ConfigError: float16 is asked for on a CPU, int8 on CUDA, or as `check` says.
    """

    def __init__(
        self, model: PerceptionModel, config: PipelineConfig | None = None, pose_network: PoseNetwork | None = None
    ) -> None:
        self.model = model
        self.config = config or PipelineConfig()
        self.device = resolve_device(self.config.device)
        self._autocast = self._find_autocast()
        self._frame_size: tuple[int, int] | None = None
        self.check(self.config)
        labels = model.label_space
        self._road = labels.class_id("road")
        may_move = [*labels.is_thing.tolist(), *(True for _ in range(len(labels), VOID_CLASS_ID + 1))]
        self._may_move = torch.tensor(may_move, device=self.device)
        self._tracker = Tracker(len(labels), self.config.tracker)
        self._scale = ScaleEstimator(self.config.scale)
        self._dis = DisFlow()
        self._pose_network = pose_network
        self._odometry = make_odometry(self.config.odometry, pose_network, model.canonical_focal_px)
        self._plan: Plan | None = None
        self._rectification: DeviceRectification | None = None
        self.resets = 0
        self._last_stamp_ns: int | None = None
        self._clear()

    @property
    def has_odometry(self) -> bool:
        """Whether the odometry has what it needs: all but `odometry.source: network` without a pose network."""
        return self._odometry is not None

    def reset(self) -> None:
        """Clear tracks, flow history, scale and odometry. Track ids are not reused."""
        self.resets += 1
        self._clear()

    def check(self, config: PipelineConfig) -> None:
        """Check a configuration against the model.

        Raises:
            ConfigError: `tracker.flow` is `network` and the model has no flow; a class is none of the model's; the
                region of interest does not fit into the last image.
        """
        unknown = [name for name in config.kept_classes if name not in self.model.label_space.names]
        if unknown:
            known = ", ".join(self.model.label_space.names)
            raise ConfigError(f"classes: the model has no '{shortened(unknown[0])}' but {known}")
        if self._frame_size is not None:
            config.region(self._frame_size)
        if config.tracker.flow == "network" and not self.model.has_flow:
            raise ConfigError("tracker.flow is 'network' but the model has no flow; use auto, dis or none")

    def configure(self, config: PipelineConfig) -> None:
        """Apply a changed configuration between two frames; tracks and scale are kept.

        Raises:
            ConfigError: a setting of the model differs, for which a new pipeline is needed; or as `check` says.
        """
        self.check(config)
        if config.roi != self.config.roi:
            self.reset()
        for name in ("device", "weights", "model", "engine", "precision", "threads", "allow_programs"):
            if getattr(config, name) != getattr(self.config, name):
                raise ConfigError(f"{name} cannot change while running; make a new pipeline")
        source, self.config = self.config.odometry.source, config
        if config.odometry.source != source:
            self._odometry = make_odometry(config.odometry, self._pose_network, self.model.canonical_focal_px)
        self._tracker.config = config.tracker
        if config.scale != self._scale.config:
            self._scale = ScaleEstimator(config.scale)
        self._plan = None

    @torch.inference_mode()
    def step(self, frame: CameraFrame, wanted: frozenset[Output] = ALL_OUTPUTS) -> Perception:
        """Process one frame.

        A stamp before the last one resets tracks, flow history and scale, as does a new image size. Where the network
        gives numbers that are not finite, there is void, and no point; tracks and scale are as before the frame.

        Args:
            frame: the image, its stamp and its camera. Without K there is no cloud and no scale from the road.
            wanted: what to compute. Tracking pauses while no wanted output needs it.

        Returns:
            The wanted outputs, at the camera's or the network's size as configured; the rest is None.

        Raises:
            CameraInfoError: K is one that no camera has.
            ConfigError: the region of interest is not in the image.
        """
        timer = StageTimer(self.config.timing, self.device)
        plan = self._prepare(frame)
        self._last_stamp_ns = frame.stamp_ns
        if not wanted:
            self._pause()
            scale, intrinsics = self._estimate_scale(plan), plan.published_intrinsics
            return Perception(stamp_ns=frame.stamp_ns, frame_id=frame.frame_id, intrinsics=intrinsics, scale=scale)
        needs = frozenset[Stage]().union(*(output.needs for output in wanted))
        image, unseen = self._upload(frame, plan, timer)
        small = resize_image(image.permute(2, 0, 1)[None], plan.network_size)
        network_input = small.float().div_(255.0).clamp_(0.0, 1.0)
        timer.done("resize")
        output = self._infer(network_input)
        timer.done("network")
        seen, tracked = self._track(output, small, unseen, needs, plan, timer)
        scale = self._find_scale(seen if Stage.SCALE in needs else None, plan)
        timer.done("scale")
        odometry = self._follow(seen, network_input if Stage.MOTION in needs else None, frame, plan, scale)
        timer.done("odometry")
        problems = (seen.problem, "" if self._odometry is None else self._odometry.problem)
        result = FrameResult(
            frame=frame,
            plan=plan,
            labels=self.model.label_space,
            config=self.config,
            image=image,
            unseen=seen.unseen,
            inverse_depth=seen.inverse_depth,
            semantic=seen.semantic,
            probability=seen.probability,
            grouping=seen.grouping,
            tracked=tracked,
            scale=scale,
            odometry=odometry,
            problem="; ".join(filter(None, problems)),
        )
        return publish(result, wanted, timer)

    def _prepare(self, frame: CameraFrame) -> Plan:
        if self._last_stamp_ns is not None and frame.stamp_ns < self._last_stamp_ns:
            self.reset()
        if self._frame_size not in (None, frame.size):
            self.reset()
        self._frame_size = frame.size
        rows, columns = self.config.region(frame.size)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        intrinsics = frame.intrinsics
        if intrinsics is not None and size != frame.size:
            intrinsics = crop_intrinsics(intrinsics, rows.start, columns.start)
        if self._plan is None or not self._plan.fits(size, intrinsics):
            self._plan = make_plan(
                size,
                intrinsics,
                self.model.input_size,
                self.config.output_size,
                self.config.cloud.stride,
                self.device,
            )
        return self._plan

    def _upload(self, frame: CameraFrame, plan: Plan, timer: StageTimer) -> tuple[Tensor, Tensor | None]:
        """Return the rectified region on the device, and which of the network's pixels it does not have, if any."""
        region, rectification = self.config.region(frame.size), frame.rectification
        pixels = frame.image[region] if rectification is None else frame.image
        image = to_device(pixels, self.device)
        timer.done("upload")
        if rectification is None:
            return image, None
        if self._rectification is None or self._rectification.source is not rectification:
            self._rectification = DeviceRectification(rectification, self.device)
        seen = resize_nearest(self._rectification.seen[region], plan.network_size)
        image = self._rectification.apply(image)[region]
        timer.done("rectify")
        return image, ~seen

    def _clear(self) -> None:
        self._last_stamp_ns = None
        self._scale.reset()
        self._pause_odometry()
        self._tracker.reset()
        self._clear_motion()

    def _clear_motion(self) -> None:
        self._memory: tuple[Tensor, ...] = ()
        self._dis.reset()
        if self._tracker.has_history:
            self._tracker.reset()

    def _infer(self, network_input: Tensor) -> NetworkOutput:
        with torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None):
            return self.model.infer(network_input, self._memory)

    def _find_autocast(self) -> torch.dtype | None:
        """Return the precision that torch computes in; None: float32. Other engines have theirs in the model."""
        cuda, precision = self.device.type == "cuda", self.config.precision
        if precision == ("int8" if cuda else "float16"):
            raise ConfigError(
                f"precision {precision} is not possible on {self.device}: float16 needs CUDA, int8 the CPU; use auto"
            )
        if precision == "bfloat16":
            return torch.bfloat16
        return torch.float16 if cuda and precision != "float32" else None

    def _see(
        self,
        output: NetworkOutput,
        unseen: Tensor | None,
        needs: frozenset[Stage],
        plan: Plan,
        timer: StageTimer,
        download: Download,
    ) -> _Seen:
        """Classify, fit the road, and group pixels into segments where tracking needs them; void where `unseen`."""
        semantic, probability = classify(output, plan.network_size, Stage.PROBABILITY in needs)
        timer.done("upsample")
        inverse_depth, fit = self._inverse_depth(output), None
        if Stage.SCALE in needs and self._scale.needs_road and plan.road_rays is not None:
            fit = download.add(fit_road(inverse_depth, _where_seen(semantic == self._road, unseen), plan.road_rays))
            timer.done("scale")
        grouping = None
        if Stage.TRACKING in needs:
            grouping = group(output, semantic, self.model.label_space, self.config.grouping)
            if unseen is not None:
                grouping = replace(grouping, codes=grouping.codes.masked_fill(unseen, 0))
            timer.done("grouping")
        return _Seen(unseen, semantic, probability, grouping, inverse_depth, fit)

    def _track(
        self,
        output: NetworkOutput,
        small: Tensor,
        unseen: Tensor | None,
        needs: frozenset[Stage],
        plan: Plan,
        timer: StageTimer,
    ) -> tuple[_Seen, TrackedInstances | None]:
        """See and track, without a trace in what follows of numbers that are not finite."""
        finite, download = all_finite(output), Download()
        seen = self._see(output, unseen, needs, plan, timer, download)
        tracked = flow = None
        if seen.grouping is None:
            self._clear_motion()
        else:
            flow = self._flow(output, small, plan)
            tracked = self._tracker.update(seen.grouping, flow, finite, download)  # None where not finite
        if tracked is None and not bool(finite):
            counts = count_not_finite(output)
            mended, no_class = without_not_finite(output, counts, plan.network_size)
            seen = self._see(mended, no_class if unseen is None else unseen | no_class, needs, plan, timer, download)
            seen = replace(seen, problem=describe(counts))
            if seen.grouping is not None and spares_tracks(counts):
                tracked = self._tracker.update(seen.grouping, flow)
            elif seen.grouping is not None:
                self._dis.undo()
                tracked = self._tracker.recognise(seen.grouping, flow if spares_flow(counts) else None)
                timer.done("tracker")
                return seen, tracked
        if tracked is not None:
            self._memory = output.memory
            timer.done("tracker")
        return seen, tracked

    def _flow(self, output: NetworkOutput, small: Tensor, plan: Plan) -> Tensor | None:
        kind = self.config.tracker.flow
        if kind == "none":
            return None
        if kind == "dis" or (kind == "auto" and not output.memory):
            return self._dis.step(small)
        if not output.flow_px or not self._tracker.has_history:
            return None
        return resize_live(output.flow_px[0].float(), plan.network_size)[0]

    def _pause(self) -> None:
        """Clear what follows from frame to frame, since nobody wants this one."""
        self._clear_motion()
        self._pause_odometry()

    def _follow(
        self, seen: _Seen, image: Tensor | None, frame: CameraFrame, plan: Plan, scale: ScaleEstimate
    ) -> Odometry | None:
        """Add this frame to the odometry, which starts again after frames for which it was not wanted."""
        if image is None or self._odometry is None:
            self._pause_odometry()
            return None
        view = View(
            stamp_ns=frame.stamp_ns,
            image=image,
            inverse_depth=seen.inverse_depth,
            is_static=_where_seen(~self._may_move[seen.semantic], seen.unseen),
            is_road=_where_seen(seen.semantic == self._road, seen.unseen),
            intrinsics=plan.network_intrinsics,
            camera_height_m=self.config.scale.camera_height_m,
        )
        return self._odometry.update(view, scale, self.config.odometry, frame.frame_id)

    def _pause_odometry(self) -> None:
        """Let odometry start again, since nobody wants it for this frame."""
        if self._odometry is not None:
            self._odometry.reset()

    def _inverse_depth(self, output: NetworkOutput) -> Tensor:
        """(1, 1, h, w) inverse depth in the network's unit; interpolated instead of depth, which would smear edges."""
        if output.depth_m is not None:
            depth = output.depth_m.float()
            return torch.where((depth > 0) & (depth < torch.inf), depth, torch.nan).reciprocal()
        return disparity_to_inverse_depth(output.disparities[0].float(), *self.model.depth_range_m)

    def _find_scale(self, seen: _Seen | None, plan: Plan) -> ScaleEstimate:
        """Find metres per unit of the network's depth, by the road where `seen` is given and fits it."""
        if seen is not None and seen.problem:
            return self._explained(self._scale.estimate(self._metric_factor(plan)), plan)
        if seen is None or seen.fit is None:
            return self._estimate_scale(plan)
        height, spread, agree, tilt, count = seen.fit()[0].tolist()
        return self._estimate_scale(plan, (height, spread, agree, tilt), int(count))

    def _estimate_scale(
        self, plan: Plan, road: tuple[float, float, float, float] | None = None, points: int = 0
    ) -> ScaleEstimate:
        return self._explained(self._scale.update(road, points, self._metric_factor(plan)), plan)

    def _explained(self, estimate: ScaleEstimate, plan: Plan) -> ScaleEstimate:
        """Say why the scale is unknown, where it is."""
        if estimate.is_known:
            return estimate
        return replace(estimate, problem=why_unknown(self.config.scale, plan.network_intrinsics is not None))

    def _metric_factor(self, plan: Plan) -> float | None:
        """Metres per unit of a metric network's depth for this camera; None for others, and where K is not known."""
        canonical = self.model.canonical_focal_px
        if not self.model.is_metric:
            return None
        if not canonical:
            return 1.0
        return None if plan.network_intrinsics is None else float(canonical_factor(plan.network_intrinsics, canonical))


def _where_seen(mask: Tensor, unseen: Tensor | None) -> Tensor:
    """(h, w) bool `mask` without the pixels that the camera does not have, if any."""
    return mask if unseen is None else mask & ~unseen
