# SPDX-License-Identifier: Apache-2.0
"""Outputs of the pipeline: what can be asked for, the topics that carry it, and the result of a frame.

Importing this module does not import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGE_TYPE = "sensor_msgs/msg/Image"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
POINT_CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
SEGMENTS_TYPE = "monodvps_ros/msg/PanopticSegments"
SCALE_TYPE = "monodvps_ros/msg/DepthScale"
#: Latched topic of the scale beside the outputs, for who comes late.
SCALE_TOPIC = "scale"
LABEL_INFO_TOPIC = "label_info"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
DETECTIONS_TYPE = "vision_msgs/msg/Detection2DArray"
DETECTIONS_3D_TYPE = "vision_msgs/msg/Detection3DArray"
MARKERS_TYPE = "visualization_msgs/msg/MarkerArray"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"

#: Formats of compressed images, as image_transport names them; `data.compressed_images` makes them.
JPEG_FORMAT = "rgb8; jpeg compressed bgr8"
DEPTH_FORMAT = "32FC1; compressedDepth png"
IDS_FORMAT = "16UC1; compressedDepth png"


class Stage(Enum):
    """Stages of the pipeline that run only for outputs that need them."""

    TRACKING = "tracking"  # instances and their persistent ids
    SCALE = "scale"  # depth in metres
    PROBABILITY = "probability"  # of each pixel's class
    MOTION = "motion"  # of the camera


class Output(Enum):
    """Outputs of the pipeline; only those asked for are computed.

    Attributes:
        field: the attribute of `Perception` that holds it.
        needs: the stages that it needs.
    """

    DEPTH = "depth_m", Stage.SCALE
    PANOPTIC = "panoptic", Stage.TRACKING
    COLOR = "color", Stage.TRACKING
    SEMANTIC = "semantic", Stage.TRACKING
    CONFIDENCE = "confidence", Stage.TRACKING, Stage.PROBABILITY
    SEGMENTS = "segments", Stage.TRACKING, Stage.SCALE, Stage.PROBABILITY
    CLOUD = "cloud", Stage.TRACKING, Stage.SCALE
    IMAGE = ("image",)
    OVERLAY = "overlay", Stage.TRACKING, Stage.SCALE, Stage.PROBABILITY
    BOXES = "boxes", Stage.TRACKING, Stage.SCALE, Stage.PROBABILITY
    ODOMETRY = "odometry", Stage.SCALE, Stage.MOTION

    def __init__(self, field: str, *needs: Stage) -> None:
        self.field = field
        self.needs = frozenset(needs)


ALL_OUTPUTS = frozenset(Output)


@dataclass(frozen=True, slots=True)
class OutputTopic:
    """A topic that carries an output: published by the node, written by `predict`, recorded, documented.

    Attributes:
        topic: relative name.
        type_name: of its messages.
        output: what it carries.
        encoding: of an image; format of a compressed one; empty for other types.
        contract: content of a message, for the manual.
        recorded: whether recordings of all outputs hold it; false for other forms of what other topics carry.
    """

    topic: str
    type_name: str
    output: Output
    encoding: str
    contract: str
    recorded: bool = True


def _derived(topic: str, type_name: str, output: Output, encoding: str, contract: str) -> OutputTopic:
    return OutputTopic(topic, type_name, output, encoding, contract, recorded=False)


#: The one table of output topics. `data.message_fields` packs them into messages by their type.
OUTPUT_TOPICS = (
    OutputTopic("depth/image", IMAGE_TYPE, Output.DEPTH, "32FC1", "metres along the optical axis; NaN: sky or unknown"),
    OutputTopic("depth/camera_info", CAMERA_INFO_TYPE, Output.DEPTH, "", "K of depth/image; rectified"),
    OutputTopic("panoptic/image", IMAGE_TYPE, Output.PANOPTIC, "16UC1", "class id * 1000 + instance id; 65535 is void"),
    OutputTopic("panoptic/color", IMAGE_TYPE, Output.COLOR, "rgb8", "class colours, instances in shades, contours"),
    OutputTopic("panoptic/segments", SEGMENTS_TYPE, Output.SEGMENTS, "", "one entry per segment"),
    OutputTopic("semantic/image", IMAGE_TYPE, Output.SEMANTIC, "mono8", "class id of panoptic/image; 255 is void"),
    OutputTopic("semantic/confidence", IMAGE_TYPE, Output.CONFIDENCE, "mono8", "255 * its probability; 0 is void"),
    OutputTopic("points", POINT_CLOUD_TYPE, Output.CLOUD, "", "x y z rgb label instance; optical frame, metres"),
    _derived("rectified/image", IMAGE_TYPE, Output.IMAGE, "rgb8", "the image, rectified, at the size of the maps"),
    _derived("overlay", IMAGE_TYPE, Output.OVERLAY, "rgb8", "rectified/image with masks, track ids and distances"),
    _derived("detections", DETECTIONS_TYPE, Output.SEGMENTS, "", "box, class and track id of each instance"),
    _derived("detections_3d", DETECTIONS_3D_TYPE, Output.BOXES, "", "upright boxes; optical frame, metres"),
    _derived("markers", MARKERS_TYPE, Output.BOXES, "", "these boxes with class, track id and distance"),
    _derived("odometry", ODOMETRY_TYPE, Output.ODOMETRY, "", "pose of the camera since the start, metres"),
    _derived("rectified/image/compressed", COMPRESSED_TYPE, Output.IMAGE, JPEG_FORMAT, "rectified/image"),
    _derived("overlay/compressed", COMPRESSED_TYPE, Output.OVERLAY, JPEG_FORMAT, "overlay"),
    _derived("panoptic/color/compressed", COMPRESSED_TYPE, Output.COLOR, JPEG_FORMAT, "panoptic/color"),
    _derived("depth/image/compressedDepth", COMPRESSED_TYPE, Output.DEPTH, DEPTH_FORMAT, "1 cm at 10 m"),
    _derived("panoptic/image/compressedDepth", COMPRESSED_TYPE, Output.PANOPTIC, IDS_FORMAT, "lossless"),
)
#: Those that a recording of all outputs holds.
RECORDED_TOPICS = tuple(row for row in OUTPUT_TOPICS if row.recorded)
RECORDED_OUTPUTS = frozenset(row.output for row in RECORDED_TOPICS)


def topic_of(output: Output) -> str:
    """Return the relative name of the first topic that carries an output."""
    return next(row.topic for row in OUTPUT_TOPICS if row.output is output)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a panoptic map.

    Attributes:
        panoptic_id: its value in the map.
        track_id: never reused while the pipeline lives; 0 for stuff.
        class_id: id in the label space.
        class_name: name in the label space.
        is_thing: true for an instance, false for stuff.
        score: mean probability of its class over its pixels, 0..1.
        area_px: pixels.
        box_px: (x_min, y_min, x_max, y_max) in pixels, both ends included.
        median_depth_m: metres; NaN where no pixel has depth.
        centroid_m: mean of its 3-D points in the optical frame (x, y, z), metres; NaN without K or depth.
        age_frames: frames since the track began, this one included; 0 for stuff.
    """

    panoptic_id: int
    track_id: int
    class_id: int
    class_name: str
    is_thing: bool
    score: float
    area_px: int
    box_px: tuple[int, int, int, int]
    median_depth_m: float
    centroid_m: tuple[float, float, float]
    age_frames: int

    @property
    def caption(self) -> str:
        """Class, track id, and depth where it is known, for people."""
        name = f"{self.class_name} {self.track_id}"
        return name if math.isnan(self.median_depth_m) else f"{name}  {self.median_depth_m:.1f} m"


