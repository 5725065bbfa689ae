# SPDX-License-Identifier: Apache-2.0
"""Reading that goes on after a frame that cannot be read, and that says what is missing in the end."""

from collections.abc import Callable, Iterator, Sequence

from monodvps_ros.errors import DataError, MonoDVPSError, counted
from monodvps_ros.types import Sample, SampleSource

#: Where so many frames at the start cannot be read, none is expected to be.
_MOST_TRIES = 20


class Reading(Iterator[Sample]):
    """Samples made one at a time by functions.

    A generator is at its end once it raised. Here the one sample is lost that raised, and the next call gives the one
    after it; a loop that does not catch the error ends as it would with a generator.

    Args:
        makers: one function for each sample; one that raises StopIteration ends the reading.
        ended: called once the last sample was given.
    """

    def __init__(self, makers: Iterator[Callable[[], Sample]], ended: Callable[[], None] | None = None) -> None:
        self._makers = makers
        self._ended = ended

    def __next__(self) -> Sample:
        """Make the next sample."""
        try:
            return next(self._makers)()
        except StopIteration:
            if self._ended is not None:
                self._ended()
                self._ended = None
            raise


def chained(sources: Iterator[Iterator[Sample]]) -> Iterator[Sample]:
    """Read one reading after the other."""
    return _Chain(sources)


class _Chain(Iterator[Sample]):
    def __init__(self, sources: Iterator[Iterator[Sample]]) -> None:
        self._sources = sources
        self._current: Iterator[Sample] | None = None

    def __next__(self) -> Sample:
        while True:
            if self._current is None:
                self._current = next(self._sources)
            try:
                return next(self._current)
            except StopIteration:
                self._current = None


def damage_of(source: object) -> Sequence[str]:
    """Return what of a source cannot be read, in sentences; whole once it was read to its end.

    Sources that can be damaged as a whole say so in `damage`; those of files have none.
    """
    damage: Sequence[str] = getattr(source, "damage", ())
    return damage


class ReadableSamples:
    """The readable samples of a source; missing ones are reported at the end of the iteration.

    Args:
        source: to read; what its iterators raise is counted where they go on after it.
        name: of the source, for messages.
        limit: give this many samples at most; None gives all.

    Attributes:
        read: samples given.
        left_out: those that cannot be read, or that the source's length promises and that never come.
    """

    def __init__(self, source: SampleSource, name: str, limit: int | None = None) -> None:
        self._source, self._name, self._limit = source, name, limit
        self.read = self.left_out = 0
        self._trouble = ""

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first sample.

        Raises:
            DataError: no sample can be read.
        """
        self.read = self.left_out = unreadable = 0
        first = last = ""
        reading = iter(self._source)
        while self._limit is None or self.read < self._limit:
            try:
                sample = next(reading, None)
            except MonoDVPSError as error:
                unreadable += 1
                first, last = first or str(error), str(error)
                self.left_out = unreadable
                self._trouble = f"{counted(unreadable, 'frame')} cannot be read; the first: {first}"
                if not self.read and unreadable == _MOST_TRIES:
                    raise DataError(f"{self._name} has no readable frame: {last}") from None
                continue
            if sample is None:
                self._end(unreadable, last)
                return
            self.read += 1
            yield sample

    @property
    def damage(self) -> list[str]:
        """What is missing, in sentences; whole once all were read."""
        return [*damage_of(self._source), *([self._trouble] if self._trouble else [])]

    def _end(self, unreadable: int, last: str) -> None:
        self.left_out = max(unreadable, len(self._source) - self.read)
        if not self.read:
            raise DataError(f"{self._name} has no readable frame: {last or '; '.join(self.damage) or 'it is empty'}")
        if self.left_out > unreadable and not self.damage:
            self._trouble = f"{self._name} ends {counted(self.left_out, 'frame')} before its length"
