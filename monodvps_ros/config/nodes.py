# SPDX-License-Identifier: Apache-2.0
"""Settings of the ROS nodes; they are their parameters."""

import re
from dataclasses import dataclass, field, replace

from monodvps_ros.config.perception import PipelineConfig
from monodvps_ros.config.tree import Config, setting
from monodvps_ros.errors import shown

_RECTIFIED = (
    "Whether the images are already rectified. auto: true if the image topic's name says so (image_rect, "
    "rect/image) or camera_info has no distortion."
)


@dataclass(frozen=True)
class CameraConfig(Config):
    """A named camera of the perception node: parameters `cameras.NAME.*`; by default as the node's."""

    compressed: bool = setting(False, "Subscribe to image/compressed instead of image.", read_only=True)
    rectified: str = setting("auto", _RECTIFIED, choices=("auto", "true", "false"), read_only=True)
    camera_height_m: float = setting(
        0.0, "Height of this camera above the road; 0: pipeline.scale.camera_height_m.",
        unit="m", at_least=0.0, at_most=50.0)  # fmt: skip


@dataclass(frozen=True)
class NodeConfig(Config):
    """The perception node."""

    cameras: tuple[str, ...] = setting(
        ("",), "Camera names. Each camera has its own namespace, tracker, metric scale and parameters; all share one "
        "network. A single empty name: one camera without a further namespace.", read_only=True)  # fmt: skip
    autostart: bool = setting(
        True, "Configure and activate at start-up; if false, wait for a lifecycle manager.", read_only=True
    )
    compressed: bool = setting(False, "Subscribe to image/compressed instead of image.", read_only=True)
    rectified: str = setting("auto", _RECTIFIED, choices=("auto", "true", "false"), read_only=True)
    camera_info_sync: str = setting(
        "latest", "latest: use the newest camera_info; exact: only the one whose stamp equals the image's.",
        choices=("latest", "exact"), read_only=True)  # fmt: skip
    input_reliability: str = setting(
        "auto", "QoS reliability of the image subscription. auto: reliable if every publisher offers it, otherwise "
        "best effort, which matches every publisher but may lose large images.",
        choices=("auto", "reliable", "best_effort"), read_only=True)  # fmt: skip
    input_depth: int = setting(
        5, "QoS history depth of the image subscription.", unit="messages", at_least=1, at_most=100, read_only=True
    )
    output_depth: int = setting(
        5, "QoS history depth of each output.", unit="messages", at_least=1, at_most=100, read_only=True
    )
    max_image_mpx: float = setting(
        64.0, "Maximum size of a compressed image; larger ones are refused before they are decoded.",
        unit="megapixels", at_least=0.1, at_most=1000.0)  # fmt: skip
    max_rate_hz: float = setting(
        0.0, "Maximum rate at which images are processed; others are dropped and counted. 0: no maximum.",
        unit="Hz", at_least=0.0, at_most=1000.0)  # fmt: skip
    max_gap_s: float = setting(
        2.0, "Gap between images above which tracker, flow history and scale are reset.",
        unit="s", at_least=0.01, at_most=3600.0)  # fmt: skip
    diagnostics_period_s: float = setting(
        1.0, "Time between two messages on /diagnostics.", unit="s", at_least=0.1, at_most=60.0, read_only=True
    )
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)

    def check(self) -> None:
        """Check the camera names."""
        if not self.cameras:
            raise self.refusal("cameras", "name each camera, or give one empty name: ['']")
        if len(set(self.cameras)) != len(self.cameras):
            raise self.refusal("cameras", "each name must be given once")
        for name in self.cameras:
            if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
                rule = "must be letters, digits and underscores, with a letter first, at most 64"
                raise self.refusal("cameras", f"{shown(name)} {rule}")
            if not name and len(self.cameras) > 1:
                raise self.refusal("cameras", "only a single camera may go unnamed")
        if len(self.cameras) > 1 and self.pipeline.odometry.child_frame:
            raise self.refusal("cameras", "pipeline.odometry.child_frame must be empty with several cameras")

    def of_camera(self, camera: CameraConfig) -> "NodeConfig":
        """Return the configuration with what is said of one camera."""
        scale = self.pipeline.scale
        if camera.camera_height_m > 0.0:
            scale = replace(scale, camera_height_m=camera.camera_height_m)
        pipeline = replace(self.pipeline, scale=scale)
        return replace(self, compressed=camera.compressed, rectified=camera.rectified, pipeline=pipeline)


@dataclass(frozen=True)
class TrainingNodeConfig(Config):
    """The training node. The training itself is configured by the file that `config` names."""

    data: tuple[str, ...] = setting(("",), "Training data: bags, data sets, folders of images, videos.", read_only=True)
    image_topic: str = setting(
        "", "Image topic to read, in bags with several cameras; empty: the only one.", read_only=True
    )
    rectified: str = setting("auto", _RECTIFIED, choices=("auto", "true", "false"), read_only=True)
    config: str = setting(
        "", "Training configuration (YAML); empty: the defaults, listed in config/train.yaml.", read_only=True
    )
    out: str = setting("", "Output folder for checkpoints, logs and the weights file.", read_only=True)
    weights: str = setting(
        "",
        "Weights file to start from; empty: initialise as the training configuration says. Not with resume.",
        read_only=True,
    )
    max_steps: int = setting(
        0, "Total number of training steps; 0: max_steps of the training configuration.",
        unit="steps", at_least=0, at_most=10**9, read_only=True)  # fmt: skip
    resume: bool = setting(
        False, "Continue from the last checkpoint in out; if false, out must not contain one.", read_only=True
    )
    validate: tuple[str, ...] = setting(
        ("",), "Data with ground truth for validation; a single empty name: none.", read_only=True
    )
    autostart: bool = setting(
        True,
        "Configure and activate at start-up and exit when training ends; if false, a lifecycle manager does both.",
        read_only=True,
    )
    diagnostics_period_s: float = setting(
        1.0, "Time between two messages on /diagnostics.", unit="s", at_least=0.1, at_most=60.0, read_only=True
    )
