# SPDX-License-Identifier: Apache-2.0
"""Procedural drives with exact truth: depth, panoptic ids, flow, visibility and poses. No asset files."""

from monodvps_ros.scenes.drive import Drive
from monodvps_ros.scenes.writers import write_bag, write_cityscapes_dvps

__all__ = ["Drive", "write_bag", "write_cityscapes_dvps"]
