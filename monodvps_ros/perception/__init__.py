# SPDX-License-Identifier: Apache-2.0
"""The per-frame pipeline: grouping, tracking, metric scale, point cloud."""

from monodvps_ros.perception.device import resolve_device
from monodvps_ros.perception.pipeline import Pipeline

__all__ = ["Pipeline", "resolve_device"]
