# SPDX-License-Identifier: Apache-2.0
"""Images of training batches and predictions for the log."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from monodvps_ros.geometry import disparity_to_depth, warp_by_depth, warp_by_flow
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace
from monodvps_ros.losses import TrainingBatch, TrainingPrediction
from monodvps_ros.training.batch import StepBatch, with_float_images
from monodvps_ros.training.predict import predict

_MOST_SAMPLES = 2
_FLOW_RANGE = 0.1  # of full saturation, as a fraction of the image width


class Pictures(Callback):
    """Logs images of the first samples of a batch at intervals.

    Args:
        every: steps between images.
    """

    def __init__(self, every: int) -> None:
        self._every = every

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, _: Any, batch: StepBatch, *__: Any) -> None:
        """Draw at the interval."""
        if trainer.global_step % self._every or not isinstance(trainer.logger, TensorBoardLogger):
            return
        modes = [(module, module.training) for module in pl_module.modules()]
        pl_module.eval()
        with torch.no_grad():
            batch = with_float_images(batch)
            prediction = predict(pl_module.network, pl_module.pose_network, batch, pl_module.objective)
            pictures = draw(batch.truth, prediction, pl_module.network.label_space, pl_module.network.depth_range_m)
        for module, mode in modes:
            module.training = mode
        for name, picture in pictures.items():
            trainer.logger.experiment.add_images(name, picture[:_MOST_SAMPLES].clamp(0, 1), trainer.global_step)


def draw(
    batch: TrainingBatch, prediction: TrainingPrediction, labels: LabelSpace, depth_range_m: tuple[float, float]
) -> dict[str, Tensor]:
    """Draw a batch.

    Args:
        batch: images and ground truth.
        prediction: of the networks.
        labels: for the colours.
        depth_range_m: depths at disparities 1 and 0.

    Returns:
        (B, 3, H, W) in 0..1 by name: the image; disparity, bright is near, scaled to each image's greatest; true and
        predicted classes; and where there are sources, frame t - 1 reprojected by depth and motion, and by flow, and
        flow itself (red right, green down).
    """
    size, output = batch.size, prediction.output
    pictures = {"image": batch.image}
    disparity = resize_bilinear(output.disparities[0].float(), size)
    pictures["disparity"] = (disparity / disparity.amax((2, 3), keepdim=True)).expand(-1, 3, -1, -1)
    colors = torch.from_numpy(labels.colors.copy()).to(batch.image.device).float() / 255.0
    classes = resize_bilinear(output.class_logits.float(), size).argmax(1)
    pictures["classes"] = colors[classes].permute(0, 3, 1, 2)
    if batch.panoptic is not None:
        panoptic = batch.panoptic.reshape(-1, *size).long()
        void = panoptic == VOID_PANOPTIC_ID
        true = colors[torch.where(void, 0, panoptic // LABEL_DIVISOR)] * ~void[..., None]
        pictures["true_classes"] = true.permute(0, 3, 1, 2)
    if prediction.source_from_target and batch.intrinsics is not None:
        depth = disparity_to_depth(disparity, *depth_range_m)
        pictures["reprojected"] = warp_by_depth(
            batch.sources[0], depth, prediction.source_from_target[0], batch.intrinsics
        )[0]
    if output.flow_px:
        flow = resize_bilinear(output.flow_px[0].float(), size)
        pictures["flow_warped"] = warp_by_flow(batch.sources[0], flow)[0]
        shares = 0.5 + flow / (2.0 * _FLOW_RANGE * size[1])
        pictures["flow"] = torch.cat([shares, torch.full_like(shares[:, :1], 0.5)], 1)
    return pictures
