# SPDX-License-Identifier: Apache-2.0
"""Hugging Face panoptic and depth models behind the pipeline's own protocol: live, and as teachers."""

from monodvps_ros.foundation.names import DEPTH_MODELS, PANOPTIC_MODELS
from monodvps_ros.foundation.pair import FoundationModel

__all__ = ["DEPTH_MODELS", "PANOPTIC_MODELS", "FoundationModel"]
