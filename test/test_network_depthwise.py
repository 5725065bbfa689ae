# SPDX-License-Identifier: Apache-2.0
"""The depthwise convolution that trains fast: what it computes, and that networks use it."""

import pytest
import torch
from tiny import TINY
from torch import nn

from monodvps_ros.config import NetworkConfig, from_dict
from monodvps_ros.network import MonoDVPS
from monodvps_ros.network.depthwise import DepthwiseConv2d, with_fast_training


@pytest.mark.parametrize(
    ("kernel", "dilation", "size"), [(5, 1, (9, 8)), (5, 2, (7, 12)), (5, 1, (3, 2)), (5, 2, (4, 1)), (3, 1, (6, 5))]
)
def test_output_and_gradients_are_those_of_torch(kernel, dilation, size):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(6, kernel, dilation).double()
    theirs = nn.Conv2d(6, 6, kernel, 1, dilation * (kernel // 2), dilation, 6, bias=False).double()
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(2, 6, *size, dtype=torch.double)
    one, two = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    weights = torch.randn(2, 6, *size, dtype=torch.double)
    (ours(one) * weights).sum().backward()
    (theirs(two) * weights).sum().backward()
    torch.testing.assert_close(ours(one), theirs(two))
    torch.testing.assert_close(one.grad, two.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_only_what_it_can_stand_for_is_replaced():
    like, striding = nn.Conv2d(4, 4, 5, 1, 2, groups=4, bias=False), nn.Conv2d(4, 4, 5, 2, 2, groups=4, bias=False)
    dense, biased = nn.Conv2d(4, 4, 5, 1, 2, bias=False), nn.Conv2d(4, 4, 5, 1, 2, groups=4)
    module = with_fast_training(nn.Sequential(nn.Sequential(like, striding), dense, biased))
    assert [type(layer) is DepthwiseConv2d for layer in (*module[0], *module[1:])] == [True, False, False, False]
    assert module[0][0].weight is like.weight


def test_networks_train_with_it():
    network = MonoDVPS(from_dict(NetworkConfig, {**TINY}))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    wide = [layer for layer in layers if layer.groups == layer.in_channels and layer.kernel_size == (5, 5)]
    assert len(wide) > 4
    assert all(isinstance(layer, DepthwiseConv2d) or layer.stride == (2, 2) for layer in wide)
