# SPDX-License-Identifier: Apache-2.0
"""Settings of the network and of the training objective."""

from dataclasses import dataclass
from typing import Any

from monodvps_ros.config.tree import Config, setting


def _weight(default: float, description: str) -> Any:
    return setting(default, description, at_least=0.0, at_most=1e6)


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Shape of the network; stored in the header of its weights."""

    encoder: str = setting("mobilenetv3_large_100", "Name of the timm encoder.")
    output_stride: int = setting(16, "Stride of the last encoder feature map: 16 or 32.", at_least=16, at_most=32)
    label_space: str = setting("cityscapes", "Label space that is predicted.", choices=("cityscapes", "semkitti"))
    input_height: int = setting(192, "Height of the network input.", unit="px", at_least=64, at_most=4096)
    input_width: int = setting(640, "Width of the network input.", unit="px", at_least=64, at_most=8192)
    aspp_channels: int = setting(256, "Channels of each ASPP branch and of the ASPP output.", at_least=8, at_most=4096)
    semantic_channels: int = setting(256, "Channels of the semantic decoder and head.", at_least=8, at_most=4096)
    instance_channels: int = setting(128, "Channels of the instance decoder.", at_least=8, at_most=4096)
    head_stride: int = setting(
        4, "Output stride of the semantic, centre and offset heads: 4 as in Panoptic-DeepLab; 2 resolves thin and "
        "small objects in small images.", at_least=2, at_most=4)  # fmt: skip
    head_channels: int = setting(32, "Channels of the centre and offset heads.", at_least=8, at_most=4096)
    depth_decoder: str = setting(
        "paper", "Depth decoder: 'paper', the head of the publication; 'dense', a U-Net with 3x3 convolutions, which "
        "trains faster and is more accurate.", choices=("paper", "dense"))  # fmt: skip
    metric: bool = setting(
        False,
        "The network predicts depth in metres at the canonical focal length, rescaled by each camera's K; requires "
        "training on measured depth.",
    )
    canonical_focal_px: float = setting(
        384.0, "Canonical focal length of metric networks, in pixels of the network input.", unit="px", at_least=1.0,
        at_most=1e5)  # fmt: skip
    min_depth_m: float = setting(0.1, "Smallest depth, at disparity 1.", unit="m", at_least=1e-3, at_most=1e5)
    max_depth_m: float = setting(100.0, "Largest depth, at disparity 0.", unit="m", at_least=1.0, at_most=1e5)
    separable_aspp: bool = setting(True, "Use depthwise-separable dilated convolutions in the ASPP.")
    flow: bool = setting(True, "Build the optical-flow decoder.")
    flow_channels: int = setting(64, "Channels of the flow estimator; 128 in PWC-Net.", at_least=8, at_most=4096)

    def check(self) -> None:
        """Check the strides, the input size and the depth range."""
        if self.output_stride not in (16, 32):
            raise self.refusal("output_stride", "it must be 16 or 32")
        if self.head_stride not in (2, 4):
            raise self.refusal("head_stride", "it must be 2 or 4")
        for name in ("input_height", "input_width"):
            if getattr(self, name) % 32:
                raise self.refusal(name, "it must be a multiple of 32")
        if self.min_depth_m >= self.max_depth_m:
            raise self.refusal("min_depth_m", f"it must be below max_depth_m, which is {self.max_depth_m}")


@dataclass(frozen=True)
class LossConfig(Config):
    """The training objective, Eqs. 10 and 11 of Petrovai & Nedevschi; a term of weight 0 is not computed."""

    depth: float = _weight(50.0, "Weight of the sum of all depth terms.")
    semantic: float = _weight(1.0, "Weight of the semantic segmentation loss.")
    instance: float = _weight(1.0, "Weight of the sum of the centre and offset losses.")
    flow: float = _weight(10.0, "Weight of the optical-flow loss.")
    photometric: float = _weight(1.0, "Weight of the minimum reprojection loss among the depth terms.")
    smoothness: float = _weight(1e-3, "Weight of edge-aware smoothness among the depth terms.")
    panoptic_smoothness: float = _weight(0.01, "Weight of panoptic-guided smoothness among the depth terms.")
    panoptic_edges: float = _weight(1e-4, "Weight of panoptic edge discontinuity among the depth terms.")
    triplet: float = _weight(0.1, "Weight of the panoptic-guided triplet loss among the depth terms.")
    uprightness: float = _weight(
        0.0, "Weight of the loss against depth that changes up a facade or a vehicle, among the depth terms."
    )
    upright_classes: tuple[str, ...] = setting(
        ("building", "car", "truck", "bus", "train"), "Classes to which the uprightness loss applies."
    )
    supervised_depth: float = _weight(0.0, "Weight of the loss against measured depth among the depth terms.")
    pseudo_depth: float = _weight(
        0.0, "Weight of the scale- and shift-invariant loss against a teacher's depth among the depth terms."
    )
    center: float = _weight(200.0, "Weight of the centre heatmap loss among the instance terms.")
    offset: float = _weight(0.01, "Weight of the offset loss, in pixels at 1024 x 2048, among the instance terms.")
    pseudo_labels: float = _weight(
        1.0, "Weight of pseudo-labels, relative to ground truth, in the semantic, centre and offset losses."
    )
    ssim_share: float = setting(0.85, "Share of SSIM in the photometric error.", at_least=0.0, at_most=1.0)
    reprojection_shrink: int = setting(
        2, "Factor by which images are downsampled for the reprojection loss: 2 as in the paper; 1 suits the dense "
        "depth decoder.", at_least=1, at_most=8)  # fmt: skip
    auto_mask: bool = setting(True, "Exclude pixels that do not change between frames from the reprojection loss.")
    mask_moving_objects: bool = setting(True, "Exclude moving objects from the reprojection loss.")
    moving_test: str = setting(
        "iou",
        "How moving objects are detected: 'iou', as in the paper, by the overlap of an instance with its "
        "reprojection; 'flow', by the difference between its optical flow and the flow of a static surface.",
        choices=("iou", "flow"),
    )
    iou_start: float = setting(
        0.7, "IoU after reprojection below which an instance counts as moving, at the first step.",
        at_least=0.0, at_most=1.0)  # fmt: skip
    iou_end: float = setting(
        0.3, "IoU after reprojection below which an instance counts as moving, at the last step; interpolated "
        "linearly from iou_start.", at_least=0.0, at_most=1.0)  # fmt: skip
    occlusion_threshold: float = setting(
        0.9, "Flow is treated as not occluded where exp(-colour difference) is above this.", at_least=0.0, at_most=1.0
    )
    triplet_patch: int = setting(5, "Side of a square triplet patch, odd.", unit="px", at_least=3, at_most=65)
    triplet_stride: int = setting(5, "Stride of the triplet patches; 1 is dense.", unit="px", at_least=1, at_most=8192)
    triplet_margin: float = _weight(0.3, "Margin of the triplet loss.")
    triplet_min_members: int = setting(
        4, "Minimum number of positives, and of negatives, in a triplet patch.", at_least=1, at_most=4225
    )
    hard_pixels: float = setting(
        0.2, "Fraction of pixels with the highest loss that the semantic loss averages (hard-pixel mining).",
        at_least=1e-6, at_most=1.0)  # fmt: skip
    small_instance_px: int = setting(
        4096,
        "Area at 1024 x 2048 below which an instance counts as small in the semantic loss.",
        unit="px",
        at_least=0,
        at_most=1024 * 2048,
    )
    small_instance_weight: float = _weight(
        3.0, "Factor by which the pixels of small instances are weighted in the semantic loss."
    )
    flow_smoothness: float = _weight(75.0, "Weight of the smoothness term in the flow loss.")
    scale_invariance: float = setting(
        0.5, "Scale invariance of the loss against measured depth: 0, a common depth factor is penalised fully; 1, "
        "not at all.", at_least=0.0, at_most=1.0)  # fmt: skip

    def check(self) -> None:
        """Check that a patch has a centre pixel, and that what is switched on has classes."""
        if self.uprightness > 0 and not self.upright_classes:
            raise self.refusal("upright_classes", "name at least one class, or set uprightness to 0")
        if self.triplet_patch % 2 == 0:
            raise self.refusal("triplet_patch", "it must be odd")
