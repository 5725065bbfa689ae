#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The measurements of docs/performance.md: ``python tools/measure_performance.py --out FOLDER [--peers FOLDER]``.

Each figure is CPU time in one thread, which other processes change little: calls of one comparison take turns, and the
median counts. Writes ``performance.json``, and ``growth.svg`` with the curves. What subscribers cost needs ROS 2.

The folder of peers holds what is compared and not installed, each left out where it is missing: of
github.com/bowenc0221/panoptic-deeplab the folder ``segmentation``, of ros2/common_interfaces ``sensor_msgs_py``, of
joe-siyuan-qiao/ViP-DeepLab ``cityscapes-dvps``.
"""

import argparse
import importlib
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from in_turn import Rows, in_turn
from numpy.typing import NDArray
from performance_peers import CAMERA_SIZE, COMPARISONS, NETWORK_SIZE, is_there

from monodvps_ros.benchmark.stages import make_frame, street_output
from monodvps_ros.config import CloudConfig, PipelineConfig, TrackerConfig
from monodvps_ros.files import write_text
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.network import load_network
from monodvps_ros.outputs import POINT_DTYPE, RECORDED_OUTPUTS
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.grouping import classify, group
from monodvps_ros.perception.pointcloud import as_points, pack_cloud, pixel_rays
from monodvps_ros.perception.tracker import Tracker
from monodvps_ros.types import CameraFrame, NetworkOutput

_CAR = CITYSCAPES.class_id("car")
_SUBSCRIBER = """
import rclpy, sys
from sensor_msgs.msg import Image, PointCloud2
rclpy.init()
node = rclpy.create_node("subscriber_" + sys.argv[1])
node.create_subscription(Image, "/measure/depth", lambda message: None, 1)
node.create_subscription(PointCloud2, "/measure/points", lambda message: None, 1)
rclpy.spin(node)
"""


class Answers:
    """A model whose answers are there already: what is timed are the steps around the network."""

    label_space = CITYSCAPES
    depth_range_m = (0.1, 100.0)
    is_metric = has_flow = False
    canonical_focal_px = 0.0
    description = "answers"

    def __init__(self, input_size: tuple[int, int], output: NetworkOutput) -> None:
        self.input_size, self._output = input_size, output

    def infer(self, image: torch.Tensor, memory: tuple[torch.Tensor, ...] = ()) -> NetworkOutput:
        """Return the answers."""
        return self._output


def steps(model: Any, camera_size: tuple[int, int]) -> Callable[[], object]:
    """Return a call that takes the next frame of a camera through the pipeline, with all recorded outputs."""
    pipeline = Pipeline(model, PipelineConfig(device="cpu"))
    frame = make_frame(camera_size, NETWORK_SIZE)
    stamps = iter(range(1 << 62))
    return lambda: pipeline.step(CameraFrame(frame.image, next(stamps), "camera", frame.intrinsics), RECORDED_OUTPUTS)


def street_of(objects: int, size: tuple[int, int] = NETWORK_SIZE) -> NetworkOutput:
    """Make what a network would say of a street with a number of cars, in rows below the horizon."""
    height, width = size[0] // 4, size[1] // 4
    street = street_output((size[0], size[1]))
    logits = street.class_logits.clone()
    logits[:, _CAR] -= 16.0 * (logits[:, _CAR] > 8.0)  # without its own
    heatmap, offsets = torch.zeros(1, 1, height, width), torch.zeros(1, 2, height, width)
    top = height // 2
    side = max(side for side in range(3, height - top + 1) if (width // side) * ((height - top) // side) >= objects)
    columns = width // side
    for index in range(objects):
        y, x = top + side * (index // columns), side * (index % columns)
        rows, across = torch.meshgrid(torch.arange(side - 1), torch.arange(side - 1), indexing="ij")
        logits[0, _CAR, y : y + side - 1, x : x + side - 1] += 16.0
        heatmap[0, 0, y + side // 2 - 1, x + side // 2 - 1] = 0.9
        place = (0, slice(None), slice(y, y + side - 1), slice(x, x + side - 1))
        offsets[place] = 4.0 * torch.stack((side // 2 - 1 - rows, side // 2 - 1 - across)).float()
    return NetworkOutput(logits, heatmap, offsets, disparities=street.disparities)


def growth_with_image(repeats: int) -> Rows:
    """Measure the steps around the network for cameras of more and more pixels; all at one size of the network."""
    sizes = [(240, 320), (375, 1242), (720, 1280), (1080, 1920), (2160, 3840)]
    model = Answers(NETWORK_SIZE, street_output(NETWORK_SIZE))
    found = in_turn({f"{h * w / 1e6:.3f}": steps(model, (h, w)) for h, w in sizes}, repeats)
    return {"all steps": found}


def growth_with_instances(repeats: int) -> Rows:
    """Measure the steps that look at instances."""
    rows: dict[str, dict[str, Callable[[], object]]] = {"grouping": {}, "tracker": {}, "all steps": {}}
    for count in (1, 5, 10, 20, 50, 100):
        output = street_of(count)
        semantic, _ = classify(output, NETWORK_SIZE)
        grouping = group(output, semantic, CITYSCAPES, PipelineConfig().grouping)
        found = int((grouping.instance_class >= 0).sum())
        if found != count:
            raise RuntimeError(f"{found} instances were grouped, not {count}")
        tracker, flow = Tracker(len(CITYSCAPES), TrackerConfig()), torch.full((2, *NETWORK_SIZE), 0.5)
        rows["grouping"][str(count)] = partial(group, output, semantic, CITYSCAPES, PipelineConfig().grouping)
        rows["tracker"][str(count)] = partial(tracker.update, grouping, flow)
        rows["all steps"][str(count)] = steps(Answers(NETWORK_SIZE, output), CAMERA_SIZE)
    return {name: in_turn(calls, repeats) for name, calls in rows.items()}


def growth_with_points(repeats: int) -> Rows:
    """Measure the cloud for more and more points: computed and packed, and where there is ROS as a message."""
    rows: dict[str, dict[str, Callable[[], object]]] = {"computed and packed": {}}
    size, config = (1080, 1920), CloudConfig()
    intrinsics = np.array([[1000.0, 0, 960], [0, 1000.0, 540], [0, 0, 1]])
    for stride in (8, 4, 2, 1):
        rays = pixel_rays(intrinsics, size, stride, torch.device("cpu"))
        shape = tuple(rays.shape[1:])
        depth, ids = torch.rand(shape) * 50, torch.full(shape, 13)
        arguments = (depth, rays, torch.zeros((*shape, 3), dtype=torch.uint8), ids, ids, config)
        rows["computed and packed"][str(depth.numel())] = partial(pack_cloud, *arguments)
        if _has_ros():
            points = as_points(pack_cloud(*arguments).numpy())
            rows.setdefault("filled into the message", {})[str(depth.numel())] = _message(points)
    return {name: in_turn(calls, repeats) for name, calls in rows.items()}


def _has_ros() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("rclpy", "sensor_msgs"))


def _message(points: NDArray[Any]) -> Callable[[], object]:
    from std_msgs.msg import Header  # noqa: PLC0415 (only where there is ROS)

    from monodvps_ros.ros.topics.conversions import cloud_message  # noqa: PLC0415

    last = cloud_message(points, Header())
    return lambda: cloud_message(points, Header(), last)


def growth_with_cameras(repeats: int) -> Rows:
    """Measure a round of one frame of each camera: pipelines that share one network, of torch."""
    network = load_network("random", "cpu")
    calls = {}
    for count in (1, 2, 3, 4):
        cameras = [steps(network, CAMERA_SIZE) for _ in range(count)]
        calls[str(count)] = _round(cameras)
    return {"network and all steps": in_turn(calls, max(3, repeats // 4))}


def _round(cameras: list[Callable[[], object]]) -> Callable[[], object]:
    def step() -> None:
        for camera in cameras:
            camera()

    return step


def growth_with_subscribers(repeats: int) -> Rows:
    """Measure what the publisher spends on a depth image and a cloud, of a camera of 375x1242, per subscriber."""
    if not _has_ros():
        return {}
    import rclpy  # noqa: PLC0415 (only where there is ROS)
    from sensor_msgs.msg import Image, PointCloud2  # noqa: PLC0415
    from std_msgs.msg import Header  # noqa: PLC0415

    from monodvps_ros.ros.topics.conversions import cloud_message, image_message  # noqa: PLC0415

    found: dict[str, float] = {}
    with rclpy.init():
        node = rclpy.create_node("measure")
        depth_topic = node.create_publisher(Image, "/measure/depth", 1)
        cloud_topic = node.create_publisher(PointCloud2, "/measure/points", 1)
        depth = np.random.default_rng(0).random(CAMERA_SIZE, np.float32)
        points = np.zeros((CAMERA_SIZE[0] // 2, CAMERA_SIZE[1] // 2), POINT_DTYPE)
        image, cloud = image_message(depth, "32FC1", Header()), cloud_message(points, Header())
        for count in (0, 1, 2, 4):
            with _subscribers(count, depth_topic):
                spent = []
                for _ in range(repeats):
                    begun = time.process_time()
                    depth_topic.publish(image_message(depth, "32FC1", Header(), image))
                    cloud_topic.publish(cloud_message(points, Header(), cloud))
                    time.sleep(0.1)  # until the transport's threads have done their part, which counts too
                    spent.append((time.process_time() - begun) * 1e3)
                found[str(count)] = round(statistics.median(spent), 3)
    return {"publisher": found}


@contextmanager
def _subscribers(count: int, topic: Any) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", _SUBSCRIBER, str(place)]) for place in range(count)]
    try:
        deadline = time.monotonic() + 60
        while topic.get_subscription_count() != count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic.get_subscription_count()} of {count} subscribers after a minute")
            time.sleep(0.1)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


#: Curves: what is counted along the axis, and the measurement.
GROWTH: Mapping[str, tuple[str, Callable[[int], Rows]]] = {
    "image size": ("megapixels of the camera", growth_with_image),
    "instances": ("instances", growth_with_instances),
    "points": ("points", growth_with_points),
    "cameras": ("cameras", growth_with_cameras),
    "subscribers": ("subscribers", growth_with_subscribers),
}


def draw(growth: Mapping[str, Rows], path: Path) -> None:
    """Draw the curves side by side."""
    import matplotlib as mpl  # noqa: PLC0415 (only to draw)
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams.update({"svg.hashsalt": "monodvps", "font.size": 8, "svg.fonttype": "none"})
    figure = Figure(figsize=(13, 2.6), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(growth)), growth.items(), strict=True):
        for label, values in rows.items():
            axes.plot([float(place) for place in values], list(values.values()), "o-", markersize=3, label=label)
        axes.set(xlabel=GROWTH[name][0], title=name, ylim=(0, None))
        axes.legend(frameon=False, fontsize=7)
    figure.axes[0].set_ylabel("ms of CPU")
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--peers", type=Path, help="folder with the code that is compared")
    parser.add_argument("--repeats", type=int, default=21, help="calls that are timed, in turn")
    options = parser.parse_args(arguments)
    if options.peers is not None:
        places = (options.peers, options.peers / "sensor_msgs_py", options.peers / "cityscapes-dvps")
        sys.path[:0] = [str(place.resolve()) for place in places]
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.set_grad_enabled(False)
    report: dict[str, Any] = {"cpu": _cpu(), "python": platform.python_version(), "torch": torch.__version__}
    for name, (module, compare) in COMPARISONS.items():
        rows = compare(options.repeats) if is_there(module) else f"left out: there is no {module}"
        report.setdefault("comparisons", {})[name] = rows
        print(name, json.dumps(rows, indent=2))
    for name, (_, measure) in GROWTH.items():
        report.setdefault("growth", {})[name] = rows = measure(options.repeats)
        print(name, json.dumps(rows, indent=2))
    write_text(options.out / "performance.json", json.dumps(report, indent=2) + "\n")
    draw(report["growth"], options.out / "growth.svg")


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
