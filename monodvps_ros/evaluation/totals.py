# SPDX-License-Identifier: Apache-2.0
"""The totals of an evaluation in a file, and one result of the totals of many recordings."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monodvps_ros.errors import DataError
from monodvps_ros.evaluation.depth_scaling import DepthScaling
from monodvps_ros.evaluation.pairs import Names
from monodvps_ros.evaluation.result import Result
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.files import read_json, write_text
from monodvps_ros.labels import ClassGroups, label_space
from monodvps_ros.metrics import DatasetRules, DepthProtocol

_FORMAT = "monodvps_ros totals/1"
#: Entries of a result that must be equal in all that is merged, and stand in the merged one.
_SAME = ("split", "labels", "min_area_px", "settings", "weights", "reference")


def write_totals(path: Path, evaluation: Evaluation, result: Result) -> None:
    """Write the totals of an evaluation as JSON.

    Args:
        path: file to write.
        evaluation: that has measured all frames.
        result: of `monodvps evaluate`, for what does not come from the totals.

    Raises:
        DataError: it cannot be written.
    """
    groups = evaluation.evaluator.settings.groups
    made_with = {
        "rules": dataclasses.asdict(evaluation.rules),
        "space": evaluation.space.name,
        "groups": {"names": groups.names, "members": groups.members},
        "protocol": dataclasses.asdict(evaluation.protocol),
        "scalings": [scaling.value for scaling in evaluation.scalers],
        "camera_height_m": evaluation.scalers[evaluation.shown].camera_height_m,
        **{key: result.get(key) for key in _SAME},
    }
    kept = {key: result[key] for key in ("data", "unpaired", "damage")}
    content = {"format": _FORMAT, "made_with": made_with, **kept, "state": evaluation.state()}
    write_text(path, json.dumps(content, allow_nan=False) + "\n")


def merge_totals(paths: Sequence[Path]) -> Result:
    """Add totals up, in the order given; the result is the same wherever and in whatever order they were measured.

    Returns:
        As `monodvps evaluate`, with ``data`` a list, and without ``pipeline_ms`` and worst frames.

    Raises:
        DataError: a file cannot be read, is something else, or was measured with other settings than the first.
    """
    first = _read(paths[0])
    made_with = first["made_with"]
    evaluation = _evaluation(made_with)
    without_truth, data, damage = Names(), [], []
    for path in paths:
        totals = _read(path)
        other = [key for key, value in made_with.items() if totals["made_with"].get(key) != value]
        if other:
            raise DataError(f"{path}: was measured with other settings than {paths[0]}: {', '.join(other)} differ")
        try:
            evaluation.add_state(totals["state"])
            without_truth.add_summary(totals["unpaired"]["predictions"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: is damaged or of another version: {error}; evaluate it again") from None
        data.append(totals["data"])
        damage += totals["damage"]
    unpaired = {"predictions": without_truth.summary(), "ground_truth": evaluation.without_prediction.summary()}
    same = {key: made_with[key] for key in _SAME}
    return {"data": data, **same, **evaluation.result(), "unpaired": unpaired, "damage": damage}


def _evaluation(made_with: dict[str, Any]) -> Evaluation:
    rules: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in made_with["rules"].items()
    }
    groups = made_with["groups"]
    return Evaluation(
        DatasetRules(**rules),
        label_space(made_with["space"]),
        [DepthScaling(name) for name in made_with["scalings"]],
        ClassGroups(tuple(groups["names"]), tuple(map(tuple, groups["members"]))),
        DepthProtocol(**made_with["protocol"]),
        made_with["camera_height_m"],
    )


def _read(path: Path) -> dict[str, Any]:
    totals = read_json(path)
    if not isinstance(totals, dict) or totals.get("format") != _FORMAT:
        raise DataError(f"{path}: contains no totals of an evaluation; expected the file that --totals wrote")
    return totals
