# SPDX-License-Identifier: Apache-2.0
"""Settings of training and of pseudo-labelling."""

from dataclasses import dataclass, field

from monodvps_ros.config.model import LossConfig, NetworkConfig
from monodvps_ros.config.perception import GroupingConfig
from monodvps_ros.config.tree import Config, setting


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """Adam with a polynomial learning-rate schedule, (1 - step / steps) ^ power."""

    learning_rate: float = setting(2.5e-4, "Initial learning rate of the network.", at_least=0.0, at_most=10.0)
    pose_learning_rate: float = setting(1e-4, "Initial learning rate of the pose network.", at_least=0.0, at_most=10.0)
    power: float = setting(0.9, "Power of the learning-rate schedule; 0: constant.", at_least=0.0, at_most=100.0)
    warmup_steps: int = setting(0, "Steps of linear learning-rate warm-up.", unit="steps", at_least=0, at_most=10**9)
    weight_decay: float = setting(0.0, "Decoupled weight decay.", at_least=0.0, at_most=10.0)
    clip_norm: float = setting(10.0, "Maximum gradient norm; 0: no clipping.", at_least=0.0, at_most=1e6)
    average: float = setting(
        0.0, "Decay of the exponential moving average of the weights, which is what is exported; 0: no averaging.",
        at_least=0.0, at_most=0.99999)  # fmt: skip


@dataclass(frozen=True)
class AugmentationConfig(Config):
    """Data augmentation; the same for all frames of a sample."""

    flip: float = setting(0.5, "Probability of a horizontal flip.", at_least=0.0, at_most=1.0)
    color: float = setting(0.5, "Probability of colour jitter.", at_least=0.0, at_most=1.0)
    color_reach: float = setting(
        0.2, "Range of the brightness, contrast and saturation jitter: factors of 1 ± this.", at_least=0.0, at_most=0.9
    )
    hue_reach: float = setting(
        0.1, "Range of the hue jitter, as a fraction of the hue circle.", at_least=0.0, at_most=0.5
    )
    gray: float = setting(
        0.0, "Probability of an image without colour, as of a grey camera.", at_least=0.0, at_most=1.0
    )
    min_scale: float = setting(
        1.0, "Minimum scale factor of random resizing, before cropping.", at_least=1.0, at_most=4.0
    )
    max_scale: float = setting(
        1.0, "Maximum scale factor of random resizing, before cropping; frames are cached at this scale.",
        at_least=1.0, at_most=4.0)  # fmt: skip
    max_stretch: float = setting(
        1.0,
        "Maximum factor of random horizontal stretching of half the samples, before cropping. A wide network"
        " input stretches the images of narrower cameras: of 4:3 to 640 x 192 by 2.5.",
        at_least=1.0,
        at_most=4.0,
    )

    def check(self) -> None:
        """Check the order of the scales."""
        if self.min_scale > self.max_scale:
            raise self.refusal("min_scale", f"it must not be above max_scale, which is {self.max_scale}")


@dataclass(frozen=True)
class TrainingConfig(Config):
    """A training run, apart from its data and output folder."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    network_of_weights: bool = setting(
        False, "Take the network settings from the initial weights (--weights) instead of this configuration."
    )
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    encoder_weights: str = setting(
        "",
        "Initial weights of the encoder where --weights does not replace it: 'hub' (timm's pretrained weights) or a"
        " file; empty: random.",
    )
    pose_encoder: str = setting("resnet18", "Name of the timm encoder of the pose network.")
    pose_encoder_weights: str = setting(
        "",
        "Initial weights of the pose network's encoder where --weights does not replace it: 'hub' (timm's pretrained"
        " weights) or a file; empty: random.",
    )
    pose_shrink: int = setting(
        1, "Factor by which frames are downsampled for the pose network; 2 saves a third of the time of a step.",
        at_least=1, at_most=8)  # fmt: skip
    partial_start: bool = setting(
        False,
        "Load from --weights only the parameters whose shapes match this network and initialise the rest, which the"
        " run lists.",
    )
    frozen: tuple[str, ...] = setting(
        (),
        "Parts of the network that are not trained.",
        choices=("encoder", "semantic", "instance", "depth", "flow", "pose"),
    )
    frozen_statistics: bool = setting(False, "Freeze the running statistics of batch normalisation.")
    max_steps: int = setting(60000, "Total number of training steps.", unit="steps", at_least=1, at_most=10**9)
    batch_size: int = setting(8, "Batch size per device.", at_least=1, at_most=4096)
    source_weights: tuple[float, ...] = setting(
        (),
        "Relative sampling weight of each data source, in the order given; empty: proportional to their sizes.",
        at_least=0.0,
        at_most=1e6,
    )
    max_gap_s: float = setting(
        0.5, "Maximum time between neighbouring frames of a training sample.", unit="s", at_least=0.001, at_most=3600.0
    )
    center_sigma_px: float = setting(
        8.0,
        "Standard deviation of the centre heatmap's Gaussians, in pixels at 1024 x 2048.",
        unit="px",
        at_least=0.1,
        at_most=1000.0,
    )
    workers: int = setting(
        2, "Data-loading processes; 0: samples are loaded in the training process.", at_least=0, at_most=1024
    )
    device: str = setting("auto", "Training device.", choices=("auto", "cpu", "cuda"))
    precision: str = setting(
        "32-true", "Numerical precision, as named by Lightning.", choices=("32-true", "16-mixed", "bf16-mixed")
    )
    seed: int = setting(0, "Random seed of weights, data order and augmentation.", at_least=0, at_most=2**32 - 1)
    deterministic: bool = setting(
        False, "Use deterministic algorithms on a GPU; torch warns about operations that have none."
    )
    checkpoint_every: int = setting(500, "Steps between checkpoints.", unit="steps", at_least=1, at_most=10**9)
    validate_every: int = setting(
        1000, "Steps between validations; 0: no validation.", unit="steps", at_least=0, at_most=10**9
    )
    validation_frames: int = setting(
        200, "Maximum number of frames per validation.", unit="frames", at_least=1, at_most=10**9
    )
    picture_every: int = setting(500, "Steps between logged images; 0: none.", unit="steps", at_least=0, at_most=10**9)


@dataclass(frozen=True)
class PseudoLabelConfig(Config):
    """Pseudo-labelling: test-time augmentation as in the paper, then the grouping of the pipeline."""

    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    scales: tuple[float, ...] = setting(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), "Scales of test-time augmentation of a MonoDVPS teacher, relative to "
        "its input size; predictions are averaged.", at_least=0.1, at_most=4.0)  # fmt: skip
    flips: bool = setting(True, "Also predict on mirrored images (test-time augmentation of a MonoDVPS teacher).")
    confidence: float = setting(
        0.0, "Minimum class probability of a labelled pixel; others become void. 0, as in the paper: none.",
        at_least=0.0, at_most=1.0)  # fmt: skip
    input_height: int = setting(
        0, "Input height of the teacher at scale 1; 0: the teacher's default.", unit="px", at_least=0, at_most=4096
    )
    input_width: int = setting(
        0, "Input width of the teacher at scale 1; 0: the teacher's default.", unit="px", at_least=0, at_most=8192
    )
    device: str = setting("auto", "Device that the teacher runs on: auto (CUDA if available), cpu, cuda or cuda:N.")

    def check(self) -> None:
        """Check the scales and the input size."""
        if not self.scales:
            raise self.refusal("scales", "give at least one, 1 for the input size alone")
        if (self.input_height == 0) != (self.input_width == 0):
            raise self.refusal("input_height", f"input_width is {self.input_width}; give both, or 0 for both")
