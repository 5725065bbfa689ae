# SPDX-License-Identifier: Apache-2.0
"""Evaluates the demo's recording against ground truth, beside the figures of the weights' card."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from monodvps_ros.data.bag.recorded_predictions import BagPredictions
from monodvps_ros.evaluation.pairs import TruthReader
from monodvps_ros.evaluation.result import CARD_KEY
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics import RECORDING_RULES
from monodvps_ros.types import Sample


def drive_metrics(
    samples: Iterable[Sample], recording: Path, space: LabelSpace, header: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Measure the frames that came through, as the node published them.

    Args:
        samples: what was played, in the order of their stamps.
        recording: bag of the node's outputs; at least one frame came through.
        space: classes of the samples' truth.
        header: of the weights file, as `read_card` gives it; None for weights without one.

    Returns:
        What `docs/demo.md` describes under `metrics`; None where the samples have no truth, or the weights have other
        classes than it.

    Raises:
        DataError: the recording is damaged.
    """
    if header is not None and list(header["label_space"]) != list(space.names):
        return None
    evaluation = Evaluation(RECORDING_RULES, space)
    reader = TruthReader(Path())
    remaining = ((sample, reader.read(sample)) for sample in samples)
    for predicted in BagPredictions([recording]):
        found = next((pair for pair in remaining if pair[0].frame.stamp_ns == predicted.stamp_ns), None)
        if found is None:
            break
        sample, pair = found
        pair = replace(
            pair,
            truth=None if pair.against_pseudo_labels else pair.truth,
            prediction=(predicted.class_ids, predicted.instance_ids),
            # without K there are no metres
            predicted_depth_m=None if sample.frame.intrinsics is None else predicted.depth_m,
        )
        if pair.has_truth:
            evaluation.add(pair)
    if not evaluation.frames:
        return None
    card = None if header is None else header["card"].get(CARD_KEY)
    return {
        "frames": evaluation.frames,
        "drive": evaluation.result()["figures"]["none"],
        "card": None if card is None else {"split": card["split"], **card["figures"].get("live", {})},
    }
