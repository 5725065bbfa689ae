# SPDX-License-Identifier: Apache-2.0
"""What a CameraInfo says of the image beside it: K of the rectified image, and the distortion to take out first.

Nothing here imports rclpy: a message is whatever has CameraInfo's fields.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import CameraInfoError
from monodvps_ros.geometry import scale_intrinsics

#: Distortion models that can be taken out, and how many coefficients each may have.
DISTORTION_MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}


_RECTIFIED_NAME = re.compile(r"(^|[/_])rect(ified)?([/_]|$)")


@dataclass(frozen=True, eq=False, slots=True)
class Distortion:
    """From the raw image to the rectified one.

    Attributes:
        model: plumb_bob, rational_polynomial or equidistant.
        coefficients: of the model, as OpenCV orders them.
        raw_intrinsics: (3, 3) K of the raw image, in its pixels.
        rotation: (3, 3) from the raw camera's axes to the rectified camera's.
    """

    model: str
    coefficients: NDArray[np.float64]
    raw_intrinsics: NDArray[np.float64]
    rotation: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class CameraModel:
    """The camera of an image.

    Attributes:
        intrinsics: (3, 3) float64 K of the rectified image, in pixels of the image that was received.
        distortion: what must be taken out of the image first; None where it is rectified already.
    """

    intrinsics: NDArray[np.float64]
    distortion: Distortion | None


def is_rectified_by_name(topic: str) -> bool:
    """Whether a topic names rectified images, as image_rect, image_rect_color and rect/image do."""
    return _RECTIFIED_NAME.search(topic) is not None


def camera_model(info: Any, image_size: tuple[int, int], rectified: bool | None) -> CameraModel:
    """Read a CameraInfo.

    Args:
        info: a sensor_msgs/CameraInfo; calibrated for the full sensor, then cropped by its ROI, then binned.
        image_size: height and width of the image that came with it.
        rectified: whether the image is rectified already; None: it is where the camera has no distortion.

    Returns:
        P's left part where the image is rectified (K where P is not set); else K and the distortion, with P's left
        part as the K that the rectified image shall have (K where P is not set).

    Raises:
        CameraInfoError: not calibrated (K[0] is 0), not finite, of another size than the image, or with a distortion
            model that is not known; the message says which.

    Source: REP 104. Pixels are binned together, so that u becomes (u + 0.5) / n - 0.5.
    """
    raw = _matrix(info.k, "K")
    if raw[0, 0] == 0.0 or raw[1, 1] == 0.0:
        raise CameraInfoError("camera_info is not calibrated: K[0] or K[4] is 0; calibrate the camera")
    projection = np.asarray(info.p, np.float64).reshape(3, 4)[:, :3]
    target = projection if projection[0, 0] != 0.0 and projection[1, 1] != 0.0 else raw
    if not np.isfinite(target).all():
        raise CameraInfoError(f"camera_info has a P that is not finite: {projection.ravel().tolist()}")
    crop, binning = _crop(info), (max(int(info.binning_y), 1), max(int(info.binning_x), 1))
    coefficients = np.asarray(info.d, np.float64).ravel()
    if rectified is None:
        rectified = not coefficients.any()
        target = raw if rectified else target
    fitted = _fit(target, crop, binning, image_size)
    if rectified or not coefficients.any():
        return CameraModel(fitted if rectified else _fit(raw, crop, binning, image_size), None)
    _check_distortion(info.distortion_model, coefficients)
    rotation = np.asarray(info.r, np.float64).reshape(3, 3)
    rotation = rotation if rotation.any() else np.eye(3)
    raw_fitted = _fit(raw, crop, binning, image_size)
    return CameraModel(fitted, Distortion(info.distortion_model, coefficients, raw_fitted, rotation))


def _matrix(values: Any, name: str) -> NDArray[np.float64]:
    matrix = np.asarray(values, np.float64).reshape(3, 3)
    if not np.isfinite(matrix).all():
        raise CameraInfoError(f"camera_info has a {name} that is not finite: {matrix.ravel().tolist()}")
    return matrix


def _crop(info: Any) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the region that was read from the sensor."""
    roi = info.roi
    return int(roi.y_offset), int(roi.x_offset), int(roi.height or info.height), int(roi.width or info.width)


def _fit(
    intrinsics: NDArray[np.float64],
    crop: tuple[int, int, int, int],
    binning: tuple[int, int],
    image_size: tuple[int, int],
) -> NDArray[np.float64]:
    top, left, height, width = crop
    size = height // binning[0], width // binning[1]
    if size != image_size:
        raise CameraInfoError(
            f"camera_info is for an image of {size[1]}x{size[0]} but the image is {image_size[1]}x{image_size[0]}; "
            "publish the camera_info of this image"
        )
    moved = np.array(intrinsics)
    moved[:2, 2] -= (left, top)
    return scale_intrinsics(moved, (size[0] * binning[0], size[1] * binning[1]), size)


def _check_distortion(model: str, coefficients: NDArray[np.float64]) -> None:
    if model not in DISTORTION_MODELS:
        raise CameraInfoError(
            f"camera_info has distortion model '{model}'; known are {', '.join(DISTORTION_MODELS)}; "
            "rectify the image first and set rectified to 'true'"
        )
    if len(coefficients) not in DISTORTION_MODELS[model] or not np.isfinite(coefficients).all():
        raise CameraInfoError(
            f"camera_info has {len(coefficients)} coefficients for '{model}': {coefficients.tolist()}; "
            f"it must have {' or '.join(map(str, DISTORTION_MODELS[model]))} finite ones"
        )