@dataclass(frozen=True, slots=True)
class Box3D:
    """An upright box around an instance, as far as one view shows it; what is hidden is filled in by the class's size.

    Attributes:
        segment: the instance.
        center_m: middle of the box in the optical frame (x, y, z), metres.
        size_m: length, width and height, metres.
        rotation: quaternion (x, y, z, w) from the box's axes (x along its length, y to its left, z up) to the optical
            frame. Front and back are not told apart: x points away from the camera.
        color: red, green, blue of the instance, as in the rendering of the panoptic map.
    """

    segment: Segment
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    color: tuple[int, int, int]


#: One point of a PointCloud2: 24 bytes; `rgb` holds 0x00RRGGBB as the bits of a float32.
POINT_DTYPE = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "label", "instance"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u4", "<u4"],
        "offsets": [0, 4, 8, 12, 16, 20],
        "itemsize": 24,
    }
)


class ScaleState(str, Enum):
    """Where the metres of the depth maps come from."""

    METRIC = "metric"  # the weights know metres; K brings them to the camera's focal length
    ROAD = "road"  # the camera's height over the height seen above the road, smoothed over time
    FIXED = "fixed"  # a constant factor that the user gives
    UNKNOWN = "unknown"  # nothing of these: depth is in the network's own unit


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """The factor from the network's depth to metres.

    Attributes:
        factor: metres per unit of the network's depth; 1 where it is unknown.
        confidence: 0..1; of the last measurement of the road, falling while no road is seen; 1 where the weights are
            metric or the factor is fixed; 0 where it is unknown.
        state: where the factor comes from.
        problem: why the factor is unknown, and what to do; empty where it is known.
        road_ratio: of metric weights, the factor that the camera's height above the road gives over theirs, the median
            of the last frames with road; None where that is not measured.
        doubt: that this ratio stays far from 1, and what to check; empty where it does not.
    """

    factor: float
    confidence: float
    state: ScaleState
    problem: str = ""
    road_ratio: float | None = None
    doubt: str = ""

    @property
    def is_known(self) -> bool:
        """Whether depth times the factor is in metres."""
        return self.state is not ScaleState.UNKNOWN


