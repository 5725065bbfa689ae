# SPDX-License-Identifier: Apache-2.0
"""Assigns persistent ids to instances.

The paper's rule (Petrovai & Nedevschi, section 3.1, after Qiao et al. 2021): the previous panoptic map is carried into
this frame by the flow, and instances of one class whose masks overlap are one object. Extensions of ours: pairs are
assigned one to one with the greatest sum of overlaps; an occluded object is kept with its mask moved by its own motion;
an object's class is decided by votes over its life.

Masks stay on the device; only the table of overlaps is copied to the CPU, once a frame.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from monodvps_ros.config import TrackerConfig
from monodvps_ros.labels import MAX_INSTANCE_ID
from monodvps_ros.perception import code_maps
from monodvps_ros.perception.code_maps import look_up, sums
from monodvps_ros.perception.device import Download, to_device
from monodvps_ros.perception.grouping import Grouping
from monodvps_ros.perception.remembered import RememberedMasks
from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False)
class TrackedInstances:
    """Tracks of the K instances of a frame; rows of absent instances hold -1 in `class_id`.

    Attributes:
        track_id: (K,) int64, 1.., never used twice by one tracker.
        instance_id: (K,) int64 1..999, unique among the objects that are alive, over all classes.
        class_id: (K,) int64.
        age_frames: (K,) int64 frames since the track began, this one included.
    """

    track_id: NDArray[np.int64]
    instance_id: NDArray[np.int64]
    class_id: NDArray[np.int64]
    age_frames: NDArray[np.int64]


class Tracker:
    """Tracks the instances of one camera."""

    def __init__(self, classes: int, config: TrackerConfig) -> None:
        self.config = config
        self._track_dtype = np.dtype(
            [(name, np.int64) for name in ("track_id", "instance_id", "born", "last_seen", "latest_class")]
            + [("votes", np.int64, (classes,))]
        )
        self._next_track_id = 1
        self.reset()

    def reset(self) -> None:
        """Drop all tracks; track ids continue, so that none is reused."""
        self._frame = 0
        self._tracks: NDArray[Any] = np.zeros(0, self._track_dtype)  # objects that are alive
        self._map: Tensor | None = None
        self._remembered: RememberedMasks | None = None
        self._id_last_used = np.full(MAX_INSTANCE_ID + 1, -1, np.int64)

    @property
    def has_history(self) -> bool:
        """Whether the next update has a previous map to warp by flow."""
        return self._map is not None

    def update(
        self,
        grouping: Grouping,
        flow_px: Tensor | None = None,
        valid: Tensor | None = None,
        download: Download | None = None,
    ) -> TrackedInstances | None:
        """Update with one frame; call it for every frame, also without instances.

        Args:
            grouping: the frame's instances.
            flow_px: (2, h, w) (dx, dy) from this frame to the previous one, pixels of the (h, w) map;
                None compares the masks without warping.
            valid: () bool on the device, read with the table of overlaps; false leaves the tracker as it is.
            download: what else is to come to the host with the table of overlaps.

        Returns:
            Ids, class and age of each of the K instances; None where not `valid`.

        Raises:
            ShapeError: the map's size changed without a reset, or the flow is of another size.
        """
        instances, detected, row_of = self._compare(grouping, flow_px, valid, download or Download())
        if row_of is None:
            return None
        if self._remembered is None:
            self._remembered = RememberedMasks(instances.shape, instances.device)
        row_of = self._start_tracks(detected, row_of)
        self._update_tracks(detected, row_of)
        lookup = to_device(np.concatenate(([0], row_of + 1)), instances.device)
        self._map = look_up(lookup, instances)
        self._remembered.update(self._map, len(self._tracks), flow_px)
        tracked = self._tracked(row_of)
        self._drop_tracks()
        self._frame += 1
        return tracked

    def recognise(self, grouping: Grouping, flow_px: Tensor | None = None) -> TrackedInstances:
        """Find known objects in a frame that shall leave no trace; new ones are absent. Arguments as of `update`."""
        _, _, row_of = self._compare(grouping, flow_px, None, Download())
        assert row_of is not None
        return self._tracked(row_of)

    def _compare(
        self, grouping: Grouping, flow_px: Tensor | None, valid: Tensor | None, download: Download
    ) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64] | None]:
        """Return (h, w) instances, the class of each, and the row of the track of each; no rows where not `valid`."""
        check_shapes(
            "call reset() when the size changes",
            codes=(grouping.codes, "h w"),
            flow_px=(flow_px, "2 h w"),
            previous=(self._map, "h w"),
        )
        capacity = grouping.capacity
        instances = torch.where(grouping.codes <= capacity, grouping.codes, 0)
        read = [grouping.instance_class, self._meetings(instances, capacity, flow_px)]
        detected, table, *said = download.add(*read, *([] if valid is None else [valid]))()
        if said and not said[0]:
            return instances, detected, None
        return instances, detected, self._match(instances, capacity, detected, table)

    def _meetings(self, instances: Tensor, capacity: int, flow_px: Tensor | None) -> Tensor:
        """(tracks + 1, K + 1) pixels of each track, carried into this frame, and of each detection; background at 0."""
        if self._map is None:
            return torch.zeros((1, capacity + 1), dtype=torch.int64)
        carried = carry(self._map, flow_px) if flow_px is not None else self._map
        rows = len(self._tracks) + 1
        return sums(carried * (capacity + 1) + instances, rows * (capacity + 1)).view(rows, capacity + 1)

    def _match(
        self, instances: Tensor, capacity: int, detected: NDArray[np.int64], table: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the row of the track of each detection, -1 where there is none."""
        tracks, row_of = self._tracks, np.full(capacity, -1, np.int64)
        if len(tracks) == 0 or self._remembered is None:
            return row_of
        iou = _iou(table)
        visible = tracks["last_seen"] == self._frame - 1
        same_class = self._class_of(tracks)[:, None] == detected[None]
        same_class |= tracks["latest_class"][:, None] == detected[None]
        exists = (detected >= 0)[None]
        _assign(np.where(visible[:, None] & exists & same_class, iou, 0.0), self.config.min_iou, row_of)
        if self.config.class_votes:
            _assign(np.where(visible[:, None] & exists, iou, 0.0), self.config.min_iou_across_classes, row_of)
        hidden = np.flatnonzero(~visible)
        if len(hidden) and (row_of[detected >= 0] < 0).any():
            overlap = np.zeros_like(iou)
            overlap[hidden] = self._remembered.overlap(hidden, instances, capacity)
            _assign(np.where(exists & same_class, overlap, 0.0), self.config.min_overlap_hidden, row_of)
        return row_of

    def _start_tracks(self, detected: NDArray[np.int64], row_of: NDArray[np.int64]) -> NDArray[np.int64]:
        """Start a track for each detection that has none."""
        fresh = np.flatnonzero((detected >= 0) & (row_of < 0))
        free = np.ones(MAX_INSTANCE_ID + 1, bool)
        free[0] = False
        free[self._tracks["instance_id"]] = False
        candidates = np.flatnonzero(free)
        order = np.argsort(self._id_last_used[candidates], kind="stable")
        fresh = fresh[: len(candidates)]
        started = np.zeros(len(fresh), self._track_dtype)
        started["track_id"] = self._next_track_id + np.arange(len(fresh))
        started["instance_id"] = candidates[order[: len(fresh)]]
        started["born"] = self._frame
        row_of = row_of.copy()
        row_of[fresh] = len(self._tracks) + np.arange(len(fresh))
        self._next_track_id += len(fresh)
        self._tracks = np.concatenate((self._tracks, started))
        return row_of

    def _update_tracks(self, detected: NDArray[np.int64], row_of: NDArray[np.int64]) -> None:
        """Note the frame and the class of the tracks that were matched or started."""
        rows, classes = row_of[row_of >= 0], detected[row_of >= 0]
        self._tracks["last_seen"][rows] = self._frame
        self._tracks["latest_class"][rows] = classes
        self._tracks["votes"][rows, classes] += 1
        self._id_last_used[self._tracks["instance_id"][rows]] = self._frame

    def _drop_tracks(self) -> None:
        """Drop objects that were hidden for too long, and the longest hidden where ids would run out."""
        assert self._map is not None and self._remembered is not None
        hidden_for = self._frame - self._tracks["last_seen"]
        keep = hidden_for <= self.config.max_age
        surplus = int(keep.sum()) - _MOST_TRACKS
        if surplus > 0:
            keep[np.argsort(-np.where(keep, hidden_for, -1), kind="stable")[:surplus]] = False
        if keep.all():
            return
        new_row = np.concatenate(([0], np.where(keep, np.cumsum(keep), 0)))
        self._map = look_up(to_device(new_row, self._map.device), self._map)
        self._remembered.keep(keep)
        self._tracks = self._tracks[keep]

    def _class_of(self, tracks: NDArray[Any]) -> NDArray[np.int64]:
        """The most voted class of each track; of equals, the one seen last."""
        votes, latest = tracks["votes"], tracks["latest_class"]
        if not self.config.class_votes or len(tracks) == 0:
            return np.asarray(latest)
        is_best = votes[np.arange(len(tracks)), latest] == votes.max(1)
        return np.where(is_best, latest, votes.argmax(1))

    def _tracked(self, row_of: NDArray[np.int64]) -> TrackedInstances:
        """Look up ids, class and age of each detection; (K,) rows of tracks, -1 for none."""
        tracked = TrackedInstances(*(np.full(len(row_of), fill, np.int64) for fill in (0, 0, -1, 0)))
        found = row_of >= 0
        tracks = self._tracks[row_of[found]]
        tracked.track_id[found] = tracks["track_id"]
        tracked.instance_id[found] = tracks["instance_id"]
        tracked.class_id[found] = self._class_of(tracks)
        tracked.age_frames[found] = self._frame + 1 - tracks["born"]
        return tracked


