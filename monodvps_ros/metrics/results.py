# SPDX-License-Identifier: Apache-2.0
"""The one dictionary that says all scores of a run; `monodvps evaluate` writes it as JSON.

PQ, VPQ, DVPQ, STQ, DSTQ and what they are made of are percentages, 0-100. Depth errors keep the field's units: ratios,
metres, and shares 0..1 for d1, d2, d3. None (JSON null) stands where there was nothing to measure.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics.depth_errors import MEASURES, DepthErrorScores
from monodvps_ros.metrics.id_switches import IdSwitchScores, TrackHistory
from monodvps_ros.metrics.panoptic_quality import GROUPS, PanopticCounts
from monodvps_ros.metrics.segmentation_tracking_quality import DepthQualityScores, SegmentationTrackingScores, dstq
from monodvps_ros.metrics.video_panoptic_quality import VideoPanopticScores

if TYPE_CHECKING:
    from monodvps_ros.metrics.evaluator import Scores

#: The two ways in which classes are averaged; the headline is first.
AVERAGING = {
    "headline": "mean over classes with tp + fp + fn > 0",
    "zero_filled": "mean over all classes of the label space, absent classes counted as 0",
}


def results(scores: "Scores") -> dict[str, Any]:
    """Put all scores into plain dictionaries, lists and numbers, ready for JSON."""
    space = scores.panoptic.space
    return {
        "averaging": dict(AVERAGING),
        "pq": _panoptic(scores.panoptic, fill_absent=False),
        "vpq": _by_window(scores.video.vpq, scores.video.windows, fill_absent=False),
        "dvpq": _dvpq(scores.depth_video, fill_absent=False),
        "zero_filled": {
            "pq": _panoptic(scores.panoptic, fill_absent=True),
            "vpq": _by_window(scores.video.vpq, scores.video.windows, fill_absent=True),
            "dvpq": _dvpq(scores.depth_video, fill_absent=True),
        },
        "stq": {"stq": _percent(scores.tracking.stq), **_stq_parts(scores.tracking)},
        "dstq": _dstq(scores.tracking, scores.depth_quality),
        "depth": {name: getattr(scores.depth, name) for name in MEASURES},
        "per_class": {name: _class(scores, space, index) for index, name in enumerate(space.names)},
        "windows": {str(k): count for k, count in scores.video.windows.items()},
        "depth_pixels": {
            "frames": scores.depth.frames,
            "counted": scores.depth.pixels,
            "missing": scores.depth.missing_pixels,
        },
        "depth_over_distance": _bands(scores.depth),
        "id_switches": _id_switches(scores.switches, space),
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * float(value)


def _groups(counts: PanopticCounts, quality: str, fill_absent: bool) -> dict[str, float | None]:
    if not counts.present.any():
        return dict.fromkeys(GROUPS)
    return {group: _percent(counts.mean(quality, group, fill_absent)) for group in GROUPS}


def _panoptic(counts: PanopticCounts, fill_absent: bool) -> dict[str, Any]:
    return {
        **_groups(counts, "pq", fill_absent),
        "sq": _groups(counts, "sq", fill_absent),
        "rq": _groups(counts, "rq", fill_absent),
    }


def _by_window(by_window: dict[int, PanopticCounts], windows: dict[int, int], fill_absent: bool) -> dict[str, Any]:
    return {
        str(k): _groups(counts, "pq", fill_absent) if windows[k] else dict.fromkeys(GROUPS)
        for k, counts in by_window.items()
    }


def _dvpq(scores: VideoPanopticScores, fill_absent: bool) -> dict[str, Any]:
    by_threshold: dict[str, Any] = {
        f"{threshold:g}": _by_window(by_window, scores.windows, fill_absent)
        for threshold, by_window in sorted(scores.dvpq.items(), reverse=True)
    }
    by_threshold["mean"] = {group: _percent(scores.dvpq_mean(group, fill_absent)) for group in GROUPS}
    return by_threshold


def _stq_parts(scores: SegmentationTrackingScores) -> dict[str, Any]:
    measured = scores.iou is not None
    return {"aq": _percent(scores.aq) if measured else None, "iou": _percent(scores.iou), "tracks": scores.tracks}


def _dstq(tracking: SegmentationTrackingScores, depth: DepthQualityScores) -> dict[str, Any]:
    known = tracking.stq is not None and depth.pixels > 0
    return {
        "dstq": _percent(dstq(tracking.stq, depth.dq)) if known and tracking.stq is not None else None,
        "dq": _percent(depth.dq) if depth.pixels else None,
        "dq_by_ratio": {
            f"{ratio:g}": _percent(share) if depth.pixels else None for ratio, share in depth.by_threshold.items()
        },
    }


def _class(scores: "Scores", space: LabelSpace, index: int) -> dict[str, Any]:
    counts, video, depth_video = scores.panoptic, scores.video, scores.depth_video
    present = bool(counts.present[index])

    def quality(of: PanopticCounts, name: str = "pq") -> float | None:
        return _percent(getattr(of, name)[index]) if of.present[index] else None

    of_depth = [quality(of) for by_window in depth_video.dvpq.values() for of in by_window.values()]
    told = [value for value in of_depth if value is not None]
    switches = scores.switches
    return {
        "class_id": index,
        "thing": space.classes[index].is_thing,
        "pq": quality(counts),
        "sq": quality(counts, "sq"),
        "rq": quality(counts, "rq"),
        "iou": _percent(scores.tracking.class_iou[index]) if scores.tracking.class_present[index] else None,
        "tp": int(counts.tp[index]),
        "fp": int(counts.fp[index]),
        "fn": int(counts.fn[index]),
        "present": present,
        "vpq": {str(k): quality(of) for k, of in video.vpq.items()},
        "dvpq": float(np.mean(told)) if told else None,
        "tracks": int(switches.tracks[index]),
        "id_switches": int(switches.switches[index]),
    }


def _bands(scores: DepthErrorScores) -> list[dict[str, Any]]:
    return [
        {"start_m": band.start_m, "end_m": band.end_m, "pixels": band.pixels, "abs_rel": band.abs_rel}
        for band in scores.bands
    ]


def _id_switches(scores: IdSwitchScores, space: LabelSpace) -> dict[str, Any]:
    return {
        "switches": int(scores.switches.sum()),
        "tracks": int(scores.tracks.sum()),
        "frames": int(scores.frames.sum()),
        "found": int(scores.found.sum()),
        "timeline": [_timeline(track, space) for track in scores.worst],
    }


def _timeline(track: TrackHistory, space: LabelSpace) -> dict[str, Any]:
    return {
        "sequence": track.sequence,
        "class": space.names[track.class_id],
        "instance": track.instance_id,
        "switches": track.switches,
        "frames": track.frames,
        "found": track.found,
        "runs": [[run.first_frame, run.last_frame, run.predicted_id] for run in track.runs],
    }
