# SPDX-License-Identifier: Apache-2.0
"""Augmentation that photometric training survives: one geometry for all frames, their truth and K; colours apart.

Geometry is scale, crop and mirror, drawn once for a triplet. Colours are jittered in the images that networks look at,
never in those that the losses compare, and by the same amounts in all frames of a triplet.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import DataError
from monodvps_ros.geometry import crop_intrinsics, flip_intrinsics, scale_intrinsics
from monodvps_ros.geometry.resizing import nearest_index
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

#: Luma, as of ITU-R BT.601, and two axes of chroma at a right angle, from red, green and blue.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
#: Images that shrink below this share of their pixels are averaged over areas, four times as slow as bilinearly; stored
#: frames shrink less for training.
_MUCH_SMALLER = 0.4
_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class ImageGeometry:
    """Resize the whole image, cut a part out of it, mirror that part.

    Attributes:
        resized: height and width of the whole image after resizing.
        top: first row of the part in the resized image.
        left: first column of the part in the resized image.
        size: height and width of the part; it lies within the resized image.
        mirror: left to right.
    """

    resized: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]
    mirror: bool

    def __post_init__(self) -> None:
        """Check that the part lies within the resized image."""
        if not (0 <= self.top <= self.resized[0] - self.size[0] and 0 <= self.left <= self.resized[1] - self.size[1]):
            raise DataError(
                f"a part of {self.size} at row {self.top}, column {self.left} does not lie in an image of "
                f"{self.resized}"
            )


@dataclass(frozen=True)
class ColorJitter:
    """Factors for one triplet.

    Attributes:
        brightness: factor on all channels.
        contrast: factor on the distance from the image's mean grey.
        saturation: factor on the distance from each pixel's own grey.
        hue_shift: share of the circle of chroma, -0.5..0.5; red turns towards green.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue_shift: float = 0.0


def fit_geometry(size: tuple[int, int]) -> ImageGeometry:
    """Return the geometry of validation and inference: all of the image at (H, W), as in the live pipeline."""
    return ImageGeometry(resized=size, top=0, left=0, size=size, mirror=False)


def draw_geometry(
    size: tuple[int, int],
    generator: np.random.Generator,
    scales: tuple[float, float] = (1.0, 1.5),
    mirror: float = 0.5,
    max_stretch: float = 1.0,
) -> ImageGeometry:
    """Draw a geometry: resize to `size` times a factor, stretch horizontally, cut a random part of `size`.

    Args:
        size: (H, W) of the result.
        generator: source of chance.
        scales: least and greatest factor, at least 1, so that the part lies within the image.
        mirror: probability of mirroring.
        max_stretch: greatest horizontal factor beside the scale, at least 1; log-uniform from 1 on for half of all
            drawn, 1 for the other half.

    Raises:
        DataError: a factor is below 1 or the range is empty.
    """
    if not 1.0 <= scales[0] <= scales[1]:
        raise DataError(f"scales are {scales}; both must be at least 1 and the first not above the second")
    if max_stretch < 1.0:
        raise DataError(f"max_stretch is {max_stretch}; it must be at least 1")
    factor = generator.uniform(*scales)
    stretch = max(1.0, max_stretch ** generator.uniform(-1.0, 1.0)) if max_stretch > 1.0 else 1.0
    resized = round(size[0] * factor), round(size[1] * factor * stretch)
    top, left = (int(generator.integers(0, resized[i] - size[i] + 1)) for i in (0, 1))
    return ImageGeometry(resized, top, left, size, bool(generator.random() < mirror))


def draw_color_jitter(
    generator: np.random.Generator,
    probability: float = 0.5,
    reach: float = 0.2,
    hue_reach: float = 0.1,
    gray: float = 0.0,
) -> ColorJitter:
    """Draw a jitter: brightness, contrast and saturation within `reach` of 1, hue within `hue_reach` of 0.

    Args:
        generator: source of chance.
        probability: of a jitter.
        reach: of brightness, contrast and saturation.
        hue_reach: of the hue.
        gray: probability of no colour at all, as of a grey camera, whether there is a jitter or not.

    Source of the default reaches: Godard et al. 2019.
    """
    without_color = generator.random() < gray if gray > 0.0 else False
    if generator.random() >= probability:
        return ColorJitter(saturation=0.0) if without_color else ColorJitter()
    brightness, contrast, saturation = generator.uniform(1.0 - reach, 1.0 + reach, 3).tolist()
    if without_color:
        saturation = 0.0
    return ColorJitter(brightness, contrast, saturation, float(generator.uniform(-hue_reach, hue_reach)))


