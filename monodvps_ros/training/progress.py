# SPDX-License-Identifier: Apache-2.0
"""How far a training run has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Phase(Enum):
    """What a run is doing; names and values are those of the constants of TrainingProgress.msg."""

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
    """How far a run has come.

    Attributes:
        phase: what it is doing.
        message: one line for people.
        epoch: passes over the data begun, less one.
        step: optimiser steps done.
        max_steps: optimiser steps planned.
        losses: last value of each term by name, "total" first.
        metrics: last validation figures by name.
        remaining_s: expected time to the end; None where not known.
    """

    phase: Phase = Phase.PREPARING
    message: str = ""
    epoch: int = 0
    step: int = 0
    max_steps: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    remaining_s: float | None = None
