# SPDX-License-Identifier: Apache-2.0
"""Evaluation of pairs in memory, and the report that is made of it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from monodvps_ros.errors import ConfigError
from monodvps_ros.evaluation.depth_scaling import DepthScaler, DepthScaling
from monodvps_ros.evaluation.drawings import distance_chart, timelines
from monodvps_ros.evaluation.frame_pictures import Filmstrip, WorstFrames, color_depth_error, color_panoptic
from monodvps_ros.evaluation.pairs import FramePair
from monodvps_ros.evaluation.report import _figure_cell, render_report
from monodvps_ros.evaluation.result import FIGURES, at_scaling, change, comparison_table
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.metrics import METRICS, DatasetRules, DepthProtocol

SIZE = (24, 48)
K = np.array([[40.0, 0, 23.5], [0, 40.0, 7.5], [0, 0, 1]])
CAMERA_HEIGHT_M = 1.5


def road_depth_m():
    """Depth of a flat road below row 8 of a camera 1.5 m above it; none above."""
    below = np.arange(SIZE[0]) - K[1, 2]
    depth = np.where(below > 0, K[1, 1] * CAMERA_HEIGHT_M / np.maximum(below, 1e-9), np.nan)
    return np.broadcast_to(depth[:, None], SIZE).astype(np.float32)


def pair(number, factor=1.0, shift=1, sequence="drive", **changes):
    rng = np.random.default_rng(number)
    truth = np.zeros(SIZE, np.uint16)
    truth[:8] = 10000
    truth[10:18, 10 + number : 20 + number] = 13001
    depth = road_depth_m()
    predicted = np.roll(truth, shift, 1)
    predicted[predicted == 13001] = 13001 + number // 2
    values = {
        "image": rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8),
        "intrinsics": K,
        "truth": truth,
        "truth_depth_m": depth,
        "prediction": predicted,
        "predicted_depth_m": depth / np.float32(factor),
    }
    return FramePair(sequence, f"{number:06d}", **{**values, **changes})


def evaluation(**options):
    return Evaluation(DatasetRules("cityscapes-dvps"), CITYSCAPES, **options)


def run(frames=6, factor=1.0, shift=1, **options):
    result = evaluation(**options)
    result.add_all(pair(number, factor, shift) for number in range(frames))
    return result


def measured(result):
    """The result with the parts of its only depth scaling."""
    return at_scaling(result.result(), "none")


def test_a_change_is_the_difference_of_the_figures_shown():
    assert [change(63.649, 63.551, 1), change(63.651, 63.649, 1), change(0.25, 0.75, 0)] == [0.0, 0.1, -1.0]
    table = comparison_table({"pq": 63.64, "miou": 50.04, "abs_rel": 0.1}, {"pq": 63.56, "miou": 50.06, "abs_rel": 0.2})
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [
        ("PQ (%)", "63.6", "63.6", "+0.0 same"),
        ("mIoU (%)", "50.1", "50.0", "-0.1 worse"),
        ("absRel", "0.200", "0.100", "-0.100 better"),
    ]
    after, before = ({"figures": {"pq": value}} for value in (63.64, 63.56))
    figure = FIGURES["pq"]
    assert _figure_cell(after, before, figure) == {"text": "63.6", "difference": "±0", "kind": ""}


def test_schema_of_the_json():
    said = run().result()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert (said["dataset"], said["frames"], said["sequences"]) == ("cityscapes-dvps", 6, 1)
    assert list(said["by_depth_scaling"]) == list(said["figures"]) == ["none"]
    of_depth = said["by_depth_scaling"]["none"]
    assert {*METRICS} == {key for key in METRICS if key in said or key in of_depth}
    assert list(said["vpq"]["windows"]) == ["1", "2", "3", "4"]
    assert list(of_depth["dvpq"]["thresholds"]) == ["0.5", "0.25", "0.1"]
    assert set(said["vpq"]["windows"]["1"]) == set(of_depth["dvpq"]["thresholds"]["0.1"]["4"])
    assert set(said["vpq"]["windows"]["1"]) == set(said["vpq"]["mean"]) == {"all", "things", "stuff"}
    assert {"stq", "aq", "iou"} <= set(said["stq"])
    assert {"abs_rel", "sq_rel", "rmse", "rmse_log", "d1", "d2", "d3"} <= set(of_depth["depth"])
    assert len(said["per_class"]) == 19
    assert {"figures", "zero_filled"} == set(said["averaging"])
    assert said["pq"]["all"] == said["vpq"]["windows"]["1"]["all"] > said["pq"]["zero_filled"]["all"] > 0


def test_median_scaling_makes_up_for_any_factor():
    said = measured(run(factor=3.0, scalings=[DepthScaling.MEDIAN]))
    assert said["depth"]["abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert said["factor"]["factor_mean"] == pytest.approx(3.0, rel=1e-6)
    assert measured(run(factor=3.0))["depth"]["abs_rel"] == pytest.approx(2 / 3, rel=1e-6)


def test_camera_height_scaling_needs_no_true_depth():
    said = measured(run(factor=3.0, shift=0, scalings=[DepthScaling.CAMERA_HEIGHT], camera_height_m=CAMERA_HEIGHT_M))
    assert said["factor"]["factor_mean"] == pytest.approx(3.0, rel=0.02)
    assert said["depth"]["abs_rel"] < 0.02
    assert said["dvpq"]["thresholds"]["0.1"]["1"]["all"] == said["vpq"]["windows"]["1"]["all"]


def test_a_frame_without_scale_has_no_depth_and_is_counted():
    result = evaluation(scalings=[DepthScaling.CAMERA_HEIGHT], camera_height_m=CAMERA_HEIGHT_M)
    result.add(pair(0, prediction=np.full(SIZE, 10000, np.uint16)))
    said = measured(result)
    assert said["factor"]["unscaled_frames"] == 1
    assert said["depth"]["abs_rel"] is None
    assert said["depth"]["missing_pixels"] > 0


def test_camera_height_scaling_says_what_it_lacks():
    with pytest.raises(ConfigError, match="--camera-height"):
        DepthScaler(DepthScaling.CAMERA_HEIGHT, DepthProtocol())
    result = evaluation(scalings=[DepthScaling.CAMERA_HEIGHT], camera_height_m=1.5)
    with pytest.raises(ConfigError, match="intrinsics"):
        result.add(pair(0, intrinsics=None))
    with pytest.raises(ConfigError, match="road"):
        result.add(pair(0, prediction=None))


def test_predictions_of_another_size_are_resized_and_counted():
    small = pair(0, shift=0)
    result = evaluation()
    result.add(pair(0, prediction=small.prediction[::2, ::2], predicted_depth_m=small.predicted_depth_m[::2, ::2]))
    said = result.result()
    assert said["resized_frames"] == 1
    assert said["pq"]["all"] > 80
    classes = small.prediction // 1000, small.prediction % 1000
    result.add(pair(1, prediction=tuple(part[::2, ::2] for part in classes)))
    assert result.result()["resized_frames"] == 2


def test_frames_without_prediction_are_counted_and_left_out():
    result = evaluation()
    for number in range(6):
        result.add(pair(number) if number != 2 else FramePair("drive", "000002", paired=False))
    said = result.result()
    assert said["frames"] == 5
    assert result.without_prediction.summary() == {"count": 1, "names": ["000002"]}
    assert said["vpq"]["counts"] == {"1": 5, "2": 4, "3": 3, "4": 2}


def test_a_new_sequence_is_a_new_window_and_new_tracks():
    result = evaluation()
    for sequence in ("one", "two"):
        result.add_all(pair(number, sequence=sequence) for number in range(3))
    said = result.result()
    assert (said["sequences"], said["vpq"]["counts"]["2"], said["stq"]["tracks"]) == (2, 4, 2)


def test_worst_frames_come_first_and_are_few():
    worst = WorstFrames(2)
    for badness in (0.1, 0.9, 0.5, 0.9):
        if worst.wants(badness):
            worst.add(badness, {"badness": badness})
    assert [content["badness"] for content in worst.contents()] == [0.9, 0.9]
    assert not WorstFrames(0).wants(1.0)


@pytest.mark.parametrize(
    ("frames", "kept"), [(3, [0, 1, 2]), (7, [0, 1, 2, 3, 4, 5, 6]), (8, [0, 2, 4, 6]), (40, [0, 8, 16, 24, 32])]
)
def test_filmstrip_is_spread_over_any_run(frames, kept):
    film = Filmstrip(4)
    for number in range(frames):
        if film.wants_next():
            film.add({"number": number})
    assert [content["number"] for content in film.contents()] == kept


def test_depth_error_is_white_where_right_and_red_where_too_far():
    truth = np.array([[10.0, 10.0, 10.0, np.nan]], np.float32)
    picture = color_depth_error(truth, np.array([[10.0, 16.0, 4.0, 4.0]], np.float32))
    right, far, near, unknown = picture[0].astype(int)
    assert right.min() > 240
    assert far[0] > far[2]
    assert near[2] > near[0]
    assert unknown.tolist() == [128, 128, 128]


def test_both_forms_of_panoptic_maps_look_alike():
    ids = pair(0).truth
    assert (color_panoptic(ids, CITYSCAPES) == color_panoptic((ids // 1000, ids % 1000), CITYSCAPES)).all()


def test_drawings_of_nothing_and_of_one():
    assert distance_chart([{"start_m": 0.0, "end_m": 5.0, "pixels": 0, "abs_rel": None}], None)["bars"] == []
    chart = distance_chart([{"start_m": 80.0, "end_m": None, "pixels": 3, "abs_rel": 0.2}], None)
    assert chart["bars"][0]["label"] == "> 80"
    assert 0 < chart["bars"][0]["height"] <= chart["ground"]
    assert timelines([]) == []
    track = {
        "sequence": "a",
        "class": "car",
        "instance": 1,
        "switches": 1,
        "runs": [[0, 1, 5], [2, 2, None], [3, 3, 7]],
    }
    (drawn,) = timelines([track])
    assert [run["switch"] for run in drawn["rows"][0]["runs"]] == [False, False, True]
    assert drawn["rows"][0]["runs"][1]["color"] is None


class Page(HTMLParser):
    """Collects what a page asks for from elsewhere, and its words."""

    def __init__(self, text):
        super().__init__()
        self.asked, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.asked += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        assert tag not in ("script", "iframe", "object")

    def handle_data(self, data):
        self.words.append(data)


def test_report_is_whole_and_asks_for_nothing():
    result, other = run(pictures=2), run(shift=3)
    html = render_report(
        result.result(), "none", result.worst_frames(), result.film.contents(), other.result(), "<other>.json", "a & b"
    )
    page = Page(html)
    assert page.asked
    assert all(link.startswith("data:") for link in page.asked)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "a & b" in "".join(page.words)
    assert "<other>.json" in "".join(page.words)
    assert len(html) < 2_000_000
    assert "+" in html
    assert "difference better" in html


def test_report_of_nothing_measured_still_opens():
    html = render_report(evaluation().result(), "none")
    assert "\N{EN DASH}" in html
    assert "By class" not in html


def test_report_says_what_was_left_out():
    result = run(factor=1.0)
    said = result.result()
    said["unpaired"] = {"predictions": {"count": 2, "names": ["a", "b"]}, "ground_truth": {"count": 0, "names": []}}
    other = run(scalings=[DepthScaling.MEDIAN]).result()
    html = render_report(said, "none", baseline=other)
    assert "2 predictions without a true frame" in html
    assert "differs in depth_scaling: median there, none here" in html


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_report_opens_in_a_browser_without_an_error(tmp_path):
    result = run(pictures=1)
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(
        render_report(result.result(), "none", result.worst_frames(), baseline=run(shift=2).result()), encoding="utf-8"
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
             f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,1600",
             f"--screenshot={picture}"]  # fmt: skip
    done = subprocess.run(["chromium", *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    import cv2

    pixels = cv2.imread(str(picture))
    assert pixels.shape[:2] == (1600, 1200)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200
