# SPDX-License-Identifier: Apache-2.0
"""Settings of the network and of the training objective."""

from dataclasses import dataclass

from monodvps_ros.config.tree import Config, setting


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Shape of the network; stored in the header of its weights."""

    encoder: str = setting("mobilenetv3_large_100", "timm encoder, by name.")
    output_stride: int = setting(16, "Stride of the encoder's last map: 16 or 32.", at_least=16, at_most=32)
    label_space: str = setting("cityscapes", "Classes to predict.", choices=("cityscapes", "semkitti"))
    input_height: int = setting(192, "Height that images are resized to.", unit="px", at_least=64, at_most=4096)
    input_width: int = setting(640, "Width that images are resized to.", unit="px", at_least=64, at_most=8192)
    aspp_channels: int = setting(256, "Channels of each ASPP branch and of its output.", at_least=8)
    semantic_channels: int = setting(256, "Channels of the semantic decoder and head.", at_least=8)
    instance_channels: int = setting(128, "Channels of the instance decoder.", at_least=8)
    head_stride: int = setting(4, "Stride of class scores, centres and offsets: 4 as in Panoptic-DeepLab, or 2, for "
                               "thin and small things in small images.", at_least=2, at_most=4)  # fmt: skip
    head_channels: int = setting(32, "Channels of the centre and offset heads.", at_least=8)
    depth_decoder: str = setting("paper", "Depth decoder: 'paper', the head of the publication, or 'dense', a U-Net of "
                                 "3x3 convolutions, which learns faster and better.",
                                 choices=("paper", "dense"))  # fmt: skip
    metric: bool = setting(False, "Depth is in metres at the canonical focal length, so that any camera with K gets "
                           "metres; wants training on measured depth.")  # fmt: skip
    canonical_focal_px: float = setting(384.0, "Focal length, in pixels of the input, at which a metric network's "
                                        "depth is metres.", unit="px", at_least=1.0)  # fmt: skip
    min_depth_m: float = setting(0.1, "Depth that disparity 1 stands for.", unit="m", at_least=1e-3)
    max_depth_m: float = setting(100.0, "Depth that disparity 0 stands for.", unit="m", at_least=1.0)
    separable_aspp: bool = setting(True, "Make the dilated convolutions of the ASPP depthwise-separable.")
    flow: bool = setting(True, "Build the optical-flow decoder.")
    flow_channels: int = setting(64, "Channels of the flow decoder's estimator; 128 in PWC-Net.", at_least=8)

    def check(self) -> None:
        """Check strides, that the input fits them, and the order of the depths."""
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

    depth: float = setting(50.0, "Weight of all depth terms together.", at_least=0.0)
    semantic: float = setting(1.0, "Weight of the class scores' loss.", at_least=0.0)
    instance: float = setting(1.0, "Weight of centres and offsets together.", at_least=0.0)
    flow: float = setting(10.0, "Weight of the optical-flow loss.", at_least=0.0)
    photometric: float = setting(1.0, "Weight of the minimum reprojection loss among the depth terms.", at_least=0.0)
    smoothness: float = setting(1e-3, "Weight of edge-aware smoothness among the depth terms.", at_least=0.0)
    panoptic_smoothness: float = setting(0.01, "Weight of panoptic-guided smoothness among the depth terms.",
                                         at_least=0.0)  # fmt: skip
    panoptic_edges: float = setting(1e-4, "Weight of panoptic edge discontinuity among the depth terms.", at_least=0.0)
    triplet: float = setting(0.1, "Weight of the panoptic-guided triplet loss among the depth terms.", at_least=0.0)
    supervised_depth: float = setting(0.0, "Weight of the loss against measured depth among the depth terms.",
                                      at_least=0.0)  # fmt: skip
    pseudo_depth: float = setting(0.0, "Weight of the loss against a teacher's depth, up to scale and shift, among the "
                                  "depth terms.", at_least=0.0)  # fmt: skip
    center: float = setting(200.0, "Weight of the centre heatmap among the instance terms.", at_least=0.0)
    offset: float = setting(
        0.01, "Weight of the offsets, in pixels of 1024 x 2048, among the instance terms.", at_least=0.0
    )
    pseudo_labels: float = setting(1.0, "Weight of pseudo-labels against true ones in the losses of class scores, "
                                   "centres and offsets.", at_least=0.0)  # fmt: skip
    ssim_share: float = setting(0.85, "Share of SSIM in the photometric error.", at_least=0.0, at_most=1.0)
    reprojection_shrink: int = setting(2, "By how much images are shrunk before warped ones are compared: 2 as in the "
                                       "paper; 1 suits the dense depth decoder.", at_least=1, at_most=8)  # fmt: skip
    auto_mask: bool = setting(True, "Leave pixels that stand still out of the reprojection loss.")
    mask_moving_objects: bool = setting(True, "Leave moving objects out of the reprojection loss.")
    moving_test: str = setting(
        "iou",
        "How moving objects are found: 'iou', as in the paper, by how far an instance and its reconstruction overlap; "
        "'flow', by how far its flow is from that of a standing surface.",
        choices=("iou", "flow"),
    )
    iou_start: float = setting(0.7, "Instances that overlap less than this after reprojection move: first step.",
                               at_least=0.0, at_most=1.0)  # fmt: skip
    iou_end: float = setting(0.3, "The same at the last step; linear between the two.", at_least=0.0, at_most=1.0)
    occlusion_threshold: float = setting(
        0.9, "Flow is believed where exp(-colour difference) is above this.", at_least=0.0, at_most=1.0
    )
    triplet_patch: int = setting(5, "Rows and columns of a triplet patch, odd.", unit="px", at_least=3)
    triplet_stride: int = setting(5, "Pixels between triplet patches; 1 for dense ones.", unit="px", at_least=1)
    triplet_margin: float = setting(0.3, "By how much other segments' features must be farther away.", at_least=0.0)
    triplet_min_members: int = setting(4, "Least number of positives and of negatives in a patch.", at_least=1)
    hard_pixels: float = setting(0.2, "Share of an image's pixels, the hardest, that train the class scores.",
                                 at_least=1e-6, at_most=1.0)  # fmt: skip
    small_instance_px: int = setting(4096, "Instances smaller than this at 1024 x 2048 weigh more in the class "
                                     "scores' loss.",
                                     unit="px", at_least=0)  # fmt: skip
    small_instance_weight: float = setting(3.0, "How much more.", at_least=0.0)
    flow_smoothness: float = setting(75.0, "Weight of smoothness within the flow loss.", at_least=0.0)
    scale_invariance: float = setting(
        0.5, "Share of a common factor that costs nothing against measured depth.", at_least=0.0, at_most=1.0
    )

    def check(self) -> None:
        """Check that a patch has a middle."""
        if self.triplet_patch % 2 == 0:
            raise self.refusal("triplet_patch", "it must be odd")
