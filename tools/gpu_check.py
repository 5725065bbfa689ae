#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All that a GPU must show, in one run: ``python tools/gpu_check.py --out FOLDER``.

Every stage against the CPU, the time of a frame by stage, waits of the host, memory, training, engines. Writes
``gpu_check.json`` and ``gpu_check.txt``, and ends with 1 where a check fails. Neither ROS nor recordings are needed.
``--device cpu --quick`` tries the script itself: small, with the steps in the form that they have on a GPU.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_check_waits import count_waits, fixed_shapes
from torch import Tensor

from monodvps_ros.benchmark.stages import street_output
from monodvps_ros.config import NetworkConfig, PipelineConfig, TrainingConfig, load
from monodvps_ros.engines.selection import candidates, load_engine
from monodvps_ros.errors import ConfigError, DeviceError, MonoDVPSError
from monodvps_ros.files import write_text
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.network import MonoDVPS, prepare_for_inference
from monodvps_ros.outputs import RECORDED_OUTPUTS, Perception
from monodvps_ros.perception import Pipeline
from monodvps_ros.types import CameraFrame, FrameTruth, NetworkOutput, Sample

#: Goals on an H100.
FRAMES_PER_S, HOST_WAITS, TRAINED_PER_S = 100.0, 1.0, 400.0
#: Largest share of pixels whose ids or colours differ from the CPU's, and largest relative difference of depth.
DIFFERENT, DEPTH_DIFFERENCE = 1e-3, 1e-3
#: Largest difference of disparity of an engine from torch on the CPU.
ENGINE_DIFFERENCE = 0.02


@dataclass
class Check:
    """One figure: its name, value and unit, its goal where it has one, and whether that is met."""

    name: str
    value: float | str
    unit: str = ""
    goal: str = ""
    passed: bool | None = None


@dataclass(frozen=True)
class Sizes:
    """How large and how long everything is."""

    input_size: tuple[int, int]
    encoder: str
    frames: int
    training: tuple[tuple[tuple[int, int], int], ...]  # sizes with their batch sizes
    steps: int
    weights: str


FULL = Sizes((1024, 2048), "resnet50", 100, (((192, 640), 24), ((512, 1024), 8)), 60, "street")
QUICK = Sizes((128, 384), "mobilenetv3_small_050", 4, (((64, 96), 2),), 3, "random")


@dataclass
class Street:
    """The network computes, and its answers are replaced by those of a street with 20 cars, so that all steps work."""

    network: MonoDVPS
    answers: NetworkOutput
    label_space: LabelSpace = CITYSCAPES
    is_metric: bool = False
    canonical_focal_px: float = 0.0
    description: str = "street"
    memories: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take what the network says of itself."""
        self.input_size = self.network.input_size
        self.depth_range_m = self.network.depth_range_m
        self.has_flow = self.network.has_flow

    def infer(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        """Run the network; keep its flow and memory."""
        found = self.network.infer(image, memory)
        return replace(self.answers, flow_px=found.flow_px, memory=found.memory)


def make_pipeline(sizes: Sizes, device: torch.device, timing: bool = False, with_network: bool = True) -> Pipeline:
    """Make a pipeline with untrained weights, always the same."""
    torch.manual_seed(0)
    height, width = sizes.input_size
    network = MonoDVPS(NetworkConfig(encoder=sizes.encoder, input_height=height, input_width=width))
    network = prepare_for_inference(network).to(device)
    answers = street_output(sizes.input_size)
    moved: dict[str, Any] = {
        name: value.to(device) if isinstance(value, Tensor) else tuple(part.to(device) for part in value)
        for name, value in vars_of(answers).items()
        if value is not None
    }
    model = Street(network, NetworkOutput(**moved))
    config = load(PipelineConfig, None, {
        "device": str(device), "timing": timing, "scale.camera_height_m": 1.5,
        "tracker.flow": "auto" if with_network else "none",
    })  # fmt: skip
    if not with_network:
        model.infer = lambda image, memory=(): model.answers  # type: ignore[method-assign]
    return Pipeline(model, config)


def vars_of(answers: NetworkOutput) -> dict[str, Any]:
    """Return the fields of a frozen dataclass with slots, not copied."""
    return {name: getattr(answers, name) for name in answers.__dataclass_fields__}


def camera_frames(sizes: Sizes, count: int) -> Iterator[CameraFrame]:
    """Give frames of a camera at the network's size."""
    height, width = sizes.input_size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    intrinsics = np.array([[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1]])
    for stamp in range(count):
        yield CameraFrame(image, stamp, "camera", intrinsics)


