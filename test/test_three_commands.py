# SPDX-License-Identifier: Apache-2.0
"""The three commands of docs/three_commands.md, word for word, on a synthetic bag."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from test_training_teachers import TINY

from monodvps_ros.config import SceneConfig, to_dict
from monodvps_ros.network import MonoDVPS, save_weights
from monodvps_ros.scenes import Drive, write_bag

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "three_commands.md"
SETTINGS = {
    "network": to_dict(TINY), "pose_encoder": "mobilenetv3_small_050", "batch_size": 1, "max_steps": 2, "workers": 0,
    "device": "cpu", "validate_every": 0, "picture_every": 0, "center_sigma_px": 55.0,
}  # fmt: skip


def commands():
    """The page's first block, a list of words for each line."""
    block = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    return [shlex.split(line) for line in block.splitlines()]


@pytest.mark.slow
def test_they_run_as_they_stand(tmp_path):
    """Only what stands in capitals is put in."""
    given = {"BAG": "drives", "TRUTH": "held_out", "TEACHER": "teacher.safetensors", "START": "start.safetensors",
             "CONFIG": "config.yaml"}  # fmt: skip
    scene = SceneConfig(frames=4, height=64, width=96, view_distance_m=60.0, traffic=0.5)
    for seed, folder in ((1, "drives"), (2, "drives"), (3, "held_out")):
        write_bag(Drive(scene, seed), tmp_path / folder)
    for seed, name in enumerate(("teacher.safetensors", "start.safetensors")):
        torch.manual_seed(seed)
        save_weights(tmp_path / name, MonoDVPS(TINY), {})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    said = []
    for words in commands():
        assert words[0] == "monodvps"
        run = [sys.executable, "-m", "monodvps_ros.cli.main", *(given.get(word, word) for word in words[1:])]
        ended = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr
        said.append(ended.stdout)
    assert len(said) == 3 and "8 frames labelled" in said[0] and "after 2 steps" in said[1]
    assert re.search(r"4 frames in 1 sequence, truth", said[2]) and "before" in said[2] and "absRel" in said[2]
    start, better = (load_file(tmp_path / name) for name in ("start.safetensors", "out/better/weights.safetensors"))
    assert any((start[name] != better[name]).any() for name in start), "it has learnt something"
    index = json.loads((tmp_path / "out/better/frames/frames.json").read_text())
    assert [entry["pseudo"] for entry in index["entries"]] == [True] * 8


def test_the_page_names_what_it_uses():
    words = [word for line in commands() for word in line]
    placeholders = {word for word in words if word.isupper()}
    described = set(re.findall(r"^\| `([A-Z]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert placeholders == described
    assert [line[1] for line in commands()] == ["pseudo-label", "train", "evaluate"]
    for link in ("README.md", "docs/training.md"):
        assert "three_commands.md" in (ROOT / link).read_text(), link
