# SPDX-License-Identifier: Apache-2.0
"""The whole network: a shared encoder, two decoders, their heads, the depth head and the flow decoder."""

from typing import Any

import torch
from torch import Tensor, nn

from monodvps_ros.config import NetworkConfig
from monodvps_ros.errors import ShapeError
from monodvps_ros.labels import LabelSpace, label_space
from monodvps_ros.network.blocks import Head
from monodvps_ros.network.decoder import INSTANCE_SKIPS, SEMANTIC_SKIPS, Decoder
from monodvps_ros.network.dense_depth import DenseDepthDecoder
from monodvps_ros.network.depth import DepthHeads
from monodvps_ros.network.encoder import Encoder
from monodvps_ros.network.flow import FlowDecoder
from monodvps_ros.network.normalize import Normalize
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import NetworkOutput


class ConfiguredModel:
    """What `monodvps_ros.types.PerceptionModel` asks of a network that its configuration says."""

    config: NetworkConfig

    @property
    def label_space(self) -> LabelSpace:
        """Classes of the class scores."""
        return label_space(self.config.label_space)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images that the network was made for; an exported graph takes no other."""
        return self.config.input_height, self.config.input_width

    @property
    def depth_range_m(self) -> tuple[float, float]:
        """Depth that disparities 1 and 0 stand for: metres at `canonical_focal_px`, or up to scale."""
        return self.config.min_depth_m, self.config.max_depth_m

    @property
    def is_metric(self) -> bool:
        """Whether depth is in metres for a camera that is known."""
        return self.config.metric

    @property
    def canonical_focal_px(self) -> float:
        """Focal length, in pixels of the input, at which depth is in metres; 0 where it is up to scale."""
        return self.config.canonical_focal_px if self.config.metric else 0.0

    @property
    def has_flow(self) -> bool:
        """Whether there is a flow decoder."""
        return self.config.flow


class MonoDVPS(ConfiguredModel, nn.Module):
    """Panoptic segmentation, depth and flow of one camera; keeps `monodvps_ros.types.PerceptionModel`.

    Source: figure 2 and sections 3.1 and 3.2 of Petrovai & Nedevschi.

    Attributes:
        config: what it was built from.
        description: what weights it runs, in words.
        is_prepared: true after `prepare_for_inference`, when it can no longer be trained or saved.

    Args:
        config: its shape.
        encoder_weights: 'hub', a file, or empty for random ones, as for `Encoder`.

    Raises:
        ConfigError: as `Encoder` says.
        WeightsError: as `Encoder` says.
    """

    def __init__(self, config: NetworkConfig, encoder_weights: str = "") -> None:
        super().__init__()
        self.config = config
        self.description = "untrained"
        self.is_prepared = False
        self.normalize = Normalize(config.encoder)
        self.encoder = Encoder(config.encoder, config.output_stride, weights=encoder_weights)
        channels, stride = self.encoder.channels, config.output_stride
        aspp, semantic, instance = config.aspp_channels, config.semantic_channels, config.instance_channels
        context: dict[str, Any] = {
            "aspp_channels": aspp,
            "separable_aspp": config.separable_aspp,
            "stride": config.head_stride,
        }
        self.semantic_decoder = Decoder(channels, stride, channels=semantic, skips=SEMANTIC_SKIPS, **context)
        self.instance_decoder = Decoder(channels, stride, channels=instance, skips=INSTANCE_SKIPS, **context)
        self.semantic_head = Head(self.semantic_decoder.channels, self.semantic_decoder.channels, len(self.label_space))
        self.center_head = Head(self.instance_decoder.channels, config.head_channels, 1)
        self.offset_head = Head(self.instance_decoder.channels, config.head_channels, 2)
        self.depth_head: nn.Module = (
            DenseDepthDecoder(channels, aspp)
            if config.depth_decoder == "dense"
            else DepthHeads(channels, aspp, semantic)
        )
        self.flow_decoder = FlowDecoder(channels, config.flow_channels) if config.flow else None

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Normalise and encode images.

        Args:
            image: (B, 3, H, W) in 0..1; H and W multiples of 32.

        Returns:
            The encoder's maps at strides 2, 4, 8, 16 and the output stride.

        Raises:
            ShapeError: the shape differs, or a size is not a multiple of 32.
        """
        sizes = check_shapes(image=(image, "B 3 H W"))
        if sizes["H"] % 32 or sizes["W"] % 32:
            raise ShapeError(f"image is {tuple(image.shape)}: height and width must be multiples of 32; resize it")
        features: tuple[Tensor, ...] = self.encoder(self.normalize(image))
        return features

    def remember(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Make of the encoder's maps what the flow decoder wants of a frame; empty without a flow decoder."""
        return () if self.flow_decoder is None else self.flow_decoder.describe(features)

    def forward(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        """Predict everything, as training needs it.

        Args:
            image: (B, 3, H, W) in 0..1; H and W multiples of 32.
            memory: `NetworkOutput.memory`, or `remember`, of the previous images; empty for no flow.

        Returns:
            Class scores, centres and offsets at `NetworkConfig.head_stride`; disparities and their features at strides
            2, 4, 8 and 16; flow at strides 4, 8, 16 and 32 where memory was given.

        Raises:
            ShapeError: the image's shape does not fit, or memory is of another size.
        """
        return self.decode(self.encode(image), memory)

    def infer(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        """Predict what a live pipeline needs, as `forward` does: finest disparity and flow alone, without gradients."""
        with torch.inference_mode():
            return self.decode(self.encode(image), memory, finest_only=True)

    def decode(
        self, features: tuple[Tensor, ...], memory: tuple[Tensor, ...] = (), finest_only: bool = False
    ) -> NetworkOutput:
        """Predict from the encoder's maps.

        Args:
            features: as `encode` gives them.
            memory: as for `forward`.
            finest_only: leave out the coarser disparities and flows and all depth features.

        Raises:
            ShapeError: memory is of another size.
        """
        decoded = self.semantic_decoder(features)
        instances = self.instance_decoder(features)[-1]
        context, stage8, stage4, *_ = decoded
        disparities, depth_features = self.depth_head((context, stage8, stage4), features, finest_only)
        remembered = self.remember(features)
        flow = self.find_flow(remembered, memory) if memory else ()
        return NetworkOutput(
            class_logits=self.semantic_head(decoded[-1]),
            center_heatmap=self.center_head(instances),
            # The head counts in its own pixels; scaled, one weight serves images of any size (Cheng et al. 2020).
            offsets_px=self.config.head_stride * self.offset_head(instances),
            disparities=disparities,
            depth_features=() if finest_only else depth_features,
            flow_px=flow[:1] if finest_only else flow,
            memory=remembered,
        )

    def find_flow(self, current: tuple[Tensor, ...], previous: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Find the flow from one remembered frame to another.

        Args:
            current: `remember` of the frame whose pixels the flow stands at.
            previous: `remember` of the frame that it points into.

        Returns:
            Flow (B, 2, h, w) at strides 4, 8, 16 and 32 in pixels of H x W; empty without a flow decoder.

        Raises:
            ShapeError: the two differ in size.
        """
        if self.flow_decoder is None:
            return ()
        if [entry.shape for entry in current] != [entry.shape for entry in previous]:
            raise ShapeError(
                f"memory contains maps of {[tuple(entry.shape) for entry in previous]} but the image gives "
                f"{[tuple(entry.shape) for entry in current]}; start again with empty memory when the size changes"
            )
        found: tuple[Tensor, ...] = self.flow_decoder(current, previous)
        return found
