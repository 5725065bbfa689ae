# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written atomically, loaded without running pickled code, and continued only by the run they are of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from monodvps_ros.config import TrainingConfig, from_dict, to_dict
from monodvps_ros.errors import ConfigError, DataError, WeightsError, counted
from monodvps_ros.files import written_whole

#: Keys of a checkpoint: configuration, names and fingerprints of the data, metrics, number of processes.
CONFIG_KEY = "monodvps_config"
DATA_KEY = "monodvps_data"
FINGERPRINTS_KEY = "monodvps_fingerprints"
METRICS_KEY = "monodvps_metrics"
PROCESSES_KEY = "monodvps_processes"
#: Whether the pose network has been trained, by the run or one before it.
POSE_KEY = "monodvps_pose"
#: Entries of the model card that a run takes over from its initial weights: name, and licence if they have one.
START_KEY = "monodvps_start"
#: Settings that may change when a run is resumed.
_MAY_CHANGE = {"max_steps", "workers", "device", "checkpoint_every", "validate_every", "validation_frames",
               "picture_every"}  # fmt: skip


class AtomicCheckpoints(TorchCheckpointIO):
    """Write to a neighbouring file, bring it to the disk, then put it in the old one's place."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: as collected by Lightning.
            path: to write to.
            storage_options: not used.

        Raises:
            DataError: the disk is full or the folder cannot be written; the previous checkpoint is kept.
        """
        with written_whole(
            Path(path),
            what="the checkpoint",
            advice="; the previous one is kept; free disk space and --resume",
            caught=RuntimeError,  # in which torch wraps a full disk
            make_folder=True,
            durable=True,
        ) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint without unpickling anything but tensors and plain values.

        Args:
            path: to read.
            map_location: as for `torch.load`.
            weights_only: not used; always true.

        Raises:
            WeightsError: there is no such checkpoint, or it is damaged.
        """
        return read_checkpoint(path, map_location)


def read_checkpoint(path: Path | str, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint's tensors and plain values.

    Args:
        path: file of a training run.
        map_location: as for `torch.load`.

    Raises:
        WeightsError: there is no such checkpoint, or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint; give one that 'monodvps train' wrote")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # zip, pickle and torch raise different types for a damaged file
        raise WeightsError(f"{path}: not a complete checkpoint: {error}; resume from another one") from error
    return checkpoint


def check_resumable(
    checkpoint: dict[str, Any],
    config: TrainingConfig,
    processes: int,
    names: Sequence[str],
    fingerprints: Sequence[str],
) -> None:
    """Refuse a checkpoint of another run, or one beyond this run's `max_steps`.

    What older checkpoints lack is not checked.

    Args:
        checkpoint: as read.
        config: of this run.
        processes: of this run.
        names: of its data.
        fingerprints: of its data; see `monodvps_ros.data.fingerprints`.

    Raises:
        ConfigError: it is beyond `max_steps`.
        DataError: the data differs; the message names the first source that does.
        WeightsError: settings that affect the result, or the number of processes, differ; the message names them.
    """
    if CONFIG_KEY not in checkpoint:
        raise WeightsError("the checkpoint is not of this package: it has no configuration; start a new run")
    try:  # settings that are newer than the checkpoint have their defaults
        there = to_dict(from_dict(TrainingConfig, checkpoint[CONFIG_KEY], "the checkpoint"))
    except ConfigError as error:
        raise WeightsError(f"{error}; it was written by another version of this package; start a new run") from error
    here = {name: value for name, value in to_dict(config).items() if name not in _MAY_CHANGE}
    if other := list(_differences(there, here)):
        raise WeightsError(
            f"the checkpoint was made with another configuration: {'; '.join(other)}; "
            "resume with the same one, or start a new run with --weights"
        )
    before = checkpoint.get(PROCESSES_KEY)
    if before is not None and before != processes:
        by = counted(before, "process", "processes")
        raise WeightsError(
            f"the checkpoint was made by {by} (--devices times --nodes) and this run has {processes}, which changes "
            "batches and the order of the data; resume with as many, or start a new run with --weights"
        )
    _check_data(checkpoint.get(FINGERPRINTS_KEY, fingerprints), names, fingerprints)
    step = checkpoint["global_step"]
    if step > config.max_steps:
        raise ConfigError(
            f"the checkpoint is at step {step}, beyond max_steps, which is {config.max_steps}; continue with "
            f"--max-steps above {step}, or export it with 'monodvps export'"
        )


def _check_data(before: Sequence[str], names: Sequence[str], fingerprints: Sequence[str]) -> None:
    advice = "resume with the same data in the same order, or start a new run with --weights"
    if len(before) != len(fingerprints):
        raise DataError(
            f"the checkpoint was made with {counted(len(before), 'data source')}, this run has {len(names)}; {advice}"
        )
    for name, there, here in zip(names, before, fingerprints, strict=True):
        if there != here:
            raise DataError(f"{name}: is not, or no longer, the data that the checkpoint was trained on; {advice}")


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], group: str = "") -> Iterator[str]:
    """Name each setting of a tree whose value differs, with both values."""
    for name, value in here.items():
        before = there.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from _differences(before, value, f"{group}{name}.")
        elif before != value:
            yield f"{group}{name} is {before} there and {value} here"
