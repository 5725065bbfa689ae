# SPDX-License-Identifier: Apache-2.0
"""A recording as a source of samples: images with their camera, and truth where it was recorded."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import BagReader
from monodvps_ros.data.bag.messages import stamp_ns
from monodvps_ros.data.bag_pairing import CAMERA_INFO, POSE, Pairing
from monodvps_ros.data.bag_topics import CameraTopics, find_camera
from monodvps_ros.data.checks import check_increasing, check_panoptic, check_size
from monodvps_ros.data.image_codec import decode_compressed, decode_image, decode_raw
from monodvps_ros.data.reading import Reading
from monodvps_ros.errors import DataError, EncodingError
from monodvps_ros.geometry import crop_intrinsics, scale_intrinsics
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

log = logging.getLogger(__name__)

#: Rate of a recording with a single image, whose rate cannot be measured.
DEFAULT_RATE_HZ = 10.0
_RATE_SAMPLES = 21
_TRUTH_ENCODINGS = {"panoptic": "16UC1", "depth_m": "32FC1", "flow_px": "32FC2", "flow_visible": "mono8"}


class BagSource:
    """The images of one camera in a recording, in the order of their stamps.

    An image has the truth of its very stamp. Its K is that of the camera_info of its stamp, else of the last one
    before it, else of the first one after it; None without camera_info or with one that is not calibrated.

    Args:
        path: folder or storage file.
        image_topic: None finds it where there is only one.
        camera_info_topic: None takes ``camera_info`` beside the images.
        labels: label space of the panoptic truth.

    Attributes:
        damage: what of the recording cannot be read, in sentences.
        unpaired: truth messages without an image of their stamp, counted while reading, by name in `FrameTruth`.
        distorted: images, counted while reading, whose lens distortion is in camera_info and is left in the image; K is
            then that of the image without it. Topics named ``image_rect…`` count as rectified.

    Raises:
        DataError: as `BagReader` and `find_camera` say.
    """

    def __init__(
        self,
        path: Path,
        image_topic: str | None = None,
        camera_info_topic: str | None = None,
        labels: LabelSpace = CITYSCAPES,
    ) -> None:
        self.path = path
        self._labels = labels
        self._sequence = path.resolve().name.removesuffix(".mcap").removesuffix(".db3")
        self.unpaired: dict[str, int] = {}
        self.distorted = 0
        with BagReader(path) as reader:
            self.damage = tuple(reader.damage)
            self.topics: CameraTopics = find_camera(reader, image_topic, camera_info_topic)
            self._length = reader.topics[self.topics.image].count
            first = [stamp_ns(m) for *_, m in islice(reader.messages([self.topics.image]), _RATE_SAMPLES)]
        gaps = [after - before for before, after in pairwise(first)]
        self._is_rectified = self.topics.image.rpartition("image_rect")[1] != ""
        self._rate_hz = 1e9 / median(gaps) if gaps and median(gaps) > 0 else DEFAULT_RATE_HZ

    @property
    def rate_hz(self) -> float:
        """Images per second: the median of the first gaps."""
        return self._rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the panoptic truth."""
        return self._labels

    def __len__(self) -> int:
        """Number of images."""
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first image; goes on after a frame that cannot be read, but not where the recording is damaged.

        Raises:
            DataError: the recording is damaged, stamps do not increase, or sizes or label values are wrong.
            EncodingError: an image cannot be decoded.
        """
        return Reading(self._makers())

    def _makers(self) -> Iterator[Callable[[], Sample]]:
        previous_ns: int | None = None
        self.distorted = 0
        where = f"{self.path} {self.topics.image}"
        with BagReader(self.path) as reader:
            pairing = Pairing(reader, self.topics)
            for index, (image, partners) in enumerate(pairing):
                check_increasing(previous_ns, stamp_ns(image), where)
                previous_ns = stamp_ns(image)
                yield partial(self._sample, index, image, partners)
        self.unpaired = pairing.unpaired
        if self.distorted:
            log.warning("%s: %d images have lens distortion, which is left in them; record the rectified topic", where,
                        self.distorted)  # fmt: skip
        for name, count in self.unpaired.items():
            log.warning("%s: %d messages of %s have no image of their stamp", self.path, count, name)

    def _sample(self, index: int, image: Any, partners: dict[str, Any]) -> Sample:
        where = f"{self.path} {self.topics.image} at {stamp_ns(image)} ns"
        try:
            pixels = decode_compressed(image.data, image.format) if self.topics.compressed else _pixels(image)
            truth: dict[str, Any] = {
                name: _truth(name, partners[name]) for name in _TRUTH_ENCODINGS if name in partners
            }
        except EncodingError as error:
            raise EncodingError(f"{where}: {error}") from None
        size = (pixels.shape[0], pixels.shape[1])
        for name, values in truth.items():
            check_size(values.shape[:2], size, f"{where}: {name}")
        if "panoptic" in truth:
            check_panoptic(truth["panoptic"], self._labels, where)
        intrinsics = None
        if CAMERA_INFO in partners:
            intrinsics = intrinsics_of(partners[CAMERA_INFO], size, where, self._is_rectified)
            self.distorted += not self._is_rectified and bool(np.any(partners[CAMERA_INFO].d))
        return Sample(
            frame=CameraFrame(pixels, stamp_ns(image), image.header.frame_id, intrinsics),
            truth=FrameTruth(**truth, world_from_camera=partners.get(POSE)),
            sequence=self._sequence,
            index=index,
            source=where,
        )


def intrinsics_of(info: Any, size: tuple[int, int], where: str, rectified: bool = False) -> NDArray[np.float64] | None:
    """Return K of an image from its CameraInfo: calibrated for the full sensor, then cropped by its ROI, then binned.

    Args:
        info: a sensor_msgs/CameraInfo.
        size: height and width of the image.
        where: what it belongs to, for error messages.
        rectified: whether the image is; its K is then the left part of P, where P is set.

    Returns:
        (3, 3) K; None where the camera is not calibrated (K[0] is 0).

    Raises:
        DataError: K is not finite, or camera_info is for an image of another size.

    Source: REP 104; pixels are binned together, so that u becomes (u + 0.5) / n - 0.5.
    """
    projection = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
    intrinsics = projection if rectified and projection[0, 0] else np.array(info.k, np.float64).reshape(3, 3)
    if intrinsics[0, 0] == 0.0 or intrinsics[1, 1] == 0.0:
        return None
    if not np.isfinite(intrinsics).all():
        raise DataError(f"{where}: camera_info has a K that is not finite: {intrinsics.ravel().tolist()}")
    rows, columns = max(int(info.binning_y), 1), max(int(info.binning_x), 1)
    read = int(info.roi.height or info.height), int(info.roi.width or info.width)
    binned = read[0] // rows, read[1] // columns
    check_size(binned, size, f"{where}: camera_info's image")
    cropped = crop_intrinsics(intrinsics, float(info.roi.y_offset), float(info.roi.x_offset))
    return scale_intrinsics(cropped, (binned[0] * rows, binned[1] * columns), binned)


def _pixels(image: Any) -> NDArray[np.uint8]:
    pixels = decode_image(image.data, image.encoding, image.height, image.width, image.step, bool(image.is_bigendian))
    return np.require(pixels, requirements="W")  # not a view of the recording's bytes: torch wants to own its memory


def _truth(name: str, message: Any) -> NDArray[Any]:
    if message.encoding != _TRUTH_ENCODINGS[name]:
        raise EncodingError(f"{name} is of encoding '{message.encoding}'; expected {_TRUTH_ENCODINGS[name]}")
    values = decode_raw(
        message.data, message.encoding, message.height, message.width, message.step, bool(message.is_bigendian)
    )
    return values > 0 if name == "flow_visible" else np.require(values, requirements="W")
