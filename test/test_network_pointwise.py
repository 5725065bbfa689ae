# SPDX-License-Identifier: Apache-2.0
"""The 1x1 convolution that trains fast in one thread: what it computes, and where it stands."""

import pytest
import torch
from torch import nn

from monodvps_ros.network.pointwise import PointwiseConv2d, with_fast_pointwise


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_output_and_gradients_are_those_of_torch(one_thread, bias, layout):
    torch.manual_seed(0)
    theirs = nn.Conv2d(24, 40, 1, bias=bias)
    ours = PointwiseConv2d((24, 40), bias)
    ours.load_state_dict(theirs.state_dict())
    maps, weights = torch.randn(3, 24, 9, 14).to(memory_format=layout), torch.randn(3, 40, 9, 14)
    one, two = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    (ours(one) * weights).sum().backward()
    (theirs(two) * weights).sum().backward()
    torch.testing.assert_close(ours(one), theirs(two), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-5)
    assert one.grad.is_contiguous(memory_format=layout)  # no copies where the layers before use them
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_only_convolutions_of_one_pixel_are_replaced_and_keep_their_weights():
    plain, biased = nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 4, 1)
    changes = ({"stride": 2}, {"groups": 4}, {"padding": 1}, {"padding": (0, 1)}, {"dilation": 2})
    others = (nn.Conv2d(4, 4, 3, padding=1), *(nn.Conv2d(4, 4, 1, **change) for change in changes))
    module = with_fast_pointwise(nn.Sequential(nn.Sequential(plain, biased), *others))
    assert [type(layer) is PointwiseConv2d for layer in (*module[0], *module[1:])] == [True, True, *[False] * 6]
    assert module[0][0].weight is plain.weight and module[0][1].bias is biased.bias and module[0][0].bias is None


def test_a_padded_convolution_keeps_its_shape():
    padded = with_fast_pointwise(nn.Sequential(nn.Conv2d(3, 4, 1, padding=1)))
    assert padded(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 10, 10)
