# SPDX-License-Identifier: Apache-2.0
"""NaN and infinite numbers of a network, kind by kind: nothing false comes out, and nothing of them stays."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from test_perception_pipeline import CAR, FlatWorld, frame, image_of, pipeline

from monodvps_ros.cli.main import main
from monodvps_ros.labels import VOID_PANOPTIC_ID
from monodvps_ros.outputs import Output
from monodvps_ros.perception import finite, loading

VOID = np.uint16(VOID_PANOPTIC_ID)
#: The search for the camera's motion takes longer than all else, and is not concerned.
WANTED = frozenset(Output) - {Output.ODOMETRY}
BAD = (float("nan"), float("inf"), -float("inf"))


class Broken(FlatWorld):
    """The flat world; `spoil` is applied to the output of the frames of these numbers, counted from 0."""

    def __init__(self, spoil, frames=(2,), with_flow=True):
        super().__init__(with_flow)
        self.spoil, self.frames = spoil, frames

    def infer(self, image, memory=()):
        output = super().infer(image, memory)
        return self.spoil(output) if len(self.images) - 1 in self.frames else output


def spoiled(name, value=BAD[0], part=slice(None)):
    """Return what puts a value into columns of an output's map."""

    def spoil(output):
        values = getattr(output, name)
        first = values[0] if isinstance(values, tuple) else values
        changed = first.clone().float()
        changed[..., part] = value
        return replace(output, **{name: (changed, *values[1:]) if isinstance(values, tuple) else changed})

    return spoil


def run(model, count=5, **settings):
    made = pipeline(model, **settings)
    return [made.step(frame(stamp), WANTED) for stamp in range(1, count + 1)]


def car_of(seen):
    return next((segment for segment in seen.segments if segment.class_id == CAR), None)


def assert_same(seen, expected):
    for output in set(Output) - {Output.BOXES}:
        value, wanted = seen[output], expected[output]
        if isinstance(value, np.ndarray) and value.dtype.names is None:
            assert np.array_equal(value, wanted, equal_nan=value.dtype.kind == "f"), output
    assert [segment.track_id for segment in seen.segments] == [segment.track_id for segment in expected.segments]
    assert seen.scale == expected.scale


@pytest.mark.parametrize("value", BAD)
def test_where_class_scores_are_not_finite_there_is_void_without_depth_and_points(value):
    seen = run(Broken(spoiled("class_logits", value, slice(64, None))))[2]
    right = slice(80, None)  # half of the camera's columns
    assert (seen.panoptic[:, right] == VOID).all() and (seen.semantic[:, right] == 255).all()
    assert (seen.confidence[:, right] == 0).all()
    assert np.isnan(seen.depth_m[:, right]).all()
    assert np.isnan(seen.cloud["z"][:, 40:]).all() and np.isfinite(seen.cloud["z"][:, :39]).any()
    whole = run(FlatWorld())[2]
    left = slice(0, 78)  # but for the pixel next to the edge, which scores of both sides make
    assert np.array_equal(seen.semantic[:, left], whole.semantic[:, left])
    assert np.isfinite([(segment.score, segment.area_px) for segment in seen.segments]).all()
    assert sum(segment.area_px for segment in seen.segments) == (seen.panoptic != VOID).sum()
    assert "class scores (77824)" in seen.problem  # 19 classes, 64 rows, 64 columns


def test_a_frame_without_any_finite_score_is_void_and_the_next_goes_on():
    seen = run(Broken(spoiled("class_logits")))
    assert (seen[2].panoptic == VOID).all() and seen[2].segments == () and seen[2].boxes == ()
    assert np.isnan(seen[2].depth_m).all() and np.isnan(seen[2].cloud["z"]).all()
    assert seen[2].scale == seen[1].scale
    assert seen[3].problem == "" and car_of(seen[3]).track_id == car_of(seen[1]).track_id == 1


@pytest.mark.parametrize("flow", ["network", "dis", "none"])
@pytest.mark.parametrize("name", ["class_logits", "center_heatmap", "offsets_px", "flow_px"])
def test_such_a_frame_leaves_no_trace(name, flow):
    """What follows is as if the camera had skipped the frame."""
    if (name, flow) == ("flow_px", "none"):
        return
    settings = {"tracker.flow": flow}
    made, skipping = pipeline(Broken(spoiled(name)), **settings), pipeline(**settings)
    for stamp in range(1, 7):
        seen = made.step(frame(stamp), WANTED)
        if stamp == 3:
            assert seen.problem and (car_of(seen) is None or car_of(seen).track_id == 1)
            continue
        assert_same(seen, skipping.step(frame(stamp), WANTED))


