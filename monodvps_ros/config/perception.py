# SPDX-License-Identifier: Apache-2.0
"""Settings of the per-frame pipeline."""

from dataclasses import dataclass, field

from monodvps_ros.config.tree import Config, setting
from monodvps_ros.errors import ConfigError, shown


@dataclass(frozen=True)
class GroupingConfig(Config):
    """Grouping of pixels into instances by centres and offsets (Cheng et al. 2020, section 3.2)."""

    center_threshold: float = setting(
        0.2, "Minimum score of an instance centre; 0.1 in Panoptic-DeepLab.", at_least=0.0, at_most=1.0
    )
    nms_kernel: int = setting(
        7, "Side of the non-maximum suppression window at 1024 x 2048, odd; scaled to other sizes, at least 3.",
        unit="px", at_least=1, at_most=1023)  # fmt: skip
    top_k: int = setting(200, "Maximum number of instances per frame.", at_least=1, at_most=399)
    min_stuff_area: int = setting(
        2048, "Minimum area of a stuff segment at 1024 x 2048; smaller ones become void.", unit="px", at_least=0,
        at_most=1024 * 2048)  # fmt: skip
    min_thing_area: int = setting(
        0, "Minimum area of an instance at 1024 x 2048; smaller ones become void.", unit="px", at_least=0,
        at_most=1024 * 2048)  # fmt: skip

    def check(self) -> None:
        """Check that the window has a centre pixel."""
        if self.nms_kernel % 2 == 0:
            raise self.refusal("nms_kernel", "it must be odd")


@dataclass(frozen=True)
class TrackerConfig(Config):
    """Association of instances between frames."""

    min_iou: float = setting(
        0.1, "Minimum mask IoU, inclusive, to match an object between frames.", at_least=0.001, at_most=1.0
    )
    min_iou_across_classes: float = setting(
        0.5, "Minimum mask IoU, inclusive, to match an object whose class changed; requires class_votes.",
        at_least=0.001, at_most=1.0)  # fmt: skip
    min_overlap_hidden: float = setting(
        0.5, "Minimum overlap, as a fraction of the smaller mask, to match a new object with a lost track's "
        "propagated mask.", at_least=0.001, at_most=1.0)  # fmt: skip
    max_age: int = setting(15, "Frames for which a lost track is kept.", unit="frames", at_least=0, at_most=1000)
    flow: str = setting(
        "auto", "Optical flow that propagates masks: network, OpenCV's DIS (dis), none, or auto: the network's if it "
        "has a flow decoder, otherwise DIS.", choices=("auto", "network", "dis", "none"))  # fmt: skip
    class_votes: bool = setting(
        True, "Decide a track's class by a vote over its frames instead of by the current frame alone."
    )


@dataclass(frozen=True)
class ScaleConfig(Config):
    """Metric scale of the depth."""

    mode: str = setting(
        "auto", "Source of the metric scale. auto: metric weights with K, otherwise the camera's height; "
        "camera_height: the camera's height above the road; fixed: fixed_factor; none: the network's depth as it is, "
        "whose scale is unknown.", choices=("auto", "camera_height", "fixed", "none"))  # fmt: skip
    unknown: str = setting(
        "withhold", "While the scale is unknown. withhold: depth is NaN and there is no cloud; publish: depth and "
        "cloud are in the network's own unit, which is not metres.", choices=("withhold", "publish"))  # fmt: skip
    camera_height_m: float = setting(
        0.0, "Height of the camera above the road, at least 0.05; 0: not known.", unit="m", at_least=0.0, at_most=50.0
    )
    fixed_factor: float = setting(1.0, "Scale factor of mode 'fixed'.", at_least=1e-6, at_most=1e6)
    drift: float = setting(
        0.05, "Expected relative change of the scale factor per frame; smaller values smooth more.",
        at_least=1e-4, at_most=1.0)  # fmt: skip
    min_road_points: int = setting(
        500, "Minimum number of road pixels to measure the scale in a frame.", unit="px", at_least=10, at_most=1_000_000
    )

    def check(self) -> None:
        """Check that the height is one."""
        if 0.0 < self.camera_height_m < 0.05:
            raise self.refusal("camera_height_m", "it must be at least 0.05, or 0 where it is not known")


