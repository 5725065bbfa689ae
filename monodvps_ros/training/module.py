# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: networks, objective, optimiser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from monodvps_ros.config import NetworkConfig, TrainingConfig, from_dict, to_dict
from monodvps_ros.errors import ConfigError, NotFiniteError, WeightsError, counted
from monodvps_ros.losses import Objective
from monodvps_ros.losses.batch import map_tensors
from monodvps_ros.network import (
    MonoDVPS,
    PoseNetwork,
    copy_fitting,
    load_fitting_weights,
    load_pose_weights,
    load_weights,
    network_config,
    read_card,
    weights_file,
)
from monodvps_ros.network.pointwise import with_fast_pointwise
from monodvps_ros.training.batch import StepBatch, with_float_images
from monodvps_ros.training.checkpoints import (
    CONFIG_KEY,
    DATA_KEY,
    FINGERPRINTS_KEY,
    METRICS_KEY,
    POSE_KEY,
    PROCESSES_KEY,
    START_KEY,
    read_checkpoint,
)
from monodvps_ros.training.parts import freeze_untrained, named_parts
from monodvps_ros.training.predict import predict

#: Suffix of checkpoints.
_CHECKPOINT = ".ckpt"


def stored_network(weights: Path | str) -> NetworkConfig:
    """Return the settings of the network that a weights file or a checkpoint was written from.

    Raises:
        ConfigError: no file is given.
        WeightsError: it is missing, damaged or not of this package.
    """
    if not str(weights):
        raise ConfigError("network_of_weights is set but there are no initial weights; give them with --weights")
    if not str(weights).endswith(_CHECKPOINT):
        path = weights_file(weights)
        return network_config(path, read_card(path))
    held = read_checkpoint(weights)
    if CONFIG_KEY not in held:
        raise WeightsError(f"{weights}: not a checkpoint of this package; give one that 'monodvps train' wrote")
    return from_dict(TrainingConfig, held[CONFIG_KEY], str(weights)).network


def _inherited(weights: Path, card: Mapping[str, Any]) -> dict[str, str]:
    """Return what the model card of a run takes over from initial weights, by their own card."""
    licence = {"license": str(card["license"])} if card.get("license") else {}
    return {"start": weights.name, **licence}


def _pretrained(config: TrainingConfig, weights: str, checkpoint: Mapping[str, Any]) -> tuple[str, str]:
    """Return the pretrained weights of both encoders, empty for an encoder that initial weights replace.

    A weights file replaces the network's encoder; whether it has this pose network shows when it is loaded.
    """
    if not weights:
        return config.encoder_weights, config.pose_encoder_weights
    there = checkpoint.get(CONFIG_KEY)
    if there is None:
        return "", ""
    return (
        "" if there["network"]["encoder"] == config.network.encoder else config.encoder_weights,
        "" if there["pose_encoder"] == config.pose_encoder else config.pose_encoder_weights,
    )


def _pose_network(config: TrainingConfig, encoder_weights: str) -> PoseNetwork:
    return PoseNetwork(config.pose_encoder, encoder_weights, config.pose_shrink, metric=config.network.metric)


