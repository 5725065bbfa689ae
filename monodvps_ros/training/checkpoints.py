# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are written atomically and load without running pickled code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from monodvps_ros.errors import WeightsError
from monodvps_ros.files import written_whole


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
        raise WeightsError(f"{path}: no such checkpoint; start training without --resume")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # zip, pickle and torch raise different types for a damaged file
        raise WeightsError(f"{path}: not a complete checkpoint: {error}; resume from another one") from error
    return checkpoint
