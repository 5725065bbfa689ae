# SPDX-License-Identifier: Apache-2.0
"""Structure of video files, where FFmpeg passes over damage without a word.

Source: RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

from typing import BinaryIO

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
            return f"byte {position} begins no element"
        kind, length, header = found
        while inside[-1][2] and kind not in inside[-1][0]:
            inside.pop()
        known, limit, _ = inside[-1]
        end = limit if length is None else position + header + length
        if kind not in known:
            return f"byte {position} begins an element that is not known there"
        if end > limit:
            return f"the element at byte {position} is {end - limit} bytes longer than what contains it"
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
