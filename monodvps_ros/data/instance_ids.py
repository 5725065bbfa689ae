# SPDX-License-Identifier: Apache-2.0
"""Instance ids of a sequence, numbered so that they fit into a file format."""

import numpy as np
from numpy.typing import NDArray

#: Above every instance id; a segment is class * this + instance.
_STRIDE = 2**32


class InstanceIds:
    """Numbers the instances of each class of one sequence from 1, in the order in which they appear.

    Where a class has had more instances than the format can hold, the number of the one that has not been seen for the
    longest time is given away. Where a single frame has more, the last of them have none.

    Args:
        largest: largest number that the format can hold.

    Attributes:
        reused: numbers given away so far.
        dropped: instances so far, counted in each frame, that had to go without a number.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._numbers: dict[tuple[int, int], int] = {}
        self._last_seen: dict[int, dict[int, int]] = {}
        self._frame = 0
        self.reused = 0
        self.dropped = 0

    def assign(self, class_ids: NDArray[np.integer], instance_ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Number the instances of the next frame.

        Args:
            class_ids: (H, W) integer.
            instance_ids: (H, W) integer, 0 for pixels that are of no instance.

        Returns:
            (H, W) int64 numbers, 0 where there is no instance, -1 on instances that have to go without a number.
        """
        self._frame += 1
        keys, inverse = np.unique(_segments(class_ids, instance_ids), return_inverse=True)
        pairs = [(int(key) // _STRIDE, int(key) % _STRIDE) for key in keys]
        for class_id, instance in pairs:  # what is in this frame keeps its number
            if (class_id, instance) in self._numbers:
                self._last_seen[class_id][self._numbers[class_id, instance]] = self._frame
        numbers = np.array([self._number(*pair) if pair[1] else 0 for pair in pairs], np.int64)
        return numbers[inverse].reshape(class_ids.shape)

    def reserve(self, class_ids: NDArray[np.integer], numbers: NDArray[np.integer]) -> None:
        """Take note of a frame that was numbered in an earlier run, so that its numbers are not given again."""
        self._frame += 1
        for key in np.unique(_segments(class_ids, numbers)):
            if key % _STRIDE:
                self._last_seen.setdefault(int(key) // _STRIDE, {})[int(key) % _STRIDE] = self._frame

    def adopt(
        self, class_ids: NDArray[np.integer], instance_ids: NDArray[np.integer], numbers: NDArray[np.integer]
    ) -> None:
        """Go on with the numbers of an earlier run, in which the frame was seen as well.

        Args:
            class_ids: (H, W) integer, as seen now.
            instance_ids: (H, W) integer, as seen now.
            numbers: (H, W) integer, numbers of the earlier run on pixels that were of the same class then, else 0.
        """
        both = (instance_ids > 0) & (numbers > 0)
        pairs, counts = np.unique(
            np.stack([class_ids[both], instance_ids[both], numbers[both]]).astype(np.int64), axis=1, return_counts=True
        )
        taken = set()
        for place in np.argsort(-counts, kind="stable"):  # the largest overlap first
            class_id, instance, number = (int(value) for value in pairs[:, place])
            if (class_id, instance) not in self._numbers and (class_id, number) not in taken:
                self._numbers[class_id, instance] = number
                self._last_seen.setdefault(class_id, {})[number] = self._frame
                taken.add((class_id, number))

    def _number(self, class_id: int, instance: int) -> int:
        if (class_id, instance) in self._numbers:
            return self._numbers[class_id, instance]
        last_seen = self._last_seen.setdefault(class_id, {})
        number = max(last_seen, default=0) + 1
        if number > self._largest:
            number = min(last_seen, key=lambda other: (last_seen[other], other))
            if last_seen[number] == self._frame:
                self.dropped += 1
                return -1
            self.reused += 1
            self._numbers = {key: old for key, old in self._numbers.items() if (key[0], old) != (class_id, number)}
        self._numbers[class_id, instance] = number
        last_seen[number] = self._frame
        return number


def _segments(class_ids: NDArray[np.integer], instance_ids: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.asarray(class_ids, np.int64) * _STRIDE + np.asarray(instance_ids, np.int64)
