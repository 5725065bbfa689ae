# SPDX-License-Identifier: Apache-2.0
"""`monodvps describe` and settings on the command line."""

import pytest
import torch
from tiny import TINY

from monodvps_ros.cli import describe
from monodvps_ros.cli.main import main
from monodvps_ros.cli.overrides import only_settings, split_words
from monodvps_ros.config import NetworkConfig, TrainingConfig, load
from monodvps_ros.errors import ConfigError
from monodvps_ros.network import MonoDVPS, header, measure_complexity, read_card, save_weights


def _run(capsys, monkeypatch, *words, columns="150"):
    monkeypatch.setenv("COLUMNS", columns)
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
    assert split_words(words, TrainingConfig) == (["drive.mcap", "a=b"], {"loss.depth": 1, "frozen": ["encoder"]})
    with pytest.raises(ConfigError, match=r"similar: loss.depth"):
        split_words(["loss.dept=1"], TrainingConfig)
    (tmp_path / "loss.depth=2").touch()
    assert split_words(["loss.depth=2", "device="], TrainingConfig) == ([], {"loss.depth": 2, "device": ""})
    with pytest.raises(ConfigError, match=r"^'device=\[cuda': cannot be read as YAML"):
        split_words(["device=[cuda"], TrainingConfig)


def test_a_word_of_any_length_is_a_short_error():
    for word in ("loss.moving_test=" + "x" * 5000, "loss.dept=" + "x" * 5000, "x" * 5000 + "=1", "x" * 5000):
        with pytest.raises(ConfigError) as error:
            load(TrainingConfig, None, only_settings([word], TrainingConfig))
        assert len(str(error.value)) < 600


def test_parts_can_be_told_apart_at_80_columns(capsys, monkeypatch):
    code, printed = _run(capsys, monkeypatch, columns="80")
    lines = printed.out.splitlines()
    assert code == 0 and max(map(len, lines)) <= 80 and "…" not in printed.out
    parts = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    for cost in measure_complexity(NetworkConfig()):
        assert cost.name in parts


@pytest.mark.usefixtures("not_counted")
def test_a_card_with_what_no_terminal_should_get(capsys, monkeypatch, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, MonoDVPS(NetworkConfig(**TINY)), {"license": "\ud800 \x1b[2J\u009b\r\nforged"})
    code, printed = _run(capsys, monkeypatch, str(path))
    assert code == 0 and r'"\ud800 \u001b[2J\u009b\r\nforged"' in printed.out
    assert "encode" not in printed.err
    assert header.describe(path, read_card(path)).endswith(r"; licence: \ud800 \x1b[2J\x9b  forged")
