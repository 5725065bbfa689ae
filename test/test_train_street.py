# SPDX-License-Identifier: Apache-2.0
"""The recipe of the street weights: what it trains on, what it never does, and that it goes on where it stopped."""

import dataclasses
import json
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import train_street
from small_network import TINY

from monodvps_ros.config import PipelineConfig, TrainingConfig, load
from monodvps_ros.data import open_source
from monodvps_ros.errors import DataError
from monodvps_ros.network import MonoDVPS, load_network, read_card, save_weights
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline
from monodvps_ros.types import CameraFrame, FrameTruth, Sample


@pytest.fixture
def street(tmp_path):
    """Recordings as the script expects them, of a few small images each."""
    for name in (train_street.STILLS, train_street.CAMVID, *train_street.SEQUENCES):
        folder = (
            tmp_path / "street" / ("" if name in (train_street.STILLS, train_street.CAMVID) else "sequences") / name
        )
        pseudo = tmp_path / "street" / "pseudo" / name
        for part in (folder / "image", folder / "image_right", pseudo):
            part.mkdir(parents=True)
        for number in range(23 if name == train_street.STILLS else 3):
            image = np.full((64, 96, 3), number, np.uint8)
            cv2.imwrite(str(folder / "image" / f"{number:06d}.png"), image)
            cv2.imwrite(str(folder / "image_right" / f"{number:06d}.png"), image)
            cv2.imwrite(str(pseudo / f"{number:06d}.png"), np.full((64, 96), 13001, np.uint16))
        if name != train_street.CAMVID:
            camera = {"width": 96, "height": 64, "rate_hz": 10, "K": [60, 0, 47.5, 0, 60, 31.5, 0, 0, 1]}
            (folder / "camera.json").write_text(json.dumps(camera))
    return tmp_path / "street"


def test_the_last_scenes_are_never_trained_on(street, tmp_path):
    train_street.link(street, tmp_path / "data", train_street.STILLS)
    source = open_source(tmp_path / "data" / train_street.STILLS)
    samples = list(source)
    assert [int(sample.frame.image[0, 0, 0]) for sample in samples] == [0, 1, 2]  # 23 less the last 20
    assert len({sample.sequence for sample in samples}) == 3  # stills: none is another's neighbour
    assert all(sample.truth.panoptic_is_pseudo and (sample.truth.panoptic == 13001).all() for sample in samples)
    camera = json.loads((tmp_path / "data" / train_street.STILLS / "camera.json").read_text())
    assert camera["baseline_m"] == 0.5327


def test_true_roads_correct_the_teacher(street, tmp_path):
    road, sidewalk, void, car = 0, 1000, 65535, 13001
    labels = np.full((64, 96), car, np.uint16)
    labels[:10], labels[10:20], labels[20:30] = road, void, 8000
    mask = np.zeros((64, 96), np.uint8)
    mask[5:15, :50] = 1
    source = street / train_street.STILLS / "road"
    source.mkdir()
    file = street / "pseudo" / train_street.STILLS / "000001.png"
    cv2.imwrite(str(file), labels)
    cv2.imwrite(str(source / "000001.png"), mask)
    train_street.link(street, tmp_path / "data", train_street.STILLS)
    samples = {sample.frame.image[0, 0, 0]: sample for sample in open_source(tmp_path / "data" / train_street.STILLS)}
    expected = labels.copy()
    expected[:10] = sidewalk
    expected[5:15, :50] = road
    assert (samples[1].truth.panoptic == expected).all() and (samples[0].truth.panoptic == car).all()
    assert (cv2.imread(str(file), cv2.IMREAD_UNCHANGED) == labels).all()  # the linked file stays as it is


def test_what_is_done_is_left_out(street, tmp_path):
    data = tmp_path / "data"

    def left():
        return [step.name for step in train_street.data_steps(street, data) if not step.is_done()]

    before = left()
    assert len(before) == 7 + 2 + 2
    assert before[-2:] == ["render train2", "render train3"]
    for step in train_street.data_steps(street, data)[:7]:
        step.make()
    assert left() == before[7:]


