# SPDX-License-Identifier: Apache-2.0
"""Videos as cameras, browsers and telephones write them: counts, times, rotation, damage."""

import os
import struct
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest

from monodvps_ros.data import open_source
from monodvps_ros.data.formats import video
from monodvps_ros.data.video_containers import missing_in_times
from monodvps_ros.errors import DataError

MS = Fraction(1, 1000)
BEGIN = 1_000_000_000
UNEVEN = [0, 33, 66, 200, 300, 301, 400, 1500, 1533, 1600]


def write_video(path, times_ms, codec="libx264", size=(64, 48), rate=10, options=None, container=None):
    """Write frames of growing brightness, a red square in their upper left corner, at the given times.

    The file has the same bytes each time: no random identifier, no conversion of colours, one thread.
    """
    with av.open(str(path), "w", format=container, options={"fflags": "+bitexact", **(options or {})}) as output:
        stream = output.add_stream(codec, rate=rate, options={"flags": "+bitexact"})
        stream.thread_count = 1
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size = "yuvj420p" if codec == "mjpeg" else "yuv420p", 4
        if codec in {"libx264", "libx265", "libvpx", "libvpx-vp9"}:
            stream.time_base = stream.codec_context.time_base = MS
        for number, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(planes(number % 12, size, stream.pix_fmt == "yuvj420p"), stream.pix_fmt)
            frame.pts, frame.time_base = time, MS
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def planes(number, size, full_range):
    """The planes of a frame as BT.601 has them: (3 / 2 * height, width) luma, then blue, then red."""
    columns, rows = size
    grey, red = 20 * number + 20, (76, 85, 255)
    if not full_range:
        grey, red = round(16 + grey * 219 / 255), (81, 90, 240)
    luma = np.full((rows, columns), grey, np.uint8)
    luma[:12, :12] = red[0]
    if rows > 100:  # what does not compress, so that the frames are most of the file
        luma[20:80, 20:120] = np.random.default_rng(number).integers(16, 236, (60, 100), np.uint8)
    colours = np.full((2, rows // 2, columns // 2), 128, np.uint8)
    colours[0, :6, :6], colours[1, :6, :6] = red[1:]
    return np.concatenate([luma.reshape(-1), colours.reshape(-1)]).reshape(-1, columns)


def numbers(samples):
    return [round((int(sample.frame.image[-4, -4, 1]) - 20) / 20) for sample in samples]


def check_whole(path, times_ms):
    source = open_source(path)
    samples = list(source)
    assert len(source) == len(samples) == len(times_ms)
    assert numbers(samples) == list(range(len(times_ms)))
    assert [(sample.frame.stamp_ns - BEGIN) // 1_000_000 for sample in samples] == list(times_ms)
    assert list(source.damage) == []
    return source


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.mp4", "libx265"),
     ("a.webm", "libvpx-vp9")],
)  # fmt: skip
def test_stamps_are_the_containers_own_times(tmp_path, name, codec):
    source = check_whole(write_video(tmp_path / name, UNEVEN, codec), UNEVEN)
    assert source.rate_hz == pytest.approx(1000 / np.median(np.diff(UNEVEN)))
    even = open_source(tmp_path / name, rate_hz=50)
    assert [sample.frame.stamp_ns - BEGIN for sample in even] == [20_000_000 * number for number in range(len(UNEVEN))]


def test_a_webm_without_a_duration(tmp_path):
    path = write_video(tmp_path / "a.webm", range(0, 1000, 100), "libvpx")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x44\x89\x88", b"\x44\x8a\x88", 1))  # Duration becomes an element that nobody knows
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
        assert container.duration is None
    check_whole(path, range(0, 1000, 100))


def test_hidden_frames_of_vp8_are_none(tmp_path):
    times = list(range(0, 4000, 100))
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "arnr-maxframes": "5"}
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 40
        stream.time_base = stream.codec_context.time_base = MS
        for number, time in enumerate(times):
            pixels = np.full((48, 64, 3), 3 * number, np.uint8)
            pixels[:, number : number + 8] = 200
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = time, MS
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    source = open_source(path)
    assert len(source) == len(list(source)) == len(times) and list(source.damage) == []


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_mpeg_says_no_number_of_frames(tmp_path, codec):
    path = write_video(tmp_path / "a.mpg", range(0, 400, 40), codec, rate=25, container="mpeg")
    source = open_source(path)
    samples = list(source)
    assert len(source) == len(samples) == 10 and source.rate_hz == 25
    assert [sample.frame.stamp_ns - BEGIN for sample in samples] == [40_000_000 * number for number in range(10)]


