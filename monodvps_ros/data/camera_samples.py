# SPDX-License-Identifier: Apache-2.0
"""Joins images with their camera: the frame with its K and its rectification, and the truth of the rectified image."""

import dataclasses
import logging

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.checks import DepthCheck
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.geometry.camera_model import CameraReader
from monodvps_ros.geometry.rectification import Rectification
from monodvps_ros.labels import VOID_PANOPTIC_ID
from monodvps_ros.types import CameraFrame, FrameTruth

log = logging.getLogger(__name__)


class CameraSamples:
    """Makes the frames of one camera.

    Truth comes in the pixels of the recorded image and goes where the image's pixels go: labels and depth by the
    nearest pixel, void or NaN where the camera saw nothing. Flow is not rectified but dropped, with a warning. Depth
    that is hardly in metres is reported once.

    Args:
        where: path and topic, for what is logged.
        rectified: auto, true or false, as `CameraReader` takes it.
        topic: of the images.
    """

    def __init__(self, where: str, rectified: str = "auto", topic: str = "") -> None:
        self._where = where
        self._reader = CameraReader(rectified, topic)
        self._flow_reported, self._depth_check = False, DepthCheck()
        self._reported: set[str] = set()

    def join(
        self,
        image: NDArray[np.uint8],
        stamp_ns: int,
        calibration: Calibration | None,
        truth: FrameTruth,
        frame_id: str = "camera",
    ) -> tuple[CameraFrame, FrameTruth]:
        """Return the frame as the pipeline takes it, and its truth.

        Args:
            image: (H, W, 3) uint8 as recorded.
            stamp_ns: of the image.
            calibration: of its camera; None where there is none.
            truth: with maps of the image's size.
            frame_id: of the image.
        """
        if truth.depth_m is not None:
            self._depth_check.warn(truth.depth_m, f"{self._where} at {stamp_ns} ns")
        camera = self._reader.read(calibration, (image.shape[0], image.shape[1]))
        if calibration is not None and camera.problem:
            if camera.problem not in self._reported:
                log.warning("%s: %s; K is not known: no cloud, and no scale from the road", self._where, camera.problem)
            self._reported.add(camera.problem)
        frame = CameraFrame(image, stamp_ns, frame_id, camera.intrinsics, camera.rectification, camera.calibration)
        if camera.rectification is None:
            return frame, truth
        if truth.flow_px is not None and not self._flow_reported:
            self._flow_reported = True
            log.warning("%s: true flow is of the distorted image and is left out", self._where)
        return frame, _rectified(truth, camera.rectification)


def _rectified(truth: FrameTruth, rectification: Rectification) -> FrameTruth:
    panoptic, depth_m = truth.panoptic, truth.depth_m
    return dataclasses.replace(
        truth,
        panoptic=None if panoptic is None else rectification.nearest(panoptic, VOID_PANOPTIC_ID),
        depth_m=None if depth_m is None else rectification.depth(depth_m),
        flow_px=None,
        flow_visible=None,
    )
