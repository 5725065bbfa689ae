# SPDX-License-Identifier: Apache-2.0
"""Reading that goes on after a frame that cannot be read."""

from collections.abc import Callable, Iterator

from monodvps_ros.types import Sample


class Reading(Iterator[Sample]):
    """Samples made one at a time by functions.

    A generator is at its end once it raised. Here the one sample is lost that raised, and the next call gives the one
    after it; a loop that does not catch the error ends as it would with a generator.
    """

    def __init__(self, makers: Iterator[Callable[[], Sample]], ended: Callable[[], None] | None = None) -> None:
        """Take what makes the samples.

        Args:
            makers: one function for each sample; one that raises StopIteration ends the reading.
            ended: called once the last sample was given.
        """
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
