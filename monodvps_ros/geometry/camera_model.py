# SPDX-License-Identifier: Apache-2.0
"""What a camera_info says of the image beside it: K of the rectified image, and the distortion to remove first.

The one place where this is decided, for the node and for every reader of recordings and folders.
"""

import logging
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import CameraInfoError, counted, shortened, shown
from monodvps_ros.geometry.calibration import Calibration, intrinsics_fault
from monodvps_ros.geometry.intrinsics import crop_intrinsics, scale_intrinsics
from monodvps_ros.geometry.rectification import Distortion, Rectification

log = logging.getLogger(__name__)

#: Distortion models that can be removed, and how many coefficients each may have.
DISTORTION_MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (4, 5, 8, 12, 14), "equidistant": (4,)}
_WITH_MORE = "rational_polynomial"
#: Other names of these.
_ALIASES = {"fisheye": "equidistant"}
#: All names that a camera_info may have where it has distortion coefficients.
KNOWN_MODELS = (*DISTORTION_MODELS, *_ALIASES)
#: Values of the option `rectified`: whether the image has its distortion removed already.
RECTIFIED = {"auto": None, "true": True, "false": False}

#: Where more of a rectified image is outside of the recorded one, or the principal point is farther from the middle in
#: parts of the image, the recorded one may be rectified already, and K that of the camera before it.
_MOST_OUTSIDE, _MOST_OFF_CENTRE = 0.25, 0.1
#: Without distortion: K of an image of another size, of half of it, has its principal point as far from the middle.
_MOST_OFF_MIDDLE = 0.2
_RECTIFIED_NAME = re.compile(r"(^|[/_])rect(ified)?([/_]|$)")


@dataclass(frozen=True, eq=False, slots=True)
class CameraModel:
    """The camera of an image as far as it is known.

    Attributes:
        intrinsics: (3, 3) float64 K of the rectified image, in pixels of the image that was received; None where it is
            not known.
        rectification: removes the image's distortion; None where there is nothing to remove.
        calibration: what to publish beside the image, so that a subscriber of a topic of any name reads the same from
            it; None without camera_info.
        problem: why K is not known; empty where it is.
        doubt: why K may be that of another image, or the image rectified already, although its distortion is removed;
            empty where neither is likely.
    """

    intrinsics: NDArray[np.float64] | None = None
    rectification: Rectification | None = None
    calibration: Calibration | None = None
    problem: str = ""
    doubt: str = ""

    @property
    def treatment(self) -> str:
        """What is done about lens distortion, in words."""
        if self.rectification is not None:
            return f"{self.rectification.distortion.model} is removed" + (f"; {self.doubt}" if self.doubt else "")
        if self.problem:
            return "none: the camera is not known"
        doubt = f"; {self.doubt}" if self.doubt else ""
        return f"none: the image is rectified already or the camera has no distortion{doubt}"


class CameraReader:
    """Reads the camera_infos of one topic's images; what follows from one is worked out once.

    Args:
        rectified: auto, true or false: whether the images are rectified. auto: where the topic's name says so, or the
            camera has no distortion.
        topic: of the images; empty where they come from no topic.
    """

    def __init__(self, rectified: str = "auto", topic: str = "") -> None:
        chosen = RECTIFIED[rectified]
        self._topic = topic
        self._rectified = True if chosen is None and is_rectified_by_name(topic) else chosen
        self._key: object = None
        self._unknown = self._camera = CameraModel(problem="there is no camera_info")

    def read(self, calibration: Calibration | None, size: tuple[int, int]) -> CameraModel:
        """Say what is known of the camera of an image of a size (height, width). Never raises."""
        if calibration is None:
            return self._unknown
        key = size, calibration.content()
        if key != self._key:
            try:
                self._camera = camera_model(calibration, size, self._rectified)
            except CameraInfoError as error:
                self._camera = CameraModel(calibration=calibration, problem=f"camera_info: {error}")
            if self._camera.doubt:
                log.warning("%s: %s", self._topic or "camera", self._camera.doubt)
            self._key = key
        return self._camera


