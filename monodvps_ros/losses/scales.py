# SPDX-License-Identifier: Apache-2.0
"""The terms of the objective that live on several scales."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from monodvps_ros.config import LossConfig
from monodvps_ros.geometry import disparity_to_depth, resize_matrix, warp_by_depth
from monodvps_ros.geometry.resizing import resize_bilinear, resize_nearest
from monodvps_ros.losses.batch import TrainingBatch, TrainingPrediction
from monodvps_ros.losses.flow import flow_loss
from monodvps_ros.losses.moving_objects import moving_object_mask, reconstruct_depth, reconstruct_panoptic
from monodvps_ros.losses.panoptic_map import panoptic_with_channel
from monodvps_ros.losses.photometric import reduce_minimum, reprojection_errors
from monodvps_ros.losses.reduction import nan_unless_finite
from monodvps_ros.losses.supervised_depth import scale_invariant_log


def resize_area(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Shrink an image (B, C, H, W) by averaging; one of that size stays as it is."""
    return image if image.shape[2:] == size else functional.interpolate(image, size, mode="area")


def resize_flow(flow_px: Tensor, size: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Resize flow that is in pixels of the whole image, and turn it into pixels of its new size.

    Args:
        flow_px: (B, 2, h, w) in pixels of `image_size`.
        size: height and width wanted.
        image_size: height and width of the image in whose pixels the flow is.
    """
    scale = flow_px.new_tensor([size[1] / image_size[1], size[0] / image_size[0]])
    return resize_bilinear(flow_px, size) * scale[:, None, None]


class HalfResolution:
    """A batch at half of its resolution, where the paper reprojects."""

    def __init__(
        self, batch: TrainingBatch, prediction: TrainingPrediction, depth_range_m: tuple[float, float]
    ) -> None:
        """Shrink images, K and the panoptic map.

        Args:
            batch: with sources, intrinsics and, where there is one, a panoptic map.
            prediction: with disparities and one motion for each source.
            depth_range_m: what disparities 1 and 0 stand for.
        """
        height, width = batch.size
        self.size = (max(2, height // 2), max(2, width // 2))
        self.target = resize_area(batch.image, self.size)
        self.sources = tuple(resize_area(source, self.size) for source in batch.sources)
        assert batch.intrinsics is not None  # the objective asked for it
        scale = torch.from_numpy(resize_matrix(batch.size, self.size)).to(batch.intrinsics)
        # Written out, since matmul may run in TF32.
        self.intrinsics = (scale[None, :, :, None] * batch.intrinsics[:, None]).sum(2)
        self.motions = prediction.source_from_target
        self.flows = tuple(resize_flow(flow, self.size, batch.size) for flow in prediction.flow_to_target_px)
        self.panoptic = None
        if batch.panoptic is not None:
            self.panoptic = resize_nearest(panoptic_with_channel(batch.panoptic), self.size)
        self.depths = [
            disparity_to_depth(resize_bilinear(disparity, self.size), *depth_range_m)
            for disparity in prediction.output.disparities
        ]

    def moving_mask(self, config: LossConfig, thing_ids: tuple[int, ...], iou_threshold: float) -> Tensor:
        """Find moving objects with the finest depth, in any of the sources; (B, 1, H, W) bool, false on them."""
        assert self.panoptic is not None  # the objective asked for it
        keep = torch.ones_like(self.panoptic, dtype=torch.bool)
        for source, flow, motion in zip(self.sources, self.flows, self.motions, strict=True):
            reconstructed = reconstruct_panoptic(
                self.panoptic,
                self.target,
                source,
                flow,
                self.depths[0],
                source_from_target=motion,
                intrinsics=self.intrinsics,
                occlusion_threshold=config.occlusion_threshold,
            )
            depth_m = self.depths[0].detach()
            carried = reconstruct_depth(depth_m, flow, motion, self.intrinsics)
            keep &= moving_object_mask(self.panoptic, reconstructed, thing_ids, iou_threshold, depth_m, carried)
        return keep

    def reprojection(self, config: LossConfig, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Average `minimum_reprojection_loss` over the scales; what does not change with the scale is done once."""
        standing = reprojection_errors(self.sources, self.target, "sources", config.ssim_share)
        losses = []
        for depth_m in self.depths:
            pairs = [
                warp_by_depth(source, depth_m, motion, self.intrinsics)
                for source, motion in zip(self.sources, self.motions, strict=True)
            ]
            errors = reprojection_errors([warped for warped, _ in pairs], self.target, "warped", config.ssim_share)
            valid = torch.cat([inside for _, inside in pairs], 1)
            losses.append(reduce_minimum(errors, standing if config.auto_mask else None, mask, valid, generator))
        return nan_unless_finite(torch.stack(losses).mean(), *self.depths, *self.motions, self.intrinsics)


def mean_over_scales(maps: tuple[Tensor, ...], loss: Callable[[Tensor, tuple[int, int]], Tensor]) -> Tensor:
    """Average a loss over the scales, each halved once more than the next finer one.

    Coarser maps have fewer and larger steps between pixels; the halving is that of Godard et al. 2019.

    Args:
        maps: finest first, each (B, C, h, w).
        loss: of a map and its size.
    """
    values = [loss(map_, (map_.shape[2], map_.shape[3])) / 2**place for place, map_ in enumerate(maps)]
    return torch.stack(values).mean()


def supervised_depth_loss(
    disparities: tuple[Tensor, ...], depth_m: Tensor, depth_range_m: tuple[float, float], scale_invariance: float
) -> Tensor:
    """Average `scale_invariant_log` over the scales, each enlarged to the measured depth's size.

    Args:
        disparities: finest first, each (B, 1, h, w).
        depth_m: (B, 1, H, W) measured depth.
        depth_range_m: what disparities 1 and 0 stand for.
        scale_invariance: as for `scale_invariant_log`.
    """
    size = (depth_m.shape[2], depth_m.shape[3])
    losses = [
        scale_invariant_log(
            disparity_to_depth(resize_bilinear(disparity, size), *depth_range_m),
            depth_m,
            scale_invariance=scale_invariance,
        )
        for disparity in disparities
    ]
    return torch.stack(losses).mean()


def multi_scale_flow_loss(batch: TrainingBatch, prediction: TrainingPrediction, config: LossConfig) -> Tensor:
    """Average `flow_loss` over the scales, each at its own size; smoothness at the finest alone (Liu et al. 2020).

    Args:
        batch: with frame t - 1 as its first source.
        prediction: with flow to it.
        config: weights.
    """
    losses = []
    for place, flow in enumerate(prediction.output.flow_px):
        size = (flow.shape[2], flow.shape[3])
        back = prediction.flow_back_px[place] if prediction.flow_back_px else None
        losses.append(
            flow_loss(
                resize_flow(flow, size, batch.size),
                resize_area(batch.image, size),
                resize_area(batch.sources[0], size),
                None if back is None else resize_flow(back, size, batch.size),
                smoothness=0.0 if place else config.flow_smoothness,
                alpha=config.ssim_share,
            )
        )
    return nan_unless_finite(torch.stack(losses).mean(), *prediction.output.flow_px, *prediction.flow_back_px)
