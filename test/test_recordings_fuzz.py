# SPDX-License-Identifier: Apache-2.0
"""Mutates small recordings of each container: frames with damage told, or a DataError; nothing else, and no silence."""

import resource
import shutil
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, IndexType
from recordings import camera, stamps, write_bag, write_mcap
from test_recordings_video import write_video

from monodvps_ros.data import open_source
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.errors import DataError

FRAMES = 6
EXAMPLES = 120
MOST_GROWTH_BYTES = 400 << 20

_MCAP = {
    "chunks.mcap": {},
    "zstd.mcap": {"compression": CompressionType.ZSTD, "chunk_size": 3000},
    "lz4.mcap": {"compression": CompressionType.LZ4, "index_types": IndexType.CHUNK},
    "plain.mcap": {"use_chunking": False},
    "bare.mcap": {"use_statistics": False, "index_types": IndexType.NONE, "repeat_channels": False,
                  "repeat_schemas": False, "use_summary_offsets": False},
    "unchecked.mcap": {"enable_crcs": False},
}  # fmt: skip
_BAGS = {"rows.db3": ("sqlite3", None), "messages.db3": ("sqlite3", "MESSAGE"), "file.db3.zstd": ("sqlite3", "FILE"),
         "file.mcap.zstd": ("mcap", "FILE"), "rosbags.mcap": ("mcap", None)}  # fmt: skip
_VIDEOS = {
    "a.mp4": ("libx264", None),
    "a.webm": ("libvpx", None),
    "live.webm": ("libvpx", None),
    "fragments.mp4": ("libx264", None),
    "a.avi": ("mjpeg", None),
    "a.mpg": ("mpeg2video", "mpeg"),
    "a.ts": ("libx264", "mpegts"),
}
_OPTIONS = {"live.webm": {"live": "1"}, "fragments.mp4": {"movflags": "frag_keyframe+empty_moov"}}
CONTAINERS = [*_MCAP, *_BAGS, *_VIDEOS]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Make the bytes of a whole recording in a container."""
    folder = tmp_path_factory.mktemp("whole")

    @cache
    def make(name):
        if name in _MCAP:
            return write_mcap(folder / name, camera(stamps(FRAMES)), **_MCAP[name]).read_bytes()
        if name in _BAGS:
            return write_bag(folder / name, camera(stamps(FRAMES)), *_BAGS[name]).read_bytes()
        codec, container = _VIDEOS[name]
        times, options = range(0, 100 * FRAMES, 100), _OPTIONS.get(name)
        return write_video(folder / name, times, codec, rate=10, container=container, options=options).read_bytes()

    return make


def read(path):
    """Read all that there is; return the number of frames and what is told, or None after a DataError."""
    try:
        samples = ReadableSamples(open_source(path), "the recording")
        frames = sum(sample.frame.image.size > 0 for sample in samples)
    except DataError:
        return None
    return frames, samples.damage


def hits_picture_header(data, changes):
    """Whether a start code of MPEG video is hit, or the extension that says field or frame.

    Nothing in such a stream says how long a picture is: it then becomes a part of the one before.
    """
    codes = [at for at in range(len(data) - 3) if data[at : at + 3] == b"\0\0\1"]
    headers = {byte for at in codes for byte in range(at, at + (10 if data[at + 3] == 0xB5 else 4))}
    hit = {place for at, change in changes if change != -1
           for place in range(at, at + (change if isinstance(change, int) else len(change)))}  # fmt: skip
    return bool(headers & hit)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTAINERS)
def test_whatever_happens_to_a_file_is_told(name, whole, tmp_path, caplog):
    data = whole(name)
    place = st.integers(0, len(data) - 1)
    span = st.tuples(place, st.integers(1, 300))
    path = tmp_path / name
    path.write_bytes(data)
    assert read(path) == (FRAMES, [])

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.one_of(
            st.lists(st.tuples(place, st.binary(min_size=1, max_size=1)), min_size=1, max_size=8),
            st.lists(st.tuples(place, st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\0" * 64, b"\x01" + b"\0" * 7]))
                     , min_size=1, max_size=2),
            span.map(lambda cut: [(cut[0], cut[1])]),  # a stretch that is missing
            st.tuples(place, st.tuples(st.binary(min_size=1, max_size=50))).map(lambda more: [more]),  # bytes between
            place.map(lambda end: [(end, -1)]),  # a missing end
        )
    )  # fmt: skip
    def check(changes):
        changed = bytearray(data)
        for at, change in changes:
            if change == -1:
                del changed[at:]
            elif isinstance(change, int):
                del changed[at : at + change]
            elif isinstance(change, tuple):
                changed[at:at] = change[0]
            else:
                changed[at : at + len(change)] = change
        path.write_bytes(changed)
        caplog.clear()
        found = read(path)
        if found is not None and found[0] < FRAMES and not (name == "a.mpg" and hits_picture_header(data, changes)):
            # A changed edit list is a valid one, which may cut frames away: a warning, and no damage.
            cut = [record for record in caplog.records if "its edit list cuts" in record.message]
            assert found[1] or cut, f"{FRAMES - found[0]} frames are missing, and nothing is told"

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_GROWTH_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_whatever_metadata_says_is_survived(storage, tmp_path):
    write_bag(tmp_path / "bag", camera(stamps(FRAMES)), storage)
    file = tmp_path / "bag/metadata.yaml"
    data = file.read_bytes()

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4)
    )
    def check(changes):
        changed = bytearray(data)
        for at, change in changes:
            changed[at : at + len(change)] = change
        file.write_bytes(changed)
        found = read(tmp_path / "bag")
        assert found is None or found[0] == FRAMES or found[1]

    check()
    shutil.rmtree(tmp_path / "bag")
