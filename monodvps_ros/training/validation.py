# SPDX-License-Identifier: Apache-2.0
"""How good the network is on frames: through the live pipeline, measured with the field's metrics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from monodvps_ros.config import PipelineConfig, ScaleConfig
from monodvps_ros.errors import DataError
from monodvps_ros.metrics import DepthProtocol, Evaluator, Scores, median_scale
from monodvps_ros.network import MonoDVPS
from monodvps_ros.perception import Pipeline
from monodvps_ros.types import Output, Sample

_WANTED = frozenset({Output.PANOPTIC, Output.DEPTH})


def validate(network: MonoDVPS, samples: Iterable[Sample], frames: int, against_teacher: bool = False) -> Scores:
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
    config = PipelineConfig(device=device, precision="float32", scale=ScaleConfig(mode="none"), sky_depth=True)
    pipeline = Pipeline(network, config)
    evaluator = Evaluator(network.label_space)
    protocol = DepthProtocol()
    sequence = None
    with _evaluating(network):
        for sample in islice(samples, frames):
            if sample.sequence != sequence:
                sequence = sample.sequence
                evaluator.end_sequence()
                pipeline.reset()
            if sample.truth.panoptic_is_pseudo and not against_teacher:
                raise DataError(
                    f"{sample.source}: has a pseudo-label, a teacher's guess; give data with true labels to measure on"
                )
            seen, truth = pipeline.step(sample.frame, _WANTED), sample.truth
            depth = seen.depth_m
            factor = None
            if truth.depth_m is not None and depth is not None:
                factor = median_scale(truth.depth_m, depth, protocol)
            evaluator.update(
                truth.panoptic,
                seen.panoptic,
                truth.depth_m if factor is not None else None,
                depth * factor if factor is not None and depth is not None else None,
                sample.sequence,
            )
    return evaluator.compute()


def figures(scores: Scores) -> dict[str, float]:
    """Return the headline figures that were measured: PQ, VPQ and absRel by name."""
    video = [counts.mean("pq") for k, counts in scores.video.vpq.items() if scores.video.windows[k]]
    windows = [value for value in video if value is not None]
    found = {
        "PQ": scores.panoptic.mean("pq"),
        "VPQ": sum(windows) / len(windows) if windows else None,
        "absRel": scores.depth.abs_rel,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


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