class TrainingModule(LightningModule):
    """Trains the network and the pose network together.

    Attributes:
        config: of the run.
        network: exported at the end.
        pose_network: exported with it once it has been trained.
        pose_is_trained: by this run, or one that it started from.
        objective: the weighted losses.
        trained: names of the trained parts.
        initialized: names of the tensors that are not in the initial weights: a pose network that is to be trained, and
            with `partial_start` others.

    Args:
        config: of the run.
        weights: a weights file to start from, or a checkpoint; empty for random decoders. Each encoder that it does not
            replace starts from `config.encoder_weights` or `config.pose_encoder_weights`, which are read only then.
        data_names: names of the training data, for the model card.
        fingerprints: of the training data, for a resumed run to compare.

    Raises:
        ConfigError: the network cannot be built, or nothing is left to train.
        WeightsError: weights cannot be loaded, or do not match.
    """

    def __init__(
        self,
        config: TrainingConfig,
        weights: str = "",
        data_names: Sequence[str] = (),
        fingerprints: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.data_names, self._fingerprints = tuple(data_names), list(fingerprints)
        torch.manual_seed(config.seed)
        has_checkpoint = weights.endswith(_CHECKPOINT)
        checkpoint = read_checkpoint(weights) if has_checkpoint else {}
        encoder_weights, pose_encoder_weights = _pretrained(config, weights, checkpoint)
        self.network = MonoDVPS(config.network, encoder_weights)
        self.pose_network = _pose_network(config, pose_encoder_weights)
        self.initialized: list[str] = []
        self.pose_is_trained = False
        self._start: dict[str, str] = {}  # see `START_KEY`
        if has_checkpoint:
            self._start_from(weights, checkpoint)
        elif weights and config.partial_start:
            self.initialized = load_fitting_weights(self.network, weights)
        elif weights:
            load_weights(self.network, weights)
        if weights and not has_checkpoint:
            self._start = _inherited(weights_file(weights), read_card(weights)["card"])
            self.pose_is_trained = load_pose_weights(self.pose_network, weights)
            if not self.pose_is_trained and config.pose_encoder_weights:
                self.pose_network = _pose_network(config, config.pose_encoder_weights)
        for part in (self.network, self.pose_network):
            with_fast_pointwise(part.to(memory_format=torch.channels_last))  # faster convolutions
        self.objective = Objective(
            config.loss,
            self.network.label_space,
            self.network.depth_range_m,
            canonical_focal_px=self.network.canonical_focal_px,
        )
        self.trained = freeze_untrained(self.network, self.pose_network, self.objective, config.frozen)
        if "pose" in self.trained and weights and not has_checkpoint and not self.pose_is_trained:
            self.initialized += [f"pose_network.{name}" for name in self.pose_network.state_dict()]
        self.pose_is_trained |= "pose" in self.trained
        self.train()  # Lightning keeps the current modes

    def _start_from(self, checkpoint: str, stored: Mapping[str, Any]) -> None:
        held = stored.get("state_dict", {})
        self.pose_is_trained = bool(stored.get(POSE_KEY))
        self._start = _inherited(Path(checkpoint), stored.get(START_KEY, {}))
        own = self.state_dict()
        other = [name for name in sorted(held.keys() | own.keys())
                 if name not in held or name not in own or held[name].shape != own[name].shape]  # fmt: skip
        if other and not self.config.partial_start:
            tensors = counted(len(other), "tensor is", "tensors are")
            raise WeightsError(
                f"{checkpoint}: {tensors} of another architecture, such as {other[0]}; use the network "
                "and the pose_encoder of its run's config.yaml, or start from its weights.safetensors, or set "
                "partial_start=true"
            )
        self.initialized = copy_fitting(self, held)

    def train(self, mode: bool = True) -> "TrainingModule":
        """Switch to training mode, except batch normalisation of frozen parts, or all of it if so configured."""
        super().train(mode)
        still = [module for name, modules in named_parts(self.network, self.pose_network).items()
                 for module in modules if name not in self.trained]  # fmt: skip
        if self.config.frozen_statistics:
            still += [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        for module in still if mode else ():
            module.eval()
        return self

    def transfer_batch_to_device(self, batch: StepBatch, device: torch.device, _: int) -> StepBatch:
        """Move all tensors of a batch to a device."""
        return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))

    def training_step(self, batch: StepBatch, _: int) -> Tensor:
        """Compute the objective of one batch; each term is logged as ``loss/<name>``."""
        terms = self.losses(batch)
        together = self.trainer.world_size > 1
        values = {f"loss/{name}": value.detach() for name, value in terms.items()}
        self.log_dict(values, batch_size=1, sync_dist=together)
        self.log("loss", terms["total"].detach(), prog_bar=True, logger=False, batch_size=1)
        return terms["total"]

    def losses(self, batch: StepBatch) -> dict[str, Tensor]:
        """Compute all terms of the objective for a batch at the current step.

        Dropout and tie-breaking noise are seeded by run, step and process, so that resumed runs are reproducible.

        Args:
            batch: samples on this module's device; images may be uint8.

        Raises:
            NotFiniteError: a term is not finite; the message names it, the sample and the step.
            ConfigError: the data lacks what an active term needs.
        """
        seed = (self.config.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank
        torch.manual_seed(seed)
        if self.objective.generator is None or self.objective.generator.device != batch.shown.device:
            self.objective.generator = torch.Generator(batch.shown.device)
        self.objective.generator.manual_seed(seed)
        batch = with_float_images(batch)
        prediction = predict(self.network, self.pose_network, batch, self.objective)
        return self.objective(batch.truth, prediction, self.global_step, self.config.max_steps)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with the polynomial schedule of Panoptic-DeepLab."""
        config = self.config.optimizer
        groups = [
            {"params": [p for p in self.network.parameters() if p.requires_grad], "lr": config.learning_rate},
            {"params": [p for p in self.pose_network.parameters() if p.requires_grad], "lr": config.pose_learning_rate},
        ]
        trained = [group for group in groups if group["params"]]
        fused = self.config.precision == "32-true"  # Lightning clips no gradients of a fused one in mixed precision
        optimizer = torch.optim.AdamW(trained, weight_decay=config.weight_decay, fused=fused)
        schedule = LambdaLR(optimizer, self.rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_at(self, step: int) -> float:
        """Return the learning-rate factor at a step: linear warm-up, then (1 - step / steps) ^ power."""
        config = self.config.optimizer
        rising = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        return rising * max(0.0, 1.0 - step / self.config.max_steps) ** config.power

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the configuration with the weights, as plain values that load without unpickling code.

        Raises:
            NotFiniteError: a weight is NaN or infinite; nothing is written and the previous checkpoint is kept.
        """
        broken = [name for name, value in self.state_dict().items() if not bool(value.isfinite().all())]
        if broken:
            tensors = counted(len(broken), "tensor is", "tensors are")
            raise NotFiniteError(
                f"{tensors} NaN or infinite at step {self.global_step}, such as {broken[0]}; the "
                "previous checkpoint is kept: start from it in another --out with --weights and a lower learning rate"
            )
        checkpoint[CONFIG_KEY] = to_dict(self.config)
        checkpoint[PROCESSES_KEY] = self.trainer.world_size
        checkpoint[FINGERPRINTS_KEY] = self._fingerprints
        checkpoint[POSE_KEY] = self.pose_is_trained
        checkpoint[START_KEY] = self._start
        checkpoint[DATA_KEY] = [
            Path(name).resolve().name for name in self.data_names
        ]  # without folders, which are private
        checkpoint[METRICS_KEY] = {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember whether the pose network was trained before, and what the run started from."""
        self.pose_is_trained |= bool(checkpoint.get(POSE_KEY))
        self._start = dict(checkpoint.get(START_KEY, {}))

    def on_train_start(self) -> None:
        """Set the learning rate of this step, in case the run is resumed with another `max_steps`."""
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.rate_at(self.global_step)
