# SPDX-License-Identifier: Apache-2.0
"""The photometric term: sources warped to the target by depth and ego motion, moving objects left out."""

import torch
from torch import Tensor

from monodvps_ros.geometry import resize_matrix, warp_by_depth
from monodvps_ros.geometry.resizing import resize_bilinear, resize_nearest
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.flow_residual import flow_residual_mask
from monodvps_ros.losses.moving_objects import (
    iou_threshold_at,
    moving_object_mask,
    reconstruct_depth,
    reconstruct_panoptic,
)
from monodvps_ros.losses.photometric import minimum_reprojection_loss, reprojection_errors
from monodvps_ros.losses.reduction import nan_unless_finite
from monodvps_ros.losses.scales import resize_area, resize_flow


def photometric_term(inputs: TermInputs) -> Tensor:
    """Average `minimum_reprojection_loss` over the scales, all enlarged to the size at which images are compared.

    Source: section 3.2 of Petrovai & Nedevschi, who compare at half size.
    """
    return _Reprojection(inputs).loss()


class _Reprojection:
    """A batch at the size at which warped images are compared."""

    def __init__(self, inputs: TermInputs) -> None:
        batch, prediction, config = inputs.batch, inputs.prediction, inputs.config
        height, width = batch.size
        shrink = config.reprojection_shrink
        size = (max(2, height // shrink), max(2, width // shrink))
        self.inputs = inputs
        self.target = resize_area(batch.image, size)
        self.sources = tuple(resize_area(source, size) for source in batch.sources)
        assert batch.intrinsics is not None  # the objective asked for it
        scale = torch.from_numpy(resize_matrix(batch.size, size)).to(batch.intrinsics)
        # Written out, since matmul may run in TF32.
        self.intrinsics = (scale[None, :, :, None] * batch.intrinsics[:, None]).sum(2)
        self.motions = prediction.source_from_target
        self.depths = [inputs.depth_m(resize_bilinear(entry, size)) for entry in prediction.output.disparities]

    def loss(self) -> Tensor:
        """Average over the scales; what does not change with the scale is done once."""
        config = self.inputs.config
        standing = reprojection_errors(self.sources, self.target, "sources", config.ssim_share)
        mask = self._keep() if config.mask_moving_objects else None
        losses = []
        for depth_m in self.depths:
            pairs = [
                warp_by_depth(source, depth_m, motion, self.intrinsics)
                for source, motion in zip(self.sources, self.motions, strict=True)
            ]
            losses.append(
                minimum_reprojection_loss(
                    [warped for warped, _ in pairs],
                    (),
                    self.target,
                    mask,
                    valid=[inside for _, inside in pairs],
                    standing=standing if config.auto_mask else None,
                    generator=self.inputs.generator,
                    alpha=config.ssim_share,
                )
            )
        return nan_unless_finite(torch.stack(losses).mean(), *self.depths, *self.motions, self.intrinsics)

    def _keep(self) -> Tensor:
        """Find moving objects with the finest depth; (B, 1, H, W) bool, false on them."""
        batch, config, prediction = self.inputs.batch, self.inputs.config, self.inputs.prediction
        size = (self.target.shape[2], self.target.shape[3])
        panoptic, depth_m = resize_nearest(self.inputs.panoptic, size), self.depths[0].detach()
        if config.moving_test == "flow":
            flows = [resize_flow(flow, size, batch.size) for flow in prediction.flow_to_sources_px]
            return flow_residual_mask(
                panoptic, self.inputs.thing_ids, flows, depth_m, [m.detach() for m in self.motions], self.intrinsics
            )
        threshold = iou_threshold_at(self.inputs.progress, config.iou_start, config.iou_end)
        keep = torch.ones_like(panoptic, dtype=torch.bool)
        for source, flow_px, motion in zip(self.sources, prediction.flow_to_target_px, self.motions, strict=True):
            flow = resize_flow(flow_px, size, batch.size)
            reconstructed = reconstruct_panoptic(
                panoptic,
                self.target,
                source,
                flow,
                depth_m,
                source_from_target=motion,
                intrinsics=self.intrinsics,
                occlusion_threshold=config.occlusion_threshold,
            )
            carried = reconstruct_depth(depth_m, flow, motion, self.intrinsics)
            keep &= moving_object_mask(panoptic, reconstructed, self.inputs.thing_ids, threshold, depth_m, carried)
        return keep
