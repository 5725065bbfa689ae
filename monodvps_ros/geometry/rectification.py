# SPDX-License-Identifier: Apache-2.0
"""Removes lens distortion from images and from maps that belong to them."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class Distortion:
    """From the rectified image to the raw one.

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


class Rectification:
    """Removes a distortion: where each pixel of the rectified image lies in the raw one, and what follows from it.

    Args:
        distortion: of the raw image.
        intrinsics: (3, 3) K that the rectified image is to have.
        size: height and width of both images.

    Attributes:
        distortion: as given.
        size: as given.
        pixels: (H, W, 2) float32 (u, v) in pixels of the raw image.
        seen: (H, W) bool, true where the raw image has the pixel.

    Source of the distortion models: OpenCV, camera calibration and fisheye modules.
    """

    def __init__(self, distortion: Distortion, intrinsics: NDArray[np.float64], size: tuple[int, int]) -> None:
        self.distortion, self.size, self._intrinsics = distortion, size, intrinsics
        is_fisheye = distortion.model == "equidistant"
        u, v = (cv2.fisheye.initUndistortRectifyMap if is_fisheye else cv2.initUndistortRectifyMap)(
            distortion.raw_intrinsics,
            distortion.coefficients,
            distortion.rotation,
            intrinsics,
            (size[1], size[0]),
            cv2.CV_32FC1,
        )
        self.pixels = np.stack((u, v), axis=2).astype(np.float32)
        self.seen = (u > -0.5) & (u < size[1] - 0.5) & (v > -0.5) & (v < size[0] - 0.5)
        self._maps = cv2.convertMaps(u, v, cv2.CV_16SC2)

    def image(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rectify an image.

        Args:
            raw: (H, W, 3) uint8.

        Returns:
            (H, W, 3) uint8, bilinear; the nearest edge's colour where the raw image saw nothing (see `seen`).
        """
        moved = cv2.remap(raw, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)

    def nearest(self, raw: NDArray[Any], unseen: float) -> NDArray[Any]:
        """Rectify a map of labels or of depth: each pixel the nearest one, so that no value is invented.

        Args:
            raw: (H, W) of any dtype.
            unseen: value of pixels that the raw image does not have.
        """
        rows = np.rint(self.pixels[..., 1]).clip(0, self.size[0] - 1).astype(np.intp)
        columns = np.rint(self.pixels[..., 0]).clip(0, self.size[1] - 1).astype(np.intp)
        moved = raw[rows, columns]
        moved[~self.seen] = unseen
        return moved

    def depth(self, raw_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rectify an (H, W) float32 depth map, metres along the camera's axis; NaN where the raw image saw nothing."""
        moved = self.nearest(raw_m, np.nan)
        if np.array_equal(self.distortion.rotation, np.eye(3)):
            return moved
        # the ray of a pixel with z = 1 in the rectified camera has this z in the raw one
        along_u, along_v, constant = np.linalg.inv(self._intrinsics @ self.distortion.rotation)[2]
        v, u = np.mgrid[0 : self.size[0], 0 : self.size[1]]
        return np.asarray(moved / (along_u * u + along_v * v + constant), np.float32)
