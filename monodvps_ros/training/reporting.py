# SPDX-License-Identifier: Apache-2.0
"""What a training run tells while it goes on, and where it can be stopped. Knows nothing of ROS nodes."""

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

#: Steps and frames that follow one another faster than this are not all told.
PERIOD_S = 0.1


class Cancelled(BaseException):
    """Ends a run that was told to stop where it cannot merely be left; no error, so nothing may handle it as one."""


class Reporter:
    """Keeps the newest progress, and hands it on at a pace that can be followed.

    Attributes:
        newest: progress, told or not.

    Args:
        report: takes progress; called from the thread of the run.
        max_steps: planned.
    """

    def __init__(self, report: Callable[[Progress], None], max_steps: int) -> None:
        self._report = report
        self._told_at = 0.0
        self.newest = Progress(max_steps=max_steps)

    def tell(self, phase: Phase, *, often: bool = False, **changes: Any) -> None:
        """Change the progress, and tell it.

        Args:
            phase: that it is in now.
            often: true where the next one follows soon, so that this one may be left out.
            **changes: of `Progress`.
        """
        self.newest = dataclasses.replace(self.newest, phase=phase, **changes)
        now = time.monotonic()
        if not often or now - self._told_at >= PERIOD_S:
            self._told_at = now
            self._report(self.newest)


class WatchedSource:
    """A source that tells how far it was read, and that can be stopped.

    Args:
        source: to read from.
        name: for people.
        phase: that reading it is.
        reporter: to tell.
        stop: once it is set, reading ends with `Cancelled`.
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
        """What cannot be read of it."""
        return damage_of(self._source)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._source)

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first sample."""
        return _Reading(iter(self._source), self._watch)

    def _watch(self, place: int) -> None:
        if self._stop.is_set():
            raise Cancelled
        text = f"{self._name}: frame {place} of {len(self._source)}"
        self._reporter.tell(self._phase, often=place > 1, message=text)


class _Reading:
    """No generator: one is at its end after an error, and a frame that cannot be read must not end a recording."""

    def __init__(self, reading: Iterator[Sample], watch: Callable[[int], None]) -> None:
        self._reading, self._watch, self._place = reading, watch, 0

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        self._place += 1
        self._watch(self._place)
        return next(self._reading)


class ProgressCallback(Callback):
    """Tells each step, and ends training after the step in hand where that is asked for.

    Args:
        reporter: to tell.
        stop: once it is set, training ends.
        checkpoint: to write where a validation is given up, for the steps before it.
    """

    def __init__(self, reporter: Reporter, stop: threading.Event, checkpoint: Path) -> None:
        self._reporter, self._stop, self._checkpoint = reporter, stop, checkpoint
        self._first, self._started_at = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        if self._stop.is_set():
            raise Cancelled
        self._first, self._started_at = trainer.global_step, time.monotonic()
        self._reporter.tell(Phase.TRAINING, message="training", step=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the step."""
        config, step = pl_module.config, trainer.global_step
        store = trainer.datamodule.dataset  # type: ignore[attr-defined]
        pace_s = (time.monotonic() - self._started_at) / max(1, step - self._first)
        self._reporter.tell(
            Phase.TRAINING,
            often=step < config.max_steps,
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
        """Tell what follows."""
        self._reporter.tell(
            Phase.EXPORTING,
            message="writing checkpoint and weights",
            losses=_named(trainer, "loss/"),
            metrics=_named(trainer, "validation/"),
        )

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Keep the steps that were done before a validation that is given up."""
        if isinstance(exception, Cancelled) and trainer.global_step > self._first:
            trainer.save_checkpoint(self._checkpoint)


def _named(trainer: Trainer, prefix: str) -> dict[str, float]:
    """Figures of one kind by name, the total before its terms."""
    found = {
        name.removeprefix(prefix): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix)
    }
    return {name: found[name] for name in sorted(found, key=lambda name: name != "total")}
