# SPDX-License-Identifier: Apache-2.0
"""Several recordings as one source, one sequence after the other."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from monodvps_ros.data.bag import is_bag, sequence_name
from monodvps_ros.data.listing import list_folder
from monodvps_ros.data.reading import chained, damage_of
from monodvps_ros.errors import DataError
from monodvps_ros.labels import LabelSpace
from monodvps_ros.types import Sample, SampleSource

#: Rates that differ by less than this share count as one.
_RATE_TOLERANCE = 0.1


class ChainedSource:
    """Sources one after the other, each a sequence of its own.

    Args:
        path: where they lie, for error messages.
        sources: at least one.
        refused: why others that lie there cannot be read, in sentences; they stand in `damage`.

    Raises:
        DataError: their rates differ by more than a tenth.
    """

    def __init__(self, path: Path, sources: Sequence[SampleSource], refused: Sequence[str] = ()) -> None:
        self._sources, self._refused = sources, refused
        rates = sorted(source.rate_hz for source in sources)
        if rates[-1] > rates[0] * (1 + _RATE_TOLERANCE):
            raise DataError(
                f"{path}: its recordings have rates from {rates[0]:g} to {rates[-1]:g} Hz; open them separately"
            )

    @property
    def rate_hz(self) -> float:
        """Frames per second of the first."""
        return self._sources[0].rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the truth."""
        return self._sources[0].label_space

    @property
    def read_as(self) -> str:
        """What is read of each, and how."""
        return ", ".join(getattr(source, "read_as", "") for source in self._sources)

    def __len__(self) -> int:
        """Number of frames of all."""
        return sum(len(source) for source in self._sources)

    @property
    def damage(self) -> list[str]:
        """What cannot be read of all."""
        return [*self._refused, *(sentence for source in self._sources for sentence in damage_of(source))]

    def __iter__(self) -> Iterator[Sample]:
        """Read the first source from its first frame, then the others; goes on where they do."""
        return chained(iter(source) for source in self._sources)


def bags_by_sequence(path: Path) -> dict[str, Path]:
    """Return the recording that a path is, or those in a folder, by the names of their sequences; empty for others."""
    return {sequence_name(bag): bag for bag in ([path] if is_bag(path) else bags_in(path))}


def bags_in(path: Path) -> list[Path]:
    """List the recordings in a folder that is none itself, in natural order; hidden ones are unfinished."""
    if not path.is_dir() or is_bag(path):
        return []
    folders = [entry for entry in list_folder(path) if entry.is_dir() and not entry.name.startswith(".")]
    return [entry for entry in folders if is_bag(entry)]
