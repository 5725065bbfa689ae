# SPDX-License-Identifier: Apache-2.0
"""Make a trained network quick: batch normalisation folded into convolutions, channels last in memory."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from monodvps_ros.network.monodvps import MonoDVPS

_PROBE_SIZE = (64, 64)


def prepare_for_inference(network: MonoDVPS) -> MonoDVPS:
    """Fold each batch normalisation into the convolution before it, and freeze the network.

    Pairs are found by running a small image and seeing which convolution's result goes into which normalisation, so any
    timm encoder is served without knowing its layers. The network is changed in place, answers as before within
    rounding, and cannot be trained or saved afterwards.

    Returns:
        The same network, in evaluation mode, without gradients, channels last.
    """
    network.eval().requires_grad_(False)
    for convolution, norm_name in _find_pairs(network):
        _fold(network, convolution, norm_name)
    network.is_prepared = True
    return network.to(memory_format=torch.channels_last)


def _find_pairs(network: MonoDVPS) -> list[tuple[nn.Conv2d, str]]:
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensors are kept, so that no id is used twice
    users: dict[int, int] = {}
    pairs: list[tuple[nn.Conv2d, str]] = []

    def note_result(module: nn.Module, _: Any, result: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        made[id(result)] = (module, result)
        users[id(module)] = users.get(id(module), 0) + 1

    def note_input(name: str) -> Any:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if id(inputs[0]) in made:
                pairs.append((made[id(inputs[0])][0], name))

        return note

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(note_result))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(note_input(name)))
    weight = next(network.parameters())
    with torch.no_grad():
        network(torch.zeros(1, 3, *_PROBE_SIZE, device=weight.device, dtype=weight.dtype))
    for hook in hooks:
        hook.remove()
    return [(convolution, name) for convolution, name in pairs if users[id(convolution)] == 1]


def _fold(network: MonoDVPS, convolution: nn.Conv2d, norm_name: str) -> None:
    norm = network.get_submodule(norm_name)
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    convolution.requires_grad_(False)
    # timm's normalisations hold the activation that follows.
    activation = getattr(norm, "act", None)
    parent, _, child = norm_name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity() if activation is None else activation)
