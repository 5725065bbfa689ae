# SPDX-License-Identifier: Apache-2.0
"""The smallest network that tests build, and the smallest training: depth alone, from images alone."""

ENCODER = "mobilenetv3_small_050"
TINY = {
    "encoder": ENCODER,
    "input_height": 64,
    "input_width": 96,
    "aspp_channels": 16,
    "semantic_channels": 16,
    "instance_channels": 16,
    "flow_channels": 16,
}
WITHOUT_LABELS = dict.fromkeys(("semantic", "instance", "panoptic_smoothness", "panoptic_edges", "triplet"), 0.0)
DEPTH_ALONE = {
    "network": {**TINY, "flow": False},
    "loss": {**WITHOUT_LABELS, "flow": 0.0, "mask_moving_objects": False},
    "pose_encoder": ENCODER,
    "workers": 0,
    "device": "cpu",
    "batch_size": 1,
    "validate_every": 0,
    "picture_every": 0,
}