def apply_geometry(sample: Sample, geometry: ImageGeometry) -> Sample:
    """Transform image, truth and K of a frame; lens distortion is removed first.

    Images are resized bilinearly, or by area if they shrink much; labels and depth by the nearest pixel, so that no
    value is invented; flow vectors are scaled with the image. Mirroring negates x of the world too, so that poses and
    points still agree.

    Args:
        sample: a frame with whatever truth it has.
        geometry: where each pixel goes.

    Returns:
        The same frame with maps of `geometry.size`.
    """
    frame, truth = sample.frame.rectified(), sample.truth
    scale_y, scale_x = geometry.resized[0] / frame.size[0], geometry.resized[1] / frame.size[1]
    flow = truth.flow_px
    if flow is not None:
        flow = _part(flow, geometry) * np.array([scale_x, scale_y], np.float32)
        if geometry.mirror:
            flow = flow * np.array([-1.0, 1.0], np.float32)
    visible = truth.flow_visible
    if visible is not None:
        visible = _part(visible, geometry)
    pose = truth.world_from_camera
    if pose is not None and geometry.mirror:
        pose = _MIRROR @ pose @ _MIRROR
    smaller = scale_y * scale_x < _MUCH_SMALLER
    return dataclasses.replace(
        sample,
        frame=CameraFrame(
            image=_part(frame.image, geometry, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR),
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            intrinsics=transform_intrinsics(frame.intrinsics, frame.size, geometry),
        ),
        truth=FrameTruth(
            panoptic=None if truth.panoptic is None else _part(truth.panoptic, geometry),
            depth_m=None if truth.depth_m is None else _part(truth.depth_m, geometry),
            flow_px=None if flow is None else flow.astype(np.float32),
            flow_visible=visible,
            world_from_camera=pose,
            panoptic_is_pseudo=truth.panoptic_is_pseudo,
            inverse_depth=None if truth.inverse_depth is None else _part(truth.inverse_depth, geometry),
        ),
    )


def transform_intrinsics(
    intrinsics: NDArray[np.float64] | None, from_size: tuple[int, int], geometry: ImageGeometry
) -> NDArray[np.float64] | None:
    """Return K of a transformed image; None stays None.

    Args:
        intrinsics: (3, 3) K in pixels of the image before.
        from_size: (H, W) before.
        geometry: what is done to the image.
    """
    if intrinsics is None:
        return None
    moved = crop_intrinsics(scale_intrinsics(intrinsics, from_size, geometry.resized), geometry.top, geometry.left)
    return flip_intrinsics(moved, geometry.size[1]) if geometry.mirror else moved


def apply_color_jitter(image: NDArray[np.uint8], jitter: ColorJitter) -> NDArray[np.uint8]:
    """Jitter the colours of an image, all at once: in YIQ each change is linear, so that one matrix does it.

    Args:
        image: (H, W, 3) uint8 red, green, blue.
        jitter: factors; all neutral leaves the image as it is.

    Returns:
        (H, W, 3) uint8.
    """
    if jitter == ColorJitter():
        return image
    turn = 2 * np.pi * jitter.hue_shift
    chroma = jitter.saturation * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    changed = np.eye(3)
    changed[1:, 1:] = chroma
    matrix = jitter.brightness * jitter.contrast * np.linalg.inv(_YIQ) @ changed @ _YIQ
    gray = jitter.brightness * (1.0 - jitter.contrast) * (_YIQ[0] @ cv2.mean(image)[:3])
    return np.asarray(cv2.transform(image, np.column_stack((matrix, np.full(3, gray)))), np.uint8)


def _part(values: NDArray[Any], geometry: ImageGeometry, interpolation: int | None = None) -> NDArray[Any]:
    """Transform an array (H, W, ...): by OpenCV's interpolation, or to the nearest pixel."""
    rows = slice(geometry.top, geometry.top + geometry.size[0])
    columns = slice(geometry.left, geometry.left + geometry.size[1])
    if values.shape[:2] != geometry.resized:
        if interpolation is None:
            index_y, index_x = (
                nearest_index(np.arange(wanted), wanted, given)
                for wanted, given in zip(geometry.resized, values.shape, strict=False)
            )
            seen = index_x[columns]
            return values.take(index_y[rows], 0).take(seen[::-1] if geometry.mirror else seen, 1)
        values = np.asarray(cv2.resize(values, geometry.resized[::-1], interpolation=interpolation))
    part = values[rows, columns]
    if not geometry.mirror:
        return np.ascontiguousarray(part)
    if part.dtype == np.bool_:
        return np.ascontiguousarray(part[:, ::-1])
    return np.asarray(cv2.flip(part, 1))  # in an eighth of numpy's time
