# SPDX-License-Identifier: Apache-2.0
"""STQ, DSTQ and identity switches: published answers and hand-worked cases."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from counting import count, count_depth

from monodvps_ros.errors import ConfigError, ShapeError
from monodvps_ros.evaluation.result import at_scaling
from monodvps_ros.labels import CITYSCAPES, ClassInfo, LabelSpace, single_classes
from monodvps_ros.metrics import (
    METRICS,
    DepthQuality,
    Evaluator,
    IdSwitches,
    MetricSettings,
    Need,
    SegmentationTrackingQuality,
    dstq,
    figures,
)

CARS_AND_SKY = LabelSpace(
    "cars and sky", (ClassInfo("car", (0, 0, 142), True), ClassInfo("sky", (70, 130, 180), False))
)
SKY, VOID = 1000, 65535


def new_evaluator():
    return Evaluator(MetricSettings(CITYSCAPES, single_classes(CITYSCAPES)))


def stq(truth, prediction, space=CARS_AND_SKY):
    metric = SegmentationTrackingQuality(space)
    count(metric, np.array([truth]), np.array([prediction]))
    return metric.compute()


@pytest.mark.parametrize(
    ("truth", "prediction", "stq_aq_iou"),
    [
        # one track over five pixels; association by shares 2 and 3: (4/5 + 9/5) / 5
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], (1.0, 1.0, 1.0)),
        ([1, 1, 1, 1, 1], [1, 1, 2, 2, 2], (0.72111026, 0.52, 1.0)),
        ([1, 1, 1, 1, 1], [1, 2, 2, 2, 2], (0.82462113, 0.68, 1.0)),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], (0.447213596, 0.2, 1.0)),
        ([1, 1, 1, 1, 1], [1, 2, 1, 2, 2], (0.72111026, 0.52, 1.0)),
        # one pixel told as sky: IoU (4/5 + 0) / 2
        ([1, 1, 1, 1, 1], [SKY, 1, 1, 1, 1], (0.50596443, 0.64, 0.4)),
        # a crowd pixel counts for no track, whatever is predicted there
        ([0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], (1.0, 1.0, 1.0)),
        ([0, 1, 1, 1, 1, 1], [2, 2, 2, 2, 1, 1], (0.72111026, 0.52, 1.0)),
        # a predicted car on true sky makes its track larger: 4 * 4 / 5 / 4
        ([SKY, 1, 1, 1, 1], [1, 1, 1, 1, 1], (0.56568542, 0.8, 0.4)),
    ],
)
def test_published_one_dimensional_examples(truth, prediction, stq_aq_iou):
    scores = stq(truth, prediction)
    assert (scores.stq, scores.aq, scores.iou) == pytest.approx(stq_aq_iou, abs=1e-8)


def test_void_predicted_on_labelled_pixels_is_one_more_class_of_iou_0():
    scores = stq([1, 1, 1, SKY], [1, 1, VOID, SKY])
    assert scores.iou == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-15)
    assert scores.iou == pytest.approx(0.5556, abs=5e-5)


def test_void_in_the_truth_costs_no_iou_but_makes_tracks_larger():
    scores = stq([1, 1, VOID, VOID], [1, 1, 1, 1])
    assert scores.iou == 1.0
    assert scores.aq == pytest.approx(0.5)


def test_right_mask_of_a_wrong_thing_class_is_a_perfect_track():
    scores = stq([11001] * 3, [13004] * 3, CITYSCAPES)
    assert (scores.aq, scores.iou, scores.stq) == (1.0, 0.0, 0.0)


def test_equal_ids_of_two_sequences_are_two_tracks():
    together, apart = (SegmentationTrackingQuality(CARS_AND_SKY) for _ in range(2))
    for prediction in ([1, 1], [2, 2]):
        for metric in (together, apart):
            count(metric, np.array([[1, 1]]), np.array([prediction]))
        apart.end_sequence()
    assert (together.compute().aq, together.compute().tracks) == (0.5, 1)
    assert (apart.compute().aq, apart.compute().tracks) == (1.0, 2)


def test_stq_of_nothing_is_defined():
    scores = SegmentationTrackingQuality(CARS_AND_SKY).compute()
    assert (scores.stq, scores.aq, scores.iou, scores.tracks) == (None, 0.0, None, 0)
    assert stq([VOID], [1]).stq is None
    no_things = stq([SKY, SKY], [SKY, SKY])
    assert (no_things.stq, no_things.aq, no_things.iou) == (0.0, 0.0, 1.0)


def stq_by_loops(sequences, space):
    """STQ pixel by pixel: every definition in its plainest form."""
    things = set(space.thing_ids)
    association, tracks, hits, pixels = 0.0, 0, {}, []
    for frames in sequences:
        truth_tracks, predicted_tracks = {}, {}
        place = itertools.count()
        for truth, prediction in frames:
            for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
                where = next(place)
                pixels.append((t // 1000 if t != VOID else None, p // 1000 if p != VOID else None))
                crowd = t // 1000 in things and t % 1000 == 0
                if t // 1000 in things and not crowd:
                    truth_tracks.setdefault(t, set()).add(where)
                if p // 1000 in things and not crowd:
                    predicted_tracks.setdefault(p, set()).add(where)
        for g in truth_tracks.values():
            tracks += 1
            association += sum(len(g & p) * len(g & p) / len(g | p) for p in predicted_tracks.values() if g & p) / len(
                g
            )
    labelled = [(t, p) for t, p in pixels if t is not None]
    for name in {part for pair in labelled for part in pair}:
        both = sum(1 for t, p in labelled if t == p == name)
        hits[name] = both / sum(1 for t, p in labelled if name in (t, p))
    return association / tracks, sum(hits.values()) / len(hits)


@pytest.mark.parametrize("seed", range(3))
def test_stq_agrees_with_literal_loops(seed):
    rng = np.random.default_rng(seed)
    ids = np.array([0, 10, 11000, 11001, 13000, 13001, 13002, VOID])
    sequences = []
    metric = SegmentationTrackingQuality(CITYSCAPES)
    for _ in range(2):
        frames = []
        for _ in range(4):
            truth = rng.choice(ids, (6, 7))
            prediction = np.where(rng.random((6, 7)) < 0.6, truth, rng.choice(ids, (6, 7)))
            frames.append((truth, prediction))
            count(metric, truth, prediction)
        metric.end_sequence()
        sequences.append(frames)
    aq, iou = stq_by_loops(sequences, CITYSCAPES)
    scores = metric.compute()
    assert (scores.aq, scores.iou) == pytest.approx((aq, iou), abs=1e-9)
    assert scores.stq == pytest.approx(math.sqrt(aq * iou), abs=1e-9)


def test_depth_quality_by_hand():
    metric = DepthQuality()
    truth = np.array([[10.0, 10.0, 10.0, 10.0, 10.0, 0.0, np.nan, 8.0]])
    #                  exact  at 1.1  at 1.25 above  under  none  none  no prediction
    told = np.array([[10.0, 11.0, 12.5, 12.51, 8.0, 9.0, 9.0, np.nan]])
    count_depth(metric, truth, told)
    scores = metric.compute()
    assert scores.pixels == 6
    assert scores.by_threshold == {1.25: 4 / 6, 1.1: 2 / 6}
    assert scores.dq == pytest.approx(math.sqrt(4 / 6 * 2 / 6))


def test_published_dstq_follows_from_its_parts():
    # deeplab2's example: 42 and 13 of 61 depth pixels are within 1.25 and 1.1, and STQ is 0.66841773352
    quality = math.sqrt(42 / 61 * 13 / 61)
    assert quality == pytest.approx(0.3830597195261614, abs=1e-15)
    assert dstq(0.66841773352, quality) == pytest.approx(0.5552059833215103, abs=1e-10)
    assert dstq(0.66841773352, 13 / 61) == pytest.approx(0.45663565048742255, abs=1e-10)
    assert dstq(0.66841773352, 42 / 61) == pytest.approx(0.6750539157136957, abs=1e-10)


def test_depth_quality_of_nothing_is_0_and_its_errors_are_told():
    metric = DepthQuality()
    count_depth(metric, np.zeros((2, 2)), np.ones((2, 2)))
    assert metric.compute().dq == 0.0
    with pytest.raises(ShapeError, match="resize the prediction"):
        count_depth(metric, np.zeros((2, 2)), np.ones((2, 3)))
    with pytest.raises(ConfigError, match="ratios"):
        DepthQuality((0.9,))


def follow(*predicted, truth=13001):
    metric = IdSwitches(CITYSCAPES)
    for value in predicted:
        # None: the object is hidden
        frame = np.array([[truth if value is not None else 0] * 4 + [0] * 4])
        told = np.array([[value or 0] * 4 + [0] * 4])
        count(metric, frame, told, sequence="drive")
    return metric.compute()


def test_id_switches_by_hand():
    scores = follow(13005, 13005, 13007, 13007, 13005)
    assert (scores.switches.sum(), scores.tracks.sum(), scores.frames[13], scores.found[13]) == (2, 1, 5, 5)
    (track,) = scores.worst
    assert [(run.first_frame, run.last_frame, run.predicted_id) for run in track.runs] == [
        (0, 1, 5),
        (2, 3, 7),
        (4, 4, 5),
    ]
    assert (track.sequence, track.class_id, track.instance_id) == ("drive", 13, 1)


def test_hidden_or_missed_in_between_is_no_switch_by_itself():
    hidden = follow(13005, None, 13005)
    assert (hidden.switches.sum(), hidden.frames.sum(), len(hidden.worst[0].runs)) == (0, 2, 2)
    missed = follow(13005, 10000, 13005)  # told as sky: seen, not found
    assert (missed.switches.sum(), missed.frames.sum(), missed.found.sum()) == (0, 3, 2)
    assert [run.predicted_id for run in missed.worst[0].runs] == [5, None, 5]
    assert follow(13005, 10000, 13006).switches.sum() == 1


def test_history_of_a_flickering_object_stays_short():
    scores = follow(*(13001 + number % 2 for number in range(250)))
    assert scores.switches.sum() == 249
    assert len(scores.worst[0].runs) == 100


def test_things_without_identity_are_not_followed():
    assert follow(13005, 13006, truth=13000).tracks.sum() == 0


def test_switches_end_with_their_sequence_and_the_worst_come_first():
    metric = IdSwitches(CITYSCAPES, keep_tracks=2)
    for sequence, ids in (("calm", [1, 1]), ("wild", [1, 2]), ("wilder", [1, 2, 1])):
        for value in ids:
            count(metric, np.full((2, 2), 13001), np.full((2, 2), 13000 + value), sequence=sequence)
        metric.end_sequence()
    scores = metric.compute()
    assert scores.switches[13] == 3
    assert scores.tracks[13] == 3
    assert [track.sequence for track in scores.worst] == ["wilder", "wild"]


def test_frames_with_an_unknown_map_are_left_out():
    evaluator = new_evaluator()
    frame, depth = np.full((2, 4), 13001), np.full((2, 4), 5.0)
    evaluator.update(frame, frame, depth, {"none": depth})
    evaluator.update(frame, None, depth, {"none": depth})
    evaluator.update(frame, frame, depth, None)
    evaluator.update(frame, frame, depth, {"none": depth})
    result = evaluator.result()
    assert result["vpq"]["counts"] == {"1": 3, "2": 2, "3": 1, "4": 0}
    of_depth = result["by_depth_scaling"]["none"]
    assert of_depth["dvpq"]["counts"] == {"1": 2, "2": 1, "3": 0, "4": 0}
    assert (of_depth["depth"]["frames"], result["stq"]["tracks"]) == (3, 1)


def test_without_any_true_depth_there_is_no_figure_of_depth():
    evaluator = new_evaluator()
    frame = np.full((2, 4), 13001)
    for nothing in (np.full((2, 4), np.nan), np.zeros((2, 4)), None):
        evaluator.update(frame, frame, nothing, {"none": np.full((2, 4), 5.0)})
    result = evaluator.result()
    assert result["figures"]["none"]["vpq"] == 100.0
    of_depth = {figure.name for name, figure in figures() if Need.DEPTH in METRICS[name].kind.needs}
    assert {"dvpq", "dstq", "abs_rel", "d1"} < of_depth
    assert {name for name, value in result["figures"]["none"].items() if value is None} == {*of_depth, "pq_stuff"}


def test_depth_is_measured_once_for_each_way_to_metres():
    evaluator = Evaluator(MetricSettings(CITYSCAPES, single_classes(CITYSCAPES)), ("none", "median"))
    frame, depth = np.full((2, 4), 13001), np.full((2, 4), 10.0)
    evaluator.update(frame, frame, depth, {"none": depth * 1.2, "median": depth})
    found = evaluator.result()["figures"]
    assert found["none"]["abs_rel"] == pytest.approx(0.2)
    assert found["none"]["dvpq"] == pytest.approx(200 / 3)  # void where lambda is 0.1
    assert (found["median"]["abs_rel"], found["median"]["dvpq"]) == (0.0, 100.0)
    assert found["none"]["pq"] == found["median"]["pq"] == 100.0


def test_result_of_a_perfect_run_and_of_nothing():
    evaluator = new_evaluator()
    nothing = at_scaling(evaluator.result(), "none")
    assert nothing["pq"]["all"] is nothing["dvpq"]["mean"]["things"] is nothing["stq"]["stq"] is None
    assert nothing["depth"]["abs_rel"] is nothing["pq"]["zero_filled"]["all"] is nothing["classes"]["miou"] is None
    frame, depth = np.array([[13001, 13001, 0, 0]]), np.full((1, 4), 5.0)
    for _ in range(4):
        evaluator.update(frame, frame, depth, {"none": depth})
    said = at_scaling(evaluator.result(), "none")
    assert said["pq"]["all"] == said["vpq"]["windows"]["4"]["things"] == 100.0
    assert said["dvpq"]["thresholds"]["0.1"]["4"]["stuff"] == 100.0
    assert said["dvpq"]["mean"] == {"all": 100.0, "things": 100.0, "stuff": 100.0}
    assert said["stq"]["stq"] == said["dstq"]["dstq"] == said["classes"]["miou"] == 100.0
    assert said["depth"]["abs_rel"] == said["depth"]["rmse_log"] == 0.0
    assert said["depth"]["d1"] == 1.0
    filled = said["pq"]["zero_filled"]
    assert {group: filled[group] for group in ("all", "things", "stuff")} == {
        "all": pytest.approx(200 / 19),
        "things": pytest.approx(100 / 8),
        "stuff": pytest.approx(100 / 11),
    }
    assert said["per_class"]["car"]["pq"] == said["per_class"]["car"]["iou"] == 100.0
    assert said["per_class"]["bus"]["pq"] is None
    assert (said["per_class"]["car"]["thing"], said["per_class"]["road"]["thing"]) == (True, False)
    assert said["figures"]["dvpq"] == 100.0


def test_figures_have_names_of_their_own_and_are_described():
    names = [figure.name for _, figure in figures()]
    assert len(names) == len(set(names))
    text = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text()
    assert [name for name in names if f"`{name}`" not in text] == []
