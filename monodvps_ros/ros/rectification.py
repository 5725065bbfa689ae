# SPDX-License-Identifier: Apache-2.0
"""Takes lens distortion out of an image. Imports nothing of ROS."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.ros.camera_model import CameraModel


class Rectifier:
    """The map from the rectified image to the raw one, made once for a camera.

    Args:
        camera: with a distortion to take out.
        size: height and width of the image.

    Source of the distortion models: OpenCV, camera calibration and fisheye modules.
    """

    def __init__(self, camera: CameraModel, size: tuple[int, int]) -> None:
        distortion = camera.distortion
        assert distortion is not None, "the camera is rectified already"
        make_map = (
            cv2.fisheye.initUndistortRectifyMap if distortion.model == "equidistant" else cv2.initUndistortRectifyMap
        )
        self._map = make_map(
            distortion.raw_intrinsics,
            distortion.coefficients,
            distortion.rotation,
            camera.intrinsics,
            (size[1], size[0]),
            cv2.CV_16SC2,
        )

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the rectified image.

        Args:
            image: (H, W, 3) uint8.

        Returns:
            The same shape; black where the raw image saw nothing.
        """
        return np.asarray(cv2.remap(image, *self._map, cv2.INTER_LINEAR), np.uint8)
