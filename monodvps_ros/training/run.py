# SPDX-License-Identifier: Apache-2.0
"""One training run, from data and configuration to checkpoints and a weights file."""

import json
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from monodvps_ros.config import TrainingConfig, to_dict
from monodvps_ros.data.fingerprints import fingerprint
from monodvps_ros.errors import DataError, counted, shown
from monodvps_ros.files import owned, partials, write_text
from monodvps_ros.process_memory import keep_freed_memory
from monodvps_ros.training.callbacks import (
    DataSummary,
    LastCheckpoint,
    MovingAverage,
    ProgressLines,
    StopOnSignal,
    Validation,
)
from monodvps_ros.training.checkpoints import AtomicCheckpoints, check_resumable, read_checkpoint
from monodvps_ros.training.datamodule import TrainingData
from monodvps_ros.training.export import export_checkpoint
from monodvps_ros.training.faults import explained
from monodvps_ros.training.module import TrainingModule, stored_network
from monodvps_ros.training.pictures import Pictures
from monodvps_ros.types import Sample, SampleSource

#: Files of an output folder.
CONFIG_FILE = "config.yaml"
LAST_CHECKPOINT = "checkpoints/last.ckpt"
BEST_CHECKPOINT = "checkpoints/best.ckpt"
WEIGHTS_FILE = "weights.safetensors"
FRAMES_FOLDER = "frames"
LOG_FOLDER = "log"
#: Warnings of Lightning that do not apply: the sampler starts at the step, and folders are resumed on purpose.
_IGNORED_WARNINGS = (
    ".*your dataloader is not resumable.*",
    ".*exists and is not empty.*",
    ".*have overridden `transfer_batch_to_device`.*",
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*in eval mode at the start of training.*",  # frozen parts, on purpose
)


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes:
        weights: the exported network.
        steps: last step.
        figures: last values of losses and validation metrics by name.
        stopped_by: number of the signal that ended it early; 0 if none.
        damage: missing parts of the data, in sentences.
    """

    weights: Path
    steps: int
    figures: dict[str, float]
    stopped_by: int = 0
    damage: Sequence[str] = ()


def train(
    config: TrainingConfig,
    sources: Sequence[SampleSource],
    out: Path,
    *,
    names: Sequence[str] = (),
    validation: Iterable[Sample] | None = None,
    weights: str = "",
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    console: Console | None = None,
    callbacks: Sequence[Callback] = (),
    frames: Path | None = None,
) -> RunResult:
    """Run a training. From then on this whole process keeps the memory that it frees (`keep_freed_memory`).

    Args:
        config: of the run.
        sources: to train on.
        out: output folder.
        names: of the sources, for the stored frames and the model card.
        validation: frames with ground truth, in time order; None for none.
        weights: a weights file to start from, or a checkpoint, which includes the pose network.
        resume: continue from the last checkpoint of the folder.
        devices: processes per machine.
        nodes: machines.
        console: to print to; None for stderr.
        callbacks: further Lightning callbacks.
        frames: folder of the resized frames, which runs on the same data can share; None: in `out`.

    Returns:
        The weights file and the last figures.

    Raises:
        ConfigError: the checkpoint is beyond `max_steps`.
        DataError: no frame can be used, the folder contains another run or none, or the disk is full.
        WeightsError: weights or checkpoint do not match.
        NotFiniteError: a loss, or a weight at a checkpoint, is NaN or infinite.
        DeviceError: the device does not exist or is out of memory.
        KeyboardInterrupt: Ctrl-C before the first step, or twice; steps since the last checkpoint are lost.
    """
    console = console or Console(markup=False, stderr=True)
    checkpoint = out / LAST_CHECKPOINT
    with owned(out) if _is_first() else nullcontext():  # of several processes the first one writes
        _check_folder(out, checkpoint, resume)
        config = _completed(config, checkpoint if resume else weights)
        prints, key = _checked_data(out, config, names, sources, devices * nodes if resume else 0)
        _prepare_folder(out, checkpoint, config)
        seed_everything(config.seed, workers=True, verbose=False)
        module = TrainingModule(config, str(checkpoint) if resume else weights, names, prints)
        data = TrainingData(sources, config, module.objective, frames or out / FRAMES_FOLDER, key, names)
        stop = StopOnSignal(console)
        extra = [*callbacks, *_callbacks(config, validation, console), stop, DataSummary(console)]
        trainer = _trainer(config, out, extra, console, devices, nodes)
        _announce(module, weights, out, console)
        with explained(checkpoint):
            trainer.fit(module, datamodule=data, ckpt_path=str(checkpoint) if resume else None, weights_only=True)
        rank_zero_only(export_checkpoint)(checkpoint, out / WEIGHTS_FILE)
        return _result(out, trainer, data, stop)


def _is_first() -> bool:
    """Return whether this is the first of a run's processes, or its only one."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _completed(config: TrainingConfig, start: Path | str) -> TrainingConfig:
    """Take the network's settings from the initial weights where the configuration says so."""
    return replace(config, network=stored_network(start)) if config.network_of_weights else config


