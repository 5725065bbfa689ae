# SPDX-License-Identifier: Apache-2.0
"""The tree of frames of a recording: /tf and /tf_static."""

from bisect import bisect_left
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import BagReader
from monodvps_ros.data.bag.messages import read_transforms
from monodvps_ros.data.bag.topics import TF_STATIC_TOPIC, TF_TOPIC, TF_TYPE
from monodvps_ros.data.sequence_watch import LeftOut, in_order
from monodvps_ros.errors import DataError

Matrix = NDArray[np.float64]


class TransformTree:
    """Transforms between the frames of a recording.

    Of a joint that moves, the transform nearest in time is taken, of the part of the recording in which the frame is
    where stamps jump back (see `in_order`); one of /tf_static holds at all times.

    Args:
        path: of the recording.
        within_s: a moving transform farther away in time does not hold.

    Raises:
        DataError: the recording cannot be read.
    """

    def __init__(self, path: Path, within_s: float) -> None:
        self._path, self._within_s = path, within_s
        self._static: dict[str, tuple[str, Matrix]] = {}
        moving: dict[str, list[tuple[int, str, Matrix]]] = {}
        with BagReader(path) as reader:
            topics = [name for name in (TF_TOPIC, TF_STATIC_TOPIC) if name in reader.topics]
            wanted = [name for name in topics if reader.topics[name].type_name == TF_TYPE]
            refused: set[str] = set()
            for topic, _, _, message in reader.messages(wanted):
                for stamp_ns, parent, child, matrix in read_transforms(message, refused):
                    if topic == TF_STATIC_TOPIC:
                        self._static[child] = parent, matrix
                    else:
                        moving.setdefault(child, []).append((stamp_ns, parent, matrix))
        self._frames = {*self._static, *moving, *(parent for parent, _ in self._static.values())}
        self._moving: dict[tuple[str, int], list[tuple[int, str, Matrix]]] = {}
        for child, entries in moving.items():
            for part, entry in in_order(entries, lambda entry: entry[0], LeftOut()):
                self._moving.setdefault((child, part), []).append(entry)

    def lookup(self, target: str, source: str, stamp_ns: int, part: int = 0) -> Matrix:
        """Return the (4, 4) matrix that carries points of frame `source` into frame `target` at a time, metres.

        Args:
            target: frame.
            source: frame.
            stamp_ns: the time.
            part: of the recording, from 0.

        Raises:
            DataError: the frames are not connected then; the message names the frames that there are.
        """
        root, root_from_target = self._to_root(_name(target), stamp_ns, part)
        other, root_from_source = self._to_root(_name(source), stamp_ns, part)
        if root != other:
            raise DataError(
                f"{self._path}: {TF_TOPIC} and {TF_STATIC_TOPIC} do not connect frame '{source}' to '{target}' within "
                f"{self._within_s:g} s of {stamp_ns} ns; there are {', '.join(sorted(self._frames)) or 'no frames'}; "
                "give the extrinsics in a file"
            )
        return np.linalg.inv(root_from_target) @ root_from_source

    def _to_root(self, frame: str, stamp_ns: int, part: int) -> tuple[str, Matrix]:
        """Climb as far as it goes; returns the last frame and the matrix that carries points of `frame` into it."""
        matrix, seen = np.eye(4), {frame}
        while (step := self._parent(frame, stamp_ns, part)) is not None:
            frame, matrix = step[0], step[1] @ matrix
            if frame in seen:
                raise DataError(f"{self._path}: the transforms go in a circle at frame '{frame}'")
            seen.add(frame)
        return frame, matrix

    def _parent(self, frame: str, stamp_ns: int, part: int) -> tuple[str, Matrix] | None:
        if frame in self._static:
            return self._static[frame]
        found = self._moving.get((frame, part), [])
        place = bisect_left(found, stamp_ns, key=lambda entry: entry[0])
        near = min(found[max(place - 1, 0) : place + 1], key=lambda entry: abs(entry[0] - stamp_ns), default=None)
        if near is None or abs(near[0] - stamp_ns) > self._within_s * 1e9:
            return None
        return near[1], near[2]


def _name(frame: str) -> str:
    return frame.strip("/")
