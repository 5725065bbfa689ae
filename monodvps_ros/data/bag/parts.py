# SPDX-License-Identifier: Apache-2.0
"""What a file of a recording gives: channels, and parts of it that are merged by time."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol, TypeAlias

#: Parts that overlap in time are held in memory together up to this many bytes; beyond it they are no longer merged.
MOST_HELD_BYTES = 1 << 29


@dataclass(frozen=True, eq=False, slots=True)
class Channel:
    """A topic in one file of a recording.

    Attributes:
        topic: its name.
        type_name: such as ``sensor_msgs/msg/Image``.
        definition_format: ros2msg, ros2idl, or empty where the file does not define the type.
        definition: text of the type's definition.
    """

    topic: str
    type_name: str
    definition_format: str = ""
    definition: str = ""


#: Time of receipt in nanoseconds, channel, bytes of the message.
Entry: TypeAlias = tuple[int, Channel, bytes]


@dataclass(frozen=True, slots=True)
class Part:
    """Messages that lie together in a file.

    Attributes:
        start_ns: time of receipt of the first, as the file says.
        held_bytes: what they take in memory while they are read.
        read: gives them in the order of their times.
    """

    start_ns: int
    held_bytes: int
    read: Callable[[], Iterator[Entry]]


class Storage(Protocol):
    """What is asked of one file of a recording.

    Attributes:
        channels: those of ROS 2.
        foreign: topics that are not of ROS 2, and what they are.
        counts: messages by topic and type.
    """

    channels: list[Channel]
    foreign: dict[str, str]
    counts: Counter[tuple[str, str]]

    def close(self) -> None:
        """Close the file."""
        ...

    def parts(self, topics: Collection[str]) -> list[Part]:
        """List the parts of the file; they give messages on these topics only."""
        ...


def merged(parts: Iterable[Part]) -> Iterator[Entry]:
    """Read parts, merged by time, and where times are the same in the order of the parts.

    Each part is opened when its first message is due.
    """
    waiting = deque(enumerate(sorted(parts, key=lambda part: part.start_ns)))
    heap: list[tuple[int, int, Entry, Iterator[Entry], int]] = []
    held = 0
    while waiting or heap:
        if waiting and (not heap or (waiting[0][1].start_ns < heap[0][0] and held < MOST_HELD_BYTES)):
            number, part = waiting.popleft()
            reading, size = part.read(), part.held_bytes
            held += size
        else:
            _, number, due, reading, size = heappop(heap)
            yield due
        entry = next(reading, None)
        if entry is None:
            held -= size
        else:
            heappush(heap, (entry[0], number, entry, reading, size))