@dataclass(frozen=True)
class OdometryConfig(Config):
    """Visual odometry."""

    source: str = setting(
        "auto",
        "What sees the motion: the pose network of the weights, or corners tracked from frame to frame with the"
        " network's depth; auto: the pose network where the weights have one.",
        choices=("auto", "network", "corners"),
    )
    frame: str = setting("odom", "Fixed frame of the odometry; its origin is where the camera was at the start.")
    child_frame: str = setting(
        "",
        "Frame that moves. Empty: the image's optical frame. Otherwise the name of a frame at the camera with x "
        "forward, y left and z up, such as base_link; the offset between the two is not accounted for.",
    )
    publish_tf: bool = setting(
        False,
        "Publish the transform from frame to child_frame on /tf; nothing else may then publish the pose of "
        "child_frame. Odometry is computed without subscribers too.",
    )

    def check(self) -> None:
        """Check the names of the frames."""
        if not self.frame:
            raise self.refusal("frame", "name a frame, such as odom")
        if self.frame == self.child_frame:
            raise self.refusal("child_frame", f"it must differ from frame, which is {shown(self.frame)}")


@dataclass(frozen=True)
class CloudConfig(Config):
    """The labelled point cloud."""

    stride: int = setting(2, "Use every n-th pixel in both directions.", unit="px", at_least=1, at_most=64)
    organized: bool = setting(
        True, "Publish an organized cloud with NaN for missing points; if false, omit missing points."
    )
    max_range_m: float = setting(80.0, "Maximum depth of a point.", unit="m", at_least=0.1, at_most=10_000.0)


@dataclass(frozen=True)
class PipelineConfig(Config):
    """The per-frame pipeline."""

    device: str = setting(
        "auto", "Device that the network runs on: auto (CUDA if available), cpu, cuda or cuda:N.", read_only=True
    )
    weights: str = setting(
        "",
        "Weights file (.safetensors), a graph exported by 'monodvps export' (.onnx, .xml, .pt2), or the name of "
        "shipped weights: street or drives. Empty: the default shipped weights; 'random': untrained weights from a "
        "fixed seed, for tests.",
        read_only=True,
    )
    engine: str = setting(
        "auto", "What runs the network: torch, openvino or onnxruntime; auto: on a CPU the fastest that is installed "
        "and agrees with torch, measured once and cached; on CUDA torch.",
        choices=("auto", "torch", "openvino", "onnxruntime"), read_only=True)  # fmt: skip
    model: str = setting(
        "",
        "Hugging Face models to run instead of MonoDVPS: PANOPTIC+DEPTH, such as "
        "'mask2former-cityscapes+depth-anything-v2-metric'. Empty: MonoDVPS with the weights above.",
        read_only=True,
    )
    output_size: str = setting(
        "camera",
        "Size of the published maps: that of the camera image or of the network input.",
        choices=("camera", "network"),
    )
    precision: str = setting(
        "auto", "Precision of the network: float32, bfloat16, float16 (CUDA only) or int8 (openvino only, after "
        "'monodvps export --precision int8'); auto: float16 on CUDA; on a CPU float32, or bfloat16 where openvino "
        "has it natively and is faster.",
        choices=("auto", "float32", "bfloat16", "float16", "int8"), read_only=True)  # fmt: skip
    threads: int = setting(
        0, "CPU threads of the network and of other computations, at most one for each core that the process may use; "
        "0: one per core.", at_least=0, at_most=1024, read_only=True)  # fmt: skip
    allow_programs: bool = setting(
        False, "Allow weights that are a .pt2 file, which is a program that runs with the rights of the process: only "
        "for files of people you trust.", read_only=True)  # fmt: skip
    classes: tuple[str, ...] = setting(
        ("",),
        "Names of the classes to keep in masks, segments, boxes and cloud; pixels of others are void, and no "
        "points. A single empty name: all.",
    )
    roi: tuple[int, ...] = setting(
        (0, 0, 0, 0), "Region of interest of the rectified image: x, y, width, height. The rest is cut off, and "
        "outputs have the region's size and K. All 0: the whole image.",
        unit="px", at_least=0, at_most=65535)  # fmt: skip
    sky_depth: bool = setting(False, "Publish the predicted depth of sky pixels instead of NaN.")
    timing: bool = setting(False, "Measure the time of each pipeline stage.")
    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    odometry: OdometryConfig = field(default_factory=OdometryConfig)

    def check(self) -> None:
        """Check that the region is one."""
        if len(self.roi) != 4 or (0 in self.roi[2:] and any(self.roi)):
            raise self.refusal("roi", "it must be x, y, width and height with a width and a height above 0, or all 0")

    @property
    def kept_classes(self) -> tuple[str, ...]:
        """Names of the classes to keep; empty for all."""
        return tuple(name for name in self.classes if name)

    def region(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """Return the rows and the columns of interest of an image (height, width).

        Raises:
            ConfigError: the region is not in the image.
        """
        height, width = size
        x, y, columns, rows = self.roi if any(self.roi) else (0, 0, width, height)
        if x + columns > width or y + rows > height:
            raise ConfigError(f"roi is {list(self.roi)} (x, y, width, height); it does not fit into {width}x{height}")
        return slice(y, y + rows), slice(x, x + columns)
