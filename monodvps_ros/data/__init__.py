# SPDX-License-Identifier: Apache-2.0
"""Sequences: recordings and data sets to read, predictions to write, targets and transforms for training."""

from monodvps_ros.data.sources import open_source

__all__ = ["open_source"]
