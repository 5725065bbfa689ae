# SPDX-License-Identifier: Apache-2.0
"""Validation: the network in the live pipeline, evaluated with the usual metrics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from monodvps_ros.config import PipelineConfig, ScaleConfig
from monodvps_ros.evaluation.depth_scaling import DepthScaling
from monodvps_ros.evaluation.model_pairs import ModelPairs
from monodvps_ros.evaluation.pairs import TruthReader
from monodvps_ros.evaluation.result import Result
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.metrics import RECORDING_RULES
from monodvps_ros.network import MonoDVPS
from monodvps_ros.types import Sample


def validate(network: MonoDVPS, samples: Iterable[Sample], frames: int, against_teacher: bool = False) -> Result:
    """Evaluate a network in evaluation mode; depth is median-scaled per frame.

    Args:
        network: the network, on its device.
        samples: in time order; frames without ground truth still pass through the tracker.
        frames: maximum number of frames.
        against_teacher: accept pseudo-labels, to measure agreement with the teacher.

    Raises:
        DataError: there are pseudo-labels and `against_teacher` is false.
        LabelError: the ground truth has a class that the network lacks.
    """
    device = str(next(network.parameters()).device)
    config = PipelineConfig(device=device, precision="float32", scale=ScaleConfig(mode="none"))
    evaluation = Evaluation(RECORDING_RULES, network.label_space, (DepthScaling.MEDIAN,))
    with _evaluating(network):
        predictor = ModelPairs(network, config, TruthReader(Path()), allow_pseudo_labels=against_teacher)
        evaluation.add_all(predictor.pairs(islice(samples, frames)))
    return evaluation.result()


def figures(result: Result) -> dict[str, float]:
    """Return PQ and VPQ, 0..1, and absRel by name, as far as available."""
    found = result["figures"][DepthScaling.MEDIAN.value]
    shares = {"PQ": found["pq"], "VPQ": found["vpq"]}
    named = {name: None if value is None else value / 100 for name, value in shares.items()}
    return {name: value for name, value in (*named.items(), ("absRel", found["abs_rel"])) if value is not None}


@contextmanager
def _evaluating(network: MonoDVPS) -> Iterator[None]:
    """Switch to evaluation mode, and restore the modes at the end."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
