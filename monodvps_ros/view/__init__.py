# SPDX-License-Identifier: Apache-2.0
"""Perception in the rerun viewer: image, masks, depth, cloud, boxes and tracks on one timeline."""
