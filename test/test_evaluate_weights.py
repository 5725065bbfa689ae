# SPDX-License-Identifier: Apache-2.0
"""`monodvps evaluate` of weights: a model that knows the truth, and the command on small drives and label images."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_network import write_tiny_weights

from monodvps_ros.cli.main import main
from monodvps_ros.config import PipelineConfig, SceneConfig, load
from monodvps_ros.evaluation import command
from monodvps_ros.evaluation.depth_scaling import DepthScaling
from monodvps_ros.evaluation.model_pairs import ModelPairs
from monodvps_ros.evaluation.pairs import TruthReader, without_small_things
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.metrics import RECORDING_RULES
from monodvps_ros.scenes import Drive
from monodvps_ros.scenes.drives import SplitDrive
from monodvps_ros.scenes.split_files import write_drives
from monodvps_ros.types import NetworkOutput

SCENE = SceneConfig(frames=4, height=96, width=160, camera_height_m=1.4, view_distance_m=80.0)


class Oracle:
    """Knows the truth of the frames that it will be shown, with depth in a unit of its own."""

    label_space, input_size, depth_range_m, description = CITYSCAPES, (96, 160), (0.1, 100.0), "the truth"

    def __init__(self, samples, unit=1.0, canonical_focal_px=None):
        self._truths, self._unit = iter([sample.truth for sample in samples]), unit
        self.canonical_focal_px, self.is_metric = canonical_focal_px, canonical_focal_px is not None

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


SCALINGS = (DepthScaling.NONE, DepthScaling.MEDIAN, DepthScaling.LIVE)


def measured(
    samples, unit=0.5, min_area_px=0, heights=(SCENE.camera_height_m,), sequences=None, focal=None, **overrides
):
    """Result of measuring the oracle on one or more drives of the same frames, and the time of its frames."""
    config = load(PipelineConfig, None, {"device": "cpu", "grouping.min_stuff_area": 0, **overrides})
    drives = [[replace(sample, sequence=str(n)) for sample in samples] for n in range(len(heights))]
    shown = [sample for drive in sequences or drives for sample in drive]
    predictor = ModelPairs(Oracle(shown, unit, focal), config, TruthReader("", min_area_px=min_area_px))
    evaluation = Evaluation(RECORDING_RULES, CITYSCAPES, SCALINGS)
    for drive, height_m in zip(drives, heights, strict=True):
        evaluation.add_all(predictor.pairs(drive, height_m))
    return {**evaluation.result(), "pipeline_ms": predictor.times_ms()}


def test_the_truth_scores_full_marks(samples):
    found = measured(samples)
    assert (found["frames"], found["sequences"]) == (4, 1)
    median, live = found["figures"]["median"], found["figures"]["live"]
    assert median["pq"] == pytest.approx(100.0) and median["vpq"] > 90.0  # the smallest things jump by their size
    assert median["miou"] == pytest.approx(100.0)
    assert median["abs_rel"] == pytest.approx(0.0, abs=1e-5) and median["d1"] == 1.0
    assert live["abs_rel"] < 0.03  # the road's plane is fitted, not known
    assert live["things_found"] == 1.0
    assert found["figures"]["none"]["abs_rel"] == pytest.approx(0.5, abs=1e-3)  # the network's own unit
    assert found["pipeline_ms"]["p50"] > 0.0


def test_small_things_can_be_left_out(samples):
    whole, large = measured(samples), measured(samples, min_area_px=64)
    assert 0 < large["id_switches"]["tracks"] < whole["id_switches"]["tracks"]
    assert large["figures"]["live"]["pq"] == pytest.approx(100.0)
    assert large["figures"]["live"]["id_switches_per_track"] == 0.0


def test_small_things_become_void():
    panoptic = np.array([[13_001, 13_001, 13_002], [7_000, 10_000, 65_535]], np.uint16)
    np.testing.assert_array_equal(
        without_small_things(panoptic, 2), [[13_001, 13_001, 65_535], [7_000, 10_000, 65_535]]
    )


def test_live_scale_is_that_of_the_configuration(samples):
    found = measured(samples, unit=0.5, **{"scale.mode": "fixed", "scale.fixed_factor": 2.2})
    assert found["figures"]["live"]["abs_rel"] == pytest.approx(0.1, abs=1e-3)
    assert found["figures"]["median"]["abs_rel"] == pytest.approx(0.0, abs=1e-5)


def test_frames_without_metres_have_no_depth_and_are_counted(samples):
    found = measured(samples, **{"scale.mode": "none"})
    assert found["by_depth_scaling"]["live"]["factor"]["unscaled_frames"] == 4
    assert found["figures"]["live"]["abs_rel"] is None
    assert found["figures"]["median"]["abs_rel"] == pytest.approx(0.0, abs=1e-5)


def test_depth_of_metric_weights_is_metres_by_k_alone(samples):
    focal_px = float(samples[0].frame.intrinsics[0, 0])
    found = measured(samples, unit=0.4, focal=focal_px / 2)["figures"]  # for half the focal length: 0.8 of the truth
    for scaling in ("none", "live"):
        assert found[scaling]["abs_rel"] == pytest.approx(0.2, abs=1e-3), scaling
    assert found["median"]["abs_rel"] == pytest.approx(0.0, abs=1e-5)


def test_calling_something_sky_hides_no_depth_error(samples):
    def all_sky(sample):
        panoptic = np.where(sample.truth.panoptic == VOID_PANOPTIC_ID, VOID_PANOPTIC_ID, 10_000).astype(np.uint16)
        return replace(sample, truth=replace(sample.truth, panoptic=panoptic))

    found = measured(samples, sequences=[[all_sky(sample) for sample in samples]])
    assert found["by_depth_scaling"]["median"]["depth"]["missing_pixels"] == 0


def test_each_drive_has_its_own_camera_height(samples):
    found = measured(samples, heights=(SCENE.camera_height_m, 2 * SCENE.camera_height_m))
    assert (found["sequences"], found["frames"]) == (2, 8)
    assert found["figures"]["live"]["abs_rel"] == pytest.approx(0.5, abs=0.05)  # right in one, twice too far in one


def test_moving_things_are_told_from_standing_ones_by_flow_and_poses(samples):
    found = measured(samples)["by_depth_scaling"]["median"]["depth"]
    frames = len(samples)
    known = found["standing_pixels"] + found["moving_pixels"]
    assert 0 < found["moving_pixels"] < 0.2 * known
    assert known / found["pixels"] == pytest.approx((frames - 1) / frames, abs=0.02)  # all but the first frame
    assert found["abs_rel_moving"] == pytest.approx(0.0, abs=1e-5)


class TestDrives:
    @pytest.fixture
    def drives(self, monkeypatch):
        config = SceneConfig(frames=2, height=64, width=96, view_distance_m=60.0)
        drives = [SplitDrive("test", index, seed, True, config) for index, seed in enumerate((2, 3))]
        monkeypatch.setattr(command, "split_of", lambda name: drives)
        return drives

    @pytest.mark.slow
    def test_writes_all_numbers_and_compares(self, tmp_path, capsys, drives):
        list(write_drives(drives, tmp_path, as_bag=True))
        weights = write_tiny_weights(tmp_path / "tiny.safetensors")
        common = ("--data", tmp_path, "--split", "test", "--weights", weights, "--device", "cpu")
        first, second, page = tmp_path / "first.json", tmp_path / "second.json", tmp_path / "page.html"
        assert run(*common, "--json", first, "--report", page) == 0
        found = json.loads(first.read_text())
        assert (found["split"], found["frames"], found["sequences"], found["settings"]) == ("test", 4, 2, {})
        assert found["weights"].startswith("tiny.safetensors") and found["reference"] == "truth"
        assert list(found["figures"]) == ["none", "live", "median"]
        assert "data:image/jpeg" in page.read_text()
        assert run(*common, "--frames", 1, "--json", second, "--baseline", first, "tracker.max_age=0") == 0
        found = json.loads(second.read_text())
        assert (found["frames"], found["settings"]) == (2, {"tracker.max_age": 0})
        assert "first.json" in " ".join(capsys.readouterr().out.split())

    def test_errors(self, tmp_path, capsys, drives):
        weights = write_tiny_weights(tmp_path / "tiny.safetensors")
        common = ("--data", tmp_path, "--split", "test")
        (tmp_path / "other.json").write_text("{}")
        for words, why in (
            (("--weights", weights), "drive_000002 is missing (2 of 2 drives)"),
            (("scale.camera_height_m=2",), "is that of each drive"),
            (("stray",), "'stray' is not a setting"),
            (("--baseline", tmp_path / "other.json"), "is not a result of monodvps evaluate"),
            (("--baseline", tmp_path / "none.json"), "cannot be read: No such file"),
            (("--predictions", tmp_path), "--split is for weights that predict now"),
            (("--frames", 1, "--last", 1), "--frames 1 and --last 1 are both given"),
            (("--against", weights, "--baseline", weights), "--against and --baseline are both given"),
            (("--depth-scaling", "camera-height"), "a model has 'live'"),
        ):
            assert run(*common, *words) == 2, words
            assert why in capsys.readouterr().err

    def test_classes_must_be_the_drives(self, tmp_path, capsys, drives):
        list(write_drives(drives[:1], tmp_path, as_bag=True))
        drives.pop()
        weights = write_tiny_weights(tmp_path / "kitti.safetensors", label_space="semkitti")
        assert run("--data", tmp_path, "--split", "test", "--weights", weights) == 2
        assert "the model those of 'semkitti'" in capsys.readouterr().err


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--device", "cpu", *map(str, words)])
    return ended.value.code or 0


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Three images that are all road, ten metres away, and two weights files: one that says so, one that does not."""
    folder = tmp_path_factory.mktemp("given")
    truth = {"image": np.uint8([80, 90, 100]), "panoptic": np.uint16(0), "depth": np.uint16(2560)}
    for name, values in truth.items():
        (folder / "road" / name).mkdir(parents=True)
        for place in range(3):
            pixels = np.broadcast_to(values, (64, 96, *np.shape(values))).copy()
            cv2.imwrite(str(folder / "road" / name / f"{place}.png"), pixels)
    write_tiny_weights(folder / "road.safetensors", said_class=0)
    write_tiny_weights(folder / "bicycle.safetensors", said_class=18)
    return folder


