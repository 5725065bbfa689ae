# SPDX-License-Identifier: Apache-2.0
"""A recording as a source of samples: images with their camera, and truth where it was recorded."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import BagReader, part_name, sequence_name
from monodvps_ros.data.bag.messages import stamp_ns
from monodvps_ros.data.bag.pairing import CAMERA_INFO, POSE, BagPairing
from monodvps_ros.data.bag.topics import CameraTopics, find_camera
from monodvps_ros.data.camera_samples import CameraSamples
from monodvps_ros.data.checks import check_panoptic, check_size
from monodvps_ros.data.image_codec import decode_compressed, decode_image, decode_raw
from monodvps_ros.data.reading import Reading
from monodvps_ros.data.sequence_watch import LeftOut, in_order
from monodvps_ros.errors import EncodingError, counted
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

    An image has the truth of its very stamp, and the camera_info that `BagPairing` finds for it. K, and whether to
    remove distortion, follow from that as in the live node; so does the truth's place (see `CameraSamples`).

    Args:
        path: folder or storage file.
        image_topic: None finds it where there is only one.
        camera_info_topic: None takes ``camera_info`` beside the images.
        labels: label space of the panoptic truth.
        rectified: auto, true or false: whether the images are rectified; as the node's parameter.

    Attributes:
        damage: what of the recording cannot be read or is left out, in sentences; whole once it was read to its end.
        unpaired: truth messages without an image of their stamp, counted while reading, by name in `FrameTruth`.

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
        with BagReader(path) as reader:
            self.damage = tuple(reader.damage)
            self.topics: CameraTopics = find_camera(reader, image_topic, camera_info_topic)
            self._length = reader.topics[self.topics.image].count
            first = [
                (stamp_ns(message), received_ns)
                for _, _, received_ns, message in islice(reader.messages([self.topics.image]), _RATE_SAMPLES)
            ]
        self._unstamped = bool(first) and all(stamp <= 0 for stamp, _ in first)
        if self._unstamped:
            log.warning("%s %s: images have stamps of 0 or below; the time of their receipt is taken", path,
                        self.topics.image)  # fmt: skip
        times = sorted(
            received if self._unstamped else stamp for stamp, received in first if self._unstamped or stamp > 0
        )
        gaps = [after - before for before, after in pairwise(times) if after > before]
        self._rate_hz = 1e9 / median(gaps) if gaps else DEFAULT_RATE_HZ

    @property
    def read_as(self) -> str:
        """What of the recording is read, and how: another choice gives other images."""
        return f"{self.topics.image} {self.topics.camera_info} {self._rectified}"

    @property
    def rate_hz(self) -> float:
        """Images per second: the median of the first gaps."""
        return self._rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the panoptic truth."""
        return self._labels

    def __len__(self) -> int:
        """Number of images, those included that are left out because of their stamps."""
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first image; goes on after a frame that cannot be read.

        Images whose stamps do not increase are skipped and listed in `damage`. Where stamps jump back
        and go on from there, a new sequence begins.

        Raises:
            DataError: no image can be read, or sizes or label values are wrong.
            EncodingError: an image cannot be decoded.
        """
        return Reading(self._makers())

    def _makers(self) -> Iterator[Callable[[], Sample]]:
        where = f"{self.path} {self.topics.image}"
        camera = CameraSamples(where, self._rectified, self.topics.image)
        with BagReader(self.path) as reader:
            pairing, left_out = BagPairing(reader, self.topics, self._unstamped), LeftOut()
            pairs = in_order(pairing, lambda pair: stamp_ns(pair[0]), left_out)
            for part, images in groupby(pairs, key=lambda numbered: numbered[0]):
                for index, (_, (image, partners)) in enumerate(images):
                    yield partial(self._sample, camera, (part_name(self._sequence, part), index), image, partners)
            self.damage = tuple(reader.damage) + ((f"{where}: skipped: {left_out}",) if str(left_out) else ())
        if str(left_out):
            log.warning("%s: skipped: %s", where, left_out)
        if left_out.sequences > 1:
            log.warning("%s: stamps jump back; %d sequences are read", where, left_out.sequences)
        self.unpaired = pairing.unpaired
        if pairing.other_infos:
            unpaired = counted(
                pairing.other_infos, "image has no camera_info of its", "images have no camera_info of their"
            )
            log.warning("%s: %s stamp; the last one before is taken, or the first", where, unpaired)
        for name, count in self.unpaired.items():
            messages = counted(
                count, f"message of {name} has no image of its", f"messages of {name} have no image of their"
            )
            log.warning("%s: %s stamp", self.path, messages)

    def _sample(self, camera: CameraSamples, place: tuple[str, int], image: Any, partners: dict[str, Any]) -> Sample:
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
        return Sample(frame, rectified_truth, *place, where)


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