def _check_folder(out: Path, checkpoint: Path, resume: bool) -> None:
    try:
        str(out.absolute()).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{shown(str(out))}: is not a name in UTF-8, and TensorBoard cannot write there; choose another --out"
        ) from None
    if not resume and checkpoint.exists():
        raise DataError(f"{out} contains a training run; continue it with --resume, or choose another --out")
    if resume and not checkpoint.exists():
        raise DataError(f"{checkpoint}: there is no checkpoint yet; run the same command without --resume")


def _checked_data(
    out: Path, config: TrainingConfig, names: Sequence[str], sources: Sequence[SampleSource], resuming: int
) -> tuple[list[str], str]:
    """Return the fingerprints of the data, and a key for its frames.

    If processes are `resuming`, check that the checkpoint is of this run.
    """
    found = [fingerprint(Path(name), without=out) for name in names]
    if resuming:
        check_resumable(read_checkpoint(out / LAST_CHECKPOINT), config, resuming, names, found)
    read_as = [getattr(source, "read_as", "") for source in sources]
    return found, json.dumps([list(names), [len(source) for source in sources], found, read_as])


@rank_zero_only
def _prepare_folder(out: Path, checkpoint: Path, config: TrainingConfig) -> None:
    with explained(checkpoint):
        for unfinished in partials(checkpoint.parent):  # of a run that was killed
            unfinished.unlink(missing_ok=True)
        write_text(out / CONFIG_FILE, yaml.safe_dump(to_dict(config), sort_keys=False))


def _result(out: Path, trainer: Trainer, data: TrainingData, stop: StopOnSignal) -> RunResult:
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    damage = () if data.dataset is None else data.dataset.store.damage
    return RunResult(out / WEIGHTS_FILE, trainer.global_step, figures, stop.received, damage)


def _announce(module: TrainingModule, weights: str, out: Path, console: Console) -> None:
    if module.initialized:
        console.print(f"not in {weights}, initialised: {_parts_of(module.initialized)}", soft_wrap=True)
    parts = ", ".join(sorted(module.trained))
    console.print(f"training {parts} for {counted(module.config.max_steps, 'step')}, into {out}", soft_wrap=True)


def _parts_of(tensors: Sequence[str]) -> str:
    """List the parts that tensors belong to, with their counts."""
    parts = Counter(name.removeprefix("network.").split(".")[0] for name in tensors)
    return ", ".join(f"{part} ({counted(count, 'tensor')})" for part, count in sorted(parts.items()))


def _ignore_warnings() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", text)


def _callbacks(config: TrainingConfig, validation: Iterable[Sample] | None, console: Console) -> Iterator[Callback]:
    average = MovingAverage(config.optimizer.average) if config.optimizer.average > 0 else None
    if average is not None:
        yield average  # before the validation, which evaluates it
    if validation is not None and config.validate_every:
        yield Validation(validation, config.validate_every, config.validation_frames, console, average)
    if config.picture_every:
        yield Pictures(config.picture_every)


def _trainer(
    config: TrainingConfig, out: Path, extra: list[Callback], console: Console, devices: int, nodes: int
) -> Trainer:
    _ignore_warnings()
    keep_freed_memory()
    folder = out / Path(LAST_CHECKPOINT).parent
    callbacks: list[Callback] = [*extra, LastCheckpoint(out / LAST_CHECKPOINT, config.checkpoint_every)]
    if any(isinstance(callback, Validation) for callback in extra):
        callbacks.append(
            ModelCheckpoint(
                dirpath=folder,
                filename=Path(BEST_CHECKPOINT).stem,
                monitor="validation/score",
                mode="max",
                every_n_train_steps=config.validate_every,
                enable_version_counter=False,
            )
        )
    torch.backends.cuda.matmul.allow_tf32 = not config.deterministic  # as cuDNN's convolutions do by default
    terminal = sys.stderr.isatty()
    callbacks.append(RichProgressBar() if terminal else ProgressLines(console))
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[config.device]
    # A batch without labels or neighbours leaves parts of the network without gradients.
    options: dict[str, Any] = {"strategy": "ddp_find_unused_parameters_true"} if devices * nodes > 1 else {}
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        precision=config.precision,  # type: ignore[arg-type]
        max_steps=config.max_steps,
        max_epochs=-1,
        gradient_clip_val=config.optimizer.clip_norm or None,
        deterministic="warn" if config.deterministic else False,
        logger=TensorBoardLogger(out, name=LOG_FOLDER, version=""),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        default_root_dir=out,
        log_every_n_steps=1,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        **options,
    )
