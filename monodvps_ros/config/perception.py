# SPDX-License-Identifier: Apache-2.0
"""Settings of what runs for each frame."""

from dataclasses import dataclass, field

from monodvps_ros.config.tree import Config, setting


@dataclass(frozen=True)
class GroupingConfig(Config):
    """From centres and offsets to instances (Cheng et al. 2020, section 3.2)."""

    center_threshold: float = setting(0.2, "Least height of a centre peak; 0.1 in Panoptic-DeepLab.", at_least=0.0,
                                      at_most=1.0)  # fmt: skip
    nms_kernel: int = setting(
        7,
        "Window in which a centre must be the highest at 1024 x 2048, odd; at least 3 at other sizes.",
        unit="px",
        at_least=1,
    )
    top_k: int = setting(200, "Most instances in a frame.", at_least=1, at_most=399)
    min_stuff_area: int = setting(2048, "Stuff smaller than this at 1024 x 2048 becomes void.", unit="px", at_least=0)
    min_thing_area: int = setting(0, "Instances smaller than this at 1024 x 2048 become void.", unit="px", at_least=0)

    def check(self) -> None:
        """Check that the window has a middle."""
        if self.nms_kernel % 2 == 0:
            raise self.refusal("nms_kernel", "it must be odd")


@dataclass(frozen=True)
class TrackerConfig(Config):
    """How instances keep their ids from frame to frame."""

    min_iou: float = setting(
        0.1, "Least mask overlap (IoU, at or above) of one object in two frames.", at_least=0.001, at_most=1.0
    )
    min_iou_across_classes: float = setting(
        0.5,
        "The same where the class changed from one frame to the next; class_votes must be on.",
        at_least=0.001,
        at_most=1.0,
    )
    min_overlap_hidden: float = setting(
        0.5,
        "Least share of the smaller mask that a new object and a hidden one's carried mask have in common.",
        at_least=0.001,
        at_most=1.0,
    )
    max_age: int = setting(15, "Frames for which an object that is hidden is remembered.", unit="frames", at_least=0)
    flow: str = setting(
        "auto",
        "What carries masks on: the network's flow, OpenCV's DIS flow, the network's where it has one, or nothing.",
        choices=("auto", "network", "dis", "none"),
    )
    class_votes: bool = setting(True, "Decide an object's class by all of its frames, not by the newest alone.")


@dataclass(frozen=True)
class ScaleConfig(Config):
    """From the network's depth to metres."""

    mode: str = setting(
        "auto",
        "Where metres come from: auto (metric weights and K, else the camera's height), the camera's height above the "
        "road, fixed_factor, or none: depth as the network gives it.",
        choices=("auto", "camera_height", "fixed", "none"),
    )
    camera_height_m: float = setting(1.5, "Height of the camera above the road.", unit="m", at_least=0.05, at_most=50.0)
    fixed_factor: float = setting(1.0, "Factor for mode 'fixed'.", at_least=1e-6, at_most=1e6)
    drift: float = setting(
        0.05,
        "Relative change of the factor to expect from one frame to the next; smaller smooths more.",
        at_least=1e-4,
        at_most=1.0,
    )
    min_road_points: int = setting(500, "Fewer road pixels than this measure nothing.", unit="px", at_least=10)


@dataclass(frozen=True)
class CloudConfig(Config):
    """The labelled point cloud."""

    stride: int = setting(2, "Take every n-th pixel in both directions.", unit="px", at_least=1, at_most=64)
    organized: bool = setting(True, "Keep image order with NaN for missing points; else leave missing points out.")
    max_range_m: float = setting(80.0, "Points farther along the axis are left out.", unit="m", at_least=0.1)


@dataclass(frozen=True)
class PipelineConfig(Config):
    """What runs for each frame."""

    device: str = setting("auto", "auto (CUDA where there is one), cpu, cuda or cuda:N.", read_only=True)
    weights: str = setting(
        "",
        "Weights file (safetensors), or a graph of 'monodvps export' (.onnx, .pt2). Empty: the weights that ship with "
        "the package; 'random': untrained weights from a fixed seed, to try the plumbing.",
        read_only=True,
    )
    model: str = setting(
        "",
        "Hugging Face models to run instead of our network: PANOPTIC+DEPTH, as in "
        "'mask2former-cityscapes+depth-anything-v2-metric'. Empty: our network, with the weights above.",
        read_only=True,
    )
    output_size: str = setting("camera", "Size at which maps are published.", choices=("camera", "network"))
    precision: str = setting(
        "auto",
        "float32, or float16 on CUDA; auto takes float16 on CUDA.",
        choices=("auto", "float32", "float16"),
        read_only=True,
    )
    sky_depth: bool = setting(False, "Publish depth for sky too, instead of NaN.")
    timing: bool = setting(False, "Time each stage.")
    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)