#: Seen and hidden objects together; leaves free instance ids for a frame full of new ones.
_MOST_TRACKS = 600


def carry(previous: Tensor, flow_px: Tensor) -> Tensor:
    """Carry the previous frame's (h, w) map into this one: each pixel takes the nearest value that its flow points to.

    `flow_px` is (2, h, w) (dx, dy) from this frame to the previous one, pixels; where it is not finite or points
    outside, the result is 0.
    """
    height, width = previous.shape
    if code_maps.follows_data(previous):
        columns, rows = flow_px.float().numpy()
        place = columns + np.arange(width, dtype=np.float32), rows + np.arange(height, dtype=np.float32)[:, None]
        ids = previous.to(torch.int16).numpy()  # of at most _MOST_TRACKS and a frame's instances
        return torch.from_numpy(cv2.remap(ids, *place, cv2.INTER_NEAREST, borderValue=0)).long()
    rows = torch.arange(height, device=previous.device)[:, None] + flow_px[1].float()
    columns = torch.arange(width, device=previous.device) + flow_px[0].float()
    inside = (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5)
    index = torch.where(inside, rows.round() * width + columns.round(), 0.0).long()
    return torch.where(inside, look_up(previous.flatten(), index), 0)


def _iou(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersections over unions of tracks and detections from their co-occurrence table, background at 0."""
    union = table.sum(1)[1:, None] + table.sum(0)[None, 1:] - table[1:, 1:]
    return np.asarray(table[1:, 1:] / np.maximum(union, 1), np.float64)


def _assign(overlap: NDArray[np.float64], least: float, row_of: NDArray[np.int64]) -> None:
    """Pair free tracks and free detections one to one with the greatest sum of overlaps, each at least `least`."""
    allowed = np.where(overlap >= least, overlap, 0.0)
    allowed[row_of[row_of >= 0]] = 0.0
    allowed[:, row_of >= 0] = 0.0
    tracks, detections = linear_sum_assignment(allowed, maximize=True)
    paired = allowed[tracks, detections] > 0
    row_of[detections[paired]] = tracks[paired]
