# SPDX-License-Identifier: Apache-2.0
"""Frames at the size of training, decoded once and then read in random order.

Recordings can only be read sequentially, and decoding a full-size image takes longer than a training step on a GPU.
So each source is read once, and its resized frames are written to flat files that all worker processes map into
memory.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.data.transforms import apply_geometry, fit_geometry
from monodvps_ros.errors import DataError, counted
from monodvps_ros.files import write_text
from monodvps_ros.labels import VOID_PANOPTIC_ID, LabelSpace, label_space
from monodvps_ros.training.map_file import MapFile
from monodvps_ros.types import CameraFrame, FrameTruth, Sample, SampleSource

_INDEX = "frames.json"


@dataclass(frozen=True)
class FrameEntry:
    """Metadata of a stored frame.

    Attributes:
        source: index of its source.
        sequence: name of its sequence.
        index: position in the sequence.
        stamp_ns: time of acquisition.
        frame_id: of its camera.
        intrinsics: K in pixels of the stored image, row-major; None if unknown.
        follows_previous: whether the previous entry is the previous frame of the sequence.
        labelled: whether it has a panoptic map.
        has_depth: whether it has depth.
        pseudo: whether its panoptic map is a pseudo-label.
        has_inverse_depth: whether it has inverse depth of a teacher.
        name: for error messages.
    """

    source: int
    sequence: str
    index: int
    stamp_ns: int
    frame_id: str
    intrinsics: tuple[float, ...] | None
    follows_previous: bool
    labelled: bool
    has_depth: bool
    pseudo: bool
    has_inverse_depth: bool
    name: str


class FrameStore:
    """Random access to stored frames and their ground truth.

    Attributes:
        folder: of the files.
        entries: one per frame, in the order of the sources and of time.
        size: height and width of all maps.
        labels: label space of the panoptic maps.
        skipped: number of frames that could not be read, or were skipped because of their stamps.
        damage: missing parts of the sources, in sentences.
        key: identifies the sources, as given to `store_frames`.

    Raises:
        DataError: the folder is not complete.
    """

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            self.size: tuple[int, int] = (index["size"][0], index["size"][1])
            self.labels: LabelSpace = label_space(index["label_space"])
            self.skipped: int = index["skipped"]
            self.damage: list[str] = index["damage"]
            self.key: str = index["key"]
            self.entries = [FrameEntry(**values) for values in index["entries"]]
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(
                f"{folder}: contains no complete set of frames: {error}; delete it and start again"
            ) from error
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{folder}: was stored by another version of this package ({error!r}); delete it and start again"
            ) from error
        self.folder = folder
        self._maps: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.entries)

    def sample(self, number: int, with_truth: bool = True) -> Sample:
        """Return a frame with its ground truth, as copies.

        Args:
            number: index in `entries`.
            with_truth: read the ground truth as well.
        """
        entry = self.entries[number]
        matrix = None if entry.intrinsics is None else np.array(entry.intrinsics).reshape(3, 3)
        truth = FrameTruth()
        if with_truth:
            truth = FrameTruth(
                panoptic=self._read("panoptic", number) if entry.labelled else None,
                depth_m=self._read("depth", number) if entry.has_depth else None,
                panoptic_is_pseudo=entry.pseudo,
                inverse_depth=self._read("inverse_depth", number) if entry.has_inverse_depth else None,
            )
        return Sample(
            CameraFrame(self._read("image", number), entry.stamp_ns, entry.frame_id, matrix),
            truth,
            entry.sequence,
            entry.index,
            entry.name,
        )

    def _read(self, name: str, number: int) -> NDArray[Any]:
        if name not in self._maps:  # opened late, so that each worker process has its own
            try:
                self._maps[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{self.folder}: stored frames cannot be read: {error}; delete it and --resume"
                ) from error
        return np.array(self._maps[name][number])

    def __getstate__(self) -> dict[str, Any]:
        """Drop the memory maps when pickled for a worker process."""
        return {**self.__dict__, "_maps": {}}


def store_frames(
    sources: Sequence[SampleSource],
    size: tuple[int, int],
    folder: Path,
    key: str,
    report: Callable[[int, int], None] = lambda done, whole: None,
) -> FrameStore:
    """Read sources and store their frames; a complete folder with the same key is reused.

    Args:
        sources: to read, all of one label space.
        size: height and width of the stored frames.
        folder: to write to; created if missing.
        key: identifies the sources; frames under another key are replaced.
        report: called with the number of frames done and the total.

    Raises:
        DataError: sources differ in their label spaces, most frames of one are lost, or the disk is full.
    """
    if (folder / _INDEX).is_file():
        store = FrameStore(folder)
        if store.key == key and store.size == size:
            return store
        (folder / _INDEX).unlink()
    labels = {source.label_space.name for source in sources}
    if len(labels) != 1:
        raise DataError(f"data sources have the label spaces {sorted(labels)}; train on one label space at a time")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = _Writer(folder, size, sum(len(source) for source in sources), report)
        for number, source in enumerate(sources):
            writer.take(source, number)
        index = {"key": key, "size": size, "label_space": labels.pop(), **writer.finish()}
        write_text(folder / _INDEX, json.dumps(index))
    except OSError as error:
        raise DataError(
            f"{folder}: frames cannot be stored: {error}; free disk space, or choose another folder"
        ) from error
    return FrameStore(folder)


class _Writer:
    def __init__(self, folder: Path, size: tuple[int, int], whole: int, report: Callable[[int, int], None]) -> None:
        self._size = size
        self._whole = whole
        self._report = report
        self._entries: list[FrameEntry] = []
        self._skipped = 0
        self._damage: list[str] = []
        self._maps = {
            name: MapFile(folder / f"{name}.npy", dtype, (*size, *more))
            for name, dtype, more in (
                ("image", np.uint8, (3,)),
                ("panoptic", np.uint16, ()),
                ("depth", np.float32, ()),
                ("inverse_depth", np.float32, ()),
            )
        }

    def take(self, source: SampleSource, number: int) -> None:
        """Store the frames of a source; missing and unreadable ones are counted and reported."""
        samples = ReadableSamples(source, f"data source {number + 1}")
        last = None
        for sample in samples:
            neighbours = last is not None and (last.sequence, last.index + 1) == (sample.sequence, sample.index)
            self._store(sample, number, neighbours)
            last = sample
            done = len(self._entries) + self._skipped + samples.left_out
            self._report(done, max(done, self._whole))
        if samples.left_out > samples.read:
            all_frames = counted(samples.read + samples.left_out, "frame")
            raise DataError(
                f"data source {number + 1}: only {samples.read} of its {all_frames} can be used: "
                f"{'; '.join(samples.damage)}; repair it, or remove it"
            )
        self._skipped += samples.left_out
        self._damage += samples.damage

    def finish(self) -> dict[str, Any]:
        for file in self._maps.values():
            file.close(max(len(self._entries), 1))
        entries = [asdict(entry) for entry in self._entries]
        return {"skipped": self._skipped, "damage": self._damage, "entries": entries}

    def _store(self, sample: Sample, number: int, follows_previous: bool) -> None:
        shrunk = apply_geometry(sample, fit_geometry(self._size))
        place = len(self._entries)
        truth, matrix = shrunk.truth, shrunk.frame.intrinsics
        self._maps["image"][place] = shrunk.frame.image
        labelled = truth.panoptic is not None and bool((truth.panoptic != VOID_PANOPTIC_ID).any())
        if truth.panoptic is not None:
            self._maps["panoptic"][place] = truth.panoptic
        if truth.depth_m is not None:
            self._maps["depth"][place] = truth.depth_m
        if truth.inverse_depth is not None:
            self._maps["inverse_depth"][place] = truth.inverse_depth
        self._entries.append(
            FrameEntry(
                source=number,
                sequence=sample.sequence,
                index=sample.index,
                stamp_ns=sample.frame.stamp_ns,
                frame_id=sample.frame.frame_id,
                intrinsics=None if matrix is None else tuple(matrix.flatten().tolist()),
                follows_previous=follows_previous,
                labelled=labelled,
                has_depth=truth.depth_m is not None,
                pseudo=truth.panoptic_is_pseudo,
                has_inverse_depth=truth.inverse_depth is not None,
                name=f"{sample.source} {sample.sequence}/{sample.index}".strip(),
            )
        )
