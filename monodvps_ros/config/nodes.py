# SPDX-License-Identifier: Apache-2.0
"""Settings of the ROS nodes; they are their parameters."""

import re
from dataclasses import dataclass, field

from monodvps_ros.config.perception import PipelineConfig
from monodvps_ros.config.tree import Config, setting


@dataclass(frozen=True)
class NodeConfig(Config):
    """The perception node."""

    cameras: tuple[str, ...] = setting(
        ("",),
        "Names of the cameras; each has its topics in a namespace of its name, its own tracker and its own scale, "
        "and all share one network. An empty name: one camera, topics without a further namespace.",
        read_only=True,
    )
    autostart: bool = setting(
        True, "Configure and activate at start; else wait for a lifecycle manager.", read_only=True
    )
    compressed: bool = setting(False, "Subscribe to image/compressed instead of image.", read_only=True)
    rectified: str = setting(
        "auto",
        "Whether the image has its lens distortion removed already. auto: true where the image topic's name says so "
        "(image_rect, rect/image) or the camera has no distortion.",
        choices=("auto", "true", "false"),
        read_only=True,
    )
    camera_info_sync: str = setting(
        "latest",
        "Take the newest camera_info, or only the one with exactly the image's stamp.",
        choices=("latest", "exact"),
        read_only=True,
    )
    input_reliability: str = setting(
        "auto",
        "QoS reliability asked of the image's publisher. auto: reliable where every publisher offers it, else best "
        "effort, which fits every publisher but loses large images on transports that are set up for small ones.",
        choices=("auto", "reliable", "best_effort"),
        read_only=True,
    )
    input_depth: int = setting(
        5, "Images that the middleware queues for the node.", unit="messages", at_least=1, at_most=100, read_only=True
    )
    output_depth: int = setting(5, "Messages of each output kept for slow subscribers.", unit="messages", at_least=1,
                                at_most=100, read_only=True)  # fmt: skip
    max_gap_s: float = setting(
        2.0,
        "Images farther apart than this are not one sequence: tracker, flow history and scale start anew.",
        unit="s",
        at_least=0.01,
        at_most=3600.0,
    )
    diagnostics_period_s: float = setting(
        1.0, "Time between two messages on /diagnostics.", unit="s", at_least=0.1, at_most=60.0, read_only=True
    )
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)

    def check(self) -> None:
        """Check the cameras' names."""
        if not self.cameras:
            raise self.refusal("cameras", "name each camera, or give one empty name: ['']")
        if len(set(self.cameras)) != len(self.cameras):
            raise self.refusal("cameras", "each name must be given once")
        for name in self.cameras:
            if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise self.refusal("cameras", f"{name!r} must be letters, digits and underscores, with a letter first")
            if not name and len(self.cameras) > 1:
                raise self.refusal("cameras", "only a single camera may go unnamed")


@dataclass(frozen=True)
class TrainingNodeConfig(Config):
    """The training node; what is trained, and how, stands in the file that `config` names."""

    data: tuple[str, ...] = setting(
        ("",), "What to train on: bags, data sets, folders of images, videos.", read_only=True
    )
    rectified: str = setting(
        "auto",
        "Whether the images of recordings have their lens distortion removed already; as of the perception node.",
        choices=("auto", "true", "false"),
        read_only=True,
    )
    config: str = setting("", "Training config, YAML; empty: the defaults of config/train.yaml.", read_only=True)
    out: str = setting("", "Folder for checkpoints, logs and the weights file.", read_only=True)
    weights: str = setting(
        "", "Weights file to start from; empty: as the training config says. Not with resume.", read_only=True
    )
    max_steps: int = setting(
        0, "Steps of the whole training; 0: as the training config says.", unit="steps", at_least=0, read_only=True
    )
    resume: bool = setting(
        False, "Go on from the last checkpoint in out; false: out must not hold one.", read_only=True
    )
    validate: tuple[str, ...] = setting(("",), "Data with truth to measure on; an empty name: none.", read_only=True)
    autostart: bool = setting(
        True,
        "Configure and activate at start, and end the process with the training; else wait for a lifecycle manager, "
        "before and after.",
        read_only=True,
    )
    diagnostics_period_s: float = setting(
        1.0, "Time between two messages on /diagnostics.", unit="s", at_least=0.1, at_most=60.0, read_only=True
    )
