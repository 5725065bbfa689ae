# SPDX-License-Identifier: Apache-2.0
"""The map that takes lens distortion out of an image. Imports nothing of ROS."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.geometry.camera_model import CameraModel


def rectifying_map(camera: CameraModel, size: tuple[int, int]) -> NDArray[np.float32]:
    """Say where each pixel of the rectified image lies in the raw one.

    Args:
        camera: with a distortion to take out.
        size: height and width of both images.

    Returns:
        (H, W, 2) float32 (u, v) in pixels of the raw image; as `CameraFrame.rectification` takes it.

    Source of the distortion models: OpenCV, camera calibration and fisheye modules.
    """
    distortion = camera.distortion
    assert distortion is not None, "the camera is rectified already"
    make_maps = (
        cv2.fisheye.initUndistortRectifyMap if distortion.model == "equidistant" else cv2.initUndistortRectifyMap
    )
    maps = make_maps(
        distortion.raw_intrinsics,
        distortion.coefficients,
        distortion.rotation,
        camera.intrinsics,
        (size[1], size[0]),
        cv2.CV_32FC1,
    )
    return np.stack(maps, axis=2).astype(np.float32)
