# SPDX-License-Identifier: Apache-2.0
"""What runs per frame: grouping, tracker, metric scale, point cloud, and the pipeline that joins them."""

from monodvps_ros.perception.device import resolve_device
from monodvps_ros.perception.pipeline import Pipeline

__all__ = ["Pipeline", "resolve_device"]
