# SPDX-License-Identifier: Apache-2.0
"""`monodvps compare`: two weights files on the same frames."""

import json

import cv2
import numpy as np
import pytest
import torch
from test_training_teachers import TINY

from monodvps_ros.cli.main import main
from monodvps_ros.network import MonoDVPS, save_weights


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Three images that are all road, ten metres away, and two weights files: one that says so, one that does not."""
    folder = tmp_path_factory.mktemp("given")
    for name, values in (("image", np.uint8([80, 90, 100])), ("panoptic", np.uint16(0)), ("depth", np.uint16(2560))):
        (folder / "road" / name).mkdir(parents=True)
        for place in range(3):
            pixels = np.broadcast_to(values, (64, 96, *np.shape(values))).copy()
            cv2.imwrite(str(folder / "road" / name / f"{place}.png"), pixels)
    torch.manual_seed(0)
    network = MonoDVPS(TINY)
    with torch.no_grad():
        *_, bias = network.semantic_head.parameters()
        bias[0] = 50.0  # all is road
        save_weights(folder / "road.safetensors", network, {})
        bias[18] = 100.0  # all is bicycle
    save_weights(folder / "bicycle.safetensors", network, {})
    return folder


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--device", "cpu", *(str(word) for word in words)])
    return ended.value.code or 0


def test_the_better_one_is_told(given, tmp_path, capsys):
    words = ("--data", given / "road", "--weights", given / "road.safetensors")
    report = tmp_path / "figures.json"
    assert run(*words, "--against", given / "bicycle.safetensors", "--json", report, "--frames", 2) == 0
    said, figures = capsys.readouterr().out, json.loads(report.read_text())
    assert figures["weights"]["PQ"] > figures["against"]["PQ"] == 0
    assert figures["weights"]["absRel"] == figures["against"]["absRel"] > 0
    assert figures["frames"] == 2 and figures["reference"] == "truth"
    rows = {line.split()[1]: line for line in said.splitlines() if line.startswith("│")}
    assert "better" in rows["PQ"] and "better" in rows["VPQ"] and "same" in rows["absRel"]
    assert run(*words[:3], given / "bicycle.safetensors", "--against", given / "road.safetensors") == 0
    assert "worse" in capsys.readouterr().out


def test_without_truth_there_is_nothing_to_measure(given, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((64, 96, 3), np.uint8))
    weights = given / "road.safetensors"
    assert run("--data", tmp_path, "--weights", weights, "--against", weights) == 2
    assert "holds no truth" in capsys.readouterr().err
    assert run("--data", tmp_path, "--weights", weights, "--against", "gone.safetensors") == 2
    assert "no such weights file" in capsys.readouterr().err
