# SPDX-License-Identifier: Apache-2.0
"""Structure of video files, where FFmpeg passes over damage without a word.

Sources: RFC 8794 (EBML), RFC 9559 (Matroska), ISO/IEC 13818-1 (MPEG transport and program streams), ISO/IEC 14496-12
(MP4).
"""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import counted

_EBML, _SEGMENT, _CLUSTER, _BLOCK_GROUP = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xA0
_ANYWHERE = {0xEC, 0xBF}  # Void, CRC-32
_TOP = {_EBML, _SEGMENT} | _ANYWHERE
#: Elements by the one that contains them; those of others are not looked into.
_CHILDREN = {
    _SEGMENT: {_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
    | _ANYWHERE,
    _CLUSTER: {_BLOCK_GROUP, 0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xAF} | _ANYWHERE,
    _BLOCK_GROUP: {0xA1, 0xA2, 0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA4, 0x75A2, 0x8E, 0xC8} | _ANYWHERE,
}
_LONGEST_HEADER = 12
_PIECE_BYTES = 1 << 20


_TS_BYTES, _TS_SYNC, _TS_NULL = 188, 0x47, 0x1FFF
_TS_BLOCK = 1 << 15  # packets that are looked at at once
_MOST_UNITS = 1.5
#: Of a constant rate: gaps are whole numbers of the usual one up to this share of it; at least so many gaps are needed,
#: and at most this share may be longer.
_JITTER, _LEAST_GAPS, _MOST_HOLES = 0.05, 3, 0.05
_PS_PACK, _PS_END = 0xBA, 0xB9
#: Boxes of MP4 fragments by the one that contains them; those of others are not looked into.
_BOXES = {
    b"moof": {b"mfhd", b"traf", b"meta", b"pssh", b"uuid", b"free", b"skip"},
    b"traf": {
        b"tfhd",
        b"trun",
        b"tfdt",
        b"sbgp",
        b"sgpd",
        b"subs",
        b"saiz",
        b"saio",
        b"senc",
        b"meta",
        b"uuid",
        b"free",
    },
}
_AFTER_FRAGMENT = {
    b"moof",
    b"mdat",
    b"styp",
    b"sidx",
    b"ssix",
    b"emsg",
    b"prft",
    b"mfra",
    b"uuid",
    b"free",
    b"skip",
    b"moov",
    b"udta",
    b"meta",
    b"wide",
}
_MADE_OF_FRAGMENTS = b"mvex"  # in the header of such files
_TRUN_FIELDS, _TRUN_OF_SAMPLES = 0x005, 0xF00  # bits of its flags: fields of four bytes, once and for each sample


def container_problem(file: BinaryIO, container: str, stream: int, frames: int) -> str:
    """Say where a file is not as its format demands; empty where it is, or where FFmpeg says so itself.

    Args:
        file: open for reading.
        container: FFmpeg's name of the format.
        stream: FFmpeg's number of the video in it.
        frames: how many FFmpeg found.
    """
    if "matroska" in container:
        return matroska_problem(file)
    if "mp4" in container:
        return mp4_problem(file)
    if container == "mpegts":
        return transport_stream_problem(file, stream, frames)
    return program_stream_problem(file) if container == "mpeg" else ""


def matroska_problem(file: BinaryIO) -> str:
    """Say where a Matroska or WebM file is not as its format demands; empty where it is.

    FFmpeg passes over elements that it does not know. Blocks become such by damage; no writer makes others.
    """
    size = file.seek(0, 2)
    position, inside = 0, [(_TOP, size, False)]  # children that are known, end, whether the end is but assumed
    while position < size:
        while position >= inside[-1][1]:
            inside.pop()
        file.seek(position)
        found = _element(file.read(_LONGEST_HEADER))
        if found is None:
            return f"byte {position} is not the beginning of an element"
        kind, length, header = found
        while inside[-1][2] and kind not in inside[-1][0]:
            inside.pop()
        known, limit, _ = inside[-1]
        end = limit if length is None else position + header + length
        if kind not in known:
            return f"byte {position} is the beginning of an unknown element"
        if end > limit:
            return f"the element at byte {position} is {counted(end - limit, 'byte')} longer than what contains it"
        if kind in _CHILDREN:
            inside.append((_CHILDREN[kind], end, length is None))
            end = position + header
        position = end
    return ""


def _element(data: bytes) -> tuple[int, int | None, int] | None:
    """Return id, length of the content (None: not said) and length of both; None where there is no element."""
    id_bytes = 9 - data[0].bit_length()
    if id_bytes > 4 or len(data) <= id_bytes:
        return None
    size_bytes = 9 - data[id_bytes].bit_length()
    header = id_bytes + size_bytes
    if size_bytes > 8 or len(data) < header:
        return None
    unknown = (1 << 7 * size_bytes) - 1
    length = int.from_bytes(data[id_bytes:header], "big") & unknown
    return int.from_bytes(data[:id_bytes], "big"), None if length == unknown else length, header


def missing_in_times(times_s: Sequence[float]) -> str:
    """Say how many frames the times of a video of constant rate have room for; empty where they have for none.

    The rate is constant where each gap is a whole number of the usual one; where many are longer, it has changed.

    Args:
        times_s: of the frames that are there, in order, seconds.
    """
    gaps = np.diff(times_s)
    if len(gaps) < _LEAST_GAPS or (gaps <= 0).any():
        return ""
    periods = gaps / np.median(gaps)
    steps = np.rint(periods)
    missing, holes = int((steps - 1).sum()), int((steps > 1).sum())
    if not holes or (np.abs(periods - steps) > _JITTER).any() or holes > max(1.0, _MOST_HOLES * len(gaps)):
        return ""
    first_s = float(times_s[int(np.argmax(steps > 1))] - times_s[0])
    return f"by the times of its frames {counted(missing, 'is', 'are')} missing, the first after {first_s:.3f} s"


def transport_stream_problem(file: BinaryIO, video: int, frames: int) -> str:
    """Say where packets of an MPEG transport stream are missing, cut off or of no frame; empty where they are whole.

    Args:
        file: open for reading.
        video: number of the stream (PID) of the video.
        frames: how many were found in it. Where each begins a packet of the elementary stream, as many such begin.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(2 * 192)
    prefix = 4 if head[4::192] == bytes([_TS_SYNC] * 2) and head[::_TS_BYTES][:2] != bytes([_TS_SYNC] * 2) else 0
    length = _TS_BYTES + prefix  # cameras that record on discs put a time before each packet
    file.seek(0)
    last: dict[int, int] = {}
    units = 0
    for begin in range(0, size - length + 1, _TS_BLOCK * length):
        data = file.read(min(_TS_BLOCK, (size - begin) // length) * length)
        packets = np.frombuffer(data, np.uint8).reshape(-1, length)[:, prefix:]
        lost = np.flatnonzero(packets[:, 0] != _TS_SYNC)
        if lost.size:
            return f"byte {begin + int(lost[0]) * length} is not the beginning of a packet"
        place = _lost_continuity(packets, last)
        if place is not None:
            return f"packets are missing before byte {begin + place * length}"
        units += int(((_streams(packets) == video) & (packets[:, 1] & 0x40 != 0)).sum())
    if size % length:
        return f"its last {counted(size % length, 'byte is', 'bytes are')} not a whole packet"
    if frames < units < _MOST_UNITS * frames:  # fields of interlaced video may be units of their own
        return f"{units} frames begin in it, {counted(frames, 'is', 'are')} found"
    return ""


def _streams(packets: NDArray[np.uint8]) -> NDArray[np.int64]:
    return (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]


def _lost_continuity(packets: NDArray[np.uint8], last: dict[int, int]) -> int | None:
    """Return the first packet whose counter does not follow that of its stream; keeps the last ones."""
    streams = _streams(packets)
    has_payload = (packets[:, 3] & 0x10 != 0) & (streams != _TS_NULL)
    says_so = (packets[:, 3] & 0x20 != 0) & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 != 0)
    found = []
    for stream in np.unique(streams[has_payload]):
        places = np.flatnonzero(has_payload & (streams == stream))
        counters = packets[places, 3].astype(int) & 0x0F
        steps = np.diff(counters, prepend=last.get(int(stream), counters[0])) % 16  # a packet may come twice
        found += places[(steps > 1) & ~says_so[places]][:1].tolist()
        last[int(stream)] = int(counters[-1])
    return min(found, default=None)


def program_stream_problem(file: BinaryIO) -> str:
    """Say where an MPEG program stream is not one packet after the other; empty where it is."""
    size = file.seek(0, 2)
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(14)
        if head[3:4] == bytes([_PS_END]) or not head.strip(b"\0"):
            end = position + (len(head) if not head.strip(b"\0") else 4)
        elif len(head) < 6 or head[:3] != b"\0\0\1" or head[3] < _PS_PACK:
            return f"byte {position} is not the beginning of a packet"
        elif head[3] == _PS_PACK:
            is_mpeg1 = head[4] & 0xF0 == 0x20
            end = position + (12 if is_mpeg1 else 14 + (head[13] & 7 if len(head) == 14 else 0))
        else:
            end = position + 6 + int.from_bytes(head[4:6], "big")
        position = end
    return f"its last packet is {counted(position - size, 'byte')} too short" if position > size else ""


def mp4_problem(file: BinaryIO) -> str:
    """Say where an MP4 is cut off, or a fragment of it is not as its format demands; empty where it is whole.

    FFmpeg ends silently at a fragment that is cut off, and skips what it does not know in one.
    """
    size = file.seek(0, 2)
    inside: list[tuple[set[bytes] | None, int]] = [(None, size)]  # boxes that are known, end
    position = 0
    while position < size:
        while position >= inside[-1][1]:
            inside.pop()
        known, limit = inside[-1]
        file.seek(position)
        head = file.read(32)
        length, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], 8
        if not head.strip(b"\0"):
            return "" if _is_padding(file) else f"byte {position} begins no box"
        if length == 1:
            length, begin = int.from_bytes(head[8:16], "big"), 16
        end = position + length if length else limit
        if end > limit or len(head) < 8 or 0 < length < begin:
            there = counted(limit - position, "is", "are")
            return f"the box at byte {position} is of {counted(length, 'byte')}, but {there} there"
        if known is not None and kind not in known:
            return f"the box at byte {position} is of an unknown type"
        if kind == b"trun" and end - position != _trun_bytes(head):
            return f"the box at byte {position} does not have the length of its samples"
        if kind == b"moov" and _MADE_OF_FRAGMENTS in head[begin:] + file.read(min(length, _PIECE_BYTES)):
            inside = [(_AFTER_FRAGMENT, size)]
        if kind in _BOXES:
            inside.append((_BOXES[kind], end))
            end = position + begin
        position = end
    return ""


def _is_padding(file: BinaryIO) -> bool:
    """Whether nothing but zeros follows."""
    while piece := file.read(_PIECE_BYTES):
        if piece.strip(b"\0"):
            return False
    return True


def _trun_bytes(head: bytes) -> int:
    """Return how long a box is that lists the samples of a fragment, by its flags and its number of samples."""
    flags, count = int.from_bytes(head[9:12], "big"), int.from_bytes(head[12:16], "big")
    return 16 + 4 * ((flags & _TRUN_FIELDS).bit_count() + (flags & _TRUN_OF_SAMPLES).bit_count() * count)
