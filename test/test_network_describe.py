# SPDX-License-Identifier: Apache-2.0
"""`monodvps describe` and settings on the command line."""

import pytest
import torch
from tiny import TINY

from monodvps_ros.cli import describe
from monodvps_ros.cli.main import main
from monodvps_ros.cli.overrides import split_words
from monodvps_ros.config import NetworkConfig, TrainingConfig
from monodvps_ros.errors import ConfigError
from monodvps_ros.network import MonoDVPS, save_weights


def _run(capsys, monkeypatch, *words):
    monkeypatch.setenv("COLUMNS", "150")
    with pytest.raises(SystemExit) as end:
        main(["describe", *words])
    return end.value.code, capsys.readouterr()


def test_it_names_each_part_with_its_counts(capsys, monkeypatch):
    code, printed = _run(
        capsys, monkeypatch, "network.encoder=resnet50", "network.separable_aspp=false", "network.output_stride=32"
    )
    assert code == 0
    rows = [line.strip("│ ").split("│") for line in printed.out.splitlines() if line.startswith("│")]
    parameters = {name.strip(): int(count.replace(",", "")) for name, count, *_ in rows}
    assert parameters["semantic_decoder.aspp"] == 15_534_848
    assert parameters.pop("total") == sum(parameters.values())


@pytest.fixture
def not_counted(monkeypatch):
    """Leave out the table, which takes a second."""
    monkeypatch.setattr(describe, "measure_complexity", lambda config: [])


@pytest.mark.usefixtures("not_counted")
def test_it_reads_a_config_file(capsys, monkeypatch, tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("network: {encoder: mobilenetv3_small_050, input_width: 320}\n")
    code, printed = _run(capsys, monkeypatch, str(config))
    assert code == 0
    assert "mobilenetv3_small_050, output stride 16, 192 x 320" in printed.out


@pytest.mark.usefixtures("not_counted")
def test_it_shows_the_card_of_weights(capsys, monkeypatch, tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "w.safetensors"
    save_weights(file, MonoDVPS(NetworkConfig(**TINY)), {"metrics": {"PQ": 0.625}})
    code, printed = _run(capsys, monkeypatch, str(file))
    assert code == 0
    assert '"PQ": 0.625' in printed.out


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("network.encodre=resnet50", "no setting 'network.encodre'; similar: network.encoder"),
        ("network.encoder=resnet999", "'resnet999' is not a timm model"),
        ("absent.safetensors", "no such weights file"),
        ("absent.yaml", "absent.yaml: cannot be read: No such file or directory"),
    ],
)
def test_errors_are_one_line(capsys, monkeypatch, word, message):
    code, printed = _run(capsys, monkeypatch, word)
    assert code == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_words_are_parted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").touch()
    words = ["drive.mcap", "loss.depth=1", "a=b", "frozen=[encoder]"]
    assert split_words(words, TrainingConfig) == (["drive.mcap", "a=b"], {"loss.depth": "1", "frozen": "[encoder]"})
    with pytest.raises(ConfigError, match=r"similar: loss.depth"):
        split_words(["loss.dept=1"], TrainingConfig)
