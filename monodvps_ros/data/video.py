# SPDX-License-Identifier: Apache-2.0
"""A video file as a source of samples: no camera, no truth, stamps from its frame rate."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from monodvps_ros.data.folder import START_NS
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.types import CameraFrame, Sample

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg")


class VideoSource:
    """The frames of a video file, K unknown.

    Args:
        path: the file; what OpenCV's FFmpeg can read.
        rate_hz: frames per second; None takes the file's own.
        labels: label space that is asked of models; a video has no truth.

    Raises:
        DataError: it cannot be read as a video, or says no frame rate.
    """

    def __init__(self, path: Path, rate_hz: float | None = None, labels: LabelSpace = CITYSCAPES) -> None:
        self.path = path
        self._labels = labels
        video = self._open()
        self._length = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        found_hz = video.get(cv2.CAP_PROP_FPS)
        readable = video.grab()
        video.release()
        if not readable:
            raise DataError(f"{path}: holds no frame that can be read")
        if rate_hz is None and not (math.isfinite(found_hz) and found_hz > 0):
            raise DataError(f"{path}: says a rate of {found_hz} frames per second; give the rate yourself")
        self._rate_hz = float(rate_hz or found_hz)

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return self._rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the (absent) truth."""
        return self._labels

    def __len__(self) -> int:
        """Number of frames that the file says it has."""
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first frame; a file whose end is missing is read as far as it goes, with a warning.

        Raises:
            DataError: it cannot be read as a video any more.
        """
        video, index = self._open(), 0
        try:
            while True:
                done, pixels = video.read()
                if not done:
                    break
                image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
                stamp_ns = START_NS + round(index * 1e9 / self._rate_hz)
                yield Sample(
                    frame=CameraFrame(image, stamp_ns),
                    sequence=self.path.stem,
                    index=index,
                    source=f"{self.path} frame {index}",
                )
                index += 1
        finally:
            video.release()
        if index < self._length:
            log.warning("%s: %d of %d frames can be read", self.path, index, self._length)

    def _open(self) -> cv2.VideoCapture:
        if not self.path.is_file():
            raise DataError(f"{self.path}: does not exist")
        video = cv2.VideoCapture(str(self.path))
        if not video.isOpened():
            raise DataError(f"{self.path}: cannot be read as a video")
        return video
