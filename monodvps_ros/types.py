# SPDX-License-Identifier: Apache-2.0
"""Data types shared by all packages: camera frames, ground truth, model output, perception results and their topics.

All are frozen and validated on construction. Arrays are (row, column); camera maths is (u, v). Importing this module
does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.geometry.rectification import Rectification
from monodvps_ros.labels import LabelSpace
from monodvps_ros.shapes import check_shapes

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_TYPE = "sensor_msgs/msg/Image"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
POINT_CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
SEGMENTS_TYPE = "monodvps_ros/msg/PanopticSegments"


@dataclass(frozen=True, eq=False, slots=True)
class CameraFrame:
    """One image of a pinhole camera, rectified, or with the map that rectifies it.

    Attributes:
        image: (H, W, 3) uint8, red, green, blue.
        stamp_ns: time of acquisition in nanoseconds.
        frame_id: name of the camera's optical frame (z forward, x right, y down).
        intrinsics: (3, 3) float64 pinhole matrix K in pixels of this image, integer coordinates at pixel centres;
            None where it is not known. Of the rectified image, where `rectification` is given.
        rectification: removes the distortion of `image`; None where it has none. The pipeline keeps what it makes of
            one, so give the same with each frame of a camera.
        calibration: as the camera's driver published it, for whoever publishes the frame again; None where there was
            none.

    Raises:
        ShapeError: a shape or dtype differs.
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str = "camera"
    intrinsics: NDArray[np.float64] | None = None
    rectification: Rectification | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        pixels = None if self.rectification is None else self.rectification.pixels
        check_shapes(image=(self.image, "H W 3"), intrinsics=(self.intrinsics, "3 3"), rectification=(pixels, "H W 2"))
        if self.image.dtype != np.uint8:
            raise ShapeError(f"image must be uint8 but is {self.image.dtype}; convert it first")
        if 0 in self.image.shape:
            raise ShapeError(f"image is {self.image.shape}: it has no pixels")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def rectified(self) -> CameraFrame:
        """Return the frame with the distortion of its image removed; itself where it has none."""
        if self.rectification is None:
            return self
        return CameraFrame(self.rectification.image(self.image), self.stamp_ns, self.frame_id, self.intrinsics)


@dataclass(frozen=True, eq=False, slots=True)
class FrameTruth:
    """What is known of one frame beside its image; whatever is not known is None. Maps are of the rectified image.

    Attributes:
        panoptic: (H, W) uint16 panoptic ids whose instance ids persist over the sequence; 65535 is void.
        depth_m: (H, W) float32 metres along the optical axis; NaN where there is none.
        flow_px: (H, W, 2) float32 (dx, dy) from this frame to the previous one in pixels; NaN where there is none.
        flow_visible: (H, W) bool, true where the surface seen here was seen in the previous frame too.
        world_from_camera: (4, 4) float64, carries points of the camera's optical frame into a fixed frame, metres.
        panoptic_is_pseudo: true where `panoptic` is a teacher's guess and not the truth; its instance ids do not
            persist then. Training weighs it by `LossConfig.pseudo_labels`; nothing is to be measured against it.
        inverse_depth: (H, W) float32, a teacher's guess up to scale and shift, larger is nearer; NaN where none.

    Raises:
        ShapeError: a shape or dtype differs, or two maps differ in size.
    """

    panoptic: NDArray[np.uint16] | None = None
    depth_m: NDArray[np.float32] | None = None
    flow_px: NDArray[np.float32] | None = None
    flow_visible: NDArray[np.bool_] | None = None
    world_from_camera: NDArray[np.float64] | None = None
    panoptic_is_pseudo: bool = False
    inverse_depth: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        check_shapes(
            panoptic=(self.panoptic, "H W"),
            depth_m=(self.depth_m, "H W"),
            flow_px=(self.flow_px, "H W 2"),
            flow_visible=(self.flow_visible, "H W"),
            world_from_camera=(self.world_from_camera, "4 4"),
            inverse_depth=(self.inverse_depth, "H W"),
        )
        dtypes = {"panoptic": np.uint16, "depth_m": np.float32, "flow_px": np.float32, "flow_visible": np.bool_,
                  "inverse_depth": np.float32}  # fmt: skip
        for name, dtype in dtypes.items():
            value = getattr(self, name)
            if value is not None and value.dtype != dtype:
                raise ShapeError(f"{name} must be {np.dtype(dtype)} but is {value.dtype}")


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """One frame of a sequence with its truth and its place.

    Attributes:
        frame: the image, its stamp and its camera.
        truth: what is known of it; empty where the source has no truth.
        sequence: name of the sequence; frames of one sequence follow each other in time.
        index: 0-based place in the sequence.
        source: where it came from, for error messages and reports (a path, or path and topic).
    """

    frame: CameraFrame
    truth: FrameTruth = field(default_factory=FrameTruth)
    sequence: str = "0"
    index: int = 0
    source: str = ""