def check_outputs(sizes: Sizes, device: torch.device) -> Iterator[Check]:
    """Compare every output with the CPU's, of the same answers of a network."""

    def outputs(where: torch.device) -> list[Perception]:
        pipeline = make_pipeline(sizes, where, with_network=False)
        return [pipeline.step(frame, RECORDED_OUTPUTS) for frame in camera_frames(sizes, 3)]

    expected = outputs(torch.device("cpu"))
    with fixed_shapes():
        found = outputs(device)
    ours, theirs = found[-1], expected[-1]
    for name in ("panoptic", "color", "semantic", "confidence"):
        share = float(np.mean(getattr(ours, name) != getattr(theirs, name)))
        yield Check(f"{name}: differs from the CPU", share, "of pixels", f"<= {DIFFERENT:g}", share <= DIFFERENT)
    assert ours.depth_m is not None and theirs.depth_m is not None
    assert ours.cloud is not None and theirs.cloud is not None
    for name, one, other in (("depth", ours.depth_m, theirs.depth_m), ("cloud z", ours.cloud["z"], theirs.cloud["z"])):
        known = np.isfinite(one) & np.isfinite(other)
        worst = float(np.abs(one[known] / other[known] - 1).max()) if known.any() else float("nan")
        apart = float(np.mean(np.isfinite(one) != np.isfinite(other)))  # where a pixel of sky is another class
        passed = worst <= DEPTH_DIFFERENCE and apart <= DIFFERENT
        yield Check(f"{name}: differs from the CPU", worst, "relative", f"<= {DEPTH_DIFFERENCE:g}", passed)
    ids = [[(s.panoptic_id, s.track_id, s.age_frames) for s in seen.segments or ()] for seen in (ours, theirs)]
    yield Check("segments: ids and ages as on the CPU", len(ids[0]), "segments", "equal, >= 20",
                ids[0] == ids[1] and len(ids[0]) >= 20)  # fmt: skip


def check_frames(sizes: Sizes, device: torch.device) -> Iterator[Check]:
    """Time frames with all outputs, by stage and on the whole; count waits and memory."""
    on_gpu = device.type == "cuda"
    with fixed_shapes():
        timed = make_pipeline(sizes, device, timing=True)
        stages = [timed.step(frame, RECORDED_OUTPUTS).timings_ms for frame in camera_frames(sizes, 12)][2:]
        for name in stages[-1]:
            yield Check(f"stage {name}", statistics.median(row[name] for row in stages), "ms")
        pipeline = make_pipeline(sizes, device)
        frames = list(camera_frames(sizes, sizes.frames + 10))
        for frame in frames[:10]:
            pipeline.step(frame, RECORDED_OUTPUTS)
        begun = time.perf_counter()
        for frame in frames[10:]:
            pipeline.step(frame, RECORDED_OUTPUTS)
        rate = sizes.frames / (time.perf_counter() - begun)
        height, width = sizes.input_size
        yield Check(f"frames at {height}x{width}, {sizes.encoder}", rate, "frames/s",
                    f">= {FRAMES_PER_S:g}" if on_gpu else "", rate >= FRAMES_PER_S if on_gpu else None)  # fmt: skip
        last = replace_stamp(frames[-1])
        waits, places = count_waits(lambda: pipeline.step(last, RECORDED_OUTPUTS), device)
    yield Check("waits of the host in a frame", waits, "", f"<= {HOST_WAITS:g}" if on_gpu else "",
                waits <= HOST_WAITS if on_gpu else None)  # fmt: skip
    for place, count in places.items():
        yield Check(f"  waits in {place}", count)
    if on_gpu:
        yield Check("memory of the GPU", torch.cuda.max_memory_allocated(device) / 1e6, "MB")


def replace_stamp(frame: CameraFrame) -> CameraFrame:
    """Return the frame with the next stamp."""
    return replace(frame, stamp_ns=frame.stamp_ns + 1)


