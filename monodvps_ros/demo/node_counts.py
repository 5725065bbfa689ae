# SPDX-License-Identifier: Apache-2.0
"""Reads the node's counters out of /diagnostics."""

from diagnostic_msgs.msg import DiagnosticArray

from monodvps_ros.demo.report import NodeCounts
from monodvps_ros.ros.management import diagnostics


def read_counts(message: DiagnosticArray) -> NodeCounts | None:
    """Return the counters of a perception node with one camera; None where the message is of something else."""
    values: dict[str, str] = {}
    for status in message.status:
        values.update({pair.key: pair.value for pair in status.values})
    if diagnostics.RECEIVED not in values or diagnostics.WEIGHTS not in values:
        return None
    prefix = diagnostics.DROPPED_PREFIX
    return NodeCounts(
        received=int(values[diagnostics.RECEIVED]),
        processed=int(values[diagnostics.PROCESSED]),
        idle=int(values[diagnostics.IDLE]),
        dropped={key.removeprefix(prefix): int(value) for key, value in values.items() if key.startswith(prefix)},
        device=values[diagnostics.DEVICE],
        weights=values[diagnostics.WEIGHTS],
    )
