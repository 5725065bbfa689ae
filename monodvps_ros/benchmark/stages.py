# SPDX-License-Identifier: Apache-2.0
"""The stages of the way of a frame that need no ROS, each beside the usual way to do it.

The usual ways are written as one finds them in such nodes: whole arrays at the camera's size, no Python loop over
pixels, but no plan either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from monodvps_ros.config import PipelineConfig
from monodvps_ros.geometry.resizing import resize_bilinear, resize_image, resize_nearest
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.network import load_network
from monodvps_ros.outputs import RECORDED_OUTPUTS, Perception
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.grouping import Grouping, classify, group
from monodvps_ros.perception.metric_scale import fit_road_height
from monodvps_ros.perception.plan import Plan, make_plan
from monodvps_ros.perception.pointcloud import pack_cloud
from monodvps_ros.perception.tracker import Tracker
from monodvps_ros.types import CameraFrame, NetworkOutput

#: Cars in the synthetic frame.
OBJECTS = 20
_CAR, _ROAD, _SKY = (CITYSCAPES.class_id(name) for name in ("car", "road", "sky"))


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage, done twice.

    Attributes:
        name: of the stage.
        ours: does it as the node does.
        usual: does it the usual way.
        usual_name: what that is, in words.
    """

    name: str
    ours: Callable[[], Any]
    usual: Callable[[], Any]
    usual_name: str


@dataclass(frozen=True, eq=False)
class BenchmarkFrame:
    """A camera frame and what a network would say of it: sky, road and a row of cars.

    Attributes:
        image: (H, W, 3) uint8.
        intrinsics: (3, 3) K of the image.
        network_size: (h, w).
        output: of a batch of one.
        plan: for the image's size.
    """

    image: NDArray[np.uint8]
    intrinsics: NDArray[np.float64]
    network_size: tuple[int, int]
    output: NetworkOutput
    plan: Plan


