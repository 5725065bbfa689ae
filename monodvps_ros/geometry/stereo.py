# SPDX-License-Identifier: Apache-2.0
"""Disparity of a rectified stereo pair."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.shapes import check_shapes

#: Disparities up to this share of the image's width are searched.
SEARCHED_SHARE = 1 / 10
#: A nearer match than this says little of the distance: an error of half a pixel is a quarter of it.
LEAST_DISPARITY_PX = 2.0
#: Matches from left to right and from right to left may differ by this.
TOLERANCE_PX = 1.0

_BLOCK_PX, _SMALL_STEP, _LARGE_STEP = 5, 8, 32  # OpenCV's own suggestion for the two penalties
_CONTRAST, _UNIQUENESS_PERCENT, _SPECKLE_PX, _SPECKLE_RANGE = 63, 15, 200, 1
_STEPS_OF_A_PIXEL = 16.0


def match_stereo(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Match a rectified pair by semi-global matching, from left to right and back.

    Args:
        left: (H, W, 3) uint8, red, green, blue; grey is repeated.
        right: (H, W, 3) uint8, of the camera on the right-hand side.

    Returns:
        (H, W) float32, pixels that a point lies further left in the right image; NaN where nothing is found, where the
        two directions differ by more than 1 px, below 2 px, and in the columns at the left edge, as many as are
        searched, where matches are worse by half.

    Raises:
        ShapeError: sizes differ.

    Source: OpenCV's StereoSGBM (Hirschmueller 2008), all eight directions; the check in both directions is ours.
    """
    check_shapes(left=(left, "H W 3"), right=(right, "H W 3"))
    width = left.shape[1]
    searched = 16 * max(1, int(np.ceil(width * SEARCHED_SHARE / 16)))
    grey = [_grey_padded(image, searched) for image in (left, right)]
    matcher = cv2.StereoSGBM.create(
        minDisparity=0, numDisparities=searched, blockSize=_BLOCK_PX, P1=_SMALL_STEP * _BLOCK_PX**2,
        P2=_LARGE_STEP * _BLOCK_PX**2, disp12MaxDiff=-1, preFilterCap=_CONTRAST, uniquenessRatio=_UNIQUENESS_PERCENT,
        speckleWindowSize=_SPECKLE_PX, speckleRange=_SPECKLE_RANGE, mode=cv2.STEREO_SGBM_MODE_HH,
    )  # fmt: skip
    inner = slice(searched, searched + width)
    disparity = matcher.compute(*grey)[:, inner] / np.float32(_STEPS_OF_A_PIXEL)
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in grey[::-1]]  # so the right image is the left one
    back = matcher.compute(*mirrored)[:, ::-1][:, inner] / np.float32(_STEPS_OF_A_PIXEL)
    column = np.rint(np.arange(width) - disparity).astype(np.int64)
    returned = np.take_along_axis(back, column.clip(0, width - 1), 1)
    sure = (
        (disparity >= LEAST_DISPARITY_PX)
        & (np.arange(width) >= searched)
        & (np.abs(returned - disparity) <= TOLERANCE_PX)
    )
    return np.where(sure, disparity, np.nan).astype(np.float32)


def _grey_padded(image: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Widen an image on both sides: OpenCV gives no disparity to as many columns at the edge as it searches."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.copyMakeBorder(grey, 0, 0, columns, columns, cv2.BORDER_REPLICATE), np.uint8)