class TestFolder:
    def test_the_better_one_is_told(self, given, tmp_path, capsys):
        words = ("--data", given / "road", "--weights", given / "road.safetensors")
        report = tmp_path / "figures.json"
        assert run(*words, "--against", given / "bicycle.safetensors", "--json", report, "--frames", 2) == 0
        said, found = capsys.readouterr().out, json.loads(report.read_text())
        after, before = found["figures"]["median"], found["against"]["figures"]["median"]
        assert after["pq"] > before["pq"] == 0
        assert after["abs_rel"] == before["abs_rel"] > 0
        assert found["frames"] == found["against"]["frames"] == 2 and found["reference"] == "truth"
        rows = {line.split()[1]: line for line in said.splitlines() if line.startswith("│")}
        assert "better" in rows["PQ"] and "better" in rows["VPQ,"] and "same" in rows["absRel"]
        assert run(*words[:3], given / "bicycle.safetensors", "--against", given / "road.safetensors") == 0
        assert "worse" in capsys.readouterr().out

    def test_without_truth_there_is_nothing_to_measure(self, given, tmp_path, capsys):
        cv2.imwrite(str(tmp_path / "0.png"), np.zeros((64, 96, 3), np.uint8))
        weights = given / "road.safetensors"
        assert run("--data", tmp_path, "--weights", weights, "--against", weights) == 2
        assert "contains no ground truth" in capsys.readouterr().err
        assert run("--data", given / "road", "--weights", weights, "--against", "gone.safetensors") == 2
        assert "no such weights file" in capsys.readouterr().err

    def test_label_images_with_values_of_their_own(self, given, tmp_path, capsys):
        """Left half value 7, road or sidewalk; right half 8, none of them; a strip of void; the first has no label."""
        data = tmp_path / "data"
        for name in ("image", "classes", "cars", "depth"):
            (data / name).mkdir(parents=True)
        labels = np.full((64, 96), 8, np.uint8)
        labels[:, :48], labels[:8] = 7, 9
        moving = np.zeros((64, 96), np.uint8)
        moving[:, :12] = 255
        for place in range(3):
            cv2.imwrite(str(data / "image" / f"{place}.png"), np.full((64, 96, 3), 80, np.uint8))
            cv2.imwrite(str(data / "depth" / f"{place}.png"), np.full((64, 96), 2560, np.uint16))
            if place:
                cv2.imwrite(str(data / "classes" / f"{place}.png"), labels)
                cv2.imwrite(str(data / "cars" / f"{place}.png"), moving)
        text = "folder: classes\nvalues: {7: [road, sidewalk], 8: other, 9: null}\nmoving: cars\n"
        (tmp_path / "labels.yaml").write_text(text)
        out = tmp_path / "out.json"
        words = ("--data", data, "--weights", given / "road.safetensors", "--stills", "--json", out)
        assert run(*words, "--labels", tmp_path / "labels.yaml") == 0
        assert "IoU (%): road + sidewalk 50.0" in " ".join(capsys.readouterr().out.split())
        found = json.loads(out.read_text())
        assert (found["frames"], found["sequences"], found["dataset"]) == (3, 3, "recording")
        assert found["figures"]["median"]["miou"] == found["per_class"]["road + sidewalk"]["iou"] == 50.0
        assert found["classes"] == {"miou": 50.0, "pixel_accuracy": 100.0, "pixels": 2 * 48 * 56}
        assert found["figures"]["median"]["pq"] is found["figures"]["median"]["dvpq"] is None
        depth = found["by_depth_scaling"]["median"]["depth"]
        assert (depth["frames"], depth["moving_pixels"], depth["standing_pixels"]) == (3, 2 * 12 * 64, 2 * 84 * 64)
        (data / "labels.yaml").write_text(text)
        assert run(*words, "--last", 1) == 0
        found = json.loads(out.read_text())
        assert found["frames"] == 1 and found["labels"] == str(data / "labels.yaml")
        assert found["worst_frames"] == [] and found["unpaired"]["predictions"]["count"] == 0

    def test_agreement_with_a_teacher_is_called_so(self, given, tmp_path, capsys):
        data, out = tmp_path / "data", tmp_path / "out.json"
        for name, values in (("image", np.uint8([80, 90, 100])), ("panoptic_pseudo", np.uint16(0))):
            (data / name).mkdir(parents=True)
            pixels = np.broadcast_to(values, (64, 96, *np.shape(values))).copy()
            cv2.imwrite(str(data / name / "0.png"), pixels)
        words = ("--data", data, "--weights", given / "road.safetensors", "--json", out)
        assert run(*words) == 0
        assert json.loads(out.read_text())["reference"] == "pseudo-labels"
        assert "agreement with a teacher, not accuracy" in " ".join(capsys.readouterr().out.split())
        (data / "label").mkdir()
        cv2.imwrite(str(data / "label" / "0.png"), np.full((64, 96), 1, np.uint8))
        (data / "labels.yaml").write_text("values: {1: road}")
        assert run(*words) == 0
        found = json.loads(out.read_text())
        assert (found["reference"], found["figures"]["median"]["miou"]) == ("truth", 100.0)
