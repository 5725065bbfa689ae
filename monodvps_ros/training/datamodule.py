# SPDX-License-Identifier: Apache-2.0
"""The Lightning data module: from paths or sources to batches for each step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from rich.progress import Progress
from torch.utils.data import DataLoader

from monodvps_ros.config import TrainingConfig
from monodvps_ros.errors import DataError
from monodvps_ros.losses import Objective
from monodvps_ros.training.dataset import TrainingDataset, collate
from monodvps_ros.training.frames import FrameStore, store_frames
from monodvps_ros.training.sampler import StepSampler
from monodvps_ros.types import SampleSource


class TrainingData(LightningDataModule):
    """Frames of all sources, shrunk once and kept in a folder, given in an order that the seed decides."""

    def __init__(
        self, sources: Sequence[SampleSource], config: TrainingConfig, objective: Objective, folder: Path, key: str
    ) -> None:
        """Take what is needed; nothing is read yet.

        Args:
            sources: to train on.
            config: of the run.
            objective: tells which terms are on.
            folder: where frames are kept.
            key: names the sources, so that another run in the same folder does not take their frames for its own.
        """
        super().__init__()
        self._sources = list(sources)
        self._config = config
        self._objective = objective
        self._folder = folder
        self._key = key
        self.dataset: TrainingDataset | None = None

    def prepare_data(self) -> None:
        """Read all sources through, in one process only."""
        size = (self._config.network.input_height, self._config.network.input_width)
        with Progress(transient=True) as progress:
            task = progress.add_task("reading frames", total=None)
            store_frames(
                self._sources,
                size,
                self._folder,
                self._key,
                lambda done, whole: progress.update(task, completed=done, total=whole),
            )

    def setup(self, stage: str) -> None:
        """Open the stored frames.

        Raises:
            DataError: no frame serves any term, or the classes are not the network's.
        """
        store = FrameStore(self._folder)
        if store.labels.name != self._config.network.label_space:
            raise DataError(
                f"the data has the classes of '{store.labels.name}' but the network those of "
                f"'{self._config.network.label_space}'; set network.label_space"
            )
        self.dataset = TrainingDataset(store, self._config, self._objective)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Make batches from the step on at which training stands."""
        assert self.dataset is not None and self.trainer is not None
        config = self._config
        entries = self.dataset.store.entries
        sampler = StepSampler(
            [entries[number].source for number in self.dataset.targets],
            config.batch_size,
            config.max_steps,
            seed=config.seed,
            start=self.trainer.global_step,
            process=self.trainer.global_rank,
            processes=self.trainer.world_size,
            weights=config.source_weights,
        )
        return DataLoader(
            self.dataset,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            multiprocessing_context="spawn" if config.workers else None,
        )
