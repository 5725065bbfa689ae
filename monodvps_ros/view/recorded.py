# SPDX-License-Identifier: Apache-2.0
"""Frames of predictions: recordings of the node's topics, and folders, with the images that they were made of."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagReader, is_bag
from monodvps_ros.data.chain import bags_in
from monodvps_ros.data.format import PredictionLayout
from monodvps_ros.data.formats import format_named, prediction_layout
from monodvps_ros.data.predictions import DEFAULT_LAYOUT, FolderPredictions, frame_name, stamp_in
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.errors import DataError, counted
from monodvps_ros.geometry import scale_intrinsics
from monodvps_ros.labels import LabelSpace, encode_panoptic
from monodvps_ros.outputs import Perception, ScaleEstimate, ScaleState
from monodvps_ros.types import Sample, SampleSource
from monodvps_ros.view.messages import IMAGE, PANOPTIC, TOPIC_READERS, FrameAssembler

#: Data set whose classes and layout apply where none is named.
DATASET = "cityscapes-dvps"
#: Of frames of a folder that say no stamp, where their images are not given.
NOMINAL_STEP_NS = 100_000_000


class RecordedFrames:
    """Frames of a recording, of a folder of recordings, or of a folder of predictions.

    Images come from the recording, or from `data`, by stamp or by file name. A frame without an image is counted; where
    there are no images at all, the maps are shown alone.

    Attributes:
        labels: classes of the maps.
        damage: what is missing of the frames read so far, one line each.
        without_images: whether there are recordings among them that have no images.

    Args:
        path: recording of the node's topics, folder of such recordings, or folder with ``pan/`` and ``dep/``.
        dataset: data set whose classes and layout of predictions apply.
        data: what the predictions were made of; None: images in the recording.
        camera: namespace of the node's topics in a recording with several cameras.
        image_topic: of the images.
        rectified: as `open_source` takes it.

    Raises:
        DataError: there are no predictions, or of several cameras.
        ConfigError: the data set is not known.
    """

    def __init__(
        self,
        path: Path,
        dataset: str = DATASET,
        data: Path | None = None,
        camera: str | None = None,
        image_topic: str | None = None,
        rectified: str = "auto",
    ) -> None:
        predicted = layout_of(dataset)
        self.labels: LabelSpace = predicted.labels
        self.damage: list[str] = []
        self.without_images = False
        self._without_image = 0
        self._path, self._rectified, self._image_topic = path, rectified, image_topic
        self._source = None if data is None else self._open(data)
        if not path.exists():
            raise DataError(f"{path}: does not exist")
        bags = [path] if is_bag(path) else bags_in(path)
        self._bags = [(bag, _prefix(bag, camera)) for bag in bags]
        self._folder = None if bags else FolderPredictions(path, predicted)

    def __iter__(self) -> Iterator[Perception]:
        """Read frame by frame.

        Raises:
            DataError: a file cannot be read.
            EncodingError: a message cannot be decoded.
        """
        self.damage, self.without_images, self._without_image = [], False, 0
        if self._folder is not None:
            yield from self._of_folder(self._folder)
        for bag, prefix in self._bags:
            yield from self._of_bag(bag, prefix)
        if self._without_image:
            self.damage.append(f"{self._path}: {counted(self._without_image, 'frame has', 'frames have')} no image")

    def _open(self, path: Path) -> SampleSource:
        return open_source(path, image_topic=self._image_topic, rectified=self._rectified)

    def _of_bag(self, bag: Path, prefix: str) -> Iterator[Perception]:
        with BagReader(bag) as reader:
            counts = {topic.name: topic.count for topic in reader.topics.values()}
        topics = frozenset(topic for topic in TOPIC_READERS if counts.get(f"{prefix}{topic}"))
        frames = _assembled(bag, prefix, topics, self.damage)
        source = self._source
        if source is None and IMAGE not in topics:
            with suppress(DataError):  # no images of a camera in it
                source = self._open(bag)
            self.without_images |= source is None
        yield from frames if source is None else self._with_images(frames, source)

    def _with_images(self, frames: Iterable[Perception], source: SampleSource) -> Iterator[Perception]:
        """Give each frame the image of its stamp; both are in the order of time."""
        samples = ReadableSamples(source, str(self._path))
        reading = iter(samples)
        sample = next(reading, None)
        for frame in frames:
            while sample is not None and sample.frame.stamp_ns < frame.stamp_ns:
                sample = next(reading, None)
            found = sample is not None and sample.frame.stamp_ns == frame.stamp_ns
            self._without_image += not found
            yield _with_image(frame, sample) if found and sample is not None else frame
        self.damage += samples.damage

    def _of_folder(self, folder: FolderPredictions) -> Iterator[Perception]:
        if self._source is None:
            self.without_images = True
            for index, name in enumerate(folder.names):
                stamp_ns = stamp_in(name)
                yield _predicted(folder, name, index * NOMINAL_STEP_NS if stamp_ns is None else stamp_ns)
            return
        stamps = {name: stamp_in(name) for name in folder.names}
        names = {name if stamp is None else stamp: name for name, stamp in stamps.items()}
        samples = ReadableSamples(self._source, str(self._path))
        shown = 0
        for sample in samples:
            found = names.get(sample.frame.stamp_ns, names.get(frame_name(sample)))
            if found is not None:
                shown += 1
                yield _with_image(_predicted(folder, found, sample.frame.stamp_ns), sample)
        if not shown:
            raise DataError(f"{self._path}: no frame belongs to an image of --data, by its stamp or its file's name")
        self._without_image += len(folder) - shown
        self.damage += samples.damage


def layout_of(dataset: str) -> PredictionLayout:
    """Return the layout of predictions, and with it the classes, that apply to a data set.

    Raises:
        ConfigError: the data set is not known.
    """
    return format_named(dataset).layout or prediction_layout(DEFAULT_LAYOUT)


def _prefix(bag: Path, camera: str | None) -> str:
    """Return what stands before the relative topics of a camera."""
    with BagReader(bag) as reader:
        topics = sorted(topic.name for topic in reader.topics.values() if topic.count)
    found = [name.removesuffix(PANOPTIC) for name in topics if name.endswith(f"/{PANOPTIC}")]
    if camera is not None:
        found = [prefix for prefix in found if prefix.strip("/") == camera.strip("/")]
    if len(found) == 1:
        return found[0]
    named = ", ".join(prefix.strip("/") or "/" for prefix in found)
    if found:
        raise DataError(f"{bag}: contains predictions of several cameras; choose one with --camera: {named}")
    of = "" if camera is None else f" in namespace '{camera}'"
    raise DataError(f"{bag}: contains no topic {PANOPTIC}{of}; its topics: {', '.join(topics) or 'none'}")


def _assembled(bag: Path, prefix: str, topics: frozenset[str], damage: list[str]) -> Iterator[Perception]:
    assembler = FrameAssembler(topics)
    with BagReader(bag) as reader:
        for name, _, _, message in reader.messages([f"{prefix}{topic}" for topic in topics]):
            yield from assembler.add(name.removeprefix(prefix), message)
        yield from assembler.rest()
        damage += reader.damage


def _predicted(folder: FolderPredictions, name: str, stamp_ns: int) -> Perception:
    predicted = folder.read(name)
    return Perception(
        stamp_ns=stamp_ns,
        frame_id="",
        intrinsics=None,
        scale=ScaleEstimate(1.0, 1.0, ScaleState.FIXED),  # predictions are in metres
        depth_m=predicted.depth_m,
        panoptic=encode_panoptic(predicted.class_ids, predicted.instance_ids),
    )


def _with_image(perception: Perception, sample: Sample) -> Perception:
    """Add the rectified image of a frame, at the size of its maps, and K where the frame does not say it."""
    frame = sample.frame.rectified()
    maps = perception.panoptic if perception.panoptic is not None else perception.depth_m
    size = frame.size if maps is None else (maps.shape[0], maps.shape[1])
    image = frame.image
    if size != frame.size:
        image = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    intrinsics = perception.intrinsics
    if intrinsics is None and frame.intrinsics is not None:
        intrinsics = scale_intrinsics(frame.intrinsics, frame.size, size)
    return replace(perception, image=image, intrinsics=intrinsics)
