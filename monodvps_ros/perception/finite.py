# SPDX-License-Identifier: Apache-2.0
"""NaN and infinite numbers in the outputs of a network: found by one sum over each map, and kept from what follows.

Class scores that are not finite would be the first class, which is road; offsets the first instance.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.types import NetworkOutput

_CLASSES, _CENTERS, _OFFSETS = "class scores", "centres", "offsets"
_DEPTH, _FLOW, _MEMORY = "depth", "flow", "features for the next frame"


def all_finite(output: NetworkOutput) -> Tensor:
    """Return a () bool tensor on the output's device, which the host does not wait for: whether all maps are finite."""
    return torch.stack([part.sum(dtype=torch.float32) for _, part in _maps(output)]).isfinite().all()


def count_not_finite(output: NetworkOutput) -> dict[str, int]:
    """Count the numbers that are not finite, by kind of output; kinds without any are left out."""
    counts: dict[str, int] = {}
    for name, part in _maps(output):
        counts[name] = counts.get(name, 0) + int((~part.isfinite()).sum())
    return {name: count for name, count in counts.items() if count}


def spares_tracks(counts: dict[str, int]) -> bool:
    """Whether what is not finite, as `count_not_finite` found it, has no part in tracking."""
    return not counts.keys() - {_DEPTH}


def spares_flow(counts: dict[str, int]) -> bool:
    """Whether the flow is finite."""
    return _FLOW not in counts


def describe(counts: dict[str, int]) -> str:
    """Say what of a network's outputs is not finite, and what to do; empty for no counts."""
    if not counts:
        return ""
    parts = " and ".join(f"{name} ({count})" for name, count in counts.items())
    return (
        f"the network gave NaN or infinite {parts}: no class, no instances or no depth there, and tracks and scale are "
        "as before this image; try precision float32, or other weights"
    )


def without_not_finite(
    output: NetworkOutput, counts: dict[str, int], size: tuple[int, int]
) -> tuple[NetworkOutput, Tensor]:
    """Replace what is not finite by what says nothing: no instances, no flow, NaN for depth.

    Args:
        output: of a batch of one.
        counts: of `count_not_finite`.
        size: (h, w) of the network's input.

    Returns:
        The output, with equal scores where a class score is not finite; and (h, w) bool, true for pixels to whose
        class such scores contribute.
    """
    no_class = ~output.class_logits.isfinite().all(1, keepdim=True)
    mended = replace(output, class_logits=output.class_logits.masked_fill(no_class, 0.0))
    if {_CENTERS, _OFFSETS} & counts.keys():
        assert output.center_heatmap is not None and output.offsets_px is not None
        zeros = torch.zeros_like(output.center_heatmap), torch.zeros_like(output.offsets_px)
        mended = replace(mended, center_heatmap=zeros[0], offsets_px=zeros[1])
    if _FLOW in counts:
        mended = replace(mended, flow_px=())
    if output.disparities:
        finest = output.disparities[0]
        mended = replace(mended, disparities=(finest.masked_fill(~finest.isfinite(), torch.nan),))
    return mended, resize_bilinear(no_class.float(), size)[0, 0] > 0


def _maps(output: NetworkOutput) -> Iterator[tuple[str, Tensor]]:
    """Give the maps that the pipeline reads, with their kinds."""
    yield _CLASSES, output.class_logits
    for name, part in ((_CENTERS, output.center_heatmap), (_OFFSETS, output.offsets_px), (_DEPTH, output.depth_m)):
        if part is not None:
            yield name, part
    for name, parts in ((_DEPTH, output.disparities[:1]), (_FLOW, output.flow_px[:1]), (_MEMORY, output.memory)):
        for part in parts:
            yield name, part
