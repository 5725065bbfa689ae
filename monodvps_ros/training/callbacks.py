# SPDX-License-Identifier: Apache-2.0
"""What happens beside the steps: validation, and a line of progress for logs."""

import signal
import threading
import time
from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Callback, Trainer
from rich.console import Console

from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.validation import figures, validate
from monodvps_ros.types import Sample


class Validation(Callback):
    """Measure the network every so many steps, print the figures and log them as ``validation/<name>``.

    ``validation/score`` is the mean of PQ and 1 - absRel, or the one of them that was measured; the best checkpoint is
    chosen by it.

    Args:
        samples: frames with truth, in time order; gone through anew at each validation.
        every: steps from one validation to the next.
        frames: at most so many are looked at.
        console: to print to.
    """

    def __init__(self, samples: Iterable[Sample], every: int, frames: int, console: Console) -> None:
        self._samples = samples
        self._every = every
        self._frames = frames
        self._console = console

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Validate where it is time."""
        last = trainer.global_step >= pl_module.config.max_steps
        if trainer.global_step % self._every and not last:
            return
        found = self._measure(trainer.global_step, pl_module)
        if found:
            good = [value if name == "PQ" else 1.0 - value for name, value in found.items() if name in ("PQ", "absRel")]
            found["score"] = sum(good) / len(good)
        pl_module.log_dict({f"validation/{name}": value for name, value in found.items()}, batch_size=1)

    def _measure(self, step: int, module: TrainingModule) -> dict[str, float]:
        found = figures(validate(module.network, self._samples, self._frames))
        text = "  ".join(f"{name} {value:.3f}" for name, value in found.items()) or "no truth to measure against"
        if module.global_rank == 0:
            self._console.print(f"validation at step {step}: {text}", soft_wrap=True, highlight=False)
        return found


class StopOnSignal(Callback):
    """Let Ctrl-C, or SIGTERM, end training after the step in hand; a second one ends it at once.

    Only in the main thread, where Python takes signals. Processes that train together agree on the step.

    Attributes:
        received: number of the signal that ended training; 0 where none did.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before: dict[int, Any] = {}
        self.received = 0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End training where one process at least was told to."""
        told = self.received > 0
        if trainer.world_size > 1:
            told = trainer.strategy.reduce_boolean_decision(told, all=False)
        if told:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def _stop(self, number: int, _: Any) -> None:
        self.received = number
        self._give_back()
        self._console.print("stopping after this step; press Ctrl-C again to end at once without a checkpoint")

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class DataSummary(Callback):
    """Print how many frames there are to learn from, once they are known."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Print it."""
        if trainer.global_rank == 0:
            self._console.print(trainer.datamodule.summary(), soft_wrap=True, highlight=False)  # type: ignore[attr-defined]


class ProgressLines(Callback):
    """Print one line every so many seconds where there is no terminal for a progress bar.

    Args:
        console: to print to.
        seconds: time between lines.
    """

    def __init__(self, console: Console, seconds: float = 10.0) -> None:
        self._console = console
        self._seconds = seconds
        self._started = 0.0
        self._printed = 0.0
        self._first = 0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._started = self._printed = time.monotonic()
        self._first = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Print where it is time, and after the last step."""
        now, steps = time.monotonic(), pl_module.config.max_steps
        if trainer.global_rank or (now - self._printed < self._seconds and trainer.global_step < steps):
            return
        self._printed = now
        pace = (now - self._started) / max(1, trainer.global_step - self._first)
        terms = {name.removeprefix("loss/"): float(value) for name, value in trainer.callback_metrics.items()
                 if name.startswith("loss/")}  # fmt: skip
        text = "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
        left = pace * (steps - trainer.global_step)
        line = f"step {trainer.global_step}/{steps}  {pace:.2f} s/step  {left:.0f} s left  {text}"
        self._console.print(line, soft_wrap=True, highlight=False)