@runtime_checkable
class SampleSource(Protocol):
    """Samples in time order: a bag, a data set, a folder of images, a video file, a synthetic drive."""

    @property
    def rate_hz(self) -> float:
        """Nominal frames per second."""

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the panoptic truth."""

    def __len__(self) -> int:
        """Number of samples."""

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first sample; may be called again."""


@dataclass(frozen=True, eq=False, slots=True)
class NetworkOutput:
    """What a model says of a batch of images of size H x W, each map at a size of the model's choice.

    A model gives either `center_heatmap` and `offsets_px` or `instances`, and either `disparities` or `depth_m`.

    Attributes:
        class_logits: (B, C, h, w) scores before softmax.
        center_heatmap: (B, 1, h, w), about 1 at the centre of an instance, no sigmoid after it.
        offsets_px: (B, 2, h, w) (dy, dx) from a pixel to its instance's centre, in pixels of the H x W image.
        instances: (B, H, W) int64, 1.. for instances, 0 for none.
        disparities: finest first, each (B, 1, h, w), in (0, 1), sigmoid output; a live model may give one only.
        depth_m: (B, 1, h, w) metres.
        depth_features: finest first, the maps before each disparity's last convolution; training only.
        flow_px: finest first, each (B, 2, h, w) (dx, dy) from this frame to the previous one, in pixels of H x W;
            empty where the model has no flow or no previous frame was given.
        memory: what the model wants back with the next frame; on the model's device.
    """

    class_logits: Tensor
    center_heatmap: Tensor | None = None
    offsets_px: Tensor | None = None
    instances: Tensor | None = None
    disparities: tuple[Tensor, ...] = ()
    depth_m: Tensor | None = None
    depth_features: tuple[Tensor, ...] = ()
    flow_px: tuple[Tensor, ...] = ()
    memory: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        """Check that each part has one of its forms."""
        if self.instances is None and (self.center_heatmap is None or self.offsets_px is None):
            raise ShapeError("a model must give center_heatmap and offsets_px, or instances; got neither")
        if not self.disparities and self.depth_m is None:
            raise ShapeError("a model must give disparities or depth_m; got neither")


