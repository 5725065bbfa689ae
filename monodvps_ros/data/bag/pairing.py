# SPDX-License-Identifier: Apache-2.0
"""Brings together what belongs to one image of a recording: its camera_info, its truth, its pose."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from monodvps_ros.data.bag import BagReader
from monodvps_ros.data.bag.messages import read_transforms, stamp_ns, take_receipt
from monodvps_ros.data.bag.topics import TF_TOPIC, CameraTopics
from monodvps_ros.errors import DataError

POSE = "world_from_camera"
CAMERA_INFO = "camera_info"

#: A transform from one of these straight to the camera is the camera's pose (REP 105 names the last two).
FIXED_FRAMES = ("world", "map", "odom")

#: Images that wait for their partners at most, and maps of each kind that wait for their image: they are large.
MOST_WAITING = 20
#: Stamps of camera_info and of poses that are kept at most.
MOST_STAMPS = 1000


class BagPairing:
    """Goes through a recording once; gives each image with its partners by name: those of its stamp.

    Names are those of `FrameTruth`; `POSE` is a (4, 4) matrix, all others are messages. `CAMERA_INFO` is that of the
    image's stamp, else the last one before it, else the first one after it. An image waits until every other stream has
    reached its stamp or has ended, or until `MOST_WAITING` newer ones wait too: a stream of another clock, or a sparse
    one, never gets there. Where the images' time jumps back and goes on from there, what is nearer to the time before
    the jump goes with the images before it.

    Args:
        reader: the recording.
        topics: of the camera.
        unstamped: a stamp of 0 stands for the time of receipt.

    Attributes:
        unpaired: how many messages of truth had no image of their stamp, by name; whole when the end is reached.
        other_infos: how many images have the camera_info of another stamp.
    """

    def __init__(self, reader: BagReader, topics: CameraTopics, unstamped: bool = False) -> None:
        self._reader, self._unstamped = reader, unstamped
        self._refused: set[str] = set()
        self._last_ns, self._back_ns = -1, -1
        self._image_topic = topics.image
        self._names = {topic: name for name, topic in topics.truth.items()}
        if topics.camera_info is not None:
            self._names[topics.camera_info] = CAMERA_INFO
        if topics.has_tf:
            self._names[TF_TOPIC] = POSE
        self._left = {name: reader.topics[topic].count for topic, name in self._names.items()}
        self._newest_ns = dict.fromkeys(self._left, -1)
        self._held: dict[str, dict[int, Any]] = {name: {} for name in self._left}
        self._info: Any = None
        self.unpaired: Counter[str] = Counter()
        self.other_infos = 0

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Give image messages, in the order of the recording, and their partners."""
        waiting: deque[Any] = deque()
        self._info = self._first_info()
        for topic, _, received_ns, message in self._reader.messages([self._image_topic, *self._names]):
            if self._unstamped and topic != TF_TOPIC:
                take_receipt(message, received_ns)
            if topic == self._image_topic:
                yield from self._before_jump(waiting, stamp_ns(message))
                waiting.append(message)
            else:
                self._take(self._names[topic], message)
            while waiting and (len(waiting) > MOST_WAITING or self._is_complete(waiting[0])):
                image = waiting.popleft()
                yield image, self._partners(image)
        for image in waiting:
            yield image, self._partners(image)
        self._drop_held()

    def _first_info(self) -> Any:
        """Return the first camera_info, which may come later than images can wait for it; None where there is none."""
        topics = [topic for topic, name in self._names.items() if name == CAMERA_INFO]
        with suppress(DataError):  # none can be read, which is told in the end
            for _, _, received_ns, info in islice(self._reader.messages(topics) if topics else [], 1):
                if self._unstamped:
                    take_receipt(info, received_ns)
                return info
        return None

    def _before_jump(self, waiting: deque[Any], image_ns: int) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Give the images before a jump back once time goes on from it, which is not so of one image out of order."""
        last, back = self._last_ns, self._back_ns
        if back >= 0 and back < image_ns <= last:
            halfway = (last + back) // 2
            behind = {name: {s: held[s] for s in held if s <= halfway} for name, held in self._held.items()}
            self._held = {name: {s: held[s] for s in held if s > halfway} for name, held in self._held.items()}
            while waiting and stamp_ns(waiting[0]) > halfway:
                image = waiting.popleft()
                yield image, self._partners(image)
            self._drop_held()
            self._held = behind
            self._newest_ns = {name: max(held, default=-1) for name, held in behind.items()}
            self._last_ns, self._back_ns = image_ns, -1
        elif image_ns < last:  # streams are beyond it because they were there before
            self._newest_ns = dict.fromkeys(self._left, -1)
            self._back_ns = image_ns
        else:
            self._last_ns, self._back_ns = image_ns, -1

    def _take(self, name: str, message: Any) -> None:
        self._left[name] -= 1
        if name != POSE:
            self._hold(name, stamp_ns(message), message)
            return
        for stamp, parent, child, matrix in read_transforms(message, self._refused):
            poses = self._held[POSE].get(stamp, {})
            self._hold(POSE, stamp, {**poses, child: matrix} if parent in FIXED_FRAMES else poses)

    def _hold(self, name: str, stamp: int, value: Any) -> None:
        held, is_small = self._held[name], name in {POSE, CAMERA_INFO}
        lost = int(held.pop(stamp, None) is not None)
        held[stamp] = value
        self._newest_ns[name] = max(self._newest_ns[name], stamp)
        if len(held) > (MOST_STAMPS if is_small else MOST_WAITING):
            del held[next(iter(held))]
            lost += 1
        if not is_small:
            self._drop(name, lost)

    def _is_complete(self, image: Any) -> bool:
        stamp = stamp_ns(image)
        for name, left in self._left.items():
            # Transforms of one stamp come in several messages: another frame's says nothing of the camera's.
            there = self._pose(image) is not None if name == POSE else self._newest_ns[name] >= stamp
            if left and not there and self._newest_ns[name] <= stamp:
                return False
        return True

    def _pose(self, image: Any) -> Any:
        return self._held[POSE].get(stamp_ns(image), {}).get(image.header.frame_id.strip("/"))

    def _partners(self, image: Any) -> dict[str, Any]:
        """Take out what belongs to an image; what is older than it has no image any more."""
        stamp, partners = stamp_ns(image), {}
        for name, held in self._held.items():
            until = sorted(other for other in held if other <= stamp)
            if name == CAMERA_INFO:
                self._info = held[until[-1]] if until else self._info
                if self._info is not None:
                    partners[CAMERA_INFO] = self._info
                    self.other_infos += stamp_ns(self._info) != stamp
            elif name == POSE:
                partners[POSE] = self._pose(image)
            else:
                if stamp in held:
                    partners[name] = held[stamp]
                self._drop(name, len(until) - (stamp in held))
            for other in until:
                del held[other]
        return partners

    def _drop_held(self) -> None:
        for name in self._held.keys() - {POSE, CAMERA_INFO}:
            self._drop(name, len(self._held[name]))

    def _drop(self, name: str, count: int) -> None:
        if count:
            self.unpaired[name] += count