def is_rectified_by_name(topic: str) -> bool:
    """Whether a topic names rectified images, as image_rect, image_rect_color and rect/image do."""
    return _RECTIFIED_NAME.search(topic) is not None


def camera_model(calibration: Calibration, image_size: tuple[int, int], rectified: bool | None) -> CameraModel:
    """Read a calibration.

    Args:
        calibration: of the full sensor, which is then cropped by its ROI, then binned.
        image_size: height and width of the image that came with it.
        rectified: whether the image is rectified already; None: it is where the camera has no distortion.

    Returns:
        Rectified: P's left part; K where P is not set, or not usable and there is no distortion.
        Raw, without distortion: K; P's left part where K is not usable.
        Raw, with distortion: the rectification, from K to P's left part; to K where P is not set or not usable.

    Raises:
        CameraInfoError: neither matrix that would do is usable (see `intrinsics_fault`); the image is of another size;
            or the distortion model, its coefficients or R cannot be used. The message says which.

    Source: REP 104. Pixels are binned together, so that u becomes (u + 0.5) / n - 0.5.
    """
    crop, binning = _crop(calibration, image_size)
    sensor = calibration.height or crop[0] + crop[2], calibration.width or crop[1] + crop[3]
    k, p = [("K", calibration.k)], [("P", calibration.p[:, :3])]
    p = p if calibration.p[0, 0] != 0.0 and calibration.p[1, 1] != 0.0 else []
    straight = not calibration.d.any() and not (rectified is False and _model_name(calibration) == "equidistant")
    if rectified:
        matrix = _usable(p + k if straight or not p else p, sensor)
        intrinsics = _fit(matrix, crop, binning)
        return CameraModel(intrinsics, None, Calibration.of_pinhole(intrinsics, image_size), doubt=_off(matrix, sensor))
    raw = _usable(k + p if straight else k, sensor)
    if straight:
        return CameraModel(_fit(raw, crop, binning), None, calibration, doubt=_off(raw, sensor))
    distortion = Distortion(*_distortion(calibration), _fit(raw, crop, binning), _rotation(calibration.r))
    intrinsics = _fit(_usable(p + k, sensor), crop, binning)
    rectification = Rectification(distortion, intrinsics, image_size)
    doubt = "" if rectified is False else _doubt(rectification)
    return CameraModel(intrinsics, rectification, calibration, doubt=doubt)


def _doubt(rectification: Rectification) -> str:
    (height, width), raw = rectification.size, rectification.distortion.raw_intrinsics
    u, v = rectification.pixels[..., 0], rectification.pixels[..., 1]
    inside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    outside = 1 - float(inside.mean())
    if outside <= _MOST_OUTSIDE and _off_centre(raw, (height, width)) <= _MOST_OFF_CENTRE:
        return ""
    return (
        f"{100 * outside:.0f} % of the image without distortion lie outside of the recorded one; the principal point "
        f"of K is ({raw[0, 2]:.0f}, {raw[1, 2]:.0f}) of {width}x{height}; if it is rectified, set rectified to 'true'"
    )


def _off(matrix: NDArray[np.float64], sensor: tuple[int, int]) -> str:
    """Say why K may be that of an image of another size; empty where it may not."""
    if _off_centre(matrix, sensor) <= _MOST_OFF_MIDDLE:
        return ""
    return (
        f"its principal point ({matrix[0, 2]:.0f}, {matrix[1, 2]:.0f}) is far from the middle of the image of "
        f"{sensor[1]}x{sensor[0]}: is this the K of an image of another size?"
    )


