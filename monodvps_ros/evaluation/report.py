# SPDX-License-Identifier: Apache-2.0
"""One HTML page of an evaluation that opens anywhere, offline: style, drawings and pictures are inside it."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from monodvps_ros.errors import counted
from monodvps_ros.evaluation.drawings import class_bars, distance_chart, timelines
from monodvps_ros.evaluation.result import FIGURES, NO_NUMBER, UNPAIRED, Result, at_scaling, change
from monodvps_ros.metrics import GROUPS, DepthErrors, Figure

MINUS = "\N{MINUS SIGN}"
PANOPTIC_ROWS = (("PQ", ()), ("SQ", ("sq",)), ("RQ", ("rq",)))
TRACKING_ROWS = (
    ("STQ", ("stq", "stq")),
    ("AQ", ("stq", "aq")),
    ("IoU", ("stq", "iou")),
    ("DSTQ", ("dstq", "dstq")),
    ("DQ", ("dstq", "dq")),
    ("mIoU", ("classes", "miou")),
)


def render_report(
    result: Result,
    scaling: str,
    frames: Sequence[Mapping[str, Any]] = (),
    film: Sequence[Mapping[str, Any]] = (),
    baseline: Result | None = None,
    baseline_name: str = "baseline",
    title: str = "",
) -> str:
    """Write the page at one depth scaling, beside the figures of a `baseline` where there is one.

    Args:
        result: of the evaluation.
        scaling: the depth scaling to show.
        frames: the worst frames with their pictures, as `Evaluation.worst_frames` gives them.
        film: frames spread over the run with their pictures, as `Evaluation.film` gives them.
        baseline: result of another run, to be compared with.
        baseline_name: how to call it.
        title: what was evaluated.

    Returns:
        HTML that asks for nothing from outside.
    """
    results = at_scaling(result, scaling)
    baseline = None if baseline is None else at_scaling(baseline, scaling)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(
        resources.files("monodvps_ros.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        results=results,
        title=title or results["dataset"],
        baseline_name=baseline_name if baseline is not None else None,
        cards=[_card(results, baseline, figure) for figure in FIGURES.values() if figure.card],
        notes=_notes(results, baseline),
        dvpq=_dvpq_rows(results, baseline),
        windows=list(results["vpq"]["windows"]),
        panoptic=[
            (
                title,
                [_cell(results, baseline, ("pq", *path, group)) for group in GROUPS],
                [_cell(results, baseline, ("pq", "zero_filled", *path, group)) for group in GROUPS],
            )
            for title, path in PANOPTIC_ROWS
        ],
        tracking=[(title, _cell(results, baseline, path)) for title, path in TRACKING_ROWS],
        depth=[(figure.title, figure.unit, _figure_cell(results, baseline, figure)) for figure in DepthErrors.figures],
        bars=class_bars(results["per_class"], None if baseline is None else baseline.get("per_class", {})),
        distance=distance_chart(
            results["depth"]["over_distance"],
            None if baseline is None else look_up(baseline, ("depth", "over_distance")),
        ),
        timelines=timelines(results["id_switches"]["timeline"]),
        frames=[_frame(frame) for frame in frames],
        film=film,
    )


def look_up(results: Mapping[str, Any] | None, path: Sequence[str]) -> Any:
    """Return what stands under a path of keys in nested dictionaries, or None where there is nothing."""
    value: Any = results
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _number(value: float | None, digits: int) -> str:
    return NO_NUMBER if value is None else f"{value:,.{digits}f}"


def _cell(
    results: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
    path: Sequence[str],
    digits: int = 1,
    lower_is_better: bool = False,
) -> dict[str, str]:
    value, other = look_up(results, path), look_up(baseline, path)
    cell = {"text": _number(value, digits), "difference": "", "kind": ""}
    if value is not None and other is not None:
        difference = change(value, other, digits)
        cell["difference"] = "±0" if difference == 0 else f"{difference:+,.{digits}f}".replace("-", MINUS)
        if difference:
            cell["kind"] = "better" if (difference < 0) == lower_is_better else "worse"
    return cell


def _figure_cell(results: Mapping[str, Any], baseline: Mapping[str, Any] | None, figure: Figure) -> dict[str, str]:
    return _cell(results, baseline, ("figures", figure.name), figure.digits, figure.lower_is_better)


def _card(results: Mapping[str, Any], baseline: Mapping[str, Any] | None, figure: Figure) -> dict[str, Any]:
    cell = _figure_cell(results, baseline, figure)
    unit = figure.unit if cell["text"] != NO_NUMBER else ""
    return {"title": figure.title, "unit": unit, "meaning": figure.card, **cell}


def _dvpq_rows(results: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    rows: list[tuple[str, tuple[str, ...]]] = [("VPQ, no depth", ("vpq", "windows"))]
    rows += [(f"λ = {key}", ("dvpq", "thresholds", key)) for key in results["dvpq"]["thresholds"]]
    table = [
        {
            "title": title,
            "is_mean": False,
            "cells": [
                {group: _cell(results, baseline, (*path, k, group)) for group in GROUPS}
                for k in results["vpq"]["windows"]
            ],
        }
        for title, path in rows
    ]
    mean = {group: _cell(results, baseline, ("dvpq", "mean", group)) for group in GROUPS}
    return [*table, {"title": "DVPQ, mean over λ and k", "cells": [mean], "is_mean": True}]


def _notes(results: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[str]:
    notes = []
    for side, what in UNPAIRED.items():
        count = results.get("unpaired", {}).get(side, {}).get("count", 0)
        if count:
            notes.append(f"{counted(count, *what)}: not measured")
    if results["resized_frames"]:
        notes.append(
            counted(results["resized_frames"], "prediction was", "predictions were")
            + " resized to the size of the truth"
        )
    if results["factor"]["unscaled_frames"]:
        count = results["factor"]["unscaled_frames"]
        frames = counted(count, "frame had no scale and counts", "frames had no scale and count")
        notes.append(f"{frames} as having no depth")
    if results["depth"]["missing_pixels"]:
        count = results["depth"]["missing_pixels"]
        notes.append(
            counted(count, "pixel with true depth has", "pixels with true depth have", ",") + " no predicted depth"
        )
    if baseline is not None:
        notes += [
            f"the baseline differs in {name}: {baseline.get(name)} there, {results[name]} here"
            for name in ("dataset", "depth_scaling", "frames")
            if baseline.get(name) != results[name]
        ]
    return notes


def _frame(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **frame,
        **{name: _number(frame[name], 1) for name in ("pq", "miou")},
        "abs_rel": _number(frame["abs_rel"], 3),
    }
