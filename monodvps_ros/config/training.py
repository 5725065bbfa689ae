# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run, and of the labels that a teacher makes for one."""

from dataclasses import dataclass, field

from monodvps_ros.config.model import LossConfig, NetworkConfig
from monodvps_ros.config.perception import GroupingConfig
from monodvps_ros.config.tree import Config, setting


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """How weights are learnt: Adam, with a rate that falls as (1 - step / steps) ^ power."""

    learning_rate: float = setting(2.5e-4, "Learning rate of the network at the first step.", at_least=0.0)
    pose_learning_rate: float = setting(1e-4, "Learning rate of the pose network at the first step.", at_least=0.0)
    power: float = setting(0.9, "Power of the falling learning rate; 0 keeps it.", at_least=0.0)
    warmup_steps: int = setting(0, "Steps in which the rate rises from zero.", unit="steps", at_least=0)
    weight_decay: float = setting(0.0, "Decoupled weight decay.", at_least=0.0)
    clip_norm: float = setting(10.0, "Gradients longer than this are shortened to it; 0 leaves them.", at_least=0.0)
    average: float = setting(0.0, "Share of old weights in a running mean of them that is exported, once it "
                             "has warmed up; 0 for none.",
                             at_least=0.0, at_most=0.99999)  # fmt: skip


@dataclass(frozen=True)
class AugmentationConfig(Config):
    """Random changes of training images; all frames of a sample are changed alike."""

    flip: float = setting(0.5, "Share of samples that are mirrored.", at_least=0.0, at_most=1.0)
    color: float = setting(0.5, "Share of samples whose colours are changed.", at_least=0.0, at_most=1.0)
    color_reach: float = setting(0.2, "How far brightness, contrast and saturation are changed.", at_least=0.0,
                                 at_most=0.9)  # fmt: skip
    hue_reach: float = setting(0.1, "How far the hue is turned, as a share of the colour circle.", at_least=0.0,
                               at_most=0.5)  # fmt: skip
    min_scale: float = setting(1.0, "Least enlargement before cropping.", at_least=1.0, at_most=4.0)
    max_scale: float = setting(1.0, "Greatest enlargement before cropping; frames are stored that large.",
                               at_least=1.0, at_most=4.0)  # fmt: skip

    def check(self) -> None:
        """Check the order of the scales."""
        if self.min_scale > self.max_scale:
            raise self.refusal("min_scale", f"it must not be above max_scale, which is {self.max_scale}")


@dataclass(frozen=True)
class TrainingConfig(Config):
    """Everything of a training run but its data and its output folder."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    encoder_weights: str = setting("", "Where the encoder starts: 'hub' (timm's weights), a file, or empty: random.")
    pose_encoder: str = setting("resnet18", "timm encoder of the pose network.")
    pose_encoder_weights: str = setting("", "Where the pose network's encoder starts, likewise.")
    pose_shrink: int = setting(1, "By how much frames are shrunk for the pose network; 2 saves a third of a step's "
                               "time, and the reprojection itself is at half size.", at_least=1, at_most=8)  # fmt: skip
    partial_start: bool = setting(False, "Take from --weights what fits this network and let the rest start anew, as "
                                  "for other classes or heads; the run names what starts anew.")  # fmt: skip
    frozen: tuple[str, ...] = setting((), "Parts that are not trained: encoder, semantic, instance, depth, flow, pose.",
                                      choices=("encoder", "semantic", "instance", "depth", "flow", "pose"))  # fmt: skip
    frozen_statistics: bool = setting(False, "Keep the batch normalisations' statistics as they are.")
    max_steps: int = setting(60000, "Steps of the whole training.", unit="steps", at_least=1)
    batch_size: int = setting(8, "Samples in a step on each device.", at_least=1)
    source_weights: tuple[float, ...] = setting((), "How often each data source is drawn from, in their order; empty: "
                                                "as often as they have samples.", at_least=0.0)  # fmt: skip
    max_gap_s: float = setting(0.5, "Frames farther apart than this are no neighbours.", unit="s", at_least=0.001)
    center_sigma_px: float = setting(8.0, "Standard deviation of a centre's Gaussian in pixels of 1024 x 2048.",
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


@dataclass(frozen=True)
class PseudoLabelConfig(Config):
    """How a teacher labels frames: test-time augmentation as in the paper, then the pipeline's grouping."""

    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    scales: tuple[float, ...] = setting((0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), "Sizes at which our own network looks "
                                        "at each image, as shares of its input size; what it says is averaged.",
                                        at_least=0.1, at_most=4.0)  # fmt: skip
    flips: bool = setting(True, "Let our own network look at each image mirrored as well.")
    confidence: float = setting(0.0, "Pixels whose class is less probable than this become void; the paper has none.",
                                at_least=0.0, at_most=1.0)  # fmt: skip
    input_height: int = setting(0, "Height that images are resized to at scale 1; 0: the teacher's own.", unit="px",
                                at_least=0, at_most=4096)  # fmt: skip
    input_width: int = setting(0, "Width likewise.", unit="px", at_least=0, at_most=8192)
    device: str = setting("auto", "What to compute on: auto, cpu, cuda or cuda:N.")

    def check(self) -> None:
        """Check that there is a scale, and the input size."""
        if not self.scales:
            raise self.refusal("scales", "give at least one, 1 for the input size alone")
        if (self.input_height == 0) != (self.input_width == 0):
            raise self.refusal("input_height", f"input_width is {self.input_width}; give both, or 0 for both")
