# SPDX-License-Identifier: Apache-2.0
"""Finds in a recording what another stream contains at the time of a frame."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from monodvps_ros.data.bag import recording_of
from monodvps_ros.data.sequence_watch import LeftOut, in_order
from monodvps_ros.types import Sample

T = TypeVar("T")


class Nearest(Generic[T]):
    """Reads a stream once, beside the frames that ask; only an earlier stamp than the last one starts it again.

    Args:
        open_stream: gives (stamp in ns, item) in the order of the stamps; called at the beginning and to start again.
        within_s: nothing farther away in time is given.
    """

    def __init__(self, open_stream: Callable[[], Iterator[tuple[int, T]]], within_s: float) -> None:
        self._open, self._within_ns = open_stream, round(within_s * 1e9)
        self._begin()

    def _begin(self) -> None:
        self._stream = self._open()
        self._before: tuple[int, T] | None = None
        self._after = next(self._stream, None)
        self._asked_ns: int | None = None

    def at(self, stamp_ns: int) -> T | None:
        """Return the item nearest to a stamp, the earlier of two; None where none is near enough."""
        if self._asked_ns is not None and stamp_ns < self._asked_ns:
            self._begin()
        self._asked_ns = stamp_ns
        while self._after is not None and self._after[0] < stamp_ns:
            self._before, self._after = self._after, next(self._stream, None)
        found = [item for item in (self._before, self._after) if item is not None]
        nearest = min(found, key=lambda item: abs(item[0] - stamp_ns), default=None)
        if nearest is None or abs(nearest[0] - stamp_ns) > self._within_ns:
            return None
        return nearest[1]


class BagStreams(Generic[T]):
    """A stream of a recording, or one of each recording in a folder.

    Args:
        bags: recordings by the names of their sequences.
        open_stream: opens the stream of a recording, as `Nearest` takes it.
        within_s: as `Nearest` takes it.
    """

    def __init__(
        self, bags: dict[str, Path], open_stream: Callable[[Path], Iterator[tuple[int, T]]], within_s: float
    ) -> None:
        self._bags, self._open, self._within_s = bags, open_stream, within_s
        self._streams: dict[str, Nearest[T]] = {}

    def of(self, sample: Sample) -> T | None:
        """Return what is nearest in time to a frame; None where nothing is near enough.

        Raises:
            DataError: the recording is damaged there.
        """
        name = sample.sequence
        if name not in self._streams:
            place = recording_of(name, self._bags)
            self._streams[name] = Nearest(lambda: self._part(*place), self._within_s)
        return self._streams[name].at(sample.frame.stamp_ns)

    def _part(self, recording: str, part: int) -> Iterator[tuple[int, T]]:
        """Give the stream of a recording, from the part on in which the frames are where stamps jump back."""
        stream = self._open(self._bags[recording])
        items = in_order(stream, lambda item: item[0], LeftOut())
        return (item for number, item in items if number == part)
