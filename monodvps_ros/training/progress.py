# SPDX-License-Identifier: Apache-2.0
"""Progress of a training run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Phase(Enum):
    """Phase of a run; names and values of the constants of TrainingProgress.msg."""

    PREPARING = 0
    TRAINING = 1
    VALIDATING = 2
    EXPORTING = 3
    FINISHED = 4
    FAILED = 5
    CANCELLED = 6


#: Phases that a run ends in.
ENDS = frozenset({Phase.FINISHED, Phase.FAILED, Phase.CANCELLED})


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        phase: current phase.
        message: one line for people.
        epoch: 0-based pass over the data.
        step: optimiser steps done.
        max_steps: optimiser steps planned.
        losses: last value of each term by name, "total" first.
        metrics: last validation metrics by name.
        remaining_s: expected time to the end; None if unknown.
    """

    phase: Phase = Phase.PREPARING
    message: str = ""
    epoch: int = 0
    step: int = 0
    max_steps: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    remaining_s: float | None = None
