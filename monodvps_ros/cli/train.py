# SPDX-License-Identifier: Apache-2.0
"""`monodvps train`: train the network on recordings."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monodvps_ros.cli.options import ImageTopicOption, RectifiedOption
from monodvps_ros.cli.overrides import split_words
from monodvps_ros.config import TrainingConfig, load
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.errors import ConfigError, counted


def train(
    data: Annotated[
        list[str], typer.Option(help="Bag, data set, folder of images, or video to train on; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Output folder for checkpoints, logs and the weights file.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]... [NAME=VALUE]...",
            help="More data, and settings by dotted name, such as loss.depth=10.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Training configuration (YAML). Default: built-in defaults.")
    ] = None,
    validate: Annotated[str, typer.Option(help="Data with ground truth for validation.")] = "",
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
    max_steps: Annotated[int | None, typer.Option(help="Total number of training steps.", min=1)] = None,
    weights: Annotated[
        str, typer.Option(help="Initial weights: file, checkpoint, or a shipped name (street, drives).")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")] = False,
    devices: Annotated[int, typer.Option(help="Number of training processes (GPUs) per machine.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Number of machines.", min=1)] = 1,
) -> int:
    """Train the network: depth, flow and ego motion from raw video, panoptic segmentation from labels.

    Exit code 3: finished, but frames of the data are missing, damaged or skipped. If most are, training is refused.
    """
    from monodvps_ros.data import open_source  # noqa: PLC0415 (so that --help does not wait for torch)
    from monodvps_ros.data.formats.pseudo_labels import is_pseudo_labelled  # noqa: PLC0415
    from monodvps_ros.training.run import train as run  # noqa: PLC0415

    paths, overrides = split_words(words or [], TrainingConfig)
    overrides |= {} if max_steps is None else {"max_steps": max_steps}
    settings = load(TrainingConfig, config, overrides)
    if resume and weights:
        raise ConfigError("--resume continues with the weights of the checkpoint; remove --weights")
    if validate and is_pseudo_labelled(Path(validate)):
        raise ConfigError(f"--validate {validate} contains pseudo-labels, not ground truth; give data with true labels")
    names = [*data, *paths]
    result = run(
        settings,
        [open_source(Path(name), image_topic=image_topic, rectified=rectified) for name in names],
        out,
        names=names,
        validation=open_source(Path(validate), image_topic=image_topic, rectified=rectified) if validate else None,
        weights=weights,
        resume=resume,
        devices=devices,
        nodes=nodes,
    )
    after = counted(result.steps, "step")
    Console(markup=False).print(f"{result.weights} after {after}", soft_wrap=True, highlight=False)
    code = exit_code(result.damage)
    if not result.stopped_by:
        return code
    Console(markup=False, stderr=True).print(f"stopped at step {result.steps} of {settings.max_steps}; use --resume")
    return 128 + result.stopped_by
