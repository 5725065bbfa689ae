# SPDX-License-Identifier: Apache-2.0
"""The shared encoder: any timm model that gives feature maps."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from monodvps_ros.errors import ConfigError, WeightsError, shortened
from monodvps_ros.network.blank import without_values
from monodvps_ros.network.depthwise import with_fast_training

#: Strides of the maps that decoders ask for, beside the last one.
STRIDES = (2, 4, 8, 16)
_STEM_CHANNELS = 16


class Encoder(nn.Module):
    """A timm encoder whose maps are named by their strides.

    Many encoders have no map at stride 2 (ConvNeXt, Swin). They get a 3x3 convolution of 16 channels on the image for
    it, because the finest disparity needs an edge to hold on to (ours).

    Attributes:
        channels: channels of the maps at strides 2, 4, 8, 16, and of the last map.
        output_stride: stride of the last map.

    Args:
        name: timm model.
        output_stride: 16 (the last stage dilated) or 32.
        in_channels: channels of the image; pretrained first filters are spread over them by timm.
        weights: 'hub' for timm's pretrained weights, a file of a timm classification model (safetensors or
            a PyTorch state dict), or empty for random ones.

    Raises:
        ConfigError: timm has no such model, or it gives no maps at the strides that are needed.
        WeightsError: the weights that were asked for cannot be had.
    """

    def __init__(self, name: str, output_stride: int = 32, in_channels: int = 3, weights: str = "") -> None:
        super().__init__()
        self.output_stride = output_stride
        info = _feature_info(name, output_stride)
        self._order = _choose(name, info, output_stride)
        indices = sorted(set(self._order) - {-1})
        self._places = tuple(indices.index(index) if index >= 0 else -1 for index in self._order)
        self.body = with_fast_training(_create(name, output_stride, in_channels, weights, tuple(indices)))
        self.stem: nn.Module | None = None
        if self._order[0] < 0:
            self.stem = nn.Sequential(
                nn.Conv2d(in_channels, _STEM_CHANNELS, 3, 2, 1, bias=False),
                nn.BatchNorm2d(_STEM_CHANNELS),
                nn.ReLU(inplace=True),
            )
        self.channels: tuple[int, ...] = tuple(
            _STEM_CHANNELS if index < 0 else int(info[index]["num_chs"]) for index in self._order
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode an image.

        Args:
            image: (B, in_channels, H, W), normalised; H and W multiples of 32.

        Returns:
            Maps (B, C, H/s, W/s) for the strides s of 2, 4, 8, 16 and the output stride.
        """
        maps = self.body(image)
        own = [] if self.stem is None else [self.stem(image)]
        return (*own, *(maps[place] for place in self._places if place >= 0))


@functools.cache
def _feature_info(name: str, output_stride: int) -> tuple[dict[str, Any], ...]:
    import timm  # noqa: PLC0415 (takes longer than torch itself, and a node that runs a cached graph does not need it)

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see timm.list_models()"
        raise ConfigError(f"network.encoder '{shortened(name)}' is not a timm model; similar names: {near}")
    try:
        with without_values():
            model: Any = timm.create_model(name, features_only=True, **_stride_option(output_stride))
    except (AssertionError, TypeError, NotImplementedError, RuntimeError, AttributeError) as error:
        advice = "set network.output_stride to 32" if output_stride != 32 else "choose another encoder"
        reason = str(error) or "its stages cannot be dilated"
        raise ConfigError(
            f"encoder '{shortened(name)}' gives no feature maps at output stride {output_stride} ({reason}); {advice}"
        ) from None
    return tuple(model.feature_info.get_dicts())


def _stride_option(output_stride: int) -> dict[str, Any]:
    return {} if output_stride == 32 else {"output_stride": output_stride}


def _choose(name: str, info: Sequence[dict[str, Any]], output_stride: int) -> list[int]:
    """Choose the index of the map for each stride; -1 where there is no map at stride 2."""
    reductions = [int(entry["reduction"]) for entry in info]
    if reductions[-1] != output_stride:
        raise ConfigError(
            f"encoder '{name}' ends at stride {reductions[-1]}, not at {output_stride}; choose another encoder"
        )
    chosen = []
    for stride in STRIDES:
        found = [index for index, reduction in enumerate(reductions) if reduction == stride]
        if not found and stride != 2:
            raise ConfigError(f"encoder '{name}' has no map at stride {stride} (it has {reductions}); choose another")
        # At output stride 16 the last two maps both lie at 16: the skip is the earlier of them.
        chosen.append((found[0] if stride == 16 else found[-1]) if found else -1)
    return [*chosen, len(reductions) - 1]


def _create(name: str, output_stride: int, in_channels: int, weights: str, indices: tuple[int, ...]) -> nn.Module:
    import timm  # noqa: PLC0415 (see above)

    options: dict[str, Any] = {"features_only": True, "out_indices": indices, "in_chans": in_channels}
    options |= _stride_option(output_stride)
    if weights and weights != "hub":
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(f"encoder weights '{shortened(weights)}': no such file; give a file, 'hub', or nothing")
        options["pretrained_cfg_overlay"] = {"file": str(path), "source": "file", "custom_load": False}
    try:
        model: nn.Module = timm.create_model(name, pretrained=bool(weights), **options)
    except Exception as error:
        if not weights:
            raise
        # timm, huggingface_hub and torch each raise kinds of their own here; none may pass for random weights.
        advice = (
            "check the network connection, or give a file, or leave encoder weights empty to start from random ones"
            if weights == "hub"
            else "give the file of a timm classification model of that name"
        )
        raise WeightsError(
            f"encoder weights '{shortened(weights)}' for '{name}' cannot be loaded: {type(error).__name__}: "
            f"{shortened(str(error))}; {advice}"
        ) from error
    return model
