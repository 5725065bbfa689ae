# SPDX-License-Identifier: Apache-2.0
"""`monodvps export`: export a checkpoint to a file that the node runs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from monodvps_ros.cli.options import ImageTopicOption, RectifiedOption
from monodvps_ros.errors import ConfigError, counted
from monodvps_ros.files import clear_partials, owned

_ENDINGS = {"safetensors": ".safetensors", "onnx": ".onnx", "aoti": ".pt2"}


_Checkpoint = Annotated[
    str,
    typer.Option(
        help="Checkpoint of a training run (OUT/checkpoints/last.ckpt or best.ckpt), weights file or shipped name "
        "(street, drives); with --engine weights only, by default 'street'."
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        help="Output file; its suffix must match the format: .safetensors, .onnx or, for aoti, .pt2; for int8 .xml. "
        "Default with --engine: the cache, where the node finds it."
    ),
]
_Format = Annotated[
    Literal["safetensors", "onnx", "aoti"],
    typer.Option(
        "--format",
        help="safetensors: weights; onnx: graph of fixed input size; aoti: a program compiled for this machine, which "
        "runs only with allow_programs=true.",
    ),
]
_Score = Annotated[
    Path | None, typer.Option(help="JSON file of monodvps evaluate, whose figures are stored in the model card.")
]
_License = Annotated[
    str, typer.Option("--license", help="Licence of the weights, which their training data may restrict.")
]
_Engine = Annotated[
    Literal["openvino", "onnxruntime"] | None,
    typer.Option(help="Prepare weights for this engine on the CPU, instead of --format, and check them."),
]
_Precision = Annotated[
    Literal["float32", "bfloat16", "int8"], typer.Option(help="Precision of --engine; int8: openvino only.")
]
_Calibrate = Annotated[
    Path | None,
    typer.Option(help="Recording, data set, folder of images or video of your camera, to calibrate int8 with."),
]


def export(
    checkpoint: _Checkpoint = "",
    out: _Out = None,
    format_: _Format = "safetensors",
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16 (safetensors only).")] = False,
    score: _Score = None,
    license_: _License = "",
    device: Annotated[str, typer.Option(help="Device that an aoti package is compiled for: cpu or cuda.")] = "cpu",
    engine: _Engine = None,
    precision: _Precision = "float32",
    calibrate: _Calibrate = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of --calibrate to use, spread over it.")] = 128,
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
) -> None:
    """Export a checkpoint with its model card to a file that the node and the other commands run.

    With --engine: convert weights for an engine and keep them in the cache, so that a node with the same engine and
    precision starts at once. int8 is calibrated on frames of your camera.
    """
    if engine is not None:
        _prepare(checkpoint, out, engine, precision, calibrate, image_topic, rectified, frames)
        return
    if not checkpoint or out is None:
        raise ConfigError("--checkpoint and --out are needed without --engine; give both")
    if out.suffix != _ENDINGS[format_]:
        raise ConfigError(f"--out is {out}, but a file of format {format_} ends in {_ENDINGS[format_]}")
    if half and format_ != "safetensors":
        raise ConfigError(f"--half is for safetensors; a graph of format {format_} contains float32")
    # Imported here: Lightning takes seconds, and --help must not.
    from monodvps_ros.evaluation.result import CARD_KEY, for_card, read_result  # noqa: PLC0415
    from monodvps_ros.training.export import export_checkpoint, export_checkpoint_graph  # noqa: PLC0415

    measured: dict[str, Any] = {} if score is None else {CARD_KEY: for_card(read_result(score))}
    if license_:
        measured["license"] = license_
    with owned(out, is_file=True):
        clear_partials(out)
        if format_ == "safetensors":
            card = export_checkpoint(Path(checkpoint), out, half, measured)
        else:
            card = export_checkpoint_graph(Path(checkpoint), out, device, measured)
    size = out.stat().st_size / 1e6
    figures = ", ".join(f"{name} {value:.3f}" for name, value in card.get("metrics", {}).items()) or "no figures"
    Console(markup=False).print(
        f"{out} ({size:.1f} MB) from step {card.get('steps', 'unknown')}: {figures}", soft_wrap=True
    )


def _prepare(
    weights: str,
    out: Path | None,
    engine: str,
    precision: str,
    calibrate: Path | None,
    image_topic: str | None,
    rectified: str,
    frames: int,
) -> None:
    """Convert weights for an engine, check them, and say how far it agrees with torch."""
    if weights.endswith(".ckpt"):
        raise ConfigError(f"--engine takes weights; export {weights} to a .safetensors file first")
    if (precision == "int8") != (calibrate is not None):
        raise ConfigError("--precision int8 needs --calibrate FRAMES, which applies to int8 only")
    if out is not None and (precision != "int8" or out.suffix != ".xml"):
        raise ConfigError(f"--out is {out}; with --engine only --precision int8 writes a file, which ends in .xml")
    import torch  # noqa: PLC0415 (takes seconds, and --help must not)

    from monodvps_ros.config import PipelineConfig  # noqa: PLC0415
    from monodvps_ros.data import open_source  # noqa: PLC0415
    from monodvps_ros.engines import load_engine, make_int8, open_graph  # noqa: PLC0415
    from monodvps_ros.network import load_network  # noqa: PLC0415
    from monodvps_ros.perception.calibration import agreement, calibration_inputs  # noqa: PLC0415

    config = PipelineConfig(device="cpu", weights=weights, engine=engine, precision=precision)
    says = ""
    if calibrate is None:
        model = load_engine(config, torch.device("cpu"))
    else:
        network = load_network(weights)
        source = open_source(calibrate, image_topic=image_topic, rectified=rectified)
        inputs = calibration_inputs(source, network, frames)
        path = make_int8(weights, inputs, out)
        model = (
            load_engine(config, torch.device("cpu")) if out is None else open_graph(path, config, torch.device("cpu"))
        )
        same, difference = agreement(model, network, inputs)
        says = (
            f"; {path}; on {counted(len(inputs), 'frame')} {100 * same:.1f} % of the pixels have the same class as "
            f"with torch, and the median difference in depth is {100 * difference:.1f} %"
        )
    Console(markup=False).print(f"ready: {model.description}{says}", soft_wrap=True)
