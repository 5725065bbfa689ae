# SPDX-License-Identifier: Apache-2.0
"""Frames t - 1, t, t + 1 of one sequence, with their gaps checked: what photometric training looks at."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from monodvps_ros.types import Sample

#: A gap may be this much longer or shorter than the nominal one.
GAP_TOLERANCE = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class Triplet:
    """Three frames in the order in which they were taken; the outer two may be missing.

    Attributes:
        target: frame t.
        previous: frame t - 1, or None at the start of a sequence or after a gap.
        following: frame t + 1, or None at the end of a sequence or before a gap.
    """

    target: Sample
    previous: Sample | None
    following: Sample | None

    @property
    def is_whole(self) -> bool:
        """True where both neighbours are there."""
        return self.previous is not None and self.following is not None


@dataclass(slots=True)
class GapCount:
    """How many neighbours were refused because of their distance in time."""

    gaps: int = 0


def follows(first: Sample, second: Sample, rate_hz: float) -> bool:
    """Say whether two frames are neighbours: one sequence, and a distance within half of the nominal one.

    Args:
        first: the earlier frame.
        second: the later frame.
        rate_hz: nominal frames per second.
    """
    if first.sequence != second.sequence:
        return False
    period_ns = round(1e9 / rate_hz)
    gap_ns = second.frame.stamp_ns - first.frame.stamp_ns
    return abs(gap_ns - period_ns) <= GAP_TOLERANCE * period_ns


def triplets(samples: Iterable[Sample], rate_hz: float, count: GapCount | None = None) -> Iterator[Triplet]:
    """Go through samples with their neighbours; each sample is the target of one triplet.

    Args:
        samples: in time order within each sequence, sequences one after the other.
        rate_hz: nominal frames per second.
        count: is told of each gap between frames of one sequence.

    Yields:
        A triplet for each sample; neighbours across a gap or of another sequence are None.
    """
    before: Sample | None = None
    target: Sample | None = None
    for sample in samples:
        if target is not None:
            following = sample if follows(target, sample, rate_hz) else None
            if following is None and count is not None and target.sequence == sample.sequence:
                count.gaps += 1
            yield Triplet(target, before, following)
            before = target if following is not None else None
        target = sample
    if target is not None:
        yield Triplet(target, before, None)