def test_an_object_that_the_rest_of_the_image_shows_keeps_its_id_and_a_new_one_gets_none():
    seen = run(Broken(spoiled("class_logits", part=slice(100, None)), frames=(0, 2)))
    assert car_of(seen[0]) is None and (seen[0].panoptic // 1000 != CAR).all()  # nobody knows it yet
    assert car_of(seen[1]).track_id == car_of(seen[2]).track_id == car_of(seen[3]).track_id == 1


@pytest.mark.parametrize("name", ["center_heatmap", "offsets_px"])
def test_without_centres_or_offsets_there_are_no_instances(name):
    seen = run(Broken(spoiled(name, part=slice(100, None))))[2]
    assert car_of(seen) is None and (seen.panoptic // 1000 != CAR).all()
    assert {segment.class_name for segment in seen.segments} == {"road", "sky"}


@pytest.mark.parametrize("value", BAD)
def test_depth_that_is_not_finite_is_none_and_does_not_count_for_the_scale(value):
    seen = run(Broken(spoiled("disparities", value, slice(64, None))))
    assert np.isnan(seen[2].depth_m[:, 81:]).all() and np.isfinite(seen[2].depth_m[60:, :78]).all()
    assert seen[2].scale == seen[1].scale and "depth (4096)" in seen[2].problem
    assert [car_of(one).track_id for one in seen] == [1] * 5  # masks are not concerned
    assert [car_of(one).age_frames for one in seen] == [1, 2, 3, 4, 5]


class InMetres(FlatWorld):
    """Depth in metres, of which a column is not possible."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def infer(self, image, memory=()):
        output = super().infer(image, memory)
        depth = torch.full((1, 1, 64, 128), 5.0)
        depth[..., 40:48] = self.value
        return replace(output, disparities=(), depth_m=depth)


@pytest.mark.parametrize("value", [*BAD, 0.0, -3.0])
def test_no_point_where_depth_is_none(value):
    made = pipeline(InMetres(value), **{"scale.mode": "fixed", "cloud.stride": 1})
    seen = made.step(frame(1))
    column = seen.depth_m[40:, 55]
    assert np.isnan(column).all() and np.isnan(seen.cloud["z"][40:, 55]).all()
    assert np.allclose(seen.depth_m[40:, 80], 5.0)


def test_memory_that_is_not_finite_is_not_kept():
    model = Broken(lambda output: replace(output, memory=(torch.tensor(float("nan")),)))
    made = pipeline(model)
    seen = [made.step(frame(stamp)) for stamp in range(1, 6)]
    assert [bool(one.problem) for one in seen] == [False, False, True, False, False]
    assert "features for the next frame (1)" in seen[2].problem
    assert car_of(seen[3]).track_id == 1


def test_only_depth_is_wanted():
    made = pipeline(Broken(spoiled("class_logits", part=slice(64, None))))
    seen = [made.step(frame(stamp), frozenset({Output.DEPTH})) for stamp in range(1, 5)]
    assert [bool(one.problem) for one in seen] == [False, False, True, False]
    assert np.isnan(seen[2].depth_m[:, 80:]).all() and np.isfinite(seen[3].depth_m[60:]).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_one_number_of_a_map_is_found_at_any_place(scale):
    output = FlatWorld().infer(torch.zeros(1, 3, 64, 128), (torch.tensor(1),))
    output = replace(output, class_logits=output.class_logits * scale)
    assert bool(finite.all_finite(output)) and not finite.count_not_finite(output)
    half = replace(output, class_logits=torch.full((1, 19, 64, 128), 60000.0, dtype=torch.float16))
    assert bool(finite.all_finite(half))  # their sum is beyond float16
    for value in BAD:
        spoiled_one = output.class_logits.clone()
        spoiled_one[0, 7, 33, 12] = value
        changed = replace(output, class_logits=spoiled_one)
        assert not bool(finite.all_finite(changed))
        assert finite.count_not_finite(changed) == {"class scores": 1}


def test_predict_tells_of_such_frames_and_ends_with_3(tmp_path, monkeypatch, capsys):
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image_of(number))
    model = Broken(spoiled("class_logits"))
    monkeypatch.setattr(loading, "load_model", lambda *_: model)
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--input", str(tmp_path), "--out", str(tmp_path / "out")])
    assert ended.value.code == 3
    assert (
        "1 frame is incomplete: in the last, the network gave NaN or infinite class scores" in capsys.readouterr().out
    )
