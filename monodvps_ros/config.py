# SPDX-License-Identifier: Apache-2.0
"""One tree of dataclasses holds every setting; YAML files, command lines and ROS parameters are views of it.

A setting's dotted name (``tracker.min_iou``) is the same in all three. `settings` lists them with default, unit,
range and description; `load` reads a YAML file and dotted overrides over the defaults.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from monodvps_ros.errors import ConfigError

T = TypeVar("T")


def setting(
    default: Any,
    description: str,
    *,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    choices: Sequence[str] = (),
    read_only: bool = False,
) -> Any:
    """Declare one setting of a configuration dataclass.

    Args:
        default: the value where nothing else is said; lists are given as tuples.
        description: one sentence for people; stands in YAML comments, ``--help`` and parameter descriptors.
        unit: of the value, where it has one.
        at_least: smallest value allowed.
        at_most: largest value allowed.
        choices: the words allowed, for a text.
        read_only: true where it cannot be changed while the node runs.
    """
    metadata = {
        "description": description,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "choices": tuple(choices),
        "read_only": read_only,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One leaf of the tree, as `settings` lists it."""

    name: str
    type: Any
    default: Any
    description: str
    unit: str
    at_least: float | None
    at_most: float | None
    choices: tuple[str, ...]
    read_only: bool


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network; stored in the header of its weights."""

    encoder: str = setting("mobilenetv3_large_100", "timm encoder, by name.", read_only=True)
    output_stride: int = setting(16, "Stride of the encoder's last map: 16 or 32.", at_least=16, at_most=32)
    label_space: str = setting("cityscapes", "Classes to predict.", choices=("cityscapes", "semkitti"))
    input_height: int = setting(192, "Height that images are resized to.", unit="px", at_least=64, at_most=4096)
    input_width: int = setting(640, "Width that images are resized to.", unit="px", at_least=64, at_most=8192)
    aspp_channels: int = setting(256, "Channels of each ASPP branch and of its output.", at_least=8)
    semantic_channels: int = setting(256, "Channels of the semantic decoder and head.", at_least=8)
    instance_channels: int = setting(128, "Channels of the instance decoder.", at_least=8)
    head_channels: int = setting(32, "Channels of the centre and offset heads.", at_least=8)
    min_depth_m: float = setting(0.1, "Depth that disparity 1 stands for.", unit="m", at_least=1e-3)
    max_depth_m: float = setting(100.0, "Depth that disparity 0 stands for.", unit="m", at_least=1.0)
    separable_aspp: bool = setting(True, "Make the dilated convolutions of the ASPP depthwise-separable.")
    flow: bool = setting(True, "Build the optical-flow decoder.")
    flow_channels: int = setting(64, "Channels of the flow decoder's estimator; 128 in PWC-Net.", at_least=8)

    def __post_init__(self) -> None:
        """Check what single ranges cannot."""
        _check_ranges(self)
        if self.output_stride not in (16, 32):
            raise ConfigError(f"network.output_stride is {self.output_stride}; it must be 16 or 32")
        for name in ("input_height", "input_width"):
            if getattr(self, name) % 32:
                raise ConfigError(f"network.{name} is {getattr(self, name)}; it must be a multiple of 32")
        if self.min_depth_m >= self.max_depth_m:
            raise ConfigError(
                f"network.min_depth_m ({self.min_depth_m}) must be below network.max_depth_m ({self.max_depth_m})"
            )


@dataclass(frozen=True)
class LossConfig:
    """The training objective, Eqs. 10 and 11 of Petrovai & Nedevschi; a term of weight 0 is not computed."""

    depth: float = setting(50.0, "Weight of all depth terms together.", at_least=0.0)
    semantic: float = setting(1.0, "Weight of the class scores' loss.", at_least=0.0)
    instance: float = setting(1.0, "Weight of centres and offsets together.", at_least=0.0)
    flow: float = setting(10.0, "Weight of the optical-flow loss.", at_least=0.0)
    photometric: float = setting(1.0, "Weight of the minimum reprojection loss among the depth terms.", at_least=0.0)
    smoothness: float = setting(1e-3, "Weight of edge-aware smoothness among the depth terms.", at_least=0.0)
    panoptic_smoothness: float = setting(0.01, "Weight of panoptic-guided smoothness among the depth terms.",
                                         at_least=0.0)  # fmt: skip
    panoptic_edges: float = setting(1e-4, "Weight of panoptic edge discontinuity among the depth terms.", at_least=0.0)
    triplet: float = setting(0.1, "Weight of the panoptic-guided triplet loss among the depth terms.", at_least=0.0)
    supervised_depth: float = setting(0.0, "Weight of the loss against measured depth among the depth terms.",
                                      at_least=0.0)  # fmt: skip
    center: float = setting(200.0, "Weight of the centre heatmap among the instance terms.", at_least=0.0)
    offset: float = setting(0.01, "Weight of the offsets among the instance terms.", at_least=0.0)
    ssim_share: float = setting(0.85, "Share of SSIM in the photometric error.", at_least=0.0, at_most=1.0)
    auto_mask: bool = setting(True, "Leave pixels that stand still out of the reprojection loss.")
    mask_moving_objects: bool = setting(True, "Leave moving objects out of the reprojection loss.")
    iou_start: float = setting(0.7, "Instances that overlap less than this after reprojection move: first step.",
                               at_least=0.0, at_most=1.0)  # fmt: skip
    iou_end: float = setting(0.3, "The same at the last step; linear between the two.", at_least=0.0, at_most=1.0)
    occlusion_threshold: float = setting(
        0.9, "Flow is believed where exp(-colour difference) is above this.", at_least=0.0, at_most=1.0
    )
    triplet_patch: int = setting(5, "Rows and columns of a triplet patch, odd.", unit="px", at_least=3)
    triplet_stride: int = setting(5, "Pixels between triplet patches; 1 for dense ones.", unit="px", at_least=1)
    triplet_margin: float = setting(0.3, "By how much other segments' features must be farther away.", at_least=0.0)
    triplet_min_members: int = setting(4, "Least number of positives and of negatives in a patch.", at_least=1)
    hard_pixels: float = setting(0.2, "Share of an image's pixels, the hardest, that train the class scores.",
                                 at_least=1e-6, at_most=1.0)  # fmt: skip
    small_instance_px: int = setting(4096, "Instances smaller than this weigh more in the class scores' loss.",
                                     unit="px", at_least=0)  # fmt: skip
    small_instance_weight: float = setting(3.0, "How much more.", at_least=0.0)
    flow_smoothness: float = setting(75.0, "Weight of smoothness within the flow loss.", at_least=0.0)
    scale_invariance: float = setting(
        0.5, "Share of a common factor that costs nothing against measured depth.", at_least=0.0, at_most=1.0
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)
        if self.triplet_patch % 2 == 0:
            raise ConfigError(f"loss.triplet_patch is {self.triplet_patch}; it must be odd")


@dataclass(frozen=True)
class GroupingConfig:
    """From centres and offsets to instances (Cheng et al. 2020, section 3.2)."""

    center_threshold: float = setting(0.1, "Least height of a centre peak.", at_least=0.0, at_most=1.0)
    nms_kernel: int = setting(7, "Window in which a centre must be the highest, odd.", unit="px", at_least=1)
    top_k: int = setting(200, "Most instances in a frame.", at_least=1, at_most=399)
    min_stuff_area: int = setting(2048, "Stuff smaller than this at 1024 x 2048 becomes void.", unit="px", at_least=0)
    min_thing_area: int = setting(0, "Instances smaller than this at 1024 x 2048 become void.", unit="px", at_least=0)

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)
        if self.nms_kernel % 2 == 0:
            raise ConfigError(f"grouping.nms_kernel is {self.nms_kernel}; it must be odd")


@dataclass(frozen=True)
class TrackerConfig:
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

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


@dataclass(frozen=True)
class ScaleConfig:
    """From the network's depth to metres."""

    mode: str = setting(
        "camera_height",
        "Take the factor from the camera's height above the road, from fixed_factor, or leave depth as it is.",
        choices=("camera_height", "fixed", "none"),
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

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


@dataclass(frozen=True)
class CloudConfig:
    """The labelled point cloud."""

    stride: int = setting(2, "Take every n-th pixel in both directions.", unit="px", at_least=1, at_most=64)
    organized: bool = setting(True, "Keep image order with NaN for missing points; else leave missing points out.")
    max_range_m: float = setting(80.0, "Points farther along the axis are left out.", unit="m", at_least=0.1)

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


@dataclass(frozen=True)
class PipelineConfig:
    """What runs for each frame."""

    device: str = setting("auto", "auto (CUDA where there is one), cpu, cuda or cuda:N.", read_only=True)
    weights: str = setting(
        "",
        "Weights file (safetensors). Empty: the weights that ship with the package; "
        "'random': untrained weights from a fixed seed, to try the plumbing.",
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

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


@dataclass(frozen=True)
class NodeConfig:
    """The perception node."""

    cameras: tuple[str, ...] = setting(
        ("",),
        "Names of the cameras; each has its topics in a namespace of its name, its own tracker and its own scale, "
        "and all share one network. An empty name: one camera, topics without a further namespace.",
        read_only=True,
    )
    autostart: bool = setting(True, "Configure and activate at start; else wait for a lifecycle manager.",
                              read_only=True)  # fmt: skip
    compressed: bool = setting(False, "Subscribe to image/compressed instead of image.", read_only=True)
    rectified: str = setting(
        "auto",
        "Whether the image has its lens distortion removed already. auto: true where the image topic's name contains "
        "'rect' or the camera has no distortion.",
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
    input_depth: int = setting(5, "Images that the middleware queues for the node.", unit="messages", at_least=1,
                               at_most=100, read_only=True)  # fmt: skip
    output_depth: int = setting(5, "Messages of each output kept for slow subscribers.", unit="messages", at_least=1,
                                at_most=100, read_only=True)  # fmt: skip
    max_gap_s: float = setting(
        2.0,
        "Images farther apart than this are not one sequence: tracker, flow history and scale start anew.",
        unit="s",
        at_least=0.01,
        at_most=3600.0,
    )
    diagnostics_period_s: float = setting(1.0, "Time between two messages on /diagnostics.", unit="s", at_least=0.1,
                                          at_most=60.0, read_only=True)  # fmt: skip
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)

    def __post_init__(self) -> None:
        """Check ranges and the cameras' names."""
        _check_ranges(self)
        if not self.cameras:
            raise ConfigError("NodeConfig.cameras is empty; name each camera, or give one empty name: ['']")
        if len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"NodeConfig.cameras is {list(self.cameras)}; each name must be given once")
        for name in self.cameras:
            if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ConfigError(
                    f"NodeConfig.cameras has {name!r}; a name must be letters, digits and underscores, a letter first"
                )
            if not name and len(self.cameras) > 1:
                raise ConfigError(f"NodeConfig.cameras is {list(self.cameras)}; only a single camera may go unnamed")


@dataclass(frozen=True)
class TrainingNodeConfig:
    """The training node; what is trained, and how, stands in the file that `config` names."""

    data: tuple[str, ...] = setting(
        ("",), "What to train on: bags, data sets, folders of images, videos.", read_only=True
    )
    config: str = setting("", "Training config, YAML; empty: the defaults of config/train.yaml.", read_only=True)
    out: str = setting("", "Folder for checkpoints, logs and the weights file.", read_only=True)
    weights: str = setting(
        "", "Weights file to start from; empty: as the training config says. Not with resume.", read_only=True
    )
    max_steps: int = setting(0, "Steps of the whole training; 0: as the training config says.", unit="steps",
                             at_least=0, read_only=True)  # fmt: skip
    resume: bool = setting(False, "Go on from the last checkpoint in out; false: out must not hold one.",
                           read_only=True)  # fmt: skip
    validate: tuple[str, ...] = setting(("",), "Data with truth to measure on; an empty name: none.", read_only=True)
    autostart: bool = setting(
        True,
        "Configure and activate at start, and end the process with the training; else wait for a lifecycle manager, "
        "before and after.",
        read_only=True,
    )
    diagnostics_period_s: float = setting(1.0, "Time between two messages on /diagnostics.", unit="s", at_least=0.1,
                                          at_most=60.0, read_only=True)  # fmt: skip

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


@dataclass(frozen=True)
class SceneConfig:
    """One synthetic drive; its seed is given apart."""

    frames: int = setting(100, "Frames of the drive.", at_least=1, at_most=3000)
    rate_hz: float = setting(10.0, "Frames per second.", unit="Hz", at_least=1.0, at_most=100.0)
    height: int = setting(192, "Rows of the image.", unit="px", at_least=16, at_most=4096)
    width: int = setting(640, "Columns of the image.", unit="px", at_least=16, at_most=8192)
    focal_px: float = setting(0.0, "Focal length; 0 takes 0.6 times the width.", unit="px", at_least=0.0)
    camera_height_m: float = setting(1.5, "Height of the camera above the road.", unit="m", at_least=0.5, at_most=4.0)
    camera_pitch_deg: float = setting(0.0, "Angle that the camera looks down by.", unit="deg", at_least=-30.0,
                                      at_most=60.0)  # fmt: skip
    max_speed_mps: float = setting(11.0, "Speed on a free road.", unit="m/s", at_least=1.0, at_most=30.0)
    traffic: float = setting(1.0, "Vehicles and people, as a multiple of the usual number.", at_least=0.0, at_most=2.0)
    weather: str = setting("any", "Light and weather; 'any' lets the seed choose.",
                           choices=("any", "clear", "morning", "evening", "overcast", "fog"))  # fmt: skip
    view_distance_m: float = setting(
        250.0, "What is farther away is not drawn.", unit="m", at_least=50.0, at_most=1000.0
    )
    antialias: bool = setting(True, "Smooth the outlines by four samples a pixel; the truth is not touched.")
    device: str = setting("cpu", "Where frames are rendered: cpu, cuda or cuda:N.")

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are learnt: Adam, with a rate that falls as (1 - step / steps) ^ power."""

    learning_rate: float = setting(2.5e-4, "Learning rate of the network at the first step.", at_least=0.0)
    pose_learning_rate: float = setting(1e-4, "Learning rate of the pose network at the first step.", at_least=0.0)
    power: float = setting(0.9, "Power of the falling learning rate; 0 keeps it.", at_least=0.0)
    warmup_steps: int = setting(0, "Steps in which the rate rises from zero.", unit="steps", at_least=0)
    weight_decay: float = setting(0.0, "Decoupled weight decay.", at_least=0.0)
    clip_norm: float = setting(10.0, "Gradients longer than this are shortened to it; 0 leaves them.", at_least=0.0)
    average: float = setting(0.0, "Share of old weights in a running mean of them that is exported; 0 for none.",
                             at_least=0.0, at_most=0.99999)  # fmt: skip

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of training images; all frames of a sample are changed alike."""

    flip: float = setting(0.5, "Share of samples that are mirrored.", at_least=0.0, at_most=1.0)
    color: float = setting(0.5, "Share of samples whose colours are changed.", at_least=0.0, at_most=1.0)
    min_scale: float = setting(1.0, "Least enlargement before cropping.", at_least=0.25, at_most=4.0)
    max_scale: float = setting(1.0, "Greatest enlargement before cropping.", at_least=0.25, at_most=4.0)

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)
        if self.min_scale > self.max_scale:
            raise ConfigError(
                f"augmentation.min_scale ({self.min_scale}) is above augmentation.max_scale ({self.max_scale})"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """Everything of a training run but its data and its output folder."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    encoder_weights: str = setting("", "Where the encoder starts: 'hub' (timm's weights), a file, or empty: random.")
    pose_encoder: str = setting("resnet18", "timm encoder of the pose network.")
    pose_encoder_weights: str = setting("", "Where the pose network's encoder starts, likewise.")
    frozen: tuple[str, ...] = setting((), "Parts that are not trained: encoder, semantic, instance, depth, flow, pose.",
                                      choices=("encoder", "semantic", "instance", "depth", "flow", "pose"))  # fmt: skip
    frozen_statistics: bool = setting(False, "Keep the batch normalisations' statistics as they are.")
    max_steps: int = setting(60000, "Steps of the whole training.", unit="steps", at_least=1)
    batch_size: int = setting(8, "Samples in a step on each device.", at_least=1)
    source_weights: tuple[float, ...] = setting((), "How often each data source is drawn from, in their order; empty: "
                                                "as often as they have samples.", at_least=0.0)  # fmt: skip
    max_gap_s: float = setting(0.5, "Frames farther apart than this are no neighbours.", unit="s", at_least=0.001)
    center_sigma_px: float = setting(8.0, "Standard deviation of a centre's Gaussian, at the network's input size.",
                                     unit="px", at_least=0.1)  # fmt: skip
    workers: int = setting(2, "Processes that read and prepare samples; 0: the training process itself.", at_least=0)
    device: str = setting("auto", "What to train on: auto, cpu or cuda.", choices=("auto", "cpu", "cuda"))
    precision: str = setting("32-true", "Number format of the computation.",
                             choices=("32-true", "16-mixed", "bf16-mixed"))  # fmt: skip
    seed: int = setting(0, "Seed of weights, data order and augmentation.", at_least=0)
    deterministic: bool = setting(
        False, "Let the same run give the same numbers on a GPU too, as far as torch can; what it cannot it warns of."
    )
    checkpoint_every: int = setting(500, "Steps from one checkpoint to the next.", unit="steps", at_least=1)
    validate_every: int = setting(1000, "Steps from one validation to the next; 0 for none.", unit="steps", at_least=0)
    validation_frames: int = setting(200, "Frames that a validation looks at, at most.", unit="frames", at_least=1)
    picture_every: int = setting(500, "Steps from one picture in the log to the next; 0 for none.", unit="steps",
                                 at_least=0)  # fmt: skip

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_ranges(self)


def settings(config_class: type, prefix: str = "") -> Iterator[Setting]:
    """List the leaves of a configuration class, depth first, by their dotted names.

    Args:
        config_class: a dataclass whose fields are settings or further such dataclasses.
        prefix: put before each name.
    """
    hints = typing.get_type_hints(config_class)
    for entry in dataclasses.fields(config_class):
        kind = hints[entry.name]
        if dataclasses.is_dataclass(kind):
            yield from settings(typing.cast(type, kind), f"{prefix}{entry.name}.")
            continue
        default = entry.default_factory() if callable(entry.default_factory) else entry.default
        yield Setting(name=prefix + entry.name, type=kind, default=default, **entry.metadata)


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a configuration into plain nested dictionaries, tuples into lists, ready for YAML or JSON."""
    return {
        entry.name: to_dict(value) if dataclasses.is_dataclass(value) else _plain(value)
        for entry in dataclasses.fields(config)
        for value in [getattr(config, entry.name)]
    }


def from_dict(config_class: type[T], values: Mapping[str, Any], where: str = "configuration", prefix: str = "") -> T:
    """Build a configuration from nested dictionaries; what is not named keeps its default.

    Args:
        config_class: the dataclass to build.
        values: nested dictionaries with the names of its fields.
        where: where the values come from, for error messages.
        prefix: dotted name of this part of the tree.

    Raises:
        ConfigError: a key is unknown, or a value is of the wrong type, out of range or not among the choices.
    """
    hints = typing.get_type_hints(config_class)
    names = [entry.name for entry in dataclasses.fields(typing.cast(Any, config_class))]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'; known here: {', '.join(names)}")
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: '{prefix}{key}' must hold a group of keys but is {value!r}")
            arguments[key] = from_dict(typing.cast(type, kind), value, where, f"{prefix}{key}.")
        else:
            arguments[key] = _convert(value, kind, f"{where}: '{prefix}{key}'")
    try:
        return config_class(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).replace(f'{config_class.__name__}.', prefix)}") from None


