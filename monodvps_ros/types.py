# SPDX-License-Identifier: Apache-2.0
"""Data types shared by all packages: camera frames, ground truth, samples, and the model interface.

All are frozen and validated on construction. Arrays are (row, column); camera maths is (u, v). Importing this module
does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ShapeError
from monodvps_ros.labels import LabelSpace
from monodvps_ros.shapes import check_shapes

if TYPE_CHECKING:
    from torch import Tensor

    from monodvps_ros.geometry.calibration import Calibration
    from monodvps_ros.geometry.rectification import Rectification


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
    """Ground truth of one frame; what is unknown is None. Maps are of the rectified image.

    Attributes:
        panoptic: (H, W) uint16 panoptic ids whose instance ids persist over the sequence; 65535 is void.
        depth_m: (H, W) float32 metres along the optical axis; NaN where there is none.
        flow_px: (H, W, 2) float32 (dx, dy) from this frame to the previous one in pixels; NaN where there is none.
        flow_visible: (H, W) bool, true where the surface seen here was seen in the previous frame too.
        world_from_camera: (4, 4) float64, carries points of the camera's optical frame into a fixed frame, metres.
        panoptic_is_pseudo: true where `panoptic` is a pseudo-label of a teacher, whose instance ids do not persist.
            Training weighs it by `LossConfig.pseudo_labels`; it is not for evaluation.
        inverse_depth: (H, W) float32, a teacher's prediction up to scale and shift, larger is nearer; NaN where none.

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
    """One frame of a sequence with its ground truth.

    Attributes:
        frame: the image, its stamp and its camera.
        truth: its ground truth; empty where the source has none.
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
    """Samples in time order: a bag, a data set, a folder of images, a video file or a synthetic drive."""

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
    """Output of a model for a batch of images of size H x W; each map at a size of the model's choice.

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
        memory: state that the model takes with the next frame; on the model's device.
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
    """The model interface of the pipeline, implemented by our network and the foundation models."""

    @property
    def label_space(self) -> LabelSpace:
        """Classes of `NetworkOutput.class_logits`."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the model's input."""

    @property
    def depth_range_m(self) -> tuple[float, float]:
        """Depths of disparities 1 and 0, in the model's own unit."""

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
    def has_flow(self) -> bool:
        """Whether it gives flow from its second frame on."""
        ...

    @property
    def description(self) -> str:
        """Description of its weights, for reports and diagnostics."""

    def infer(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        """Run on one image.

        Args:
            image: (1, 3, H, W) float, red, green, blue in 0..1, of `input_size`.
            memory: `NetworkOutput.memory` of the previous frame; empty after a start or a reset.
        """
