# SPDX-License-Identifier: Apache-2.0
"""Progress reports of a training run and its cancellation, without ROS."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from monodvps_ros.data.reading import damage_of
from monodvps_ros.labels import LabelSpace
from monodvps_ros.training.progress import Phase, Progress
from monodvps_ros.types import Sample, SampleSource

#: Minimum time between throttled reports.
PERIOD_S = 0.1


class Cancelled(BaseException):
    """Cancels a run between steps; not an `Exception`, so that nothing handles it as an error."""


class Reporter:
    """Keeps the latest progress and reports it, throttled.

    Attributes:
        newest: latest progress, reported or not.

    Args:
        report: called with the progress, from the thread of the run.
        max_steps: planned number of steps.
    """

    def __init__(self, report: Callable[[Progress], None], max_steps: int) -> None:
        self._report = report
        self._reported_at = 0.0
        self.newest = Progress(max_steps=max_steps)

    def update(self, phase: Phase, *, throttled: bool = False, **changes: Any) -> None:
        """Update the progress and report it.

        Args:
            phase: current phase.
            throttled: skip the report if the last one was less than `PERIOD_S` ago.
            **changes: changed fields of `Progress`.
        """
        self.newest = dataclasses.replace(self.newest, phase=phase, **changes)
        now = time.monotonic()
        if not throttled or now - self._reported_at >= PERIOD_S:
            self._reported_at = now
            self._report(self.newest)


class MonitoredSource:
    """A source that reports reading progress and can be cancelled.

    Args:
        source: to read from.
        name: for messages.
        phase: reported while reading.
        reporter: receives the progress.
        stop: once set, reading ends with `Cancelled`.
    """

    def __init__(
        self, source: SampleSource, name: str, phase: Phase, reporter: Reporter, stop: threading.Event
    ) -> None:
        self._source, self._name, self._phase, self._reporter, self._stop = source, name, phase, reporter, stop

    @property
    def rate_hz(self) -> float:
        """Nominal frames per second."""
        return self._source.rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the truth."""
        return self._source.label_space

    @property
    def damage(self) -> Sequence[str]:
        """Unreadable parts of the source."""
        return damage_of(self._source)

    @property
    def read_as(self) -> str:
        """What of the source is read, and how."""
        return str(getattr(self._source, "read_as", ""))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._source)

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first sample."""
        return _Reading(iter(self._source), self._check)

    def _check(self, place: int) -> None:
        if self._stop.is_set():
            raise Cancelled
        text = f"{self._name}: frame {place} of {len(self._source)}"
        self._reporter.update(self._phase, throttled=place > 1, message=text)


class _Reading:
    """An iterator, not a generator, which would end at the first frame that cannot be read."""

    def __init__(self, reading: Iterator[Sample], check: Callable[[int], None]) -> None:
        self._reading, self._check, self._place = reading, check, 0

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        self._place += 1
        self._check(self._place)
        return next(self._reading)


class ProgressCallback(Callback):
    """Reports each step, and ends training after the current step on request.

    Args:
        reporter: receives the progress.
        stop: once set, training ends.
        checkpoint: written when a validation is aborted, to keep the steps before it.
    """

    def __init__(self, reporter: Reporter, stop: threading.Event, checkpoint: Path) -> None:
        self._reporter, self._stop, self._checkpoint = reporter, stop, checkpoint
        self._first, self._started_at = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        if self._stop.is_set():
            raise Cancelled
        self._first, self._started_at = trainer.global_step, time.monotonic()
        self._reporter.update(Phase.TRAINING, message="training", step=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report the step."""
        config, step = pl_module.config, trainer.global_step
        store = trainer.datamodule.dataset  # type: ignore[attr-defined]
        pace_s = (time.monotonic() - self._started_at) / max(1, step - self._first)
        self._reporter.update(
            Phase.TRAINING,
            throttled=step < config.max_steps,
            message=f"training: step {step} of {config.max_steps}",
            step=step,
            epoch=(step - 1) * config.batch_size // len(store.targets),
            losses=_named(trainer, "loss/"),
            metrics=_named(trainer, "validation/"),
            remaining_s=pace_s * (config.max_steps - step),
        )
        if self._stop.is_set():
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Report the next phase."""
        self._reporter.update(
            Phase.EXPORTING,
            message="writing checkpoint and weights",
            losses=_named(trainer, "loss/"),
            metrics=_named(trainer, "validation/"),
        )

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save the steps done before an aborted validation."""
        if isinstance(exception, Cancelled) and trainer.global_step > self._first:
            trainer.save_checkpoint(self._checkpoint)


def _named(trainer: Trainer, prefix: str) -> dict[str, float]:
    """Return the logged values with a prefix by name, the total first."""
    found = {
        name.removeprefix(prefix): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix)
    }
    return {name: found[name] for name in sorted(found, key=lambda name: name != "total")}
