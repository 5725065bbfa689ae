# SPDX-License-Identifier: Apache-2.0
"""The two ways to compute a frame, with shapes that follow the data and with fixed ones, give the same outputs."""

import numpy as np
import pytest
import torch

from monodvps_ros.config import PipelineConfig, load
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.outputs import ALL_OUTPUTS, Output
from monodvps_ros.perception import Pipeline, code_maps
from monodvps_ros.perception.plan import make_plan
from monodvps_ros.perception.segments import measure_segments
from monodvps_ros.types import CameraFrame, NetworkOutput

NETWORK, FRAMES = (48, 96), 6
CLASSES = torch.tensor([CITYSCAPES.class_id(name) for name in ("road", "building", "sky", "person", "car")])


class Blobs:
    """Patches of five classes at random, that come, go and drift, with centres here and there."""

    label_space = CITYSCAPES
    input_size = NETWORK
    depth_range_m = (0.1, 100.0)
    is_metric = False
    canonical_focal_px = 0.0
    has_flow = True
    description = "blobs"

    def __init__(self):
        generator = torch.Generator().manual_seed(5)
        coarse = torch.randn(len(CLASSES), 4, 20, generator=generator)
        self.scores = torch.nn.functional.interpolate(coarse[None], (24, 120), mode="bilinear")
        self.random = torch.rand(FRAMES, 4, 24, 48, generator=generator)
        self.frame = -1

    def infer(self, image, memory=()):
        self.frame += 1
        left = 4 * self.frame
        logits = torch.full((1, len(CITYSCAPES), 24, 48), -9.0)
        logits[:, CLASSES] = self.scores[..., left : left + 48]
        heat, dy, dx, noise = self.random[self.frame]
        road = (torch.arange(24.0) / 120 + 0.01)[:, None]  # in inverse depth it is a plane
        disparity = road * (1 + 0.05 * noise)
        flow = torch.full((1, 2, 48, 96), 0.0)
        flow[:, 0] = 8.0
        offsets = 16 * torch.stack((dy, dx))[None] - 8
        return NetworkOutput(
            logits, (heat**4)[None, None], offsets, disparities=(disparity[None, None],),
            flow_px=(flow,) if memory else (), memory=(torch.ones(1),),
        )  # fmt: skip


def outputs(flow, camera):
    """All outputs of a few frames."""
    intrinsics = np.array([[80.0, 0, camera[1] / 2], [0, 80.0, camera[0] / 3], [0, 0, 1]])
    settings = {
        "device": "cpu", "tracker.flow": flow, "scale.camera_height_m": 1.5, "scale.min_road_points": 10,
        "grouping.top_k": 30, "grouping.min_thing_area": 4096, "grouping.center_threshold": 0.3,
    }  # fmt: skip
    pipeline = Pipeline(Blobs(), load(PipelineConfig, None, settings))
    image = np.random.default_rng(1).integers(0, 256, (*camera, 3), dtype=np.uint8)
    return [pipeline.step(CameraFrame(image, stamp, "camera", intrinsics)) for stamp in range(FRAMES)]


@pytest.mark.parametrize("flow", ["network", "dis"])
@pytest.mark.parametrize("camera", [(75, 160), (31, 96)])  # larger than the network's map, and smaller
def test_fixed_shapes_give_the_same_outputs(flow, camera, monkeypatch):
    free = outputs(flow, camera)
    monkeypatch.setattr(code_maps, "follows_data", lambda maps: False)
    fixed = outputs(flow, camera)
    assert max(len(seen.segments) for seen in free) > 10
    assert any(segment.age_frames > 3 for segment in free[-1].segments)
    assert free[-1].scale.is_known
    for one, other in zip(free, fixed, strict=True):
        for output in ALL_OUTPUTS - {Output.SEGMENTS, Output.BOXES, Output.CLOUD, Output.ODOMETRY}:
            np.testing.assert_allclose(one[output], other[output], rtol=1e-5, err_msg=output.field)
        for name in one.cloud.dtype.names:
            np.testing.assert_allclose(one.cloud[name], other.cloud[name], rtol=1e-5, err_msg=name)
        for ours, theirs in zip(one.segments, other.segments, strict=True):
            assert (ours.panoptic_id, ours.track_id, ours.age_frames) == (
                theirs.panoptic_id,
                theirs.track_id,
                theirs.age_frames,
            )
            assert (ours.area_px, ours.box_px) == (theirs.area_px, theirs.box_px)
            values = [(s.score, s.median_depth_m, *s.centroid_m) for s in (ours, theirs)]
            np.testing.assert_allclose(*values, rtol=1e-6)


def test_segments_by_loop():
    generator = torch.Generator().manual_seed(2)
    size, published = (10, 14), (6, 21)
    codes = torch.randint(0, 6, size, generator=generator)
    codes[codes == 4] = 3  # 4 is absent
    probability, depth = torch.rand(size, generator=generator), 50 * torch.rand(size, generator=generator)
    depth[:2], depth[codes == 5] = torch.nan, torch.nan  # 5 has no depth
    intrinsics = np.array([[9.0, 0, 6], [0, 9.0, 4], [0, 0, 1]])
    plan = make_plan(published, intrinsics, size, "camera", 1, torch.device("cpu"))
    found = measure_segments(codes, 6, plan.grid, probability, depth, plan.network_rays)
    shown = codes[plan.grid.rows][:, plan.grid.columns]
    for code in range(6):
        rows, columns = (shown == code).nonzero(as_tuple=True)
        assert found.area_px[code] == len(rows)
        if code == 4:
            continue
        assert found.box_px[code].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
        score = probability[plan.grid.rows][:, plan.grid.columns][rows, columns].double().mean()
        assert found.score[code] == pytest.approx(float(score))
        mask = (codes == code) & ~depth.isnan()
        if code == 5:
            assert found.median_depth_m[code].isnan() and found.centroid_m[code].isnan().all()
            continue
        assert found.median_depth_m[code] == pytest.approx(float(np.median(depth[mask])))
        points = torch.cat((plan.network_rays, torch.ones(1, *size))) * depth
        assert found.centroid_m[code].tolist() == pytest.approx(points[:, mask].double().mean(1).tolist(), rel=1e-6)
