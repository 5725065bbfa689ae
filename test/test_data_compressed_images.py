# SPDX-License-Identifier: Apache-2.0
"""Compressed images against image_transport's documented layout, decoded here by other code (struct, Pillow)."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from monodvps_ros.data.compressed_images import compress
from monodvps_ros.data.image_codec import decode_compressed
from monodvps_ros.errors import EncodingError
from monodvps_ros.outputs import DEPTH_FORMAT, IDS_FORMAT, JPEG_FORMAT


def decode_depth(data):
    """What compressed_depth_image_transport's subscriber does with 32FC1, one pixel after the other."""
    kind, a, b = struct.unpack("<iff", data[:12].tobytes())
    assert kind == 0
    codes = np.asarray(Image.open(io.BytesIO(data[12:].tobytes())))
    return np.array([[a / (float(code) - b) if code else np.nan for code in row] for row in codes]), codes, (a, b)


def test_depth_by_hand():
    """A is 100 * 101; B makes the farthest depth code 1: n = 10100 / z + 1 - 10100 / 10."""
    depth_m = np.array([[2.0, 4.0, 5.0], [8.0, 10.0, np.nan]], np.float32)
    decoded, codes, parameters = decode_depth(compress(depth_m, DEPTH_FORMAT))
    assert parameters == (10100.0, -1009.0)
    np.testing.assert_array_equal(codes, [[4041, 1516, 1011], [254, 1, 0]])  # 1262.5 - 1009 is rounded to even
    np.testing.assert_allclose(decoded, depth_m, rtol=5e-4)


@pytest.mark.parametrize(("nearest_m", "farthest_m"), [(0.5, 80.0), (0.05, 100.0), (3.0, 300.0), (7.0, 7.0)])
def test_depth_is_exact_to_half_a_step(nearest_m, farthest_m):
    depth_m = np.linspace(nearest_m, farthest_m, 600, dtype=np.float32).reshape(20, 30)
    depth_m[3, 4:9] = [np.nan, 0.0, -1.0, np.inf, -np.inf]
    known = np.isfinite(depth_m) & (depth_m > 0)
    decoded, codes, (a, _) = decode_depth(compress(depth_m, DEPTH_FORMAT))
    np.testing.assert_array_equal(np.isfinite(decoded), known)
    assert codes[known].min() == 1
    exact = depth_m[known].astype(float)
    assert (np.abs(1 / decoded[known] - 1 / exact) <= 0.501 / a + 1e-5 / exact).all()
    assert a == pytest.approx(min(10100.0, 65534 / max(1 / nearest_m - 1 / farthest_m, 1e-9)), rel=1e-4)


def test_a_frame_without_depth():
    decoded, codes, _ = decode_depth(compress(np.full((4, 6), np.nan, np.float32), DEPTH_FORMAT))
    assert codes.shape == (4, 6)
    assert np.isnan(decoded).all()


def test_ids_are_kept_to_the_bit():
    ids = np.random.default_rng(0).integers(0, 65536, (17, 23)).astype(np.uint16)
    ids[0, :3] = [65535, 0, 13001]
    data = compress(ids, IDS_FORMAT)
    assert struct.unpack("<i", data[:4].tobytes()) == (0,)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data[12:].tobytes()))), ids)


def test_pictures_keep_their_colours():
    rows, columns = np.mgrid[0:64, 0:96]
    picture = np.stack((2 * columns, 3 * rows, 255 - 2 * columns), axis=2).astype(np.uint8)
    data = compress(picture, JPEG_FORMAT)
    theirs = np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB")).astype(int)
    assert np.abs(theirs - picture).mean() < 2.0
    assert np.abs(decode_compressed(data, JPEG_FORMAT).astype(int) - picture).mean() < 2.0


@pytest.mark.parametrize(
    ("pixels", "format"),
    [
        (np.zeros((4, 4), np.float64), DEPTH_FORMAT),
        (np.zeros((4, 4), np.float32), IDS_FORMAT),
        (np.zeros((4, 4), np.uint8), JPEG_FORMAT),
        (np.zeros((0, 4), np.float32), DEPTH_FORMAT),
    ],
)
def test_pixels_that_do_not_fit_the_format(pixels, format):
    with pytest.raises(EncodingError, match=f"'{format}' takes .* but got {pixels.dtype} "):
        compress(pixels, format)


def test_other_formats():
    with pytest.raises(EncodingError, match="cannot compress to 'rvl'; there are: "):
        compress(np.zeros((4, 4), np.uint16), "rvl")