def load(config_class: type[T], path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> T:
    """Read a configuration: defaults, then a YAML file, then overrides by dotted name.

    Args:
        config_class: the dataclass to build.
        path: a YAML file, or None for the defaults.
        overrides: dotted name to value; texts are read as YAML scalars (``"0.5"``, ``"true"``).

    Raises:
        ConfigError: the file cannot be read or is not a mapping, or as `from_dict` says.
    """
    values: dict[str, Any] = {}
    where = "configuration"
    if path is not None:
        where = str(path)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: must hold keys and values at the top but holds {type(values).__name__}")
    for name, value in (overrides or {}).items():
        _set(values, name, yaml.safe_load(value) if isinstance(value, str) and value else value)
    return from_dict(config_class, values, where)


def replace(config: T, name: str, value: Any) -> T:
    """Return a copy of a configuration with one setting changed, by its dotted name.

    Raises:
        ConfigError: as `from_dict` says.
    """
    values = to_dict(config)
    _set(values, name, value)
    return from_dict(type(config), values)


def _set(values: dict[str, Any], dotted: str, value: Any) -> None:
    *groups, last = dotted.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"'{dotted}': '{group}' is a value, not a group of keys")
        values = inner
    values[last] = value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _convert(value: Any, kind: Any, what: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(value, next(a for a in typing.get_args(kind) if a is not type(None)), what)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{what} must be a list but is {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(_convert(item, inner, what) for item in value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{what} must be of type {kind.__name__} but is {value!r}")


def _check_ranges(config: Any) -> None:
    for entry in dataclasses.fields(config):
        if dataclasses.is_dataclass(getattr(config, entry.name)):
            continue
        meta, value = entry.metadata, getattr(config, entry.name)
        for item in value if isinstance(value, tuple) else (value,):
            _check_value(f"{type(config).__name__}.{entry.name}", item, meta)


def _check_value(name: str, value: Any, meta: Mapping[str, Any]) -> None:
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(meta['choices'])}")
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"{name} is NaN; give a number")
    low, high = meta["at_least"], meta["at_most"]
    if low is not None and value < low:
        raise ConfigError(f"{name} is {value}; it must be at least {low}")
    if high is not None and value > high:
        raise ConfigError(f"{name} is {value}; it must be at most {high}")
