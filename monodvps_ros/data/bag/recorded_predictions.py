# SPDX-License-Identifier: Apache-2.0
"""Predictions in recordings."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monodvps_ros.data.bag import BagReader
from monodvps_ros.data.bag.messages import stamp_ns
from monodvps_ros.data.checks import check_size
from monodvps_ros.data.image_codec import decode_raw
from monodvps_ros.data.predicted_frame import PredictedFrame
from monodvps_ros.errors import DataError
from monodvps_ros.labels import decode_panoptic
from monodvps_ros.outputs import IMAGE_TYPE, Output, topic_of

_PANOPTIC, _DEPTH = topic_of(Output.PANOPTIC), topic_of(Output.DEPTH)

#: Maps that wait for the other of their stamp at most; they are large.
_MOST_WAITING = 20


class BagPredictions:
    """Predictions in recordings of this package's node: ``<prefix>panoptic/image`` and ``<prefix>depth/image``.

    A frame is what has one stamp. Those with a panoptic map but no depth, or depth but no panoptic map, are counted.

    Args:
        paths: of the recordings, each a sequence; at least one.

    Raises:
        DataError: one cannot be read, or has not one topic of each kind.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._bags = [_Bag(path) for path in paths]

    @property
    def incomplete(self) -> int:
        """Frames without one of the two maps, counted while reading."""
        return sum(bag.incomplete for bag in self._bags)

    @property
    def damage(self) -> list[str]:
        """What of the recordings cannot be read, in sentences; whole once they were read."""
        return [sentence for bag in self._bags for sentence in bag.damage]

    def __len__(self) -> int:
        """Number of panoptic maps."""
        return sum(len(bag) for bag in self._bags)

    def __iter__(self) -> Iterator[PredictedFrame]:
        """Read frame by frame.

        Raises:
            DataError: a recording is damaged, or the sizes of the two maps differ.
            EncodingError: a message cannot be decoded.
        """
        for bag in self._bags:
            yield from bag


class _Bag:
    """Predictions in one recording."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.incomplete = 0
        with BagReader(path) as reader:
            self.damage = reader.damage
            topics = {t.name: t.count for t in reader.topics.values() if t.type_name == IMAGE_TYPE and t.count}
        self._panoptic = self._only([name for name in topics if name.endswith(f"/{_PANOPTIC}")], _PANOPTIC)
        depth = self._panoptic.removesuffix(_PANOPTIC) + _DEPTH
        self._depth = self._only([name for name in topics if name == depth], depth)
        self._length = topics[self._panoptic]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[PredictedFrame]:
        self.incomplete = 0
        held: dict[int, dict[str, Any]] = {}
        with BagReader(self.path) as reader:
            for topic, _, _, message in reader.messages([self._panoptic, self._depth]):
                if len(held) > _MOST_WAITING:
                    del held[next(iter(held))]
                    self.incomplete += 1
                parts = held.setdefault(stamp_ns(message), {})
                parts[topic] = message
                if len(parts) == 2:
                    stamp = stamp_ns(message)
                    old = [other for other in held if other < stamp]  # both topics come in order of their stamps
                    self.incomplete += len(old)
                    for other in [*old, stamp]:
                        del held[other]
                    yield self._frame(stamp, parts)
            self.damage = reader.damage
        self.incomplete += len(held)

    def _frame(self, stamp: int, parts: dict[str, Any]) -> PredictedFrame:
        maps = {
            topic: decode_raw(m.data, m.encoding, m.height, m.width, m.step, bool(m.is_bigendian))
            for topic, m in parts.items()
        }
        class_ids, instance_ids = decode_panoptic(maps[self._panoptic])
        check_size(
            maps[self._depth].shape, class_ids.shape, f"{self.path} {self._depth} at {stamp} ns", "the panoptic map"
        )
        depth_m = np.asarray(maps[self._depth], np.float32)
        return PredictedFrame(self.path.name, str(stamp), stamp, class_ids, instance_ids.astype(np.int32), depth_m)

    def _only(self, found: list[str], name: str) -> str:
        if len(found) != 1:
            raise DataError(f"{self.path}: must contain one topic {name} of {IMAGE_TYPE}; found {found or 'none'}")
        return found[0]
