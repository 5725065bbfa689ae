# SPDX-License-Identifier: Apache-2.0
"""The calibration of a camera: what the fields of a sensor_msgs/CameraInfo hold, whoever made the message."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import CameraInfoError, shown
from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """The fields of a CameraInfo but its header, as they came: nothing is checked here.

    Attributes:
        height: rows of the image that was calibrated, before ROI and binning; 0 where the driver left it unset.
        width: its columns; likewise.
        distortion_model: name of the distortion model.
        d: (N,) float64 distortion coefficients.
        k: (3, 3) float64 K of the distorted image, pixels.
        r: (3, 3) float64 from the axes of the distorted image's camera to those of the rectified image's.
        p: (3, 4) float64 projection matrix of the rectified image, pixels.
        binning: rows and columns of the sensor that became one pixel; 0 is the same as 1.
        roi: top, left, height and width of the part of the sensor that was read; height or width 0: all of it.
        do_rectify: `roi.do_rectify`.
    """

    height: int
    width: int
    distortion_model: str
    d: NDArray[np.float64]
    k: NDArray[np.float64]
    r: NDArray[np.float64]
    p: NDArray[np.float64]
    binning: tuple[int, int] = (0, 0)
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    do_rectify: bool = False

    @classmethod
    def from_message(cls, info: Any) -> "Calibration":
        """Read a CameraInfo, of rclpy or of rosbags."""
        roi = info.roi
        return cls(
            height=int(info.height),
            width=int(info.width),
            distortion_model=str(info.distortion_model),
            d=np.array(info.d, np.float64).ravel(),
            k=np.array(info.k, np.float64).reshape(3, 3),
            r=np.array(info.r, np.float64).reshape(3, 3),
            p=np.array(info.p, np.float64).reshape(3, 4),
            binning=(int(info.binning_y), int(info.binning_x)),
            roi=(int(roi.y_offset), int(roi.x_offset), int(roi.height), int(roi.width)),
            do_rectify=bool(roi.do_rectify),
        )

    @classmethod
    def of_pinhole(
        cls,
        intrinsics: NDArray[np.float64],
        size: tuple[int, int],
        distortion_model: str = "plumb_bob",
        d: Sequence[float] = (0.0,) * 5,
    ) -> "Calibration":
        """Describe a camera by K alone; without further arguments one whose image has no distortion.

        Args:
            intrinsics: (3, 3) K in pixels of the image.
            size: height and width of the image.
            distortion_model: name of the distortion model.
            d: its coefficients.

        Raises:
            ShapeError: K is not 3 x 3.
        """
        check_shapes(intrinsics=(intrinsics, "3 3"))
        k = np.array(intrinsics, np.float64)
        p = np.hstack((k, np.zeros((3, 1))))
        return cls(size[0], size[1], distortion_model, np.array(d, np.float64), k, np.eye(3), p)

    def fields(self) -> dict[str, Any]:
        """Return the fields of a CameraInfo but its header; d, k, r and p are flat float64 arrays."""
        top, left, height, width = self.roi
        roi = {"x_offset": left, "y_offset": top, "height": height, "width": width, "do_rectify": self.do_rectify}
        return {
            "height": self.height,
            "width": self.width,
            "distortion_model": self.distortion_model,
            **{name: getattr(self, name).ravel() for name in "dkrp"},
            "binning_x": self.binning[1],
            "binning_y": self.binning[0],
            "roi": roi,
        }

    def content(self) -> tuple[Any, ...]:
        """Return what tells two calibrations apart, NaN included."""
        numbers = (self.d, self.k, self.r, self.p)
        return (self.height, self.width, self.distortion_model, self.binning, self.roi,
                *(values.tobytes() for values in numbers))  # fmt: skip


#: Focal lengths outside of these shares of the image's longer side are not in pixels: a pinhole camera would see 169
#: degrees, or half a degree.
_LEAST_FOCAL, _MOST_FOCAL = 0.05, 100.0


def intrinsics_fault(matrix: NDArray[np.float64], size: tuple[int, int] | None = None) -> str:
    """Say why no camera has a K: the one check of every reader.

    Args:
        matrix: (3, 3), to be in pixels.
        size: height and width of the whole sensor's image; None: nothing is asked of the size.

    Returns:
        What it is, in words: not finite, not calibrated (zeros, the identity), transposed, of negative focal length, no
        pinhole matrix, in other units than pixels, or with its principal point outside the image. Empty for a K that a
        camera can have.
    """
    fault = next(_faults(np.asarray(matrix, np.float64), size), "")
    return fault and f"{fault}; it is {shown(np.asarray(matrix).ravel().tolist())}"


def check_intrinsics(matrix: NDArray[np.float64]) -> None:
    """Refuse a K that no camera has, of whatever size its image is.

    Raises:
        CameraInfoError: `intrinsics_fault` finds one.
    """
    fault = intrinsics_fault(matrix)
    if fault:
        raise CameraInfoError(f"K is {fault}")


def _faults(matrix: NDArray[np.float64], size: tuple[int, int] | None) -> Iterator[str]:
    if not np.isfinite(matrix).all():
        yield "not finite"
    (fx, skew, cx), (zero, fy, cy), last = matrix.tolist()
    if np.array_equal(matrix, np.eye(3)):
        yield "not calibrated: it is the identity matrix"
    if last != [0, 0, 1] and matrix[:, 2].tolist() == [0, 0, 1]:
        yield "transposed: the principal point belongs in its last column"
    if fx == 0 or fy == 0:
        yield "not calibrated: expected focal lengths above 0"
    if fx < 0 or fy < 0:
        yield "of no camera: expected focal lengths above 0"
    if last != [0, 0, 1] or zero != 0 or abs(skew) > 0.1 * fx:
        yield "not a pinhole matrix: expected fx 0 cx, 0 fy cy, 0 0 1"
    if size is None:
        return
    height, width = size
    if min(fx, fy) < _LEAST_FOCAL * max(size) or max(fx, fy) > _MOST_FOCAL * max(size):
        yield f"not in pixels: focal lengths of {fx:g} and {fy:g} in an image of {width}x{height}"
    if not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        yield f"of another image: its principal point ({cx:g}, {cy:g}) lies outside the image of {width}x{height}"
