# SPDX-License-Identifier: Apache-2.0
"""Every encoding against hand-made pixels, every refusal by its words."""

import array
import struct
import zlib

import cv2
import numpy as np
import pytest

from monodvps_ros.data.image_codec import (
    PICTURE_ENCODINGS,
    decode_compressed,
    decode_image,
    decode_raw,
    encode_image,
    raw_layout,
)
from monodvps_ros.data.image_files import read_picture
from monodvps_ros.errors import DataError, EncodingError

RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]
TWO_BY_TWO = np.array([[RED, GREEN], [BLUE, [9, 8, 7]]], np.uint8)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("rgb8", [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]),
        ("bgr8", [0, 0, 255, 0, 255, 0, 255, 0, 0, 7, 8, 9]),
        ("rgba8", [255, 0, 0, 1, 0, 255, 0, 2, 0, 0, 255, 3, 9, 8, 7, 4]),
        ("bgra8", [0, 0, 255, 1, 0, 255, 0, 2, 255, 0, 0, 3, 7, 8, 9, 4]),
    ],
)
def test_color(encoding, data):
    decoded = decode_image(bytes(data), encoding, 2, 2, len(data) // 2)
    assert decoded.dtype == np.uint8
    assert decoded.tolist() == TWO_BY_TWO.tolist()
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: array.array("B", b), np.frombuffer])
def test_whatever_holds_bytes_is_taken(kind):
    data = TWO_BY_TWO.tobytes()
    held = kind(data, np.uint8) if kind is np.frombuffer else kind(data)
    assert decode_image(held, "rgb8", 2, 2, 6).tolist() == TWO_BY_TWO.tolist()


def test_rgb8_without_padding_is_a_view():
    data = np.frombuffer(bytearray(TWO_BY_TWO.tobytes()), np.uint8)
    decoded = decode_image(data, "rgb8", 2, 2, 6)
    data[0] = 77
    assert decoded[0, 0, 0] == 77


def test_rows_may_be_padded():
    padded = np.full((2, 9), 200, np.uint8)
    padded[:, :6] = TWO_BY_TWO.reshape(2, 6)
    for encoding, expected in (("rgb8", TWO_BY_TWO), ("bgr8", TWO_BY_TWO[..., ::-1])):
        decoded = decode_image(padded.tobytes(), encoding, 2, 2, 9)
        assert decoded.tolist() == expected.tolist()
        assert decoded.flags.c_contiguous


def test_grey_is_repeated():
    for encoding in ("mono8", "8UC1"):
        assert decode_image(bytes([3, 200]), encoding, 1, 2, 2).tolist() == [[[3, 3, 3], [200, 200, 200]]]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 2])  # an odd one leaves the values of the second row unaligned
def test_mono16_is_scaled_over_its_range_in_either_byte_order(big, padding):
    values = np.array([[0, 257], [65535, 129], [128, 32896]])
    rows = [row.astype(">u2" if big else "<u2").tobytes() + bytes(padding) for row in values]
    decoded = decode_image(b"".join(rows), "mono16", 3, 2, 4 + padding, is_bigendian=big)
    assert decoded[..., 0].tolist() == [[0, 1], [255, 1], [0, 128]]  # round(value / 257)
    assert (decoded == decoded[..., :1]).all()


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_flat_color_comes_back_from_its_bayer_mosaic(pattern, bits):
    color = {"r": 200, "g": 100, "b": 50}
    tile = np.array([color[letter] for letter in pattern]).reshape(2, 2)
    mosaic = np.tile(tile, (3, 4)).astype(np.uint8 if bits == 8 else "<u2") * (1 if bits == 8 else 257)
    decoded = decode_image(mosaic.tobytes(), f"bayer_{pattern}{bits}", 6, 8, 8 * bits // 8)
    assert np.unique(decoded.reshape(-1, 3), axis=0).tolist() == [[200, 100, 50]]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("yuv422", [128, 235, 128, 16]), ("uyvy", [128, 235, 128, 16]), ("yuv422_yuy2", [235, 128, 16, 128]),
     ("yuyv", [235, 128, 16, 128])],
)  # fmt: skip
def test_yuv_white_and_black(encoding, data):
    assert decode_image(bytes(data), encoding, 1, 2, 4).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize(("encoding", "data"), [("yuv422", [90, 81, 240, 81]), ("yuyv", [81, 90, 81, 240])])
def test_yuv_red_of_bt601(encoding, data):
    assert np.abs(decode_image(bytes(data), encoding, 1, 2, 4).astype(int) - RED).max() <= 2


