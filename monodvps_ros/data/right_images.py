# SPDX-License-Identifier: Apache-2.0
"""The right images that belong to the left ones of a recording."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import BagReader, recording_of
from monodvps_ros.data.bag.source import BagSource
from monodvps_ros.data.bag.streams import BagStreams
from monodvps_ros.data.bag.topics import find_camera
from monodvps_ros.data.camera_file import CAMERA_FILE, read_camera
from monodvps_ros.data.chain import bags_by_sequence
from monodvps_ros.data.checks import check_size
from monodvps_ros.data.image_files import list_images, read_picture
from monodvps_ros.errors import DataError
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.types import CameraFrame, Sample

RIGHT_FOLDER = "image_right"
#: K of both images of a rectified pair may differ by rounding only.
_SAME_K_PX = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class RightImage:
    """The right image of a rectified stereo pair.

    Attributes:
        image: (H, W, 3) uint8, red, green, blue, of the size of the left one.
        baseline_m: from the left camera to the right one.
    """

    image: NDArray[np.uint8]
    baseline_m: float


class RightImages(Protocol):
    """Finds right images."""

    def of(self, sample: Sample) -> RightImage | None:
        """Return the right image of a frame; None where it has none.

        Raises:
            DataError: it cannot be read, or does not fit.
        """
        ...


class FolderRightImages:
    """The right images of a folder, in ``image_right/`` under the names of the left ones.

    Args:
        path: the folder; its `camera.json` has ``baseline_m``.

    Raises:
        DataError: there are no right images, or no baseline; or the images are not rectified.
    """

    def __init__(self, path: Path) -> None:
        folder = path / RIGHT_FOLDER
        if not folder.is_dir():
            raise DataError(f"{path}: has no {RIGHT_FOLDER}/ with the right images of a stereo pair")
        self._files = {file.stem: file for file in list_images(folder)}
        camera = read_camera(path / CAMERA_FILE) if (path / CAMERA_FILE).is_file() else None
        if camera is None or camera.baseline_m is None or camera.intrinsics is None:
            raise DataError(
                f"{path / CAMERA_FILE}: must have K and 'baseline_m', the metres between the two cameras, for depth "
                "from stereo"
            )
        if camera.d:
            raise DataError(f"{path / CAMERA_FILE}: has distortion ('d'); depth from stereo needs a rectified pair")
        self._baseline_m = camera.baseline_m

    def of(self, sample: Sample) -> RightImage | None:
        """See `RightImages`."""
        file = self._files.get(Path(sample.source).stem)
        if file is None:
            return None
        image = read_picture(file)
        check_size(image.shape[:2], sample.frame.size, str(file), "the left image")
        return RightImage(image, self._baseline_m)


class BagRightImages:
    """The right images of a stereo camera's recording, or of a folder of them.

    Args:
        bags: recordings by the names of their sequences.
        topic: of the right images; None takes that of the left ones with "right" for "left".
        left_topic: of the left images; None where there is only one.
        within_s: a right image farther away in time is none of a frame's.
        rectified: whether the right images are rectified: auto, true or false.

    Raises:
        DataError: a topic is missing; or the right camera_info has no baseline.
    """

    def __init__(
        self, bags: dict[str, Path], topic: str | None, left_topic: str | None, within_s: float, rectified: str
    ) -> None:
        self._rectified = rectified
        self._topics: dict[Path, str] = {}
        self._baselines_m: dict[str, float] = {}
        for sequence, bag in bags.items():
            with BagReader(bag) as reader:
                self._topics[bag] = topic or _right_topic(reader, left_topic)
                self._baselines_m[sequence] = _baseline_m(reader, self._topics[bag])
        self._streams = BagStreams(bags, self._open, within_s)

    def of(self, sample: Sample) -> RightImage | None:
        """See `RightImages`."""
        right = self._streams.of(sample)
        if right is None:
            return None
        left_k, right_k = sample.frame.intrinsics, right.intrinsics
        if left_k is None or right_k is None or np.abs(left_k - right_k).max() > _SAME_K_PX:
            raise DataError(
                f"{sample.source}: K of the left image is {_listed(left_k)} but of the right one {_listed(right_k)}; "
                "those of a rectified pair are the same: check P of both camera_infos, and 'rectified'"
            )
        check_size(right.size, sample.frame.size, f"{sample.source}: the right image", "the left one")
        return RightImage(right.image, self._baselines_m[recording_of(sample.sequence, self._baselines_m)[0]])

    def _open(self, bag: Path) -> Iterator[tuple[int, CameraFrame]]:
        source = BagSource(bag, self._topics[bag], rectified=self._rectified)
        return map(_stamped, iter(source))  # goes on after an image that cannot be read, as a generator would not


def open_right_images(
    path: Path, topic: str | None, left_topic: str | None, within_s: float, rectified: str
) -> RightImages:
    """Open the right images of a recording, or of a folder of images.

    Args:
        path: of the recording.
        topic: of the right images of a recording; see `BagRightImages`, also for what follows.
        left_topic: of the left images.
        within_s: bound in time.
        rectified: auto, true or false.

    Raises:
        DataError: it is none of a stereo camera.
    """
    bags = bags_by_sequence(path)
    if bags:
        return BagRightImages(bags, topic, left_topic, within_s, rectified)
    if not path.is_dir():
        raise DataError(f"{path}: is not a recording and no folder with {RIGHT_FOLDER}/; depth from stereo needs one")
    if topic is not None:
        raise DataError(f"{path}: is not a recording: the topic {topic} does not apply to it")
    return FolderRightImages(path)


def _stamped(sample: Sample) -> tuple[int, CameraFrame]:
    return sample.frame.stamp_ns, sample.frame.rectified()


def _right_topic(reader: BagReader, left_topic: str | None) -> str:
    found = left_topic.replace("left", "right") if left_topic is not None else None
    if found is None or found == left_topic:
        raise DataError(f"{reader.path}: which topic has the right images? Give it, and the topic of the left ones")
    return found


def _baseline_m(reader: BagReader, topic: str) -> float:
    """Return the baseline that the right camera_info names: -P[3] / P[0]."""
    info_topic = find_camera(reader, topic, None).camera_info
    if info_topic is None:
        raise DataError(f"{reader.path}: {topic} has no camera_info beside it; depth from stereo needs its P")
    message = next(reader.messages([info_topic]), None)
    if message is None:
        raise DataError(f"{reader.path}: {info_topic} contains no message that can be read")
    p = Calibration.from_message(message[3]).p
    baseline_m = -p[0, 3] / p[0, 0] if p[0, 0] else 0.0
    if not (np.isfinite(baseline_m) and baseline_m > 0):
        raise DataError(
            f"{reader.path}: P of {info_topic} is {p.ravel().tolist()}; expected P[3] = -fx * baseline below 0, of the "
            "right camera of a rectified pair"
        )
    return float(baseline_m)


def _listed(matrix: NDArray[np.float64] | None) -> str:
    return "not known" if matrix is None else str(matrix.ravel().round(2).tolist())
