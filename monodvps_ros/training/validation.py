# SPDX-License-Identifier: Apache-2.0
"""How good the network is on frames: through the live pipeline, measured with the field's metrics."""

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
    """Measure a network in evaluation mode; depth is given the truth's median in each frame.

    Args:
        network: the network, on its device.
        samples: in time order; frames without truth are gone through for the tracker's sake.
        frames: at most so many are looked at.
        against_teacher: measure agreement with pseudo-labels, which are a teacher's and not the truth.

    Raises:
        DataError: there are pseudo-labels and it was not said that they are to be measured against.
        LabelError: the truth has a class that the network has not.
    """
    device = str(next(network.parameters()).device)
    config = PipelineConfig(device=device, precision="float32", scale=ScaleConfig(mode="none"))
    evaluation = Evaluation(RECORDING_RULES, network.label_space, (DepthScaling.MEDIAN,))
    with _evaluating(network):
        predictor = ModelPairs(network, config, TruthReader(Path()), allow_pseudo_labels=against_teacher)
        evaluation.add_all(predictor.pairs(islice(samples, frames)))
    return evaluation.result()


def figures(result: Result) -> dict[str, float]:
    """Return the figures that were measured of PQ and VPQ, 0..1, and absRel, by name."""
    found = result["figures"][DepthScaling.MEDIAN.value]
    shares = {"PQ": found["pq"], "VPQ": found["vpq"]}
    named = {name: None if value is None else value / 100 for name, value in shares.items()}
    return {name: value for name, value in (*named.items(), ("absRel", found["abs_rel"])) if value is not None}


@contextmanager
def _evaluating(network: MonoDVPS) -> Iterator[None]:
    """Switch to evaluation, and back to what each module was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
