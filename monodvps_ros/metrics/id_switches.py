# SPDX-License-Identifier: Apache-2.0
"""Identity switches: how often an object that is seen changes the id it is predicted under, and when.

A true thing is *found* in a frame where a predicted segment of its class has a mask IoU above one half with it. A
switch is counted where it is found under another id than when it was last found, however long ago, as in CLEAR MOT
(Bernardin & Stiefelhagen 2008) with masks for boxes (Voigtlaender et al. 2019). Things with instance id 0 have no
identity and are left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics.metric import Figure, Frame, Metric, Need, Totals
from monodvps_ros.metrics.panoptic_quality import match_segments
from monodvps_ros.metrics.segments import class_of, instance_of

#: A history holds no more runs than this; an object that flickers for hours is counted on, but not drawn on.
MOST_RUNS = 100


@dataclass(slots=True)
class Run:
    """Frames in a row in which a track is found under one id, or seen but not found: `predicted_id` None."""

    first_frame: int
    last_frame: int
    predicted_id: int | None


@dataclass(slots=True)
class TrackHistory:
    """The life of one true object.

    Attributes:
        sequence: name of its sequence.
        class_id: its class.
        instance_id: its id in the truth.
        runs: in time order, the first `MOST_RUNS`; frames in which it is not to be seen lie between runs.
        switches: changes of id.
        frames: frames in which it is to be seen.
        found: frames in which it is found.
    """

    sequence: str
    class_id: int
    instance_id: int
    runs: list[Run] = field(default_factory=list)
    switches: int = 0
    frames: int = 0
    found: int = 0
    last_id: int | None = None

    def see(self, frame: int, predicted_id: int | None) -> None:
        """Add a frame in which the object is to be seen; `predicted_id` None where it is not found."""
        self.frames += 1
        if predicted_id is not None:
            self.found += 1
            self.switches += self.last_id is not None and self.last_id != predicted_id
            self.last_id = predicted_id
        if self.runs and self.runs[-1].last_frame == frame - 1 and self.runs[-1].predicted_id == predicted_id:
            self.runs[-1].last_frame = frame
        elif len(self.runs) < MOST_RUNS:
            self.runs.append(Run(frame, frame, predicted_id))


@dataclass(frozen=True, eq=False, slots=True)
class IdSwitchScores:
    """Switches and what they are out of, per class (C,) int64, and the histories of the worst tracks."""

    switches: NDArray[np.int64]
    tracks: NDArray[np.int64]
    frames: NDArray[np.int64]
    found: NDArray[np.int64]
    worst: tuple[TrackHistory, ...]


class IdSwitches(Metric):
    """Identity switches over sequences, and the histories of the `keep_tracks` tracks with most of them."""

    needs = frozenset({Need.PANOPTIC})
    figures = (
        Figure("id_switches", "id switches", ("switches",), 0, "", True, "changes of an object's predicted id"),
        Figure("id_switches_per_track", "id switches per track", ("per_track",), 3, "", True),
        Figure("things_found", "share of things found", ("found_share",), 3, ""),
    )

    def __init__(self, space: LabelSpace, keep_tracks: int = 40) -> None:
        self.space = space
        self.keep_tracks = keep_tracks
        self._open: dict[int, TrackHistory] = {}
        self._frame = 0
        self._worst: list[TrackHistory] = []
        super().__init__()

    def measure(self, frame: Frame) -> float:
        """Count one frame of the open sequence; return the number of switches in it."""
        matches = match_segments(frame.table)
        found = dict(zip(matches.truth_ids.tolist(), matches.predicted_ids.tolist(), strict=True))
        seen = np.union1d(matches.truth_ids, matches.missed_ids)
        things = np.isin(class_of(seen), self.space.thing_ids) & (instance_of(seen) > 0)
        before = self._totals["switches"].sum()
        for segment_id in seen[things].tolist():
            class_id, instance_id = int(class_of(segment_id)), int(instance_of(segment_id))
            if segment_id not in self._open:
                self._open[segment_id] = TrackHistory(frame.sequence, class_id, instance_id)
                self._totals["tracks"][class_id] += 1
            track = self._open[segment_id]
            switches = track.switches
            predicted_id = found.get(segment_id)
            track.see(self._frame, None if predicted_id is None else int(instance_of(predicted_id)))
            self._totals["switches"][class_id] += track.switches - switches
            self._totals["frames"][class_id] += 1
            self._totals["found"][class_id] += predicted_id is not None
        self._frame += 1
        return float(self._totals["switches"].sum() - before)

    def state(self) -> dict[str, Any]:
        """Return the counts and the worst tracks; see `Metric.state`."""
        return {**super().state(), "worst": [asdict(track) for track in self._worst]}

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add the counts and tracks of other sequences; see `Metric.add_state`."""
        super().add_state(state)
        tracks = [{**track, "runs": [Run(**run) for run in track["runs"]]} for track in state["worst"]]
        self._worst = self._ranked(TrackHistory(**track) for track in tracks)

    def end_sequence(self) -> None:
        """Say that the next frame does not follow the last one; equal ids in it are other objects."""
        self._worst = self._ranked(self._open.values())
        self._open = {}
        self._frame = 0

    def compute(self) -> IdSwitchScores:
        """Return the counts of everything measured; tracks with most switches first, then those found least."""
        return IdSwitchScores(
            **{name: total.copy() for name, total in self._totals.items()},
            worst=tuple(self._ranked(self._open.values())),
        )

    def result(self) -> dict[str, Any]:
        """Return switches, tracks, sightings, how many of these are found, and the timeline of the worst tracks."""
        scores = self.compute()
        sums = {name: int(getattr(scores, name).sum()) for name in ("switches", "tracks", "frames", "found")}
        return {
            **sums,
            "switches": sums["switches"] if sums["tracks"] else None,
            "per_track": sums["switches"] / sums["tracks"] if sums["tracks"] else None,
            "found_share": sums["found"] / sums["frames"] if sums["frames"] else None,
            "timeline": [self._timeline(track) for track in scores.worst],
        }

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Return tracks and switches of each class."""
        scores = self.compute()
        return {
            name: {"tracks": int(scores.tracks[index]), "id_switches": int(scores.switches[index])}
            for index, name in enumerate(self.space.names)
        }

    def _timeline(self, track: TrackHistory) -> dict[str, Any]:
        return {
            "sequence": track.sequence,
            "class": self.space.names[track.class_id],
            "instance": track.instance_id,
            "switches": track.switches,
            "frames": track.frames,
            "found": track.found,
            "runs": [[run.first_frame, run.last_frame, run.predicted_id] for run in track.runs],
        }

    def _ranked(self, more: Iterable[TrackHistory]) -> list[TrackHistory]:
        tracks = [*self._worst, *more]
        return sorted(tracks, key=lambda track: (-track.switches, track.found - track.frames))[: self.keep_tracks]

    def _zeros(self) -> Totals:
        return {name: np.zeros(len(self.space), np.int64) for name in ("switches", "tracks", "frames", "found")}
