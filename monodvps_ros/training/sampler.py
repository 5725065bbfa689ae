# SPDX-License-Identifier: Apache-2.0
"""Data order: a function of seed and step only, so that a run can start at any step."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.training.dataset import Draw


class StepSampler(Sampler[list[Draw]]):
    """Batches of a run, from any step on.

    Each epoch is a new permutation of all samples; with weights, each draw selects a source by its weight and a
    sample of it uniformly. Distributed processes get different parts of one large batch.

    Args:
        sources: source index of each sample.
        batch_size: per process.
        steps: of the whole run.
        seed: of the order.
        start: first step.
        process: rank of this process.
        processes: number of processes.
        weights: sampling weight of each source; empty: proportional to its size.
        names: of all sources, those without samples included; with weights only.

    Raises:
        ConfigError: the weights are not one for each source, or none of them is above 0.
        DataError: a source with a weight above 0 has no samples.
    """

    def __init__(
        self,
        sources: Sequence[int],
        batch_size: int,
        steps: int,
        *,
        seed: int = 0,
        start: int = 0,
        process: int = 0,
        processes: int = 1,
        weights: Sequence[float] = (),
        names: Sequence[str] = (),
    ) -> None:
        count = len(names)
        if weights and (len(weights) != count or sum(weights) <= 0):
            raise ConfigError(
                f"source_weights is {list(weights)}; give one for each of {count} data sources, at least one above 0"
            )
        empty = [name for place, name in enumerate(names) if weights and weights[place] > 0 and place not in sources]
        if empty:
            raise DataError(
                f"{empty[0]}: has a weight above 0 in source_weights but no frame that an active loss can use; set its "
                "weight to 0, add the labels or neighbouring frames that are missing, or leave the source out"
            )
        self._sources = np.asarray(sources)
        self._weights = np.asarray(weights, np.float64) if weights else None
        self._batch_size = batch_size
        self._steps = steps
        self._seed = seed
        self._start = start
        self._process = process
        self._processes = processes

    def __len__(self) -> int:
        """Return the number of batches of the whole run."""
        return self._steps

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield the batches from the first step on."""
        for step in range(self._start, self._steps):
            first = (step * self._processes + self._process) * self._batch_size
            yield [self._draw(position) for position in range(first, first + self._batch_size)]

    def _draw(self, position: int) -> Draw:
        seed = int(np.random.SeedSequence((self._seed, position)).generate_state(1, np.uint64)[0])
        if self._weights is None:
            turn, place = divmod(position, len(self._sources))
            return Draw(int(self._order(turn)[place]), seed)
        generator = np.random.default_rng((self._seed, position, 1))
        source = generator.choice(len(self._weights), p=self._weights / self._weights.sum())
        members = np.flatnonzero(self._sources == source)
        return Draw(int(generator.choice(members)), seed)

    def _order(self, turn: int) -> NDArray[np.int64]:
        if getattr(self, "_turn", None) != turn:
            self._turn = turn
            self._permutation = np.random.default_rng((self._seed, turn)).permutation(len(self._sources))
        return self._permutation
