# SPDX-License-Identifier: Apache-2.0
"""One training run in a thread of its own, from what the node was told to a checkpoint."""

import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from monodvps_ros.config import TrainingConfig, TrainingNodeConfig, load
from monodvps_ros.data import open_source
from monodvps_ros.errors import ConfigError, DataError, MonoDVPSError
from monodvps_ros.training.export import export_checkpoint
from monodvps_ros.training.progress import Phase, Progress
from monodvps_ros.training.reporting import Cancelled, ProgressCallback, Reporter, WatchedSource
from monodvps_ros.training.run import LAST_CHECKPOINT, WEIGHTS_FILE, train
from monodvps_ros.types import Sample, SampleSource


@dataclass(frozen=True)
class TrainingJob:
    """What to train, on what, and where to.

    Attributes:
        config: of the run.
        data: sources to train on, by name.
        validation: sources to measure on, by name.
        weights: file to start from; empty for none.
        out: folder for everything that the run writes.
    """

    config: TrainingConfig
    data: dict[str, SampleSource]
    validation: dict[str, SampleSource]
    weights: str
    out: Path

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint, whether or not it is there yet."""
        return self.out / LAST_CHECKPOINT


def prepare(config: TrainingNodeConfig) -> TrainingJob:
    """Open and check what the node's parameters name.

    Raises:
        ConfigError: a parameter that is needed is empty, two exclude each other, or the training config is wrong.
        DataError: data is not there or not of a known kind, or the output folder does not fit `resume`.
    """
    data, validation = ([name for name in names if name] for names in (config.data, config.validate))
    if not data:
        raise ConfigError("parameter 'data' is empty; name bags or data sets to train on")
    if not config.out:
        raise ConfigError("parameter 'out' is empty; name a folder for checkpoints, logs and weights")
    if config.resume and config.weights:
        raise ConfigError("parameter 'resume' goes on with the checkpoint's own weights; leave 'weights' empty")
    overrides = {"max_steps": config.max_steps} if config.max_steps else {}
    settings = load(TrainingConfig, Path(config.config) if config.config else None, overrides)
    job = TrainingJob(
        settings,
        {name: open_source(name, rectified=config.rectified) for name in data},
        {name: open_source(name, rectified=config.rectified) for name in validation},
        config.weights,
        Path(config.out),
    )
    if job.checkpoint.exists() and not config.resume:
        raise DataError(f"{job.out} holds a training run; set 'resume' to true, or choose another 'out'")
    if config.resume and not job.checkpoint.exists():
        raise DataError(f"{job.checkpoint}: no such checkpoint; set 'resume' to false, or name the folder of the run")
    return job


class TrainingRun:
    """Trains in a thread; goes on from the last checkpoint where there is one.

    Attributes:
        problem: why it failed; empty where it did not. One line, or a traceback where the fault is ours.

    Args:
        job: what to do.
        report: takes progress; called from the thread.
        ended: called last, from the thread.
        console: takes what the trainer has to say.
    """

    def __init__(
        self, job: TrainingJob, report: Callable[[Progress], None], ended: Callable[[], None], console: Console
    ) -> None:
        self._job, self._ended, self._console = job, ended, console
        self._stop = threading.Event()
        self._reporter = Reporter(report, job.config.max_steps)
        self._thread = threading.Thread(target=self._run, name="trainer")
        self.problem = ""

    @property
    def is_alive(self) -> bool:
        """Whether it is under way."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step in hand, and wait until checkpoint and weights are written."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        self._reporter.tell(Phase.PREPARING, message="building the network")
        try:
            self._train()
        except Cancelled:
            self._leave()
        except MonoDVPSError as error:
            self._fail(f"{type(error).__name__}: {' '.join(str(error).split())}", "")
        except Exception as error:  # a thread would end without a word
            self._fail(f"{type(error).__name__}: {' '.join(str(error).split())}", traceback.format_exc())
        self._ended()

    def _train(self) -> None:
        job = self._job
        validating = _Chained([self._watched(*entry, Phase.VALIDATING) for entry in job.validation.items()])
        resume = job.checkpoint.exists()
        result = train(
            job.config,
            [self._watched(*entry, Phase.PREPARING) for entry in job.data.items()],
            job.out,
            names=list(job.data),
            validation=validating if job.validation else None,
            weights="" if resume else job.weights,
            resume=resume,
            console=self._console,
            callbacks=[ProgressCallback(self._reporter, self._stop, job.checkpoint)],
        )
        finished = result.steps >= job.config.max_steps
        self._reporter.tell(
            Phase.FINISHED if finished else Phase.CANCELLED,
            message=f"{'finished' if finished else 'stopped'} at step {result.steps}: {result.weights}",
            step=result.steps,
            remaining_s=0.0 if finished else None,
        )

    def _watched(self, name: str, source: SampleSource, phase: Phase) -> WatchedSource:
        return WatchedSource(source, name, phase, self._reporter, self._stop)

    def _leave(self) -> None:
        """End a run that was stopped while it read data or measured."""
        if not self._job.checkpoint.exists():
            self._reporter.tell(
                Phase.CANCELLED, message="stopped before the first step; no checkpoint", remaining_s=None
            )
            return
        try:
            export_checkpoint(self._job.checkpoint, self._job.out / WEIGHTS_FILE)
        except MonoDVPSError as error:
            self._fail(f"{type(error).__name__}: {' '.join(str(error).split())}", "")
            return
        step = self._reporter.newest.step
        self._reporter.tell(
            Phase.CANCELLED, message=f"stopped at step {step}: {self._job.checkpoint}", remaining_s=None
        )

    def _fail(self, line: str, details: str) -> None:
        self.problem = details or line
        self._reporter.tell(Phase.FAILED, message=line, remaining_s=None)


class _Chained:
    """Sources one after the other; sequences tell them apart."""

    def __init__(self, sources: list[WatchedSource]) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[Sample]:
        for source in self._sources:
            yield from source
