# SPDX-License-Identifier: Apache-2.0
"""`monodvps evaluate` on data sets and recordings written for the purpose."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from monodvps_ros.cli.evaluate import evaluate
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.formats import prediction_layout
from monodvps_ros.data.predicted_frame import PredictedFrame
from monodvps_ros.data.predictions import write_prediction
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.evaluation.pairs import PredictionPairs, TruthReader
from monodvps_ros.evaluation.result import at_scaling, read_result
from monodvps_ros.labels import CITYSCAPES, single_classes
from monodvps_ros.metrics import Evaluator, MetricSettings
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

SIZE = (12, 20)


def ground_truth(seed):
    """Truth of one frame: class ids, instance ids, raw depth; void is class 255."""
    rng = np.random.default_rng(seed)
    classes, instances = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint16)
    classes[:4] = 10
    classes[5:9, 2 + seed % 4 : 9 + seed % 4], instances[5:9, 2 + seed % 4 : 9 + seed % 4] = 13, 1
    classes[10:, 15:] = 255
    raw = rng.integers(500, 5000, SIZE).astype(np.uint16)
    raw[rng.random(SIZE) < 0.3] = 0
    return classes, instances, raw


def predicted(seed):
    """What is predicted of it: a shifted car of another id, depth off by up to a third."""
    classes, instances, raw = ground_truth(seed)
    rng = np.random.default_rng(seed + 1000)
    classes, instances = np.roll(classes, 1, 1), np.roll(instances, 1, 1) * np.uint16(2 + seed // 4)
    off = rng.uniform(0.8, 1.33, SIZE)
    depth = np.where(raw > 0, np.rint(raw * off), 2000) / 256
    return classes, instances, depth.astype(np.float32)


def write_cityscapes(root, frames=6, sequences=2):
    folder = root / "video_sequence" / "val"
    folder.mkdir(parents=True)
    stems = []
    for sequence in range(sequences):
        for frame in range(frames):
            stem = f"{sequence:06d}_{frame:06d}_city_000000_{5 * frame:06d}"
            classes, instances, raw = ground_truth(10 * sequence + frame)
            label = np.where(classes == 255, 32000, classes * np.uint16(1000) + instances).astype(np.uint16)
            cv2.imwrite(str(folder / f"{stem}_leftImg8bit.png"), np.full((*SIZE, 3), 90, np.uint8))
            cv2.imwrite(str(folder / f"{stem}_gtFine_instanceTrainIds.png"), label)
            cv2.imwrite(str(folder / f"{stem}_depth.png"), raw)
            stems.append((stem, 10 * sequence + frame))
    return stems


def write_predictions(root, stems, dataset):
    for part in ("pan", "dep"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for stem, seed in stems:
        write_prediction(root, stem, prediction_layout(dataset), *predicted(seed))


def run(*arguments):
    application = typer.Typer()
    application.command()(evaluate)
    return CliRunner().invoke(application, [str(argument) for argument in arguments])


def measured(seeds, sequences=2):
    """The same through the metrics alone."""
    evaluator = Evaluator(MetricSettings(CITYSCAPES, single_classes(CITYSCAPES)))
    for number, seed in enumerate(seeds):
        if number and number % (len(seeds) // sequences) == 0:
            evaluator.end_sequence()
        classes, instances, raw = ground_truth(seed)
        depth = np.where(raw > 0, raw / 256, np.nan)
        told = predicted(seed)
        evaluator.update((classes, instances), told[:2], depth, {"none": np.rint(told[2] * 256) / 256})
    return at_scaling(evaluator.result(), "none")


def written(path):
    """The JSON with the parts of its only depth scaling."""
    return at_scaling(read_result(path), "none")


def test_cityscapes_dvps(tmp_path):
    stems = write_cityscapes(tmp_path / "truth")
    write_predictions(tmp_path / "told", stems, "cityscapes-dvps")
    out, page = tmp_path / "out" / "numbers.json", tmp_path / "out" / "page.html"
    done = run("--data", tmp_path / "truth", "--predictions", tmp_path / "told", "--dataset", "cityscapes-dvps",
               "--json", out, "--report", page)  # fmt: skip
    assert done.exit_code == 0, done.output
    said = written(out)
    expected = measured([seed for _, seed in stems])
    assert (said["frames"], said["sequences"], said["dataset"]) == (12, 2, "cityscapes-dvps")
    assert said["vpq"]["counts"] == {"1": 12, "2": 10, "3": 8, "4": 6}
    for part in ("vpq", "dvpq", "stq", "classes"):
        assert said[part] == expected[part]
    assert said["vpq"]["windows"]["3"]["all"] > 0 and said["dvpq"]["thresholds"]["0.1"]["2"]["things"] is not None
    assert said["depth"]["abs_rel"] == pytest.approx(expected["depth"]["abs_rel"], abs=1e-6)
    assert said["unpaired"]["predictions"] == said["unpaired"]["ground_truth"] == {"count": 0, "names": []}
    assert len(said["worst_frames"]) >= 4
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") >= 24
    assert "cityscapes-dvps" in html
    again = run("--data", tmp_path / "truth", "--predictions", tmp_path / "told", "--dataset",
                "cityscapes-dvps", "--baseline", out, "--report", page)  # fmt: skip
    assert again.exit_code == 0, again.output
    assert "differences are against numbers.json" in page.read_text(encoding="utf-8")


def test_what_has_no_partner_is_counted_and_listed(tmp_path):
    stems = write_cityscapes(tmp_path / "truth", frames=4, sequences=1)
    write_predictions(
        tmp_path / "told", [stems[0], stems[1], stems[3], ("000009_000000_else_0_0", 1)], "cityscapes-dvps"
    )
    out = tmp_path / "numbers.json"
    done = run(
        "--data", tmp_path / "truth", "--predictions", tmp_path / "told", "--dataset", "cityscapes-dvps", "--json", out
    )
    assert done.exit_code == 0, done.output
    said = written(out)
    assert said["frames"] == 3
    assert said["unpaired"]["ground_truth"] == {"count": 1, "names": [stems[2][0]]}
    assert said["unpaired"]["predictions"] == {"count": 1, "names": ["000009_000000_else_0_0"]}
    assert "1 true frame without a prediction" in done.output


def test_nothing_in_common_is_an_error(tmp_path):
    write_cityscapes(tmp_path / "truth", frames=2, sequences=1)
    write_predictions(tmp_path / "told", [("000009_000000_else_0_0", 1)], "cityscapes-dvps")
    done = run("--data", tmp_path / "truth", "--predictions", tmp_path / "told", "--dataset", "cityscapes-dvps")
    assert isinstance(done.exception, DataError)
    assert "000000_000000_city" in str(done.exception)
    assert "000009_000000_else" in str(done.exception)


def write_semkitti(root, frames=6):
    folder = root / "video_sequence" / "val"
    folder.mkdir(parents=True)
    stems = []
    for frame in range(frames):
        stem = f"000008_{frame:06d}"
        classes, instances, raw = ground_truth(frame)
        swapped = np.select([classes == 13, classes == 0, classes == 10], [0, 8, 14], 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{stem}_leftImg8bit.png"), np.full((*SIZE, 3), 90, np.uint8))
        cv2.imwrite(str(folder / f"{stem}_gtFine_class.png"), swapped)
        cv2.imwrite(str(folder / f"{stem}_gtFine_instance.png"), (instances * np.uint16(40000)).astype(np.uint16))
        cv2.imwrite(str(folder / f"{stem}_depth_718.8560180664062.png"), raw)
        stems.append((stem, swapped, instances, raw))
    return stems


def test_semkitti_dvps(tmp_path):
    stems = write_semkitti(tmp_path / "truth")
    for part in ("pan", "dep"):
        (tmp_path / "told" / part).mkdir(parents=True)
    for stem, classes, instances, raw in stems:
        depth = np.where(raw > 0, raw / 256, np.nan).astype(np.float32)
        write_prediction(tmp_path / "told", stem, prediction_layout("semkitti-dvps"), classes, instances, depth)
    out = tmp_path / "numbers.json"
    done = run(
        "--data", tmp_path / "truth", "--predictions", tmp_path / "told", "--dataset", "semkitti-dvps", "--json", out
    )
    assert done.exit_code == 0, done.output
    said = written(out)
    assert list(said["dvpq"]["thresholds"]["0.5"]) == ["1", "5", "10", "20"]
    assert said["vpq"]["counts"] == {"1": 6, "5": 2, "10": 0, "20": 0}
    assert said["dvpq"]["thresholds"]["0.1"]["5"]["all"] == said["stq"]["stq"] == 100.0
    assert said["vpq"]["windows"]["10"]["all"] is None
    assert said["dvpq"]["mean"]["all"] == 100.0
    assert said["depth"]["abs_rel"] == 0.0


def write_bag(path, stamps, told_stamps, told=True, truth=True):
    with BagWriter(path) as bag:
        for number, stamp in enumerate(sorted({*stamps, *told_stamps})):
            classes, instances, raw = ground_truth(number)
            if truth and stamp in stamps:
                depth = np.where(raw > 0, raw / 256, np.nan).astype(np.float32)
                ids = np.where(classes == 255, 65535, classes * np.uint16(1000) + instances).astype(np.uint16)
                bag.image("/camera/image_raw", stamp, "camera", np.full((*SIZE, 3), 90, np.uint8), "rgb8")
                bag.camera_info(
                    "/camera/camera_info", stamp, "camera", SIZE, np.array([[20.0, 0, 9], [0, 20, 5], [0, 0, 1]])
                )
                bag.image("/camera/truth/panoptic", stamp, "camera", ids, "16UC1")
                bag.image("/camera/truth/depth", stamp, "camera", depth, "32FC1")
            if told and stamp in told_stamps:
                classes, instances, depth = predicted(number)
                ids = np.where(classes == 255, 65535, classes * np.uint16(1000) + instances).astype(np.uint16)
                bag.image("/monodvps/panoptic/image", stamp, "camera", ids, "16UC1")
                bag.image("/monodvps/depth/image", stamp, "camera", depth, "32FC1")


@pytest.mark.parametrize("apart", [True, False])
def test_recordings_pair_by_stamp(tmp_path, apart):
    stamps = [1_000_000_000 + 100_000_000 * n for n in range(8)]
    told_stamps = [*stamps[1:4], *stamps[5:], 9_000_000_000]
    told_path = tmp_path / "run"
    write_bag(told_path, stamps, told_stamps, truth=not apart)
    truth_path = tmp_path / "drive" if apart else told_path
    if apart:
        write_bag(truth_path, stamps, told_stamps, told=False)
    out = tmp_path / "numbers.json"
    done = run("--data", truth_path, "--predictions", told_path, "--json", out)
    assert done.exit_code == 0, done.output
    said = written(out)
    assert said["frames"] == 6
    assert said["unpaired"]["ground_truth"] == {"count": 2, "names": [str(stamps[0]), str(stamps[4])]}
    assert said["unpaired"]["predictions"] == {"count": 1, "names": ["9000000000"]}
    expected = measured([1, 2, 3, 5, 6, 7], sequences=1)
    assert said["vpq"] == expected["vpq"]


def paired_stamps(true, told, by_sequence=False):
    """Which of the true frames, (sequence, stamp), get a prediction, by the order of the predictions; and the rest."""
    small = np.zeros((2, 2), np.uint8)
    samples = [
        Sample(CameraFrame(np.zeros((2, 2, 3), np.uint8), stamp), FrameTruth(depth_m=np.ones((2, 2), np.float32)), name)
        for name, stamp in true
    ]
    predictions = [
        PredictedFrame(name, str(stamp), stamp, small, small.astype(np.int32), np.full((2, 2), number, np.float32))
        for number, (name, stamp) in enumerate(told)
    ]
    pairs = PredictionPairs(TruthReader(Path()), predictions, by_sequence)
    found = [int(pair.predicted_depth_m[0, 0]) if pair.paired else None for pair in pairs.pairs(samples)]
    return found, pairs.without_truth.count


def run_of(name, *stamps):
    return [(name, stamp) for stamp in stamps]


@pytest.mark.parametrize(
    ("true", "told", "found", "rest"),
    [
        # The first run's end differs on both sides, and the second run passes it.
        ([*run_of("a", 5, 6, 7), *run_of("a.part2", 2, 4, 6, 8, 9)], run_of("a", 5, 6, 8, 2, 4, 6, 9),
         [0, 1, None, 3, 4, 5, None, 6], 1),
        ([*run_of("a", 5, 6, 8), *run_of("a.part2", 2, 4)], run_of("a", 5, 6, 2, 4), [0, 1, None, 2, 3], 0),
        ([*run_of("a", 5, 6, 7), *run_of("a.part2", 2, 4)], [*run_of("000000", 5, 7), *run_of("000001", 2, 4)],
         [0, None, 1, 2, 3], 0),
        (run_of("a", 1, 2, 3, 4, 5), run_of("a", 1, 3, 2, 4, 5), [0, None, 1, 3, 4], 1),  # one is out of order
    ],
)  # fmt: skip
def test_what_follows_a_jump_back_is_paired_with_what_follows_it(true, told, found, rest):
    assert paired_stamps(true, told) == (found, rest)


def test_parts_of_several_recordings_are_paired_within_them():
    true = [*run_of("a", 5, 6), *run_of("a.part2", 1, 2), *run_of("b", 1, 2)]
    assert paired_stamps(true, run_of("a", 5, 6, 1, 2) + run_of("b", 2), True) == ([0, 1, 2, 3, None, 4], 0)


def test_a_recording_without_truth_is_an_error(tmp_path):
    with BagWriter(tmp_path / "run") as bag:
        classes, _, depth = predicted(0)
        bag.image("/image", 5, "camera", np.full((*SIZE, 3), 90, np.uint8), "rgb8")
        bag.image("/panoptic/image", 5, "camera", np.where(classes == 255, 65535, classes).astype(np.uint16), "16UC1")
        bag.image("/depth/image", 5, "camera", depth, "32FC1")
    done = run("--data", tmp_path / "run", "--predictions", tmp_path / "run")
    assert isinstance(done.exception, DataError)
    assert "contains no ground truth" in str(done.exception)


def test_scaling_of_a_recording_by_its_median(tmp_path):
    stamps = [1_000_000_000, 1_100_000_000]
    write_bag(tmp_path / "run", stamps, stamps)
    out = tmp_path / "numbers.json"
    for options, name in (((), "none"), (("--depth-scaling", "median", "--cap", "15", "--crop", "garg"), "median")):
        done = run("--data", tmp_path / "run", "--predictions", tmp_path / "run", "--json", out, *options)
        assert done.exit_code == 0, done.output
        assert written(out)["depth_scaling"] == name
    assert written(out)["depth_protocol"] == {"min_m": 1e-3, "cap_m": 15.0, "crop": "garg"}
    done = run("--data", tmp_path / "run", "--predictions", tmp_path / "run", "--depth-scaling", "camera-height")
    assert isinstance(done.exception, ConfigError)


def test_a_baseline_that_is_none_is_an_error(tmp_path):
    for text, why in (("{", "cannot be read as JSON"), (json.dumps({"a": 1}), "not a result")):
        (tmp_path / "old.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=why):
            written(tmp_path / "old.json")
    with pytest.raises(DataError, match="No such file"):
        written(tmp_path / "absent.json")
