# SPDX-License-Identifier: Apache-2.0
"""The few numbers of an evaluation that cards and comparisons name, flat, by the same names everywhere."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

#: The two ways to metres: each frame's depth given the median of its truth, and the depth that the node would publish.
MEDIAN, LIVE = "median", "live"
#: Key of a weights file's card for what `for_card` returns.
CARD_KEY = "benchmark"
NO_NUMBER = "\N{EN DASH}"
#: Name -> title, digits, unit.
HEADLINE: Mapping[str, tuple[str, int, str]] = {
    "pq": ("PQ", 1, "%"),
    "pq_things": ("PQ things", 1, "%"),
    "pq_stuff": ("PQ stuff", 1, "%"),
    "sq": ("SQ", 1, "%"),
    "rq": ("RQ", 1, "%"),
    "vpq": ("VPQ, mean over k", 1, "%"),
    "dvpq": ("DVPQ, mean over k and λ", 1, "%"),
    "stq": ("STQ", 1, "%"),
    "dstq": ("DSTQ", 1, "%"),
    "id_switches_per_track": ("id switches per track", 3, ""),
    "things_found": ("share of things found", 3, ""),
    "abs_rel": ("absRel", 3, ""),
    "sq_rel": ("sqRel", 2, "m"),
    "rmse": ("RMSE", 2, "m"),
    "d1": ("share within 1.25", 3, ""),
}


def headline(results: Mapping[str, Any]) -> dict[str, float | None]:
    """Pick the headline numbers of an evaluation.

    Args:
        results: of `Evaluation.results`, or the JSON that `monodvps evaluate` wrote.

    Returns:
        Name in `HEADLINE` to number; percentages 0-100, depth in the units of `results`, None where there was nothing
        to measure.
    """
    seen, found = results["id_switches"]["frames"], results["id_switches"]["found"]
    by_window = [scores["all"] for scores in results["vpq"].values() if scores["all"] is not None]
    switches, tracks = results["id_switches"]["switches"], results["id_switches"]["tracks"]
    pq, depth = results["pq"], results["depth"]
    return {
        "pq": pq["all"],
        "pq_things": pq["things"],
        "pq_stuff": pq["stuff"],
        "sq": pq["sq"]["all"],
        "rq": pq["rq"]["all"],
        "vpq": sum(by_window) / len(by_window) if by_window else None,
        "dvpq": results["dvpq"]["mean"]["all"],
        "stq": results["stq"]["stq"],
        "dstq": results["dstq"]["dstq"],
        "id_switches_per_track": switches / tracks if tracks else None,
        "things_found": found / seen if seen else None,
        "abs_rel": depth["abs_rel"],
        "sq_rel": depth["sq_rel"],
        "rmse": depth["rmse"],
        "d1": depth["d1"],
    }


def for_card(score: Mapping[str, Any]) -> dict[str, Any]:
    """Pick out of the results of `monodvps score` what goes into the card of the weights, under `CARD_KEY`.

    Args:
        score: the JSON that the command wrote.

    Returns:
        ``split``, ``frames``, ``min_area_px``, ``settings`` of the pipeline, and the headlines ``median`` and ``live``.
    """
    kept = {key: score[key] for key in ("split", "frames", "min_area_px", "settings")}
    return {**kept, **{name: score["headline"][name] for name in (MEDIAN, LIVE)}}


def headline_table(columns: Mapping[str, Mapping[str, float | None]], title: str = "") -> Table:
    """Set headlines side by side, one row a number; a number that no column has is left out.

    Args:
        columns: title to what `headline` returned, or a part of it.
        title: of the table.
    """
    table = Table(title=title or None, title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for name, (label, digits, unit) in HEADLINE.items():
        values = [column.get(name) for column in columns.values()]
        if any(value is not None for value in values):
            shown = [NO_NUMBER if value is None else f"{value:.{digits}f}" for value in values]
            table.add_row(f"{label} ({unit})" if unit else label, *shown)
    return table