@pytest.mark.parametrize("run", train_street.RUNS)
def test_sources_are_as_many_as_their_weights(tmp_path, run):
    sources = train_street.sources(tmp_path, run)
    config = load(TrainingConfig, train_street.CONFIGS / f"{run}.yaml")
    assert len(sources) == (9 if run >= "street_6" else 8)
    if config.source_weights:  # empty: by their sizes
        assert len(sources) == len(config.source_weights)
        assert sum(config.source_weights) == pytest.approx(1.0)
    names = [path.name for path in sources]
    assert names[:2] == [f"{name}_depth" for name in train_street.BASELINES_M]
    assert names[2] == ("kitti_street268_taught" if run == train_street.DEPTH_RUN else "kitti_street268")
    assert names[7:] == ["train2", "train3"][: len(names) - 7]


def test_a_run_is_done_at_its_last_step(tmp_path):
    (tmp_path / "run.yaml").write_text("max_steps: 5")
    network = MonoDVPS(load(TrainingConfig, train_street.CONFIGS / "street_1.yaml").network)
    assert not train_street.is_trained(tmp_path / "run.yaml", tmp_path / "w.safetensors")
    for steps, done in ((4, False), (5, True)):
        save_weights(tmp_path / "w.safetensors", network, {"steps": steps})
        assert train_street.is_trained(tmp_path / "run.yaml", tmp_path / "w.safetensors") is done


