# SPDX-License-Identifier: Apache-2.0
"""Adapting the shipped weights to a video of one's own, on real frames, with few steps."""

from pathlib import Path

import pytest

from monodvps_ros.cli.main import main
from monodvps_ros.config import TrainingConfig, load
from monodvps_ros.data import open_source
from monodvps_ros.network import load_network
from monodvps_ros.training.run import train
from monodvps_ros.training.validation import figures, validate

ADAPT = Path(__file__).parents[1] / "config" / "adapt.yaml"
HELD_OUT = 20


@pytest.mark.slow
def test_adapting_to_a_video_leaves_other_streets_as_they_are(real_data, tmp_path):
    """The scenes with the highest numbers were never trained on."""
    own, labels = real_data / "street" / "sequences" / "kitti_avenue91", tmp_path / "labels"
    words = (
        f"--data {own} --out {labels} --teacher street --depth-teacher street --scales 1,1.5 --frames 6 --device cpu"
    )
    with pytest.raises(SystemExit) as end:
        main(["pseudo-label", *words.split()])
    assert end.value.code == 0
    given = {"max_steps": 12, "batch_size": 2, "workers": 0, "device": "cpu", "optimizer.average": 0.8,
             "optimizer.warmup_steps": 2}  # fmt: skip
    source = open_source(labels)
    result = train(load(TrainingConfig, ADAPT, given), [source], tmp_path / "out", names=["own"], weights="street")
    others = list(open_source(real_data / "street" / "stereo_kitti2015"))[-HELD_OUT:]
    before, after = (load_network(weights) for weights in ("street", result.weights))
    there = [figures(validate(network, others, HELD_OUT))["absRel"] for network in (before, after)]
    print("absRel of other streets:", there)
    assert there[1] < 1.02 * there[0]
    assert there[1] != there[0]  # it has learnt something
