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

from monodvps_ros.data.bag import BagReader, sequence_name
from monodvps_ros.data.bag.messages import stamp_ns
from monodvps_ros.data.bag_pairing import CAMERA_INFO, POSE, Pairing
from monodvps_ros.data.bag_topics import CameraTopics, find_camera
from monodvps_ros.data.camera_samples import CameraSamples
from monodvps_ros.data.checks import check_increasing, check_panoptic, check_size
from monodvps_ros.data.image_codec import decode_compressed, decode_image, decode_raw
from monodvps_ros.data.reading import Reading
from monodvps_ros.errors import EncodingError
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.types import FrameTruth, Sample

log = logging.getLogger(__name__)

#: Rate of a recording with a single image, whose rate cannot be measured.
DEFAULT_RATE_HZ = 10.0
_RATE_SAMPLES = 21
_TRUTH_ENCODINGS = {"panoptic": "16UC1", "depth_m": "32FC1", "flow_px": "32FC2", "flow_visible": "mono8"}


class BagSource:
    """The images of one camera in a recording, in the order of their stamps.

    An image has the truth of its very stamp, and the camera_info that `Pairing` finds for it. K, and whether distortion
    is to be removed, follow from that as in the live node; so does the truth's place (see `CameraSamples`).

    Args:
        path: folder or storage file.
        image_topic: None finds it where there is only one.
        camera_info_topic: None takes ``camera_info`` beside the images.
        labels: label space of the panoptic truth.
        rectified: auto, true or false: whether the images are rectified; as the node's parameter.

    Attributes:
        damage: what of the recording cannot be read, in sentences; whole once it was read to its end.
        unpaired: truth messages without an image of their stamp, counted while reading, by name in `FrameTruth`.
        without_k: images whose camera_info is no use, counted while reading, by the reason.

    Raises:
        DataError: as `BagReader` and `find_camera` say.
    """

    def __init__(
        self,
        path: Path,
        image_topic: str | None = None,
        camera_info_topic: str | None = None,
        labels: LabelSpace = CITYSCAPES,
        rectified: str = "auto",
    ) -> None:
        self.path = path
        self._rectified = rectified
        self._labels = labels
        self._sequence = sequence_name(path)
        self.unpaired: dict[str, int] = {}
        self.without_k: dict[str, int] = {}
        with BagReader(path) as reader:
            self.damage = tuple(reader.damage)
            self.topics: CameraTopics = find_camera(reader, image_topic, camera_info_topic)
            self._length = reader.topics[self.topics.image].count
            first = [stamp_ns(m) for *_, m in islice(reader.messages([self.topics.image]), _RATE_SAMPLES)]
        gaps = [after - before for before, after in pairwise(first)]
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
        where = f"{self.path} {self.topics.image}"
        camera = CameraSamples(where, self._rectified, self.topics.image)
        self.without_k = camera.problems
        with BagReader(self.path) as reader:
            pairing = Pairing(reader, self.topics)
            for index, (image, partners) in enumerate(pairing):
                check_increasing(previous_ns, stamp_ns(image), where)
                previous_ns = stamp_ns(image)
                yield partial(self._sample, camera, index, image, partners)
            self.damage = tuple(reader.damage)
        self.unpaired = pairing.unpaired
        if pairing.other_infos:
            log.warning("%s: %d images have no camera_info of their stamp; the last one before is taken, or the first",
                        where, pairing.other_infos)  # fmt: skip
        for name, count in self.unpaired.items():
            log.warning("%s: %d messages of %s have no image of their stamp", self.path, count, name)

    def _sample(self, camera: CameraSamples, index: int, image: Any, partners: dict[str, Any]) -> Sample:
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
        info = partners.get(CAMERA_INFO)
        frame, rectified_truth = camera.join(
            pixels,
            stamp_ns(image),
            None if info is None else Calibration.from_message(info),
            FrameTruth(**truth, world_from_camera=partners.get(POSE)),
            image.header.frame_id,
        )
        return Sample(frame, rectified_truth, self._sequence, index, where)


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