def test_each_run_starts_from_the_one_before(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(train_street, "command", lambda *words: called.append([str(word) for word in words]))
    steps = train_street.training_steps(tmp_path / "data", tmp_path, 1)
    first, second = [step for step in steps if step.name.startswith("train ")][:2]
    first.make()
    assert called[-1][-2:] == ["--weights", str(train_street.SHIPPED)]
    (tmp_path / "street_1/checkpoints").mkdir(parents=True)
    (tmp_path / "street_1" / train_street.CHECKPOINT).touch()
    first.make()
    assert called[-1][-1] == "--resume" and "--weights" not in called[-1]
    second.make()
    assert called[-1][-2:] == ["--weights", str(tmp_path / "street_1" / train_street.CHECKPOINT)]


@pytest.mark.parametrize(
    ("run", "other", "share", "then"),
    [("street_6_joint", "street_5_upright", 0.5, "street_7_depth"),
     ("street_7_depth", "street_6_joint", 0.75, "street_8_motion")],
)  # fmt: skip
def test_the_mean_of_two_depth_decoders_goes_on(tmp_path, monkeypatch, run, other, share, then):
    called = []
    monkeypatch.setattr(train_street, "command", lambda *words: called.append([str(word) for word in words]))
    steps = {step.name: step for step in train_street.training_steps(tmp_path / "data", tmp_path, 1)}
    networks = []
    for number, name in enumerate((other, run)):
        torch.manual_seed(number)
        networks.append(MonoDVPS(TINY).eval())
        (tmp_path / name).mkdir()
        save_weights(tmp_path / name / train_street.WEIGHTS, networks[-1], {"steps": number})
    step = steps[f"mean of the depth decoders of {other} and {run}"]
    step.make()
    mean = tmp_path / run / train_street.MEAN
    assert step.is_done() and read_card(mean)["card"] == {"steps": 1}
    found, first, second = (net.state_dict() for net in (load_network(mean, for_inference=False), *networks))
    decoder = [name for name in found if name.startswith(train_street.DEPTH_DECODER)]
    assert decoder
    for name, value in found.items():
        is_mean = name in decoder and value.is_floating_point()
        expected = (1 - share) * first[name] + share * second[name] if is_mean else second[name]
        torch.testing.assert_close(value, expected)
    steps[f"train {then}"].make()
    assert called[-1][-2:] == ["--weights", str(mean)]


def test_a_network_teaches_the_depth_of_sequences_without_stereo(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(train_street, "command", lambda *words: called.append([str(word) for word in words]))
    steps = train_street.training_steps(tmp_path / "data", tmp_path, 1)
    taught = [step for step in steps if step.name.startswith("estimate the depth")]
    assert [step.name.split()[-1] for step in taught] == list(train_street.SEQUENCES[1:])
    (tmp_path / "data" / "kitti_street268_taught").mkdir(parents=True)
    weights = tmp_path / train_street.TEACHING_RUN / train_street.WEIGHTS
    weights.parent.mkdir()
    weights.touch()
    taught[0].make()
    assert called[-1][-2:] == ["--depth-teacher", str(weights)] and taught[0].is_done()
    os.utime(weights, (time.time() + 9, time.time() + 9))  # trained again
    assert not taught[0].is_done()


@pytest.mark.slow
def test_taught_depth_counts_as_measured(street, tmp_path):
    data, name, weights = tmp_path / "data", train_street.SEQUENCES[1], tmp_path / "w.safetensors"
    save_weights(weights, MonoDVPS(dataclasses.replace(TINY, metric=True, canonical_focal_px=60.0)), {})
    train_street.link(street, data, name)
    train_street.teach_depth(data, name, weights)
    samples = list(open_source(data / f"{name}_taught"))
    assert len(samples) == 3
    assert all(np.isfinite(sample.truth.depth_m).any() and sample.truth.panoptic is not None for sample in samples)


def test_networks_of_different_settings_have_no_mean(tmp_path):
    paths = [tmp_path / f"{focal_px}.safetensors" for focal_px in (60.0, 61.0)]
    for path in paths:
        config = dataclasses.replace(TINY, metric=True, canonical_focal_px=float(path.stem))
        save_weights(path, MonoDVPS(config), {})
    with pytest.raises(DataError, match="different settings"):
        train_street.write_mean(*paths, 0.5, tmp_path / "mean.safetensors")


def test_what_was_made_of_older_weights_is_made_again(tmp_path):
    made, origin = tmp_path / "made", tmp_path / "origin"
    assert not train_street.is_newer(made, origin)
    made.touch()
    assert not train_street.is_newer(made, origin)
    origin.touch()
    os.utime(origin, (1, 1))
    assert train_street.is_newer(made, origin)
    os.utime(made, (0, 0))
    assert not train_street.is_newer(made, origin)


def test_only_the_joint_run_is_of_one_process(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(train_street, "command", lambda *words: called.append([str(word) for word in words]))
    for step in train_street.training_steps(tmp_path / "data", tmp_path, 2):
        if step.name.startswith("train "):
            step.make()
    processes = [(Path(words[2]).stem, words[words.index("--devices") + 1]) for words in called]
    assert processes == [(run, "1" if run == train_street.JOINT_RUN else "2") for run in train_street.RUNS]


def test_the_scale_is_fitted_to_measured_depth(tmp_path, monkeypatch):
    """Depth that was measured at twice the predicted one doubles what the network predicts from then on."""
    config = dataclasses.replace(TINY, metric=True, canonical_focal_px=60.0)
    weights = tmp_path / "w.safetensors"
    save_weights(weights, MonoDVPS(config).eval(), {"steps": 1}, half=True)  # as the fit does, so that classes stay
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    frame = CameraFrame(image, 1, "camera", np.array([[60.0, 0, 47.5], [0, 60.0, 31.5], [0, 0, 1]]))
    predicted = Pipeline(load_network(weights), PipelineConfig(device="cpu")).step(frame, {Output.DEPTH}).depth_m
    unknown = np.full_like(predicted, np.nan)
    samples = [
        Sample(frame, FrameTruth(depth_m=unknown)),
        Sample(frame),
        Sample(frame, FrameTruth(depth_m=2 * predicted)),
    ]
    monkeypatch.setattr(train_street, "open_source", lambda folder: samples)
    train_street.fit_scale(weights, tmp_path)
    again = Pipeline(load_network(weights), PipelineConfig(device="cpu")).step(frame, {Output.DEPTH}).depth_m
    assert read_card(weights)["card"] == {"steps": 1, train_street.SCALED: pytest.approx(0.5)}
    np.testing.assert_allclose(again, 2 * predicted, rtol=5e-3)  # stored in half precision


def test_a_scale_without_measured_depth_is_refused(tmp_path, monkeypatch):
    weights = tmp_path / "w.safetensors"
    save_weights(weights, MonoDVPS(dataclasses.replace(TINY, metric=True)).eval(), {"steps": 1})
    before = weights.read_bytes()
    monkeypatch.setattr(train_street, "open_source", lambda folder: [])
    with pytest.raises(DataError, match="no frame has measured depth"):
        train_street.fit_scale(weights, tmp_path)
    assert weights.read_bytes() == before