# Rows of four pixels and two bytes of padding: two red pixels of BT.601 (Y 81, U 90, V 240), then white and black.
@pytest.mark.parametrize(("encoding", "colors"), [("nv12", [90, 240, 128, 128]), ("nv21", [240, 90, 128, 128])])
def test_semi_planar_yuv(encoding, colors):
    rows = [[81, 81, 235, 16, 7, 7], [81, 81, 16, 235, 7, 7], [*colors, 7, 7]]
    decoded = decode_image(np.array(rows, np.uint8).reshape(-1), encoding, 2, 4, 6)
    assert np.abs(decoded[:, :2].astype(int) - RED).max() <= 2
    assert decoded[:, 2:].tolist() == [[[255] * 3, [0] * 3], [[0] * 3, [255] * 3]]


@pytest.mark.parametrize("encoding", ["8UC3", "16UC1", "32FC1", "nv24", "", "RGB8"])
def test_other_encodings_are_refused_with_the_list(encoding):
    with pytest.raises(EncodingError, match=f"'{encoding}' as a picture; accepted: rgb8, .*yuyv, nv12, nv21"):
        decode_image(bytes(100), encoding, 2, 2, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((bytes(11), "rgb8", 2, 2, 6), "cut off: 11 bytes, but height 2 x step 6 is 12"),
        ((bytes(13), "rgb8", 2, 2, 6), "too long: 13 bytes"),
        ((bytes(10), "rgb8", 2, 2, 5), "step 5, but a row takes 6 bytes"),
        ((b"", "rgb8", 0, 2, 6), "0 x 2 .*no pixels"),
        ((b"", "mono8", 2, 0, 0), "2 x 0 .*no pixels"),
        ((bytes(12), "yuv422", 2, 3, 6), "3 wide.*even"),
        ((bytes(9), "nv12", 2, 3, 3), "3 wide.*even"),
        ((bytes(12), "nv21", 3, 2, 2), "3 high.*even"),
        (
            (bytes(8), "nv12", 2, 4, 4),
            "cut off: 8 bytes, but height 2, and half as many rows of colour, x step 4 is 12",
        ),
        ((bytes(4), "bayer_rggb8", 2, 2, 2), "2 x 2; it must be at least 3 x 3"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(EncodingError, match=words):
        decode_image(*arguments)


def test_every_accepted_encoding_is_tried_above():
    tried = {"rgb8", "bgr8", "rgba8", "bgra8", "mono8", "8UC1", "mono16", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"}
    tried |= {"nv12", "nv21"}
    assert set(PICTURE_ENCODINGS) == tried | {
        f"bayer_{p}{b}" for p in ("rggb", "bggr", "gbrg", "grbg") for b in (8, 16)
    }


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.parametrize(
    "text",
    [
        "png",
        "PNG",
        "",
        "jpeg",
        "bgr8",
        "h264",
        "rgb8; tiff compressed ",
        "rgb8; png compressed bgr8",
        "bgr8; png compressed ",
    ],
)
def test_compressed_color(text):
    assert decode_compressed(png(TWO_BY_TWO[..., ::-1]), text).tolist() == TWO_BY_TWO.tolist()


def test_compressed_with_red_first_is_not_swapped_again():
    # image_transport's encoder was handed red, green, blue where it takes the first for blue
    assert decode_compressed(png(TWO_BY_TWO), "rgb8; png compressed rgb8").tolist() == TWO_BY_TWO.tolist()


def test_compressed_jpeg_grey_alpha_and_16_bit():
    grey = np.full((8, 8), 90, np.uint8)
    assert np.abs(decode_compressed(cv2.imencode(".jpg", grey)[1].tobytes(), "jpeg").astype(int) - 90).max() <= 1
    assert decode_compressed(png(grey), "mono8; png compressed ")[0, 0].tolist() == [90, 90, 90]
    alpha = np.dstack([TWO_BY_TWO[..., ::-1], np.full((2, 2), 5, np.uint8)])
    assert decode_compressed(png(alpha), "png").tolist() == TWO_BY_TWO.tolist()
    assert decode_compressed(png(grey.astype(np.uint16) * 257), "mono16; png compressed ")[3, 3].tolist() == [90] * 3


def test_compressed_bayer_is_interpolated():
    mosaic = np.tile(np.array([[200, 100], [100, 50]], np.uint8), (3, 3))
    decoded = decode_compressed(png(mosaic), "bayer_rggb8; png compressed bayer_rggb8")
    assert np.unique(decoded.reshape(-1, 3), axis=0).tolist() == [[200, 100, 50]]


@pytest.mark.parametrize(
    ("data", "text", "words"),
    [
        (b"x", "16UC1; compressedDepth png", "depth or label image, not a picture"),
        (b"x", "32FC1; compressedDepth", "depth or label image"),
        (b"x", "16UC1; png compressed ", "depth or label image"),
        (b"x", "h264", "format 'h264'; accepted: jpeg, png"),
        (b"", "jpeg", "of 0 bytes .*cannot be decoded"),
        (b"not an image", "png", "not a complete png file"),
    ],
)
def test_other_compressed_data_are_refused(data, text, words):
    with pytest.raises(EncodingError, match=words):
        decode_compressed(data, text)


NOISE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


@pytest.mark.parametrize(
    "options",
    [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)],
    ids=["", "progressive", "rst"],
)
def test_a_jpeg_without_its_end_is_told_and_what_follows_the_end_does_not_matter(tmp_path, options):
    data = cv2.imencode(".jpg", NOISE, options)[1].tobytes()
    seen = decode_compressed(data, "jpeg")
    for behind in (b"", bytes(3), bytes(500), b"\xff\xda\0\4more" * 20):
        np.testing.assert_array_equal(decode_compressed(data + behind, "jpeg"), seen)
    for end in (len(data) // 2, len(data) - 40, -2):
        with pytest.raises(EncodingError, match="not a complete jpeg file"):
            decode_compressed(data[:end], "jpeg")
        (tmp_path / "cut.jpg").write_bytes(data[:end])
        with pytest.raises(DataError, match=r"cut\.jpg: cannot be read as an image: it is damaged"):
            read_picture(tmp_path / "cut.jpg")


def test_a_png_that_claims_more_pixels_than_can_be_decoded(tmp_path):
    data = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(EncodingError, match="claims more than 178 megapixels"):
        decode_compressed(bytes(data), "png")
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(DataError, match=r"huge.png: claims more than 178 megapixels"):
        read_picture(tmp_path / "huge.png")


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1", "8UC1", "mono8", "mono16", "64FC1", "32SC1", "16SC1"])
@pytest.mark.parametrize("big", [False, True])
def test_values_come_back_as_they_are(encoding, big):
    dtype, _ = raw_layout(encoding)
    values = np.array([[1, 2, 3], [4, 5, 100]], dtype)
    data = values.astype(dtype.newbyteorder(">" if big else "<")).tobytes()
    decoded = decode_raw(data, encoding, 2, 3, 3 * dtype.itemsize, big)
    assert decoded.dtype == dtype
    assert decoded.tolist() == values.tolist()


def test_nan_and_two_channels_survive_encoding():
    flow = np.array([[[1.5, np.nan], [-2, 0]]], np.float32)
    data, step = encode_image(flow, "32FC2")
    assert step == 16
    np.testing.assert_array_equal(decode_raw(data, "32FC2", 1, 2, step), flow)


def test_encoding_takes_strided_and_big_endian_arrays():
    wide = np.arange(12, dtype=">u2").reshape(2, 6)[:, ::2]
    data, step = encode_image(wide.astype(np.uint16), "16UC1")
    assert decode_raw(data, "16UC1", 2, 3, step).tolist() == [[0, 2, 4], [6, 8, 10]]
    contiguous = np.zeros((2, 2, 3), np.uint8)
    assert np.shares_memory(encode_image(contiguous, "rgb8")[0], contiguous)


@pytest.mark.parametrize(
    ("pixels", "encoding", "words"),
    [
        (np.zeros((2, 2), np.uint8), "rgb8", r"must be \(H, W, 3\) but are \(2, 2\)"),
        (np.zeros((2, 2, 1), np.uint8), "mono8", r"must be \(H, W\)"),
        (np.zeros((2, 2), np.float64), "32FC1", "must be float32 but are float64"),
        (np.zeros((0, 2), np.uint8), "mono8", "nothing to encode"),
        (np.zeros((2, 2), np.uint8), "8FC1", "cannot take the values of encoding '8FC1'"),
        (np.zeros((2, 2), np.uint8), "64UC1", "cannot take the values"),
        (np.zeros((2, 2), np.uint8), "yuv422", "cannot take the values"),
    ],
)
def test_encoding_refuses_what_does_not_fit(pixels, encoding, words):
    with pytest.raises(EncodingError, match=words):
        encode_image(pixels, encoding)


def test_raw_refuses_short_data():
    with pytest.raises(EncodingError, match="32FC1 image is cut off"):
        decode_raw(bytes(15), "32FC1", 2, 2, 8)
