# SPDX-License-Identifier: Apache-2.0
"""Putting faster convolutions in the place of a network's own."""

from collections.abc import Callable

from torch import nn


def with_replaced_convolutions(module: nn.Module, replacement: Callable[[nn.Conv2d], nn.Conv2d | None]) -> nn.Module:
    """Replace a module's convolutions; the weights stay.

    Args:
        module: changed in place.
        replacement: returns what stands for a plain `nn.Conv2d`, with tensors of the same shapes; None to keep it.

    Returns:
        The module.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and (ours := replacement(child)) is not None:
                ours.weight, ours.bias = child.weight, child.bias
                setattr(parent, name, ours)
    return module
