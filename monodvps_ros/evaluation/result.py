# SPDX-License-Identifier: Apache-2.0
"""The one result of measuring: its JSON, its figures in tables, and what of it goes into the card of weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from monodvps_ros.errors import DataError
from monodvps_ros.files import read_json, write_text
from monodvps_ros.metrics import Figure, figures

#: What `Evaluation.result` returns, and what `monodvps evaluate` adds to it; docs/evaluation.md describes it.
Result = dict[str, Any]
#: Key of a weights file's card for what `for_card` returns.
CARD_KEY = "evaluation"
NO_NUMBER = "\N{EN DASH}"
FIGURES: Mapping[str, Figure] = {figure.name: figure for _, figure in figures()}
#: Frames that stand on one side alone, by that side.
UNPAIRED = {
    "predictions": ("prediction without a true frame", "predictions without a true frame"),
    "ground_truth": ("true frame without a prediction", "true frames without a prediction"),
}
#: What says what was measured, and stands in the card beside the figures.
_CARD_PARTS = ("split", "dataset", "frames", "min_area_px", "settings")


def read_result(path: Path) -> Result:
    """Read the JSON of `monodvps evaluate`.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    result = read_json(path)
    if not isinstance(result, dict) or not {"figures", "by_depth_scaling"} <= result.keys():
        raise DataError(f"{path}: is not a result of monodvps evaluate; expected the file that --json wrote")
    return result


def write_result(path: Path, result: Result) -> None:
    """Write the JSON of a result, whole or not at all, and its folder if need be.

    Raises:
        DataError: it cannot be written.
    """
    write_text(path, json.dumps(result, indent=2, allow_nan=False) + "\n")


def at_scaling(result: Result, scaling: str) -> Result:
    """Return a result with the parts of one depth scaling beside those that need no depth.

    Where the result lacks that scaling, its first is taken.
    """
    by_scaling = result["by_depth_scaling"]
    name = scaling if scaling in by_scaling else next(iter(by_scaling))
    of_depth = by_scaling[name]
    per_class = {key: {**values, **of_depth["per_class"].get(key, {})} for key, values in result["per_class"].items()}
    return {**result, **of_depth, "per_class": per_class, "figures": result["figures"][name], "depth_scaling": name}


def for_card(result: Result) -> dict[str, Any]:
    """Pick out of a result what goes into the card of the weights, under `CARD_KEY`.

    Returns:
        What was measured (``split``, ``dataset``, ``frames``, ``min_area_px``, ``settings``), and ``figures`` by the
        depth scaling.
    """
    return {**{key: result.get(key) for key in _CARD_PARTS}, "figures": result["figures"]}


def figure_text(name: str, value: float | None) -> str:
    """Write a figure with its digits; a dash where there is none."""
    return NO_NUMBER if value is None else f"{value:,.{FIGURES[name].digits}f}"


def change(new: float, old: float, digits: int) -> float:
    """Return the difference of two figures as they are shown, so that a reader who subtracts finds the same."""
    return round(round(new, digits) - round(old, digits), digits)


def figures_table(columns: Mapping[str, Mapping[str, float | None]], title: str = "") -> Table:
    """Set figures, or a part of them, side by side under titles; a number that no column has is left out."""
    table = _table(title, *columns)
    for name, figure in FIGURES.items():
        values = [column.get(name) for column in columns.values()]
        if any(value is not None for value in values):
            table.add_row(_label(figure), *(figure_text(name, value) for value in values))
    return table


def comparison_table(after: Mapping[str, float | None], before: Mapping[str, float | None], title: str = "") -> Table:
    """Set the figures of two runs side by side and say of each whether it is better, worse or the same."""
    table = _table(title, "before", "after", "change")
    for name, figure in FIGURES.items():
        new, old = after.get(name), before.get(name)
        if new is None or old is None:
            continue
        difference = change(new, old, figure.digits)
        verdict = "same" if not difference else "better" if (difference < 0) == figure.lower_is_better else "worse"
        table.add_row(
            _label(figure), figure_text(name, old), figure_text(name, new), f"{difference:+.{figure.digits}f} {verdict}"
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _label(figure: Figure) -> str:
    return f"{figure.title} ({figure.unit})" if figure.unit else figure.title