@pytest.mark.parametrize(("codec", "container"), [("mpeg1video", "mpeg"), ("mpeg2video", "vob"), ("mpeg2video", "dvd")])
def test_times_that_mpeg_leaves_out_and_ffmpeg_guesses_wrong_are_even(tmp_path, codec, container):
    path = write_video(tmp_path / "a.mpg", range(0, 2400, 40), codec, (160, 128), rate=25, container=container)
    source = open_source(path)
    samples = list(source)
    assert len(source) == len(samples) == 60 and list(source.damage) == []
    assert [sample.frame.stamp_ns - BEGIN for sample in samples] == [40_000_000 * number for number in range(60)]


def test_frames_of_avi_that_depend_on_later_ones_come_in_the_order_in_which_they_are_shown(tmp_path):
    """AVI has no times: FFmpeg numbers the packets, which are not in the order of the frames."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"bf": "2", "flags": "+bitexact"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 64, 48, "yuv420p", 1
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(planes(number, (64, 48), False), "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    check_whole(path, range(0, 480, 40))


def rotated(path, degrees):
    """Write the matrix of a turn into the header of an MP4."""
    turn = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value * 65536 for value in turn)
    data = path.read_bytes()
    header = data.index(b"tkhd")
    whole = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    place = data.index(whole, header)
    path.write_bytes(data[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[place + 36 :])


@pytest.mark.parametrize(
    ("degrees", "size", "corner"), [(90, (64, 48), (4, -4)), (180, (48, 64), (-4, -4)), (270, (64, 48), (-4, 4))]
)
def test_a_rotation_tag_turns_the_image_clockwise(tmp_path, degrees, size, corner):
    path = write_video(tmp_path / "a.mp4", [0, 100])
    rotated(path, degrees)
    sample = next(iter(open_source(path)))
    assert sample.frame.size == size
    red, green, _ = sample.frame.image[corner].astype(int)
    assert red > 180 and green < 80
    assert sample.frame.image[4, 4, 1] < 60 and sample.frame.image[4, 4, 0] < 60


def test_a_file_that_ends_early(tmp_path):
    path = write_video(tmp_path / "a.mp4", range(0, 1000, 100), options={"movflags": "faststart"}, size=(320, 240))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    source = open_source(path)
    found = numbers(source)
    assert 0 < len(found) < 10 and found == list(range(len(found)))
    assert any("is damaged" in sentence or "its frames end" in sentence for sentence in source.damage)


def test_a_webm_that_ends_early(tmp_path):
    path = write_video(tmp_path / "a.webm", range(0, 1000, 100), "libvpx", size=(320, 240))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    source = open_source(path)
    found = numbers(source)
    assert 0 < len(found) < 10 and found == list(range(len(found)))
    assert source.damage


def blocks(data):
    """Where the SimpleBlocks of a small WebM file begin: id, size of one byte, track 1, time of two bytes, flags."""
    places = [at for at in range(len(data) - 6) if data[at] == 0xA3 and data[at + 2] == 0x81]
    return [at for at in places if data[at + 5] in {0x00, 0x80}]


@pytest.mark.parametrize(
    ("offset", "change", "told"),
    [
        (0, b"\xff", "is the beginning of an unknown element"),  # a block no longer: FFmpeg passes over it
        (6, b"\x21", "9 of 10 frames can be read"),  # the frame is for reference only, it says
    ],
)
def test_a_block_of_webm_that_is_lost_in_the_middle_is_told(tmp_path, offset, change, told):
    path = write_video(tmp_path / "a.webm", range(0, 1000, 100), "libvpx")
    data = bytearray(path.read_bytes())
    middle = blocks(data)[3]
    assert data[middle + 6] & 0x10
    data[middle + offset : middle + offset + 1] = change
    path.write_bytes(data)
    for _ in range(2):  # FFmpeg's messages are heard again
        source = open_source(path)
        assert len(numbers(source)) == 9
        assert any(told in sentence for sentence in source.damage)


def test_a_chunk_of_avi_that_is_lost_in_the_middle_is_told(tmp_path):
    path = write_video(tmp_path / "a.avi", range(0, 1000, 100), "mjpeg")
    data = path.read_bytes()
    middle = [at for at in range(len(data)) if data[at : at + 4] == b"00dc"][5]
    path.write_bytes(data[:middle] + b"JUNK" + data[middle + 4 :].replace(b"idx1", b"JUNK"))
    source = open_source(path)
    assert len(numbers(source)) == 9
    assert any("its header says 10 frames, 9 are there" in sentence for sentence in source.damage)


def test_an_index_of_avi_that_leads_nowhere_costs_nothing(tmp_path, caplog):
    path = write_video(tmp_path / "a.avi", range(0, 1000, 100), "mjpeg")
    data = bytearray(path.read_bytes())
    entries = data.index(b"idx1") + 8
    for number in range(10):  # of 16 bytes: name, flags, place, length
        struct.pack_into("<I", data, entries + 16 * number + 8, 5)
    path.write_bytes(data)
    check_whole(path, range(0, 1000, 100))
    assert "its index is wrong: it leads to 1 of 10 frames" in caplog.text


@pytest.mark.parametrize(
    ("codec", "start", "told"),
    [("libx264", b"\0\0\0\1\x09", "8 frames begin in it, 7 are found"),
     ("mpeg2video", b"\0\0\1\0", "7 of 8 frames can be read")],
)  # fmt: skip
def test_a_frame_of_a_transport_stream_whose_start_is_lost_is_told(tmp_path, codec, start, told):
    path = write_video(tmp_path / "a.m2ts", range(0, 800, 100), codec, container="mpegts")
    check_whole(path, range(0, 800, 100))
    data = path.read_bytes()
    places = [at for at in range(len(data)) if data[at : at + len(start)] == start]
    assert len(places) == 8
    for number in (3, 7):  # in the middle, and the last
        changed = bytearray(data)
        changed[places[number] : places[number] + 12] = bytes([0xFF] * 12)
        path.write_bytes(changed)
        source = open_source(path)
        assert len(numbers(source)) == 7
        assert any(told in sentence for sentence in source.damage)


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([0, 1, 2, 4, 5, 6], "1 is missing, the first after 2.000 s"),
        ([5, 6, 7, 8, 12, 13, 14, 15], "3 are missing, the first after 3.000 s"),
        ([0, 1, 2, 3, 4, 5], ""),
        ([0, 1, 2.5, 3.5, 5, 6], ""),  # fields are shown longer, as of films
        ([0, 1, 2, 4, 6, 8], ""),  # another rate
        ([0, 1.2, 1.9, 3.1, 5, 6], ""),  # no constant rate
        ([0, 1, 4, 5], "2 are missing, the first after 1.000 s"),
        ([0, 1, 3], ""),
        ([], ""),
    ],
)
def test_holes_in_the_times_of_a_constant_rate(times, told):
    found = missing_in_times(times)
    assert found.endswith(told) and bool(found) == bool(told)


@pytest.mark.parametrize(
    ("name", "codec", "container", "begin", "end", "told"),
    [
        ("a.mpg", "mpeg2video", "mpeg", None, -100, "its last packet is 100 bytes too short"),
        ("a.mpg", "mpeg2video", "mpeg", 18, 22, "is not the beginning of a packet"),
        ("a.ts", "libx264", "mpegts", None, -100, "its last 88 bytes are not a whole packet"),
        ("a.ts", "libx264", "mpegts", 188 * 12, 188 * 14, "packets are missing before byte"),
        ("a.ts", "libx264", "mpegts", 1000, 1010, "is not the beginning of a packet"),
        ("a.mp4", "libx264", "mp4", None, -260, "bytes, but"),
        ("a.mp4", "libx264", "mp4", -300, -290, "is of an unknown type"),
    ],
)
def test_packets_that_are_missing_in_a_stream_without_counts_are_told(
    tmp_path, name, codec, container, begin, end, told
):
    options = {"movflags": "frag_keyframe+empty_moov"} if container == "mp4" else {}
    path = write_video(tmp_path / name, range(0, 1000, 100), codec, container=container, options=options)
    assert list(open_source(path).damage) == []
    data = path.read_bytes()
    path.write_bytes(data[:begin] + data[end:] if begin is not None else data[:end])
    source = open_source(path)
    found = numbers(source)
    assert any(told in sentence for sentence in source.damage)
    assert 5 <= len(found) <= 10 or container == "mpeg"


class Broken:
    """A container that cannot be read on after eight packets."""

    def __init__(self, container):
        self._container = container

    def __getattr__(self, name):
        return getattr(self._container, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._container.close()

    def demux(self, stream):
        yield from islice(self._container.demux(stream), 8)
        raise av.InvalidDataError(0, "nothing more")


def test_frames_that_the_decoder_holds_where_reading_ends_are_given(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", range(0, 1000, 100), options={"movflags": "faststart"})
    opened = video._open
    monkeypatch.setattr(video, "_open", lambda *arguments: Broken(opened(*arguments)))
    source = open_source(path)
    assert numbers(source) == list(range(8))
    assert any("nothing more" in sentence for sentence in source.damage)


def test_a_first_fragment_that_is_lost_is_told(tmp_path):
    path = write_video(tmp_path / "a.mp4", range(0, 1200, 100), options={"movflags": "frag_keyframe+empty_moov"})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"moof", b"moog", 1))
    source = open_source(path)
    assert len(numbers(source)) == 8
    assert any(f"the box at byte {data.index(b'moof') - 4} is of an unknown type" in text for text in source.damage)


def test_zeros_behind_an_mp4_are_padding_and_others_are_told(tmp_path):
    path = write_video(tmp_path / "a.mp4", range(0, 1200, 100), options={"movflags": "frag_keyframe+empty_moov"})
    data = path.read_bytes()
    path.write_bytes(data + bytes(3000))
    check_whole(path, range(0, 1200, 100))
    last = data.rindex(b"moof") - 4
    path.write_bytes(data[:last] + bytes(64) + data[last + 64 :])
    source = open_source(path)
    assert len(numbers(source)) == 10
    assert any(f"byte {last} begins no box" in sentence for sentence in source.damage)


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "dash+frag_keyframe+empty_moov", "cmaf+frag_keyframe"])
def test_fragments_are_whole_whatever_their_header_says_of_the_end(tmp_path, flags):
    path = write_video(tmp_path / "a.mp4", range(0, 1200, 100), options={"movflags": flags})
    check_whole(path, range(0, 1200, 100))


def test_frames_that_cannot_be_decoded_are_told(tmp_path):
    path = write_video(tmp_path / "a.avi", range(0, 1000, 100), "mjpeg")
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data[at : at + 3] == b"\xff\xd8\xff"]
    data[starts[4] : starts[5] - 8] = bytes(starts[5] - 8 - starts[4])
    path.write_bytes(data)
    source = open_source(path)
    samples = list(source)
    found = numbers(samples)
    assert len(found) == 9 and 4 not in found
    assert [(sample.frame.stamp_ns - BEGIN) // 100_000_000 for sample in samples] == found
    assert any("9 of 10 frames can be read" in sentence for sentence in source.damage)


@pytest.mark.parametrize(
    "name", ["a%20b.mp4", "run #3.MP4", "%d.mp4", "http:x.mp4", os.fsdecode(b"\xe9.mp4")], ids=ascii
)
def test_any_name(tmp_path, name):
    made = write_video(tmp_path / "made.mp4", [0, 100])
    try:
        path = made.rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system refuses the name")
    check_whole(path, [0, 100])


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"\x1a\x45\xdf\xa3" + bytes(100), b"\0\0\0\x18ftypmp42" + bytes(40)]
)
def test_what_is_no_video(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp4: (cannot be read as a video|contains no frame)"):
        open_source(tmp_path / "a.mp4")
