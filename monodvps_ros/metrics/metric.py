# SPDX-License-Identifier: Apache-2.0
"""What all metrics share: totals that add, over frames, over sequences and over processes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ConfigError, ShapeError

M = TypeVar("M", bound="Metric")

#: Named arrays of fixed shape and of dtype int64 or float64, whose sums are the sums of what was measured.
State = dict[str, NDArray[Any]]


class Metric(ABC):
    """A measure over sequences: `update` with each frame in time order, `end_sequence` after the last one, `compute`.

    All that is kept from one sequence to the next are totals in arrays of fixed shape. The state of a run over
    many sequences is the sum of the states of runs over parts of them: `merge` in one process, or an all-reduce (sum)
    of `to_state` over many.
    """

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._totals = self._zeros()

    @abstractmethod
    def _zeros(self) -> State:
        """Totals of nothing."""

    @abstractmethod
    def _settings(self) -> tuple[object, ...]:
        """What two metrics must have in common for their totals to be of the same kind."""

    def end_sequence(self) -> None:  # noqa: B027 - a metric without a memory of frames has nothing to do
        """Say that the next frame does not follow the last one."""

    def reset(self) -> None:
        """Forget everything measured."""
        self._totals = self._zeros()

    def to_state(self) -> State:
        """Return a copy of the totals; a sequence still open is counted as if it ended here."""
        return {name: total.copy() for name, total in self._totals.items()}

    def from_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Replace everything measured by the totals of a state.

        Raises:
            ShapeError: the state is not one of this metric: an array is missing, unknown, or of another shape.
        """
        zeros = self._zeros()
        if set(state) != set(zeros):
            raise ShapeError(f"state holds {sorted(state)} but {type(self).__name__} has {sorted(zeros)}")
        for name, zero in zeros.items():
            if state[name].shape != zero.shape:
                raise ShapeError(f"state '{name}' is {state[name].shape} but must be {zero.shape}")
        self.reset()
        self._totals = {name: np.array(state[name], zero.dtype) for name, zero in zeros.items()}

    def merge(self: M, other: M) -> None:
        """Add what another metric of the same kind has measured; the other is left as it is.

        Raises:
            ConfigError: the other is of another kind or has other settings.
        """
        if type(other) is not type(self) or other._settings() != self._settings():
            raise ConfigError(
                f"cannot merge {type(other).__name__}{other._settings()} into {type(self).__name__}{self._settings()}: "
                "both must be made with the same arguments"
            )
        for name, total in other.to_state().items():
            self._totals[name] += total


def mean_or_none(values: NDArray[Any]) -> float | None:
    """Mean of the values in float64, or None where there are none: no measure is not a measure of zero."""
    return float(np.mean(values, dtype=np.float64)) if values.size else None
