# SPDX-License-Identifier: Apache-2.0
"""A training run in a thread of its own, from the node's parameters to a checkpoint."""

import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from monodvps_ros.config import TrainingConfig, TrainingNodeConfig, load
from monodvps_ros.data import open_source
from monodvps_ros.errors import ConfigError, DataError, MonoDVPSError, line_of
from monodvps_ros.training.export import export_checkpoint
from monodvps_ros.training.progress import Phase, Progress
from monodvps_ros.training.reporting import Cancelled, MonitoredSource, ProgressCallback, Reporter
from monodvps_ros.training.run import LAST_CHECKPOINT, WEIGHTS_FILE, train
from monodvps_ros.types import Sample, SampleSource


@dataclass(frozen=True)
class TrainingJob:
    """A configured training run.

    Attributes:
        config: of the run.
        data: sources to train on, by name.
        validation: sources for validation, by name.
        weights: initial weights file; empty for none.
        out: output folder.
    """

    config: TrainingConfig
    data: dict[str, SampleSource]
    validation: dict[str, SampleSource]
    weights: str
    out: Path

    @property
    def checkpoint(self) -> Path:
        """Path of the last checkpoint, which need not exist yet."""
        return self.out / LAST_CHECKPOINT


def prepare(config: TrainingNodeConfig) -> TrainingJob:
    """Open and check the data, configuration and folder that the parameters name.

    Raises:
        ConfigError: a required parameter is empty, two exclude each other, or the training configuration is invalid.
        DataError: data does not exist or is of an unknown format, or the output folder does not match `resume`.
        OSError: a path is none that the file system can have.
    """
    data, validation = ([name for name in names if name] for names in (config.data, config.validate))
    if not data:
        raise ConfigError("parameter 'data' is empty; name bags or data sets to train on")
    if not config.out:
        raise ConfigError("parameter 'out' is empty; name a folder for checkpoints, logs and weights")
    if config.resume and config.weights:
        raise ConfigError("parameter 'resume' continues with the weights of the checkpoint; leave 'weights' empty")
    overrides = {"max_steps": config.max_steps} if config.max_steps else {}
    settings = load(TrainingConfig, Path(config.config) if config.config else None, overrides)
    opened = partial(open_source, image_topic=config.image_topic or None, rectified=config.rectified)
    job = TrainingJob(
        settings,
        {name: opened(name) for name in data},
        {name: opened(name) for name in validation},
        config.weights,
        Path(config.out),
    )
    if job.checkpoint.exists() and not config.resume:
        raise DataError(f"{job.out} contains a training run; set 'resume' to true, or choose another 'out'")
    if config.resume and not job.checkpoint.exists():
        raise DataError(f"{job.checkpoint}: no such checkpoint; set 'resume' to false, or name the folder of the run")
    return job


class TrainingRun:
    """Trains in a thread; continues from the last checkpoint if there is one.

    Attributes:
        problem: reason of a failure, one line or, for an internal error, a traceback; empty if there was none.

    Args:
        job: the run.
        report: called with the progress, from the thread.
        ended: called at the end, from the thread.
        console: for the output of the trainer.
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
        """Whether the run is in progress."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current step, and wait until checkpoint and weights are written."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        self._reporter.update(Phase.PREPARING, message="building the network")
        try:
            self._train()
        except Cancelled:
            self._end_cancelled()
        except (MonoDVPSError, OSError) as error:
            self._fail(f"{type(error).__name__}: {line_of(error)}", "")
        except Exception as error:  # otherwise the thread would end silently
            self._fail(f"{type(error).__name__}: {' '.join(str(error).split())}", traceback.format_exc())
        self._ended()

    def _train(self) -> None:
        job = self._job
        validating = _Chained([self._monitored(*entry, Phase.VALIDATING) for entry in job.validation.items()])
        resume = job.checkpoint.exists()
        result = train(
            job.config,
            [self._monitored(*entry, Phase.PREPARING) for entry in job.data.items()],
            job.out,
            names=list(job.data),
            validation=validating if job.validation else None,
            weights="" if resume else job.weights,
            resume=resume,
            console=self._console,
            callbacks=[ProgressCallback(self._reporter, self._stop, job.checkpoint)],
        )
        finished = result.steps >= job.config.max_steps
        self._reporter.update(
            Phase.FINISHED if finished else Phase.CANCELLED,
            message=f"{'finished' if finished else 'stopped'} at step {result.steps}: {result.weights}",
            step=result.steps,
            remaining_s=0.0 if finished else None,
        )

    def _monitored(self, name: str, source: SampleSource, phase: Phase) -> MonitoredSource:
        return MonitoredSource(source, name, phase, self._reporter, self._stop)

    def _end_cancelled(self) -> None:
        """End a run that was cancelled while reading data or validating."""
        if not self._job.checkpoint.exists():
            self._reporter.update(
                Phase.CANCELLED, message="stopped before the first step; no checkpoint", remaining_s=None
            )
            return
        try:
            export_checkpoint(self._job.checkpoint, self._job.out / WEIGHTS_FILE)
        except (MonoDVPSError, OSError) as error:
            self._fail(f"{type(error).__name__}: {line_of(error)}", "")
            return
        step = self._reporter.newest.step
        self._reporter.update(
            Phase.CANCELLED, message=f"stopped at step {step}: {self._job.checkpoint}", remaining_s=None
        )

    def _fail(self, line: str, details: str) -> None:
        self.problem = details or line
        self._reporter.update(Phase.FAILED, message=line, remaining_s=None)


class _Chained:
    """Sources one after the other."""

    def __init__(self, sources: list[MonitoredSource]) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[Sample]:
        for source in self._sources:
            yield from source