class Cars:
    """A source of made-up frames: noise that moves, a road, a car, depth."""

    rate_hz = 10.0
    label_space = CITYSCAPES

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.size, self.count = size, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        height, width = self.size
        noise = np.random.default_rng(0).integers(0, 256, (height, width + 4 * self.count, 3), dtype=np.uint8)
        intrinsics = np.array([[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1]])
        depth = np.repeat(np.linspace(60, 4, height, dtype=np.float32)[:, None], width, 1)
        panoptic = np.full((height, width), CITYSCAPES.class_id("road") * 1000, np.uint16)
        panoptic[height // 2 : -height // 8, width // 3 : width // 2] = CITYSCAPES.class_id("car") * 1000 + 1
        for index in range(self.count):
            image = np.ascontiguousarray(noise[:, 4 * index : 4 * index + width])
            frame = CameraFrame(image, index * 100_000_000, "camera", intrinsics)
            yield Sample(frame, FrameTruth(panoptic=panoptic, depth_m=depth), "0", index, f"frame {index}")


def check_training(sizes: Sizes, device: torch.device) -> Iterator[Check]:
    """Train on made-up frames through the loader, and time the steps after the first third."""
    from lightning.pytorch import Callback  # noqa: PLC0415 (the other checks do not need it)

    from monodvps_ros.training.run import train  # noqa: PLC0415

    class Clock(Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

    for (height, width), batch in sizes.training:
        config = load(TrainingConfig, None, {
            "network.encoder": sizes.encoder, "network.input_height": height, "network.input_width": width,
            "batch_size": batch, "max_steps": sizes.steps, "workers": 8 if device.type == "cuda" else 0,
            "device": device.type, "precision": "bf16-mixed" if device.type == "cuda" else "32-true",
            "validate_every": 0, "picture_every": 0, "checkpoint_every": 100_000,
        })  # fmt: skip
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            source = Cars((height, width), 2 * batch + 2)
            train(config, [source], Path(folder), names=[__file__], callbacks=[clock])
        skipped = len(clock.ends) // 3
        rate = (len(clock.ends) - 1 - skipped) * batch / (clock.ends[-1] - clock.ends[skipped])
        counts = device.type == "cuda" and (height, width) == (192, 640)
        yield Check(f"training at {height}x{width}, batch {batch}, {sizes.encoder}", rate, "images/s",
                    f">= {TRAINED_PER_S:g}" if counts else "", rate >= TRAINED_PER_S if counts else None)  # fmt: skip


def check_engines(sizes: Sizes, device: torch.device) -> Iterator[Check]:
    """Compare each engine that is installed with torch on the CPU, and time it."""
    plain = load_engine(PipelineConfig(weights=sizes.weights, engine="torch", precision="float32"), torch.device("cpu"))
    image = torch.rand(1, 3, *plain.input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = plain.infer(image).disparities[0]
    for engine in ("torch",) if sizes is QUICK else ("torch", "onnxruntime", "openvino"):
        if importlib.util.find_spec(engine) is None:
            yield Check(f"engine {engine}", "not installed")
            continue
        for precision in ("float32",) if sizes is QUICK else ("float32", "float16", "bfloat16"):
            try:
                candidates(engine, precision, device)
            except ConfigError:
                yield Check(f"engine {engine} {precision}", f"not offered on {device.type}")
                continue
            yield from check_engine(sizes.weights, engine, precision, device, (image, expected))


def check_engine(
    weights: str, engine: str, precision: str, device: torch.device, probe: tuple[Tensor, Tensor]
) -> Iterator[Check]:
    """Compare one engine with the expected disparity of an image, and time it."""
    name = f"engine {engine} {precision}"
    try:
        model = load_engine(PipelineConfig(weights=weights, engine=engine, precision=precision), device)
    except MonoDVPSError as error:
        if isinstance(error, DeviceError) and engine != "torch":  # an onnxruntime without CUDA
            yield Check(name, f"not usable: {error}")
        else:
            yield Check(name, f"failed: {error}", "", "loads", passed=False)
        return
    image, dtype = probe[0].to(device), getattr(torch, precision)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=engine == "torch" and dtype.itemsize == 2):
        spent = []
        for _ in range(12):
            begun = time.perf_counter()
            found = model.infer(image).disparities[0].float().cpu()
            spent.append((time.perf_counter() - begun) * 1e3)
    worst = float((found - probe[1]).abs().max())
    yield Check(name, statistics.median(spent[2:]), "ms")
    yield Check(f"{name}: disparity differs", worst, "", f"<= {ENGINE_DIFFERENCE:g}", worst <= ENGINE_DIFFERENCE)


CHECKS: Mapping[str, Callable[[Sizes, torch.device], Iterator[Check]]] = {
    "outputs": check_outputs,
    "frames": check_frames,
    "training": check_training,
    "engines": check_engines,
}


def run_checks(sizes: Sizes, device: torch.device) -> list[Check]:
    """Run all checks; one that breaks off fails, and the others go on."""
    found = []
    for name, check in CHECKS.items():
        begun = time.perf_counter()
        try:
            found += list(check(sizes, device))
        except Exception as error:  # whatever breaks on a GPU is what this script is for
            traceback.print_exc()
            found.append(Check(name, f"broke off: {type(error).__name__}: {error}", "", "runs", passed=False))
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return found


def as_table(checks: list[Check]) -> str:
    """Return the checks as text, one a line."""
    lines = []
    for check in checks:
        value = check.value if isinstance(check.value, str) else f"{check.value:.4g}"
        verdict = {None: "", True: "pass", False: "FAIL"}[check.passed]
        lines.append(f"{check.name:<52} {value:>10} {check.unit:<10} {check.goal:<14} {verdict}".rstrip())
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes and few frames")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    checks = run_checks(QUICK if options.quick else FULL, device)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    head = {"device": machine, "python": platform.python_version(), "torch": torch.__version__, "quick": options.quick}
    report = {**head, "checks": [asdict(check) for check in checks]}
    write_text(options.out / "gpu_check.json", json.dumps(report, indent=2) + "\n")
    text = "; ".join(f"{name} {value}" for name, value in head.items()) + "\n" + as_table(checks)
    write_text(options.out / "gpu_check.txt", text)
    print(text, end="")
    return int(any(check.passed is False for check in checks))


if __name__ == "__main__":
    sys.exit(main())
