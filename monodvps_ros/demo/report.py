# SPDX-License-Identifier: Apache-2.0
"""The demo's report: frames published and processed, outputs, latencies; keys are described in docs/demo.md."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Reason in the report for frames that the node never saw.
LOST_IN_TRANSPORT = "lost between player and node"


@dataclass
class RecordedTopic:
    """What the recording holds of one topic.

    Attributes:
        type_name: of its messages, such as ``sensor_msgs/msg/Image``.
        encoding: of an image; None for other types, and where no message came.
        stamps_ns: header stamps, in the order of the recording.
        received_ns: wall-clock times at which the recorder received them.
    """

    type_name: str
    encoding: str | None = None
    stamps_ns: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class NodeCounts:
    """The node's counters at the end: see `perception.statistics.Snapshot`.

    Attributes:
        received: images that reached it.
        processed: images that it published outputs for.
        idle: images while no output had a subscriber.
        dropped: images dropped, by reason.
        device: what it computes on.
        weights: description of its weights.
    """

    received: int
    processed: int
    idle: int
    dropped: Mapping[str, int]
    device: str
    weights: str

    @property
    def settled(self) -> bool:
        """True where no image is waiting: each one received was processed or dropped."""
        return self.received == self.processed + self.idle + sum(self.dropped.values())


def make_report(
    source: str, sent_ns: list[tuple[int, int]], node: NodeCounts, outputs: Mapping[str, RecordedTopic]
) -> dict[str, Any]:
    """Make the report.

    ``frames_published = frames_received + lost in transport`` and ``frames_published = frames_processed +
    frames_dropped``: a dropped frame is one that no output was published for, wherever it was lost; ``drop_reasons``
    adds up to it.

    Args:
        source: what was played.
        sent_ns: (stamp, wall-clock time of publishing) of each frame, nanoseconds.
        node: the node's counts after the last frame.
        outputs: what the recording holds of each output topic.

    Returns:
        What `docs/demo.md` describes, of JSON's types.
    """
    published = len(sent_ns)
    reasons = {LOST_IN_TRANSPORT: published - node.received, "nobody subscribed": node.idle, **node.dropped}
    stamps = Counter(stamp for stamp, _ in sent_ns)
    return {
        "input": source,
        "frames_published": published,
        "frames_received": node.received,
        "frames_dropped": published - node.processed,
        "outputs": {
            topic: {
                "type": recorded.type_name,
                "encoding": recorded.encoding,
                "count": len(recorded.stamps_ns),
                "stamps_matched": (Counter(recorded.stamps_ns) & stamps).total(),
            }
            for topic, recorded in outputs.items()
        },
        "latency_ms": _percentiles(latencies_ms(sent_ns, outputs)),
        "device": node.device,
        "weights": node.weights,
        "frames_processed": node.processed,
        "drop_reasons": {reason: count for reason, count in reasons.items() if count},
    }


def latencies_ms(sent_ns: list[tuple[int, int]], outputs: Mapping[str, RecordedTopic]) -> list[float]:
    """Return, for each frame that came through, the time from its publishing to the receipt of its last output.

    `sent_ns` holds (stamp, wall-clock time of publishing); where a stamp stands twice, the first counts.
    """
    last_ns: dict[int, int] = {}
    for recorded in outputs.values():
        for stamp, received in zip(recorded.stamps_ns, recorded.received_ns, strict=True):
            last_ns[stamp] = max(received, last_ns.get(stamp, received))
    first_sent: dict[int, int] = {}
    for stamp, sent in sent_ns:
        first_sent.setdefault(stamp, sent)
    return [(last_ns[stamp] - sent) * 1e-6 for stamp, sent in first_sent.items() if stamp in last_ns]


def _percentiles(values_ms: list[float]) -> dict[str, float | None]:
    if not values_ms:
        return {"p50": None, "p90": None, "max": None}
    p50, p90 = np.percentile(values_ms, [50, 90])
    return {"p50": round(float(p50), 2), "p90": round(float(p90), 2), "max": round(max(values_ms), 2)}
