# SPDX-License-Identifier: Apache-2.0
"""`monodvps score`: a model that knows the truth, and the command on small drives."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from monodvps_ros.cli.main import main
from monodvps_ros.config import NetworkConfig, PipelineConfig, SceneConfig, load
from monodvps_ros.evaluation.headline import HEADLINE, LIVE, MEDIAN, headline, headline_table
from monodvps_ros.evaluation.scoring import Scoring, without_small_things
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.network import MonoDVPS, save_weights
from monodvps_ros.scenes import Drive
from monodvps_ros.scenes import drives as drive_splits
from monodvps_ros.scenes.drives import SplitDrive
from monodvps_ros.scenes.split_files import write_drives
from monodvps_ros.types import NetworkOutput

SCENE = SceneConfig(frames=4, height=96, width=160, camera_height_m=1.4, view_distance_m=80.0)


class Oracle:
    """Knows the truth of the frames that it will be shown, with depth in a unit of its own."""

    label_space, input_size, depth_range_m, description = CITYSCAPES, (96, 160), (0.1, 100.0), "the truth"

    def __init__(self, samples, unit=1.0):
        self._truths, self._unit = iter([sample.truth for sample in samples]), unit

    def infer(self, image, memory=()):
        truth = next(self._truths)
        classes = torch.from_numpy(np.minimum(truth.panoptic // 1000, 18).astype(np.int64))
        things = truth.panoptic % 1000 > 0
        _, instances = np.unique(np.where(things, truth.panoptic, 0), return_inverse=True)
        depth = torch.from_numpy(np.nan_to_num(truth.depth_m, nan=80.0)) * self._unit
        return NetworkOutput(
            class_logits=torch.nn.functional.one_hot(classes, 19).permute(2, 0, 1)[None] * 20.0,
            instances=torch.from_numpy(instances.reshape(96, 160))[None],
            depth_m=depth[None, None].float(),
        )


@pytest.fixture(scope="module")
def samples():
    return list(Drive(SCENE, 5))


def score_of(samples, unit=0.5, min_area_px=0, **overrides):
    config = load(PipelineConfig, None, {"device": "cpu", "grouping.min_stuff_area": 0, **overrides})
    scoring = Scoring(Oracle(samples, unit), config, min_area_px=min_area_px)
    assert len(list(scoring.drive(samples, SCENE.camera_height_m))) == len(samples)
    return scoring.results()


def test_the_truth_scores_full_marks(samples):
    found = score_of(samples)
    assert (found["frames"], found["drives"]) == (4, 1)
    median, live = found["headline"][MEDIAN], found["headline"][LIVE]
    assert median["pq"] == pytest.approx(100.0) and median["vpq"] > 90.0  # the smallest things jump by their size
    assert median["abs_rel"] == pytest.approx(0.0, abs=1e-5) and median["d1"] == 1.0
    assert live["abs_rel"] < 0.03  # the road's plane is fitted, not known
    assert live["things_found"] == 1.0
    assert found["pipeline_ms"]["p50"] > 0.0


def test_small_things_can_be_left_out(samples):
    whole, large = score_of(samples), score_of(samples, min_area_px=64)
    assert 0 < large[LIVE]["id_switches"]["tracks"] < whole[LIVE]["id_switches"]["tracks"]
    assert large["headline"][LIVE]["pq"] == pytest.approx(100.0)
    assert large["headline"][LIVE]["id_switches_per_track"] == 0.0 and large["min_area_px"] == 64


def test_small_things_become_void():
    panoptic = np.array([[13_001, 13_001, 13_002], [7_000, 10_000, 65_535]], np.uint16)
    np.testing.assert_array_equal(
        without_small_things(panoptic, 2), [[13_001, 13_001, 65_535], [7_000, 10_000, 65_535]]
    )


def test_live_scale_is_that_of_the_configuration(samples):
    found = score_of(samples, unit=0.5, **{"scale.mode": "fixed", "scale.fixed_factor": 2.2})
    assert found["headline"][LIVE]["abs_rel"] == pytest.approx(0.1, abs=1e-3)
    assert found["headline"][MEDIAN]["abs_rel"] == pytest.approx(0.0, abs=1e-5)


def test_frames_without_metres_have_no_depth_and_are_counted(samples):
    found = score_of(samples, **{"scale.mode": "none"})
    assert found["frames_without_metres"] == 4
    assert found["headline"][LIVE]["abs_rel"] is None
    assert found["headline"][MEDIAN]["abs_rel"] == pytest.approx(0.0, abs=1e-5)


def test_calling_something_sky_hides_no_depth_error(samples):
    def all_sky(sample):
        panoptic = np.where(sample.truth.panoptic == VOID_PANOPTIC_ID, VOID_PANOPTIC_ID, 10_000).astype(np.uint16)
        return replace(sample, truth=replace(sample.truth, panoptic=panoptic))

    scoring = Scoring(Oracle([all_sky(sample) for sample in samples]), load(PipelineConfig, None, {"device": "cpu"}))
    list(scoring.drive(samples, 1.4))
    assert scoring.results()[MEDIAN]["depth_pixels"]["missing"] == 0


def test_each_drive_has_its_own_camera_height(samples):
    scoring = Scoring(Oracle([*samples, *samples]), load(PipelineConfig, None, {"device": "cpu"}))
    again = [replace(sample, sequence="again") for sample in samples]
    for drive, height_m in ((samples, SCENE.camera_height_m), (again, 2 * SCENE.camera_height_m)):
        list(scoring.drive(drive, height_m))
    found = scoring.results()
    assert (found["drives"], found["frames"]) == (2, 8)
    assert found["headline"][LIVE]["abs_rel"] == pytest.approx(0.5, abs=0.05)  # right in one, twice too far in one


RESULTS = {
    "pq": {"all": 50.0, "things": 40.0, "stuff": 60.0, "sq": {"all": 75.0}, "rq": {"all": 66.0}},
    "vpq": {"1": {"all": 50.0}, "2": {"all": 40.0}, "3": {"all": None}},
    "dvpq": {"mean": {"all": 30.0}},
    "stq": {"stq": 45.0},
    "dstq": {"dstq": 44.0},
    "id_switches": {"switches": 3, "tracks": 12, "frames": 100, "found": 60},
    "depth": {"abs_rel": 0.1, "sq_rel": 0.5, "rmse": 4.0, "d1": 0.9},
}


class TestHeadline:
    def test_numbers(self):
        found = headline(RESULTS)
        assert found.keys() == HEADLINE.keys()
        assert found["vpq"] == 45.0 and found["id_switches_per_track"] == 0.25 and found["things_found"] == 0.6

    def test_nothing_measured(self):
        nothing = {
            **RESULTS,
            "vpq": {"1": {"all": None}},
            "id_switches": dict.fromkeys(RESULTS["id_switches"], 0),
        }
        found = headline(nothing)
        assert found["vpq"] is None and found["id_switches_per_track"] is None and found["things_found"] is None

    def test_table_leaves_out_what_no_column_has(self):
        table = headline_table({"here": {"pq": 50.0, "abs_rel": None}, "card": {"pq": None, "d1": 0.5}})
        assert table.row_count == 2


class TestCommand:
    @pytest.fixture
    def drives(self, monkeypatch):
        config = SceneConfig(frames=2, height=64, width=96, view_distance_m=60.0)
        drives = [SplitDrive("test", index, seed, True, config) for index, seed in enumerate((2, 3))]
        monkeypatch.setattr(drive_splits, "split", lambda name: drives)
        return drives

    @pytest.fixture
    def weights(self, tmp_path):
        config = NetworkConfig(
            encoder="mobilenetv3_small_050", input_height=64, input_width=96, aspp_channels=16, semantic_channels=16,
            instance_channels=16, flow=False,
        )  # fmt: skip
        torch.manual_seed(0)
        path = tmp_path / "tiny.safetensors"
        save_weights(path, MonoDVPS(config), {})
        return path

    def run(self, *words):
        with pytest.raises(SystemExit) as ended:
            main(["score", *map(str, words)])
        return ended.value.code

    def test_writes_all_numbers_and_compares(self, tmp_path, capsys, drives, weights):
        list(write_drives(drives, tmp_path, as_bag=True))
        common = ("--data", tmp_path, "--weights", weights, "--device", "cpu")
        first, second, page = tmp_path / "first.json", tmp_path / "second.json", tmp_path / "page.html"
        assert self.run(*common, "--json", first, "--report", page) == 0
        found = json.loads(first.read_text())
        assert (found["split"], found["frames"], found["drives"], found["settings"]) == ("test", 4, 2, {})
        assert found["weights"].startswith("tiny.safetensors")
        assert "data:image/jpeg" in page.read_text()
        assert self.run(*common, "--frames", 1, "--json", second, "--baseline", first, "tracker.max_age=0") == 0
        found = json.loads(second.read_text())
        assert (found["frames"], found["settings"]) == (2, {"tracker.max_age": "0"})
        assert "first, median" in " ".join(capsys.readouterr().out.split())

    def test_errors(self, tmp_path, capsys, drives, weights):
        assert self.run("--data", tmp_path, "--weights", weights) == 2
        assert "drive_000002 is not there (2 of 2 drives)" in capsys.readouterr().err
        assert self.run("--data", tmp_path, "scale.camera_height_m=2") == 2
        assert "is that of each drive" in capsys.readouterr().err
        assert self.run("--data", tmp_path, "stray") == 2
        assert "'stray' is no setting" in capsys.readouterr().err
        (tmp_path / "other.json").write_text("{}")
        assert self.run("--data", tmp_path, "--baseline", tmp_path / "other.json") == 2
        assert "is not a result of this command" in capsys.readouterr().err
        assert self.run("--data", tmp_path, "--baseline", tmp_path / "none.json") == 2
        assert "cannot be read as JSON" in capsys.readouterr().err

    def test_classes_must_be_the_drives(self, tmp_path, capsys, drives):
        list(write_drives(drives[:1], tmp_path, as_bag=True))
        drives.pop()
        config = NetworkConfig(
            encoder="mobilenetv3_small_050", label_space="semkitti", input_height=64, input_width=96, aspp_channels=16,
            semantic_channels=16, instance_channels=16, flow=False,
        )  # fmt: skip
        save_weights(tmp_path / "kitti.safetensors", MonoDVPS(config), {})
        assert self.run("--data", tmp_path, "--weights", tmp_path / "kitti.safetensors") == 2
        assert "the model those of 'semkitti'" in capsys.readouterr().err
