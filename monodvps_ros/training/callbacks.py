# SPDX-License-Identifier: Apache-2.0
"""Callbacks of the trainer: averaging, validation, signals, checkpoints, and progress lines for logs."""

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from rich.console import Console
from torch import Tensor

from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.validation import figures, validate
from monodvps_ros.types import Sample


class MovingAverage(WeightAveraging):
    """Keeps an exponential moving average of all weights, which checkpoints hold in place of the newest ones.

    Args:
        decay: reached after a warm-up: at step n at most (1 + n) / (10 + n), so that initial weights fade quickly.
            Source: tf.train.ExponentialMovingAverage with num_updates.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_approach, decay))

    @contextmanager
    def in_place_of(self, module: LightningModule) -> Iterator[None]:
        """Exchange the newest weights of a module for their average, and back at the end."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


@torch.no_grad()
def _approach(decay: float, means: Any, newest: Any, count: Tensor | int) -> None:
    share = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
    if means[0].is_floating_point():
        torch._foreach_lerp_(means, newest, 1.0 - share)
        return
    for mean, new in zip(means, newest, strict=True):  # counters
        mean.copy_(new)


class LastCheckpoint(Checkpoint):
    """Writes a checkpoint at intervals, after the last step, and where training is stopped before it.

    All while training runs: at its end Lightning puts the average in the place of the newest weights.

    Args:
        path: of the checkpoint.
        every: steps between checkpoints.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write it, after all other callbacks."""
        step = trainer.global_step
        if step % self._every == 0 or step >= pl_module.config.max_steps or trainer.should_stop:
            trainer.save_checkpoint(self._path)


class Validation(Callback):
    """Validates the network at intervals; prints the metrics and logs them as ``validation/<name>``.

    ``validation/score`` is the mean of PQ and 1 - absRel, or the one that is available; it selects the best checkpoint.

    Args:
        samples: frames with ground truth, in time order; iterated over at each validation.
        every: steps between validations.
        frames: maximum number of frames.
        console: to print to.
        average: of the weights, which is then validated, since it is what is exported.
    """

    def __init__(
        self,
        samples: Iterable[Sample],
        every: int,
        frames: int,
        console: Console,
        average: MovingAverage | None = None,
    ) -> None:
        self._samples = samples
        self._average = average
        self._every = every
        self._frames = frames
        self._console = console

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Validate at the interval and after the last step."""
        last = trainer.global_step >= pl_module.config.max_steps
        if trainer.global_step % self._every and not last:
            return
        found = self._measure(trainer.global_step, pl_module)
        if found:
            good = [value if name == "PQ" else 1.0 - value for name, value in found.items() if name in ("PQ", "absRel")]
            found["score"] = sum(good) / len(good)
        pl_module.log_dict({f"validation/{name}": value for name, value in found.items()}, batch_size=1)

    def _measure(self, step: int, module: TrainingModule) -> dict[str, float]:
        with nullcontext() if self._average is None else self._average.in_place_of(module):
            found = figures(validate(module.network, self._samples, self._frames))
        text = "  ".join(f"{name} {value:.3f}" for name, value in found.items()) or "no ground truth"
        if module.global_rank == 0:
            self._console.print(f"validation at step {step}: {text}", soft_wrap=True, highlight=False)
        return found


class StopOnSignal(Callback):
    """Ends training after the current step on Ctrl-C or SIGTERM; a second signal ends it immediately.

    Only in the main thread, where Python handles signals. Distributed processes stop at the same step.

    Attributes:
        received: number of the signal that ended training; 0 if none.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before: dict[int, Any] = {}
        self.received = 0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Install the signal handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop if any process received a signal."""
        stop = self.received > 0
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Restore the signal handlers."""
        self._restore_handlers()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._restore_handlers()

    def _stop(self, number: int, _: Any) -> None:
        self.received = number
        self._restore_handlers()
        self._console.print("stopping after this step; press Ctrl-C again to quit immediately without a checkpoint")

    def _restore_handlers(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class DataSummary(Callback):
    """Prints the number of training frames once it is known."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Print the summary."""
        if trainer.global_rank == 0:
            self._console.print(trainer.datamodule.summary(), soft_wrap=True, highlight=False)  # type: ignore[attr-defined]


class ProgressLines(Callback):
    """Prints a line of progress at intervals, where there is no terminal for a progress bar.

    Its pace and its share of time spent waiting for data are those since the line before.

    Args:
        console: to print to.
        seconds: time between lines.
    """

    def __init__(self, console: Console, seconds: float = 10.0) -> None:
        self._console = console
        self._seconds = seconds
        self._printed = self._ended = 0.0
        self._step = 0
        self._waited = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._printed = self._ended = time.monotonic()
        self._step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Count the time since the last step."""
        self._waited += time.monotonic() - self._ended

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Print at the interval and after the last step."""
        now, step, steps = time.monotonic(), trainer.global_step, pl_module.config.max_steps
        self._ended = now
        if trainer.global_rank or (now - self._printed < self._seconds and step < steps):
            return
        passed = max(now - self._printed, 1e-6)
        per_second = (step - self._step) / passed
        samples = per_second * pl_module.config.batch_size * trainer.world_size
        waiting = f"{self._waited / passed:.0%} waiting for data"
        self._printed, self._step, self._waited = now, step, 0.0
        terms = {name.removeprefix("loss/"): float(value) for name, value in trainer.callback_metrics.items()
                 if name.startswith("loss/")}  # fmt: skip
        text = "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
        left = (steps - step) / max(per_second, 1e-6)
        line = f"step {step}/{steps}  {samples:.3g} samples/s, {waiting}  {left:.0f} s left  {text}"
        self._console.print(line, soft_wrap=True, highlight=False)
