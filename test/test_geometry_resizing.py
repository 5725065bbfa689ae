# SPDX-License-Identifier: Apache-2.0
"""Resizing against hand-worked values and a slow loop in exact fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch

from monodvps_ros import geometry
from monodvps_ros.geometry.resizing import (
    nearest_index,
    resize_bilinear,
    resize_live,
    resize_nearest,
    resize_nearest_array,
)

SIZES = [(3, 6), (6, 3), (5, 2), (2, 5), (7, 7), (1, 4), (4, 1), (375, 192), (192, 375)]


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [(3, 6, [0, 0, 1, 1, 2, 2]), (6, 3, [1, 3, 5]), (5, 2, [1, 3]), (2, 5, [0, 0, 1, 1, 1])],
)
def test_nearest_of_hand_worked_rows(given, wanted, expected):
    assert nearest_index(np.arange(wanted), wanted, given).tolist() == expected
    assert nearest_index(torch.arange(wanted), wanted, given).tolist() == expected


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_nearest_is_the_square_that_holds_the_centre(given, wanted):
    expected = [floor((index + Fraction(1, 2)) * given / wanted) for index in range(wanted)]
    assert nearest_index(np.arange(wanted), wanted, given).tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("size", [(3, 4), (6, 8), (2, 3), (3, 9)])
def test_tensors_and_arrays_are_resized_alike(dtype, size):
    array = np.random.default_rng(0).integers(0, 2, (3, 4, 5)).astype(dtype)
    resized = resize_nearest_array(array, size)
    assert resized.dtype == dtype and resized.shape == (*size, 5) and resized.flags.c_contiguous
    tensor = resize_nearest(torch.from_numpy(array).permute(2, 0, 1), size)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), resized)
    for row in range(size[0]):
        for column in range(size[1]):
            source = array[(2 * row + 1) * 3 // (2 * size[0]), (2 * column + 1) * 4 // (2 * size[1])]
            np.testing.assert_array_equal(resized[row, column], source)


def test_bilinear_aligns_pixel_squares():
    row = torch.tensor([[[[0.0, 1.0]]]])
    assert resize_bilinear(row, (1, 4))[0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]
    assert resize_bilinear(row, (2, 2))[0, 0].tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert resize_bilinear(row, (1, 2)) is row


@pytest.mark.parametrize("channels", [1, 2, 5, 19])
@pytest.mark.parametrize("size", [(24, 40), (7, 33), (4, 5)])
def test_maps_of_a_frame_as_bilinear(channels, size):
    maps = torch.rand(1, channels, 12, 20, generator=torch.Generator().manual_seed(channels))
    resized = resize_live(maps, size)
    torch.testing.assert_close(resized, resize_bilinear(maps, size), rtol=0, atol=1e-4)
    assert resized.shape == (1, channels, *size)


class TestReferenceSize:
    def test_the_papers_values_hold_at_the_papers_size(self):
        assert geometry.scale_area(4096, (1024, 2048)) == 4096
        assert geometry.scale_length(8.0, (1024, 2048)) == 8.0
        assert [geometry.scale_window(window, (1024, 2048)) for window in (1, 3, 7, 41)] == [1, 3, 7, 41]

    def test_at_192_by_640(self):  # 0.05859375 of the pixels, 0.2420614591 of the length
        assert geometry.scale_area(4096, (192, 640)) == 240.0
        assert geometry.scale_area(2048, (192, 640)) == 120.0
        assert geometry.scale_length(8.0, (192, 640)) == pytest.approx(1.9364917)
        # 1.69 px are nearest to 1, but a window of 1 would make every pixel a peak; 41 px become 9.92.
        assert [geometry.scale_window(window, (192, 640)) for window in (1, 3, 7, 41)] == [1, 3, 3, 9]