@dataclass(frozen=True, eq=False, slots=True)
class Odometry:
    """Where the camera is, since the odometry began. Covariances are of x, y, z and turns about these axes.

    Attributes:
        frame_id: the fixed frame: x forward, y left, z up of the camera where the odometry began.
        child_frame_id: what moves: the camera's optical frame, or the frame that the configuration names.
        pose: (4, 4) float64, carries points of the child frame into the fixed frame, metres.
        covariance: (6, 6) float64 in m^2 and rad^2, along the axes of the fixed frame; grows with the way.
        linear_m_s: (3,) float64 mean velocity since the frame before, along the axes of the child frame.
        angular_rad_s: (3,) float64 likewise.
        twist_covariance: (6, 6) float64 of the two velocities.
    """

    frame_id: str
    child_frame_id: str
    pose: NDArray[np.float64]
    covariance: NDArray[np.float64]
    linear_m_s: NDArray[np.float64]
    angular_rad_s: NDArray[np.float64]
    twist_covariance: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Perception:
    """The result for one frame; outputs that were not asked for are None. Maps are of one size, H x W.

    Attributes:
        stamp_ns: the frame's stamp.
        frame_id: the frame's optical frame.
        intrinsics: (3, 3) float64 K of the H x W maps; None where the camera is not known.
        scale: the factor applied to the depth.
        depth_m: (H, W) float32 metres along the optical axis; NaN for sky and where there is none, which is everywhere
            where the scale is unknown. With `scale.unknown: publish` it is then in the network's own unit.
        panoptic: (H, W) uint16 panoptic ids; 65535 is void.
        color: (H, W, 3) uint8 rendering of the panoptic map.
        semantic: (H, W) uint8 class ids of `panoptic`; 255 is void.
        confidence: (H, W) uint8, 255 times the probability of the pixel's likeliest class; 0 where it is void.
        segments: one entry for each id in `panoptic`, void left out.
        cloud: (h, w) or (N,) of `POINT_DTYPE`, in the optical frame, metres; strided as configured.
        image: (H, W, 3) uint8, the camera's image, rectified.
        overlay: (H, W, 3) uint8, that image with masks, track ids and distances.
        boxes: boxes of the instances that have enough depth in metres, nearest first; empty without K.
        odometry: pose of the camera; None while the scale is unknown, or K where corners are followed.
        problem: NaN and infinite numbers that the network gave, and what became of them; empty where it gave none.
        timings_ms: milliseconds by stage; empty unless timing is on.
    """

    stamp_ns: int
    frame_id: str
    intrinsics: NDArray[np.float64] | None
    scale: ScaleEstimate
    depth_m: NDArray[np.float32] | None = None
    panoptic: NDArray[np.uint16] | None = None
    color: NDArray[np.uint8] | None = None
    semantic: NDArray[np.uint8] | None = None
    confidence: NDArray[np.uint8] | None = None
    segments: tuple[Segment, ...] | None = None
    cloud: NDArray[Any] | None = None
    image: NDArray[np.uint8] | None = None
    overlay: NDArray[np.uint8] | None = None
    boxes: tuple[Box3D, ...] | None = None
    odometry: Odometry | None = None
    problem: str = ""
    timings_ms: MappingProxyType[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __getitem__(self, output: Output) -> Any:
        """Return an output; None where it was not asked for, or the frame has none."""
        return getattr(self, output.field)