@runtime_checkable
class PerceptionModel(Protocol):
    """What the pipeline asks of a model; our network and the foundation models both keep it."""

    @property
    def label_space(self) -> LabelSpace:
        """Classes of `NetworkOutput.class_logits`."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images that the model wants."""

    @property
    def depth_range_m(self) -> tuple[float, float]:
        """Nearest and farthest depth that disparities 1 and 0 stand for, in the model's own unit."""

    @property
    def is_metric(self) -> bool:
        """Whether its depth is in metres, once it is brought to the camera's focal length."""
        ...

    @property
    def canonical_focal_px(self) -> float:
        """Focal length f_c, in pixels of its input, at which its depth is in metres: a camera's is f / f_c times it.

        0 where its depth is to be taken as it is.
        """
        ...

    @property
    def description(self) -> str:
        """What weights it runs, in words, for reports and diagnostics."""

    def infer(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        """Look at one image.

        Args:
            image: (1, 3, H, W) float, red, green, blue in 0..1, of `input_size`.
            memory: `NetworkOutput.memory` of the previous frame; empty after a start or a reset.
        """


class Stage(Enum):
    """Stages of the pipeline that run only for outputs that need them."""

    TRACKING = "tracking"  # instances and their persistent ids
    SCALE = "scale"  # depth in metres
    PROBABILITY = "probability"  # of each pixel's class


class Output(Enum):
    """Outputs of the pipeline; only those asked for are computed.

    Attributes:
        field: the attribute of `Perception` that holds it.
        needs: the stages that it needs.
    """

    DEPTH = "depth_m", Stage.SCALE
    PANOPTIC = "panoptic", Stage.TRACKING
    COLOR = "color", Stage.TRACKING
    SEMANTIC = ("semantic",)
    CONFIDENCE = "confidence", Stage.PROBABILITY
    SEGMENTS = "segments", Stage.TRACKING, Stage.SCALE, Stage.PROBABILITY
    CLOUD = "cloud", Stage.TRACKING, Stage.SCALE

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
        encoding: of an image; empty for other types.
        contract: content of a message, for the manual.
    """

    topic: str
    type_name: str
    output: Output
    encoding: str
    contract: str


#: The one table of output topics. `data.message_fields` packs them into messages by their type.
OUTPUT_TOPICS = (
    OutputTopic("depth/image", IMAGE_TYPE, Output.DEPTH, "32FC1", "metres along the optical axis; NaN: sky or unknown"),
    OutputTopic("depth/camera_info", CAMERA_INFO_TYPE, Output.DEPTH, "", "K of depth/image; rectified"),
    OutputTopic("panoptic/image", IMAGE_TYPE, Output.PANOPTIC, "16UC1", "class id * 1000 + instance id; 65535 is void"),
    OutputTopic("panoptic/color", IMAGE_TYPE, Output.COLOR, "rgb8", "class colours, instances in shades, contours"),
    OutputTopic("panoptic/segments", SEGMENTS_TYPE, Output.SEGMENTS, "", "one entry per segment"),
    OutputTopic("semantic/image", IMAGE_TYPE, Output.SEMANTIC, "mono8", "class id; 255 is void"),
    OutputTopic("semantic/confidence", IMAGE_TYPE, Output.CONFIDENCE, "mono8", "255 * probability of the class"),
    OutputTopic("points", POINT_CLOUD_TYPE, Output.CLOUD, "", "x y z rgb label instance; optical frame, metres"),
)  # fmt: skip


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


#: One point of the cloud as it lies in a PointCloud2: 24 bytes; `rgb` holds 0x00RRGGBB as the bits of a float32.
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
    NONE = "none"  # depth is in the network's own unit
    FIXED = "fixed"  # a constant factor
    MEASURED = "measured"  # camera height over the height seen, smoothed over time
    HELD = "held"  # the last measured factor; the road is not seen well enough now
    WAITING = "waiting"  # asked for, but the road has not been seen yet


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """The factor from the network's depth to metres.

    Attributes:
        factor: metres per unit of the network's depth.
        confidence: 0..1, how far this frame's measurement can be trusted; 1 where the factor is fixed.
        state: where the factor comes from.
        road_factor: what the camera's height above the road gives, also where it is only watched; NaN where the road
            has not been measured.
    """

    factor: float
    confidence: float
    state: ScaleState
    road_factor: float = float("nan")


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Perception:
    """The result for one frame; outputs that were not asked for are None. Maps are of one size, H x W.

    Attributes:
        stamp_ns: the frame's stamp.
        frame_id: the frame's optical frame.
        intrinsics: (3, 3) float64 K of the H x W maps; None where the camera is not known.
        scale: the factor applied to the depth.
        depth_m: (H, W) float32 metres along the optical axis; NaN for sky and where there is none.
        panoptic: (H, W) uint16 panoptic ids; 65535 is void.
        color: (H, W, 3) uint8 rendering of the panoptic map.
        semantic: (H, W) uint8 class ids; 255 is void.
        confidence: (H, W) uint8, 255 times the probability of the pixel's class.
        segments: one entry for each id in `panoptic`, void left out.
        cloud: (h, w) or (N,) of `POINT_DTYPE`, in the optical frame, metres; strided as configured.
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
    timings_ms: MappingProxyType[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __getitem__(self, output: Output) -> Any:
        """Return an output; None where it was not asked for, or the frame has none."""
        return getattr(self, output.field)
