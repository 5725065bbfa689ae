# SPDX-License-Identifier: Apache-2.0
"""One HTML page of an evaluation that opens anywhere, offline: style, drawings and pictures are inside it."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from monodvps_ros.evaluation.drawings import class_bars, distance_chart, timelines
from monodvps_ros.metrics import GROUPS

NO_NUMBER, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
#: Headline cards: title, path in the results, digits, unit, whether lower is better, what it is.
CARDS = (
    ("PQ", ("pq", "all"), 1, "%", False, "panoptic quality of single frames"),
    ("DVPQ", ("dvpq", "mean", "all"), 1, "%", False, "depth-aware video panoptic quality, mean over λ and k"),
    ("STQ", ("stq", "stq"), 1, "%", False, "segmentation and tracking quality"),
    ("DSTQ", ("dstq", "dstq"), 1, "%", False, "the same with depth"),
    ("absRel", ("depth", "abs_rel"), 3, "", True, "mean relative depth error"),
    ("δ < 1.25", ("depth", "d1"), 3, "", False, "share of depth pixels within a quarter"),
    ("id switches", ("id_switches", "switches"), 0, "", True, "changes of an object's predicted id"),
)
#: Rows of the depth table: title, name, unit, whether lower is better.
DEPTH_ROWS = (
    ("absRel", "abs_rel", "", True),
    ("sqRel", "sq_rel", "m", True),
    ("RMSE", "rmse", "m", True),
    ("RMSE log", "rmse_log", "", True),
    ("δ < 1.25", "d1", "", False),
    ("δ < 1.25²", "d2", "", False),
    ("δ < 1.25³", "d3", "", False),
)
PANOPTIC_ROWS = (("PQ", ("pq",)), ("SQ", ("pq", "sq")), ("RQ", ("pq", "rq")))
TRACKING_ROWS = (
    ("STQ", ("stq", "stq")),
    ("AQ", ("stq", "aq")),
    ("IoU", ("stq", "iou")),
    ("DSTQ", ("dstq", "dstq")),
    ("DQ", ("dstq", "dq")),
)


def render_report(
    results: Mapping[str, Any],
    frames: Sequence[Mapping[str, Any]] = (),
    film: Sequence[Mapping[str, Any]] = (),
    baseline: Mapping[str, Any] | None = None,
    baseline_name: str = "baseline",
    title: str = "",
) -> str:
    """Write the page.

    Args:
        results: what `monodvps evaluate` writes as JSON.
        frames: the worst frames with their pictures, as `Evaluation.worst_frames` gives them.
        film: frames spread over the run with their pictures, as `Evaluation.film` gives them.
        baseline: the JSON of another run, to be compared with.
        baseline_name: how to call it.
        title: what was evaluated.

    Returns:
        HTML that asks for nothing from outside.
    """
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
        cards=[_card(results, baseline, *card) for card in CARDS],
        notes=_notes(results, baseline),
        dvpq=_dvpq_rows(results, baseline),
        windows=list(results["vpq"]),
        panoptic=[
            (
                title,
                [_cell(results, baseline, (*path, group)) for group in GROUPS],
                [_cell(results, baseline, ("zero_filled", *path, group)) for group in GROUPS],
            )
            for title, path in PANOPTIC_ROWS
        ],
        tracking=[(title, _cell(results, baseline, path)) for title, path in TRACKING_ROWS],
        depth=[
            (title, unit, _cell(results, baseline, ("depth", name), 3, lower))
            for title, name, unit, lower in DEPTH_ROWS
        ],
        bars=class_bars(results["per_class"], None if baseline is None else baseline.get("per_class", {})),
        distance=distance_chart(
            results["depth_over_distance"], None if baseline is None else baseline.get("depth_over_distance")
        ),
        timelines=timelines(results["id_switches"]["timeline"]),
        frames=[_frame(frame) for frame in frames],
        film=film,
    )


def look_up(results: Mapping[str, Any] | None, path: Sequence[str]) -> float | None:
    """Return the number under a path of keys in nested dictionaries, or None where there is none."""
    value: Any = results
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, (int, float)) else None


def card_text(results: Mapping[str, Any], card: tuple[Any, ...]) -> str:
    """Return the number of one of `CARDS` as text."""
    return _number(look_up(results, card[1]), card[2])


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
        difference = round(value - other, digits)
        cell["difference"] = "±0" if difference == 0 else f"{difference:+,.{digits}f}".replace("-", MINUS)
        if difference:
            cell["kind"] = "better" if (difference < 0) == lower_is_better else "worse"
    return cell


def _card(
    results: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
    title: str,
    path: Sequence[str],
    digits: int,
    unit: str,
    lower_is_better: bool,
    meaning: str,
) -> dict[str, Any]:
    cell = _cell(results, baseline, path, digits, lower_is_better)
    return {"title": title, "unit": unit if cell["text"] != NO_NUMBER else "", "meaning": meaning, **cell}


def _dvpq_rows(results: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    rows: list[tuple[str, tuple[str, ...]]] = [("VPQ, no depth", ("vpq",))]
    rows += [(f"λ = {key}", ("dvpq", key)) for key in results["dvpq"] if key != "mean"]
    table = [
        {
            "title": title,
            "is_mean": False,
            "cells": [{group: _cell(results, baseline, (*path, k, group)) for group in GROUPS} for k in results["vpq"]],
        }
        for title, path in rows
    ]
    mean = {group: _cell(results, baseline, ("dvpq", "mean", group)) for group in GROUPS}
    return [*table, {"title": "DVPQ, mean over λ and k", "cells": [mean], "is_mean": True}]


def _notes(results: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[str]:
    notes = []
    for side, what in (
        ("predictions", "predictions without a true frame"),
        ("ground_truth", "true frames without a prediction"),
    ):
        count = results.get("unpaired", {}).get(side, {}).get("count", 0)
        if count:
            notes.append(f"{count} {what}: not measured")
    if results["resized_frames"]:
        notes.append(f"{results['resized_frames']} predictions were resized to the size of the truth")
    if results["scale"]["unscaled_frames"]:
        notes.append(f"{results['scale']['unscaled_frames']} frames had no scale and count as having no depth")
    if results["depth_pixels"]["missing"]:
        notes.append(f"{results['depth_pixels']['missing']:,} pixels with true depth have no predicted depth")
    if baseline is not None:
        notes += [
            f"the baseline differs in {name}: {baseline.get(name)} there, {results[name]} here"
            for name in ("dataset", "scaling", "frames")
            if baseline.get(name) != results[name]
        ]
    return notes


def _frame(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **frame,
        "pq": _number(frame["pq"], 1),
        "abs_rel": _number(frame["abs_rel"], 3),
    }
