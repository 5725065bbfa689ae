# SPDX-License-Identifier: Apache-2.0
"""Geometry of the drawings in the evaluation report: bars per class, depth error over distance, timelines of ids.

Everything is in units of SVG's view box; the page's template draws it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from monodvps_ros.errors import counted

#: Size of the chart of depth error, and room around its axes.
CHART_WIDTH, CHART_HEIGHT = 1060, 280
CHART_LEFT, CHART_RIGHT, CHART_TOP, CHART_BOTTOM = 52, 12, 16, 44
#: Width of a timeline and height of one track in it.
TIMELINE_WIDTH, TRACK_HEIGHT = 1050, 18
#: Room for a track's name.
NAME_WIDTH = 190
#: Hues step by the golden angle, so that ids that follow each other look different.
GOLDEN_ANGLE_DEG = 137.508
MOST_TRACKS = 25
DASH = "\N{EN DASH}"


def class_bars(per_class: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Rows of the bar chart: things first, then stuff, each in the order of class ids; absent classes are left out."""
    rows = []
    for name, values in sorted(per_class.items(), key=lambda item: not item[1]["thing"]):
        pq, iou = values.get("pq"), values.get("iou")
        if pq is None and iou is None:
            continue
        other = (baseline or {}).get(name, {}).get("pq")
        difference = None if other is None or pq is None else pq - other
        rows.append({**values, "name": name, "pq": pq, "iou": iou, "baseline": other, "difference": difference})
    return rows


def distance_chart(bands: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Bars of absRel by band of true depth, a mark for the baseline's, and ticks; `bars` is empty without depth."""
    shown = [band for band in bands if band["pixels"]]
    others = {band["start_m"]: band["abs_rel"] for band in baseline or ()}
    values = [band["abs_rel"] for band in shown] + [
        others[band["start_m"]] for band in shown if others.get(band["start_m"]) is not None
    ]
    if not values:
        return {"bars": [], "width": CHART_WIDTH, "height": CHART_HEIGHT}
    step = _tick_step(max(*values, 0.01))
    top = step * (int(max(values) / step) + 1)
    ground = CHART_HEIGHT - CHART_BOTTOM
    plot_width, plot_height = CHART_WIDTH - CHART_LEFT - CHART_RIGHT, ground - CHART_TOP
    slot = plot_width / len(shown)

    def level(value: float) -> float:
        return ground - plot_height * value / top

    bars = []
    for place, band in enumerate(shown):
        other = others.get(band["start_m"])
        label = f"{band['start_m']:g}{DASH}{band['end_m']:g}" if band["end_m"] is not None else f"> {band['start_m']:g}"
        bars.append(
            {
                "x": CHART_LEFT + slot * (place + 0.15),
                "width": slot * 0.7,
                "y": level(band["abs_rel"]),
                "height": ground - level(band["abs_rel"]),
                "middle": CHART_LEFT + slot * (place + 0.5),
                "label": label,
                "baseline_y": None if other is None else level(other),
                "hint": f"{label} m: absRel {band['abs_rel']:.3f} over {counted(band['pixels'], 'pixel', spec=',')}"
                + ("" if other is None else f"; baseline {other:.3f}"),
            }
        )
    ticks = [{"y": level(step * n), "label": f"{step * n:g}"} for n in range(round(top / step) + 1)]
    return {
        "bars": bars,
        "ticks": ticks,
        "width": CHART_WIDTH,
        "height": CHART_HEIGHT,
        "left": CHART_LEFT,
        "right": CHART_WIDTH - CHART_RIGHT,
        "ground": ground,
    }


def timelines(tracks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One drawing a sequence: a row for each track, its frames coloured by the id it is predicted under.

    Tracks come worst first; the first `MOST_TRACKS` are drawn.
    """
    by_sequence: dict[str, list[Mapping[str, Any]]] = {}
    for track in tracks[:MOST_TRACKS]:
        by_sequence.setdefault(track["sequence"], []).append(track)
    return [_timeline(sequence, rows) for sequence, rows in by_sequence.items()]


def _timeline(sequence: str, tracks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    frames = 1 + max(last for track in tracks for _, last, _ in track["runs"])
    scale = (TIMELINE_WIDTH - NAME_WIDTH) / frames
    rows = []
    for place, track in enumerate(tracks):
        runs, before = [], None
        for first, last, predicted in track["runs"]:
            switch = predicted is not None and before is not None and predicted != before
            before = before if predicted is None else predicted
            runs.append(
                {
                    "x": NAME_WIDTH + first * scale,
                    "width": max((last - first + 1) * scale - 0.5, 0.5),
                    "color": None if predicted is None else id_color(predicted),
                    "switch": switch,
                    "hint": f"frames {first}{DASH}{last}: " + ("not found" if predicted is None else f"id {predicted}"),
                }
            )
        name = f"{track['class']} {track['instance']}"
        rows.append({"y": place * (TRACK_HEIGHT + 4), "name": name, "switches": track["switches"], "runs": runs})
    step = max(1, round(_tick_step(frames)))
    height = len(rows) * (TRACK_HEIGHT + 4)
    return {
        "sequence": sequence,
        "rows": rows,
        "ticks": [{"x": NAME_WIDTH + n * scale, "label": str(n)} for n in range(0, frames, step)],
        "width": TIMELINE_WIDTH + 8,
        "height": height + 20,
        "ground": height,
        "row_height": TRACK_HEIGHT,
        "name_width": NAME_WIDTH,
    }


def id_color(identity: int) -> str:
    """CSS colour of a predicted id; the same id has the same colour everywhere on the page."""
    return f"hsl({identity * GOLDEN_ANGLE_DEG % 360:.0f} 62% {48 + 8 * (identity % 3)}%)"


def _tick_step(largest: float) -> float:
    # the smallest of 1, 2, 5 times a power of ten that leaves at most six ticks
    power = 1e-4
    while True:
        for factor in (1, 2, 5):
            if largest / (factor * power) <= 6:
                return factor * power
        power *= 10