def make_frame(size: tuple[int, int], network_size: tuple[int, int]) -> BenchmarkFrame:
    """Make a frame of a size; always the same one."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    intrinsics = np.array([[0.6 * size[1], 0, size[1] / 2], [0, 0.6 * size[1], size[0] / 2], [0, 0, 1]])
    plan = make_plan(size, intrinsics, network_size, "camera", PipelineConfig().cloud.stride, torch.device("cpu"))
    return BenchmarkFrame(image, intrinsics, network_size, street_output(network_size), plan)


def stages(frame: BenchmarkFrame, weights: str) -> list[Stage]:
    """List the stages from the resized image to the packed points, with weights as `load_network` takes them."""
    semantic, _ = classify(frame.output, frame.network_size)
    grouping = group(frame.output, semantic, CITYSCAPES, PipelineConfig().grouping)
    depth = _camera_depth(frame)
    panoptic = torch.where(depth > 20, _ROAD * 1000, VOID_PANOPTIC_ID)
    return [
        _resize(frame),
        _network(frame, weights),
        _upsample(frame),
        _group(frame, semantic),
        _track(grouping),
        _scale(frame, semantic, depth),
        _cloud(frame, depth, panoptic),
    ]


def whole_frame(frame: BenchmarkFrame, weights: str) -> Callable[[], Perception]:
    """Return a call that runs the pipeline on the next frame, with the outputs of a recording."""
    pipeline = Pipeline(load_network(weights, "cpu"), PipelineConfig(device="cpu"))
    stamps = iter(range(1 << 62))
    return lambda: pipeline.step(CameraFrame(frame.image, next(stamps), "camera", frame.intrinsics), RECORDED_OUTPUTS)


def street_output(size: tuple[int, int]) -> NetworkOutput:
    """Make what a network would say of a street with a row of cars, for an input of a size."""
    height, width = size[0] // 4, size[1] // 4
    logits = torch.randn(1, len(CITYSCAPES), height, width, generator=torch.Generator().manual_seed(0))
    horizon = 2 * height // 5
    logits[:, _SKY, :horizon] += 8.0
    logits[:, _ROAD, horizon:] += 8.0
    heatmap, offsets = torch.zeros(1, 1, height, width), torch.zeros(1, 2, height, width)
    side, top = width // (OBJECTS + 4), 3 * height // 5
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for index in range(OBJECTS):
        left = 2 * side + index * side
        place = (0, slice(None), slice(top, top + side), slice(left, left + side - 1))
        logits[0, _CAR, place[2], place[3]] += 16.0
        heatmap[0, 0, top + side // 2, left + side // 2] = 0.9
        offsets[place] = 4.0 * torch.stack((side // 2 - rows, side // 2 - columns)).float()[:, :, : side - 1]
    below = (torch.arange(height) - horizon + 1).clamp(min=0.5) / height
    disparity = (0.05 * below)[None, None, :, None].expand(1, 1, height, width).contiguous()
    return NetworkOutput(logits, heatmap, offsets, disparities=(disparity,))


def _camera_depth(frame: BenchmarkFrame) -> Tensor:
    inverse = 9.99 * frame.output.disparities[0] + 0.01
    return 1.0 / resize_bilinear(inverse, frame.plan.camera_size)[0, 0]


def _resize(frame: BenchmarkFrame) -> Stage:
    def ours() -> Tensor:
        planes = torch.from_numpy(frame.image).permute(2, 0, 1)[None]
        return resize_image(planes, frame.network_size).float().div_(255.0).clamp_(0.0, 1.0)

    def usual() -> Tensor:
        scaled = frame.image.astype(np.float32) / 255.0
        small = cv2.resize(scaled, frame.network_size[::-1], interpolation=cv2.INTER_AREA)
        return torch.from_numpy(small.transpose(2, 0, 1)[None].copy())

    return Stage("resize", ours, usual, "float image, cv2.resize with INTER_AREA, transposed copy")


def _network(frame: BenchmarkFrame, weights: str) -> Stage:
    prepared = load_network(weights, "cpu")
    plain = load_network(weights, "cpu", for_inference=False)
    image = torch.rand(1, 3, *prepared.input_size)
    memory = prepared.infer(image).memory

    def usual() -> NetworkOutput:
        with torch.no_grad():
            return plain(image, memory)

    return Stage("network", lambda: prepared.infer(image, memory), usual, "eval() and no_grad(), all scales")


def _upsample(frame: BenchmarkFrame) -> Stage:
    def ours() -> Tensor:
        semantic, _ = classify(frame.output, frame.network_size)
        return resize_nearest(semantic.to(torch.uint8), frame.plan.camera_size)

    def usual() -> Tensor:
        return functional.interpolate(frame.output.class_logits, frame.plan.camera_size, mode="bilinear").argmax(1)

    return Stage("upsample", ours, usual, "all scores to the camera's size, then argmax")


def _group(frame: BenchmarkFrame, semantic: Tensor) -> Stage:
    config = PipelineConfig().grouping
    assert frame.output.center_heatmap is not None and frame.output.offsets_px is not None
    heatmap = resize_bilinear(frame.output.center_heatmap, frame.network_size)
    offsets = resize_bilinear(frame.output.offsets_px, frame.network_size)[0]

    def usual() -> Tensor:
        pooled = functional.max_pool2d(heatmap, 7, 1, 3)
        centers = ((heatmap == pooled) & (heatmap > config.center_threshold))[0, 0].nonzero()[: config.top_k]
        height, width = frame.network_size
        grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
        pointed = (grid + offsets).flatten(1).T[None]
        return (centers[:, None] - pointed).norm(dim=2).argmin(0).view(height, width) * (semantic == _CAR)

    def ours() -> Grouping:
        return group(frame.output, semantic, CITYSCAPES, config)

    return Stage("grouping", ours, usual, "distance of every pixel to every centre; no majority vote")


def _track(grouping: Grouping) -> Stage:
    tracker = Tracker(len(CITYSCAPES), PipelineConfig().tracker)
    flow = torch.full((2, *grouping.codes.shape), 0.5)
    present = (grouping.instance_class >= 0).nonzero()[:, 0] + 1
    masks = (grouping.codes == present[:, None, None]).numpy()
    map_y, map_x = np.mgrid[: grouping.codes.shape[0], : grouping.codes.shape[1]].astype(np.float32) + 0.5

    def usual() -> Any:
        moved = np.stack([cv2.remap(mask.astype(np.float32), map_x, map_y, cv2.INTER_NEAREST) for mask in masks]) > 0
        first, second = moved.reshape(len(masks), -1), masks.reshape(len(masks), -1)
        shared = (first[:, None] & second[None]).sum(2)
        union = (first[:, None] | second[None]).sum(2)
        return linear_sum_assignment(-shared / union)

    return Stage("tracker", lambda: tracker.update(grouping, flow), usual, "a mask each, warped, compared pair by pair")


def _scale(frame: BenchmarkFrame, semantic: Tensor, depth: Tensor) -> Stage:
    inverse = resize_bilinear(frame.output.disparities[0], frame.network_size)[0, 0]
    rays = frame.plan.road_rays
    assert rays is not None

    def ours() -> Tensor:
        return fit_road_height(inverse[::4, ::4].flatten(), rays, (semantic[::4, ::4] == _ROAD).flatten().float())

    road = np.asarray(frame.plan.camera_size[0] // 2 < np.arange(frame.plan.camera_size[0]))

    def usual() -> float:
        rows = np.arange(depth.shape[0])[:, None]
        height = depth.numpy() * (rows - frame.intrinsics[1, 2]) / frame.intrinsics[1, 1]
        return float(np.median(height[road]))

    return Stage("scale", ours, usual, "median height of all road points; level camera")


def _cloud(frame: BenchmarkFrame, depth: Tensor, panoptic: Tensor) -> Stage:
    config, stride, rays = PipelineConfig().cloud, frame.plan.cloud_stride, frame.plan.cloud_rays
    assert rays is not None
    image = torch.from_numpy(frame.image)
    taken = (slice(None, None, stride), slice(None, None, stride))

    def ours() -> Any:
        ids = panoptic[taken]
        return pack_cloud(depth[taken], rays, image[taken], ids // 1000, ids % 1000, config)

    inverse_k = np.linalg.inv(frame.intrinsics)

    def usual() -> Any:
        height, width = depth.shape
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        pixels = np.stack((u, v, np.ones_like(u)), -1).reshape(-1, 3)
        points = (pixels @ inverse_k.T) * depth.numpy().reshape(-1, 1)
        colors = frame.image.reshape(-1, 3).astype(np.uint32)
        packed = (colors[:, 0] << 16) | (colors[:, 1] << 8) | colors[:, 2]
        return points.reshape(height, width, 3)[taken], packed.reshape(height, width)[taken]

    return Stage("cloud", ours, usual, "grid and K inverse made for each frame, float64, all pixels, then strided")
