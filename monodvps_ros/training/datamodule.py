# SPDX-License-Identifier: Apache-2.0
"""The Lightning data module: from sources to batches."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from monodvps_ros.config import TrainingConfig
from monodvps_ros.errors import DataError, counted
from monodvps_ros.losses import Objective
from monodvps_ros.progress import progress_bar
from monodvps_ros.training.dataset import TrainingDataset, collate, prepare_worker
from monodvps_ros.training.frames import FrameStore, store_frames
from monodvps_ros.training.sampler import StepSampler
from monodvps_ros.types import SampleSource


class TrainingData(LightningDataModule):
    """Frames of all sources, resized once and stored in a folder, sampled in an order determined by the seed.

    Nothing is read before `prepare_data`.

    Args:
        sources: to train on.
        config: of the run.
        objective: determines the active terms.
        folder: of the stored frames.
        key: identifies the sources, so that another run in the same folder does not use their frames.
        names: of the sources, for messages.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        config: TrainingConfig,
        objective: Objective,
        folder: Path,
        key: str,
        names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._sources = list(sources)
        self._names = list(names) or [f"data source {number + 1}" for number in range(len(self._sources))]
        self._config = config
        self._objective = objective
        self._folder = folder
        self._key = key
        self.dataset: TrainingDataset | None = None

    def prepare_data(self) -> None:
        """Read all sources, in one process only."""
        network, zoom = self._config.network, self._config.augmentation.max_scale  # so that zoomed crops stay sharp
        size = (round(network.input_height * zoom), round(network.input_width * zoom))
        with progress_bar() as progress:
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
            DataError: no frame can be used by any term, or the classes are not the network's.
        """
        store = FrameStore(self._folder)
        if store.labels.name != self._config.network.label_space:
            raise DataError(
                f"the data has the classes of '{store.labels.name}' but the network those of "
                f"'{self._config.network.label_space}'; set network.label_space"
            )
        self.dataset = TrainingDataset(store, self._config, self._objective)

    def summary(self) -> str:
        """Return a line with the number of frames and of unusable ones."""
        assert self.dataset is not None
        store, dataset = self.dataset.store, self.dataset
        parts = [f"{counted(len(store), 'frame')}, {len(dataset)} usable"]
        if dataset.without_motion:
            parts.append(f"{dataset.without_motion} of these only for terms from labels: they lack a neighbour or K")
        if store.skipped:
            parts.append(f"{store.skipped} skipped")
        parts += store.damage
        return "; ".join(parts)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the batches from the current step on."""
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
            names=self._names,
        )
        return _ShieldedLoader(
            self.dataset,
            batch_sampler=sampler,
            collate_fn=collate,
            worker_init_fn=prepare_worker,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            multiprocessing_context="spawn" if config.workers else None,
        )


class _ShieldedLoader(DataLoader[dict[str, Any]]):
    """Shields data-loading processes from Ctrl-C, which a terminal sends to all processes.

    The main process handles it and ends training after the current step, which needs their samples. They inherit the
    signals that the starting thread blocks.
    """

    def __iter__(self) -> Any:
        with _interrupts_blocked():
            return super().__iter__()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    resource_tracker.ensure_running()  # multiprocessing unblocks the signal where it starts this one
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