def _off_centre(matrix: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Return how far the principal point is from the middle, in parts of the image."""
    (v, u), (height, width) = (matrix[1, 2], matrix[0, 2]), size
    return float(max(abs((u + 0.5) / width - 0.5), abs((v + 0.5) / height - 0.5)))


def _usable(candidates: list[tuple[str, NDArray[np.float64]]], sensor: tuple[int, int]) -> NDArray[np.float64]:
    """Return the first matrix that a camera can have.

    Raises:
        CameraInfoError: there is none; the message says what is wrong with the first.
    """
    faults = [intrinsics_fault(matrix, sensor) for _, matrix in candidates]
    if "" in faults:
        return candidates[faults.index("")][1]
    raise CameraInfoError(f"{candidates[0][0]} is {faults[0]}")


def _crop(calibration: Calibration, image_size: tuple[int, int]) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Return top, left, height and width of the region that was read from the sensor, and its binning.

    Raises:
        CameraInfoError: the image that comes of it is not of the image's size, or not within the sensor.
    """
    binning = max(calibration.binning[0], 1), max(calibration.binning[1], 1)
    top, left, height, width = calibration.roi
    height = height or calibration.height or image_size[0] * binning[0]
    width = width or calibration.width or image_size[1] * binning[1]
    size = height // binning[0], width // binning[1]
    if size != image_size:
        raise CameraInfoError(
            f"it is for an image of {size[1]}x{size[0]} but the image is {image_size[1]}x{image_size[0]}; "
            "publish the camera_info of this image"
        )
    sensor = calibration.height or top + height, calibration.width or left + width
    if top + height > sensor[0] or left + width > sensor[1]:
        raise CameraInfoError(
            f"its region of interest of {width}x{height} at ({left}, {top}) reaches beyond the image of "
            f"{sensor[1]}x{sensor[0]}"
        )
    return (top, left, height, width), binning


def _fit(
    intrinsics: NDArray[np.float64], crop: tuple[int, int, int, int], binning: tuple[int, int]
) -> NDArray[np.float64]:
    """Carry K of the sensor over to the image."""
    top, left, height, width = crop
    size = height // binning[0], width // binning[1]
    cropped = crop_intrinsics(intrinsics, top, left)
    return scale_intrinsics(cropped, (size[0] * binning[0], size[1] * binning[1]), size)


def _model_name(calibration: Calibration) -> str:
    return _ALIASES.get(calibration.distortion_model, calibration.distortion_model)


def _distortion(calibration: Calibration) -> tuple[str, NDArray[np.float64]]:
    """Return the distortion model's name and coefficients; zeros beyond the most that it can have are dropped."""
    model, coefficients = _model_name(calibration), calibration.d
    if model not in DISTORTION_MODELS:
        raise CameraInfoError(
            f"distortion model '{shortened(model)}' is not known; known are {', '.join(KNOWN_MODELS)}, and 'none' "
            "without coefficients; rectify the image first and set rectified to 'true'"
        )
    if model == "plumb_bob" and coefficients[5:].any() and len(coefficients) in DISTORTION_MODELS[_WITH_MORE]:
        model = _WITH_MORE  # image_geometry, too, goes by the number of coefficients
    counts = DISTORTION_MODELS[model]
    while len(coefficients) > counts[-1] and coefficients[-1] == 0.0:
        coefficients = coefficients[:-1]
    if not len(coefficients) and model == "equidistant":
        coefficients = np.zeros(4)
    if len(coefficients) not in counts or not np.isfinite(coefficients).all():
        raise CameraInfoError(
            f"'{model}' has {counted(len(coefficients), 'coefficient')}: {shown(coefficients.tolist())}; "
            f"it must have {' or '.join(map(str, counts))} finite ones"
        )
    return model, coefficients


def _rotation(r: NDArray[np.float64]) -> NDArray[np.float64]:
    if not r.any():
        return np.eye(3)
    if not np.isfinite(r).all() or np.abs(r @ r.T - np.eye(3)).max() > 1e-3 or np.linalg.det(r) < 0:
        raise CameraInfoError(f"R is not a rotation: {shown(r.ravel().tolist())}")
    return r
