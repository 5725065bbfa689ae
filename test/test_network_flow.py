# SPDX-License-Identifier: Apache-2.0
"""The flow decoder: correlation against loops, units and direction of flow, and that it can be learnt."""

import pytest
import torch
from torch.nn import functional

from monodvps_ros.errors import ShapeError
from monodvps_ros.network.flow import FlowDecoder, correlate


def correlate_slowly(first, second, radius):
    batch, _, height, width = first.shape
    side = 2 * radius + 1
    out = torch.zeros(batch, side * side, height, width)
    for y in range(height):
        for x in range(width):
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        channel = (dy + radius) * side + dx + radius
                        out[:, channel, y, x] = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1)
    return out


@pytest.mark.parametrize(("height", "width", "radius"), [(5, 8, 4), (3, 13, 2), (1, 1, 4), (6, 7, 1)])
def test_correlation_against_loops(height, width, radius):
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, height, width), torch.randn(2, 3, height, width)
    expected = correlate_slowly(first, second, radius)
    assert torch.allclose(correlate(first, second, radius), expected, atol=1e-5)
    as_last = torch.channels_last
    found = correlate(first.contiguous(memory_format=as_last), second.contiguous(memory_format=as_last), radius)
    assert torch.allclose(found, expected, atol=1e-5)


def test_correlation_peaks_at_the_shift():
    torch.manual_seed(0)
    scene = functional.normalize(torch.randn(1, 16, 20, 20), dim=1)
    # What is at (y, x) now was at (y + 2, x - 3) before.
    current, previous = scene[..., 4:14, 4:14], scene[..., 2:12, 7:17]
    best = correlate(current, previous)[0].argmax(0)[4:6, 4:6]
    assert (best == (2 + 4) * 9 + (-3 + 4)).all()


def test_correlation_gradient():
    first = torch.randn(1, 2, 3, 9, dtype=torch.float64, requires_grad=True)
    second = torch.randn(1, 2, 3, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: correlate(a, b, 2), (first, second))


def test_correlation_refuses_maps_that_differ():
    with pytest.raises(ShapeError, match=r"second is .* but first is"):
        correlate(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5))


def test_flow_sizes_and_units():
    decoder = FlowDecoder((4, 6, 8, 10, 12), 16).eval()
    features = tuple(torch.randn(2, c, 64 // s, 96 // s) for c, s in ((4, 2), (6, 4), (8, 8), (10, 16), (12, 32)))
    current = decoder.describe(features)
    assert [tuple(m.shape) for m in current] == [(2, 32, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
    assert current[0].mean((2, 3)).abs().max() < 1e-5
    assert torch.allclose(current[0].square().mean((1, 2, 3)), torch.ones(2), atol=1e-4)
    # With the estimator shut off and one constant correction a level, all flow is what the levels add up to:
    # 1 px of each level's own grid, which is 32 + 16 + 8 + 4 px of the image at the finest.
    for convolution in (decoder.predict, decoder.correct):
        torch.nn.init.zeros_(convolution.weight)
    with torch.no_grad():
        decoder.predict.bias.copy_(torch.tensor([1.0, 0.0]))
    finest, *_, coarsest = decoder(current, current)
    assert torch.allclose(finest[:, 0], torch.full((2, 16, 24), 60.0))
    assert torch.allclose(finest[:, 1], torch.zeros(2, 16, 24))
    assert torch.allclose(coarsest[:, 0], torch.full((2, 2, 3), 32.0))


@pytest.mark.slow
def test_flow_can_be_learnt_and_points_to_the_previous_frame():
    torch.manual_seed(0)
    decoder = FlowDecoder((4, 6, 8, 10, 12), 16)
    optimizer = torch.optim.Adam(decoder.parameters(), 5e-3)

    def scene(shift):
        wide = functional.interpolate(torch.rand(1, 10, 20, 40), scale_factor=4, mode="bilinear")
        current, previous = wide[..., 16:80, 16:80], wide[..., 16:80, 16 + shift : 80 + shift]
        return [
            tuple(functional.avg_pool2d(m[:, :c], s) for c, s in ((4, 2), (6, 4), (8, 8), (10, 16), (10, 32)))
            for m in (current, previous)
        ]

    def error(shift):
        current, previous = scene(shift)
        flow = decoder(decoder.describe(current), decoder.describe(previous))[0]
        return (flow[:, :, 4:-4, 4:-4] - torch.tensor([-float(shift), 0.0]).view(1, 2, 1, 1)).abs().mean()

    for step in range(200):
        optimizer.zero_grad()
        error((-12, -8, -4, 0, 4, 8, 12)[step % 7]).backward()
        optimizer.step()
    with torch.no_grad():
        # A shift of 8 px moves what is at u now to u - 8 before; still scenes give no flow.
        assert error(8) < 2.0
        assert error(-8) < 2.0
        assert error(0) < 1.5
