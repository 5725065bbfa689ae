# SPDX-License-Identifier: Apache-2.0
"""`monodvps pseudo-label`: label a recording with teacher models, for training."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from monodvps_ros.cli.options import ImageTopicOption, RectifiedOption, parse_size
from monodvps_ros.cli.overrides import only_settings
from monodvps_ros.config import PseudoLabelConfig, load
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.errors import ConfigError, DataError, counted, shortened
from monodvps_ros.files import owned
from monodvps_ros.progress import tracked
from monodvps_ros.types import SampleSource

_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=VALUE]...", help="Settings by dotted name, such as grouping.min_thing_area=64."),
]
_Teacher = Annotated[
    str | None,
    typer.Option(
        help="Teacher of classes and instances: 'street', 'drives', another MonoDVPS weights file, or a panoptic "
        "model of the Hugging Face hub, such as mask2former-cityscapes. Default: none; frames keep their labels."
    ),
]
_Config = Annotated[
    Path | None, typer.Option(help="Pseudo-labelling configuration (YAML). Default: built-in defaults.")
]
_Confidence = Annotated[
    float | None, typer.Option(help="Minimum class probability of a labelled pixel, 0..1; others become void.")
]
_EgoMask = Annotated[
    Path | None, typer.Option(help="PNG of the image size, above 0 on the ego vehicle, which becomes void.")
]
_EgoPolygon = Annotated[
    str | None, typer.Option(help="Outline of the ego vehicle instead of --ego-mask: 'u,v u,v u,v' in image pixels.")
]
_Scales = Annotated[
    str | None,
    typer.Option(
        help="Test-time augmentation scales of a MonoDVPS teacher: from:to:step, or a list; paper: 0.5:2:0.25."
    ),
]
_Flips = Annotated[
    bool | None, typer.Option("--flips/--no-flips", help="Also predict on mirrored images (MonoDVPS teachers only).")
]
_Size = Annotated[str | None, typer.Option(help="Teacher input size at scale 1, HxW. Default: the teacher's own.")]
_DepthTeacher = Annotated[
    str | None,
    typer.Option(
        help="Teacher of depth. In metres: 'stereo' (right images: a second topic, or image_right/ and baseline_m of "
        "a folder), 'lidar' (a PointCloud2), 'topic' (depth images). In metres if metric, otherwise up to scale and "
        "shift: 'street', another MonoDVPS weights file, or a depth model of the Hugging Face hub, such as "
        "depth-anything-v2-metric."
    ),
]
_DepthTopic = Annotated[
    str | None,
    typer.Option(
        help="Topic that the depth teacher reads. stereo: the right images; default: the image topic with 'left' "
        "replaced by 'right'. lidar: the point cloud; default: the only PointCloud2. topic: the depth images."
    ),
]
_DepthWithin = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Maximum time between an image and the depth teacher's message (s). Default: 0.005 for stereo, 0.05 for "
        "lidar, 0.02 for topic.",
    ),
]
_Extrinsics = Annotated[
    Path | None,
    typer.Option(
        help="YAML file with the LiDAR extrinsics: camera_from_lidar, a 3x4 or 4x4 transform in row-major order from "
        "the LiDAR frame to the camera's optical frame, in metres. Default: /tf and /tf_static of the bag."
    ),
]

_KeepLabels = Annotated[bool, typer.Option("--keep-labels", help="Keep the labels of frames that have ground truth.")]


def pseudo_label(
    data: Annotated[Path, typer.Option(help="Bag, folder of bags, data set, folder of images, or video to label.")],
    out: Annotated[Path, typer.Option(help="Output folder for the labels; an interrupted run is continued.")],
    words: _Words = None,
    teacher: _Teacher = None,
    config: _Config = None,
    confidence: _Confidence = None,
    ego_mask: _EgoMask = None,
    ego_polygon: _EgoPolygon = None,
    scales: _Scales = None,
    flips: _Flips = None,
    size: _Size = None,
    depth_teacher: _DepthTeacher = None,
    depth_topic: _DepthTopic = None,
    depth_within: _DepthWithin = None,
    extrinsics: _Extrinsics = None,
    keep_labels: _KeepLabels = False,
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
    device: Annotated[str | None, typer.Option(help="Device: auto (CUDA if available), cpu, cuda or cuda:N.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Maximum number of frames to label.")] = None,
) -> int:
    """Label a recording with teachers of segmentation, depth or both; train on it with `monodvps train --data OUT`.

    Exit code 3: finished, but input frames are missing, damaged or skipped because of their stamps.
    """
    # Imported here so that --help does not wait for torch.
    from monodvps_ros.perception import resolve_device  # noqa: PLC0415
    from monodvps_ros.training.depth_teachers import load_depth_teacher  # noqa: PLC0415
    from monodvps_ros.training.ego_region import EgoRegion  # noqa: PLC0415
    from monodvps_ros.training.measuring_teachers import MeasuredDepth  # noqa: PLC0415
    from monodvps_ros.training.pseudo_labels import PseudoLabelling, Recording  # noqa: PLC0415
    from monodvps_ros.training.teachers import is_monodvps_weights, load_teacher  # noqa: PLC0415

    if teacher is not None and not is_monodvps_weights(teacher) and (scales is not None or flips):
        raise ConfigError(
            f"--scales and --flips apply to MonoDVPS teachers only, but --teacher is '{shortened(teacher)}'"
        )
    _check_depth_options(depth_teacher, depth_topic, depth_within, extrinsics)
    views = {"scales": None if scales is None else parse_scales(scales), "flips": flips}
    settings = _settings(config, words or [], size, {"confidence": confidence, "device": device, **views})
    chosen = resolve_device(settings.device)
    labeller = None if teacher is None else load_teacher(teacher, settings, chosen)
    source = _open(data, image_topic, rectified, None if keep_labels else labeller)
    measured = MeasuredDepth(data, depth_topic, depth_within, extrinsics, image_topic, rectified)
    with owned(out):
        labelling = PseudoLabelling(
            Recording(data, source, image_topic, rectified),
            out,
            labeller,
            settings,
            chosen,
            ego=None if ego_mask is None and ego_polygon is None else EgoRegion(ego_mask, ego_polygon),
            depth_teacher=None if depth_teacher is None else load_depth_teacher(depth_teacher, chosen, measured),
            keep_labels=keep_labels,
            limit=frames,
        )
        return _run(labelling, data)


def _check_depth_options(teacher: str | None, *options: object) -> None:
    if teacher is None and any(option is not None for option in options):
        raise ConfigError("--depth-topic, --depth-within and --extrinsics require --depth-teacher")


def _open(data: Path, image_topic: str | None, rectified: str, labeller: Any) -> SampleSource:
    """Open what is to be labelled, without its own labels where those of a labeller take their place."""
    from monodvps_ros.data import open_source  # noqa: PLC0415

    source = open_source(data, image_topic=image_topic, rectified=rectified)
    if not len(source):
        raise DataError(f"{data}: contains no frames")
    if labeller is None or source.label_space.name == labeller.labels.name:
        return source
    return open_source(data, image_topic=image_topic, labels=labeller.labels, rectified=rectified)


def _settings(config: Path | None, words: list[str], size: str | None, given: dict[str, Any]) -> PseudoLabelConfig:
    overrides = only_settings(words, PseudoLabelConfig)
    rows_columns = {} if size is None else dict(zip(("input_height", "input_width"), parse_size(size), strict=True))
    options = {name: value for name, value in {**given, **rows_columns}.items() if value is not None}
    return load(PseudoLabelConfig, config, {**overrides, **options})


def _run(labelling: Any, data: Path) -> int:
    console = Console(markup=False, stderr=True)
    console.print(f"{data}: {counted(labelling.length, 'frame')}; {labelling.description}", soft_wrap=True)
    for _ in tracked(labelling, "labelling", labelling.length, console, transient=False):
        pass
    for line in labelling.summary():
        Console(markup=False).print(line, soft_wrap=True, highlight=False)
    return exit_code(labelling.damage)


def parse_scales(text: str) -> list[float]:
    """Read ``from:to:step`` (both ends included) or a comma-separated list.

    Raises:
        ConfigError: the text is neither.
    """
    try:
        if ":" not in text:
            return [float(word) for word in text.split(",")]
        first, last, step = (float(word) for word in text.split(":"))
        if not (step > 0 and math.isfinite(first + last + step)):
            raise ValueError(text)
    except ValueError:
        raise ConfigError(
            f"scales is '{shortened(text)}'; expected from:to:step, such as 0.5:2:0.25, or 0.5,1,2"
        ) from None
    return [round(first + place * step, 9) for place in range(math.floor((last - first) / step + 1e-9) + 1)]
