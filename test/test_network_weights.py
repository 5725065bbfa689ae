# SPDX-License-Identifier: Apache-2.0
"""Weights files: what is written comes back, and each way in which a file can be wrong says so."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TINY

from monodvps_ros.config import NetworkConfig, TrainingConfig, load
from monodvps_ros.errors import DeviceError, WeightsError
from monodvps_ros.network import (
    MonoDVPS,
    is_shipped,
    load_fitting_weights,
    load_network,
    load_weights,
    prepare_for_inference,
    read_card,
    save_weights,
    weights_file,
)

CARD = {"training_data": ["synthetic"], "metrics": {"PQ": 0.5}}


@pytest.fixture
def network():
    torch.manual_seed(1)
    return MonoDVPS(NetworkConfig(**TINY)).eval()


@pytest.fixture
def file(tmp_path, network):
    save_weights(tmp_path / "w.safetensors", network, CARD)
    return tmp_path / "w.safetensors"


def _rewrite(file, change_header=None, change_tensors=None):
    tensors, header = load_file(file), read_card(file)
    if change_header:
        change_header(header)
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, file, metadata={"monodvps": json.dumps(header)})


def test_round_trip(file, network):
    loaded = load_network(file, for_inference=False)
    assert loaded.config == network.config
    found = loaded.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())
    assert "mobilenetv3_small_050" in loaded.description
    assert "synthetic" in loaded.description
    card = read_card(file)
    assert card["card"] == CARD
    assert card["input_size"] == [64, 96]
    assert card["label_space"][0] == "road"
    assert list(file.parent.iterdir()) == [file]


def test_the_normalisation_stands_in_the_header(file, network):
    assert read_card(file)["normalization"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert not any(name.startswith("normalize") for name in load_file(file))
    lite = MonoDVPS(dataclasses.replace(network.config, encoder="tf_efficientnet_lite0"))
    assert lite.normalize.values == {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}  # as timm's card of it says


def test_weights_bring_their_normalisation(file, network):
    _rewrite(
        file, change_header=lambda header: header["normalization"].update(mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    )
    expected = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    assert load_network(file).normalize.values == expected
    begun, fitting = MonoDVPS(network.config), MonoDVPS(dataclasses.replace(network.config, depth_decoder="dense"))
    load_weights(begun, file)
    left = load_fitting_weights(fitting, file)
    assert begun.normalize.values == fitting.normalize.values == expected
    assert {name.split(".")[0] for name in left} == {"depth_head"}


def test_files_without_a_normalisation_have_imagenets(file, network):
    image = torch.rand(1, 3, 64, 96)
    expected = network.infer(image).class_logits
    _rewrite(file, change_header=lambda header: header.pop("normalization"))
    assert torch.allclose(load_network(file).infer(image).class_logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("std", 0.0), ("std", -0.5), ("std", math.inf), ("std", math.nan), ("std", 1e-45), ("mean", math.nan),
     ("mean", -math.inf), ("mean", 10**400), ("mean", None)],
)  # fmt: skip
def test_a_normalisation_that_is_none_is_refused(file, name, value):
    _rewrite(file, change_header=lambda header: header["normalization"].update({name: [0.5, value, 0.5]}))
    with pytest.raises(WeightsError, match="its normalisation is") as error:
        load_network(file)
    assert len(str(error.value)) < len(str(file)) + 500


def test_loaded_for_inference_answers_as_saved(file, network):
    image = torch.rand(1, 3, 64, 96)
    expected, found = network.infer(image), load_network(file).infer(image)
    assert torch.allclose(expected.class_logits, found.class_logits, atol=1e-4)
    assert torch.allclose(expected.disparities[0], found.disparities[0], atol=1e-4)


def test_half_is_half_the_size_and_loads_as_float32(tmp_path, file, network):
    half = tmp_path / "half.safetensors"
    save_weights(half, network, {}, half=True)
    assert half.stat().st_size < 0.6 * file.stat().st_size
    loaded = load_network(half, for_inference=False)
    weight = loaded.semantic_head.final.weight
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, network.semantic_head.final.weight, atol=1e-3)


def test_random_is_the_same_each_time_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = load_network("random"), load_network("random")
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert "random" in one.description


def test_a_file_has_the_permissions_of_new_files(tmp_path, file):
    (tmp_path / "plain").touch()
    assert Path(file).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_absent_file(tmp_path):
    with pytest.raises(WeightsError, match=r"absent.safetensors: no such weights file"):
        load_network(tmp_path / "absent.safetensors")


def test_shipped_weights_that_are_not_there(monkeypatch):
    monkeypatch.setattr("monodvps_ros.network.weights.SHIPPED_NAMES", ("none",))
    for weights in ("", "none"):
        with pytest.raises(WeightsError, match=r"no weights ship with this build \(.*none.safetensors is missing\)"):
            load_network(weights)


def test_truncated_file(file):
    whole = file.read_bytes()
    for length in (0, 4, 200, len(whole) - 100):
        file.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"not a complete safetensors file"):
            load_network(file)


def test_not_safetensors(tmp_path):
    file = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match=r"not a complete safetensors file"):
        load_network(file)


def test_safetensors_of_somebody_else(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match=r"without the 'monodvps' header"):
        load_network(file)
    save_file({"a": torch.zeros(1)}, file, metadata={"monodvps": "{"})
    with pytest.raises(WeightsError, match=r"its header: cannot be read as JSON"):
        load_network(file)


def test_another_format_or_version(file):
    _rewrite(file, lambda header: header.update(format="monodvps_ros/99"))
    with pytest.raises(WeightsError, match=r"format is 'monodvps_ros/99'; this version reads 'monodvps_ros/1'"):
        load_network(file)


def test_header_that_describes_no_network(file):
    _rewrite(file, lambda header: header.pop("network"))
    with pytest.raises(WeightsError, match=r"'network' of its header is None; expected a dict"):
        load_network(file)


def test_unknown_setting_in_the_header(file):
    _rewrite(file, lambda header: header["network"].update(wings=2))
    with pytest.raises(WeightsError, match=r"unknown key 'network.wings'"):
        load_network(file)


def test_other_classes(file):
    _rewrite(file, lambda header: header.update(label_space=["road", "sky"]))
    with pytest.raises(WeightsError, match=r"its classes are \['road', 'sky'\]"):
        load_network(file)


def test_missing_and_unknown_tensors(file):
    def change(tensors):
        tensors["wings.weight"] = tensors.pop("semantic_head.final.weight")

    _rewrite(file, change_tensors=change)
    with pytest.raises(WeightsError, match=r"missing: semantic_head.final.weight; not of this network: wings.weight"):
        load_network(file)


def test_tensors_of_another_shape(file):
    _rewrite(file, change_tensors=lambda tensors: tensors.update({"semantic_head.final.bias": torch.zeros(3)}))
    with pytest.raises(WeightsError, match=r"semantic_head.final.bias \(3,\) for \(19,\)"):
        load_network(file)


def test_tensors_that_are_not_finite(file):
    _rewrite(file, change_tensors=lambda tensors: tensors["semantic_head.final.bias"].fill_(float("nan")))
    with pytest.raises(WeightsError, match=r"not finite: semantic_head.final.bias"):
        load_network(file)


def test_another_architecture(file):
    with pytest.raises(WeightsError, match=r"aspp_channels is 16 there and 24 here"):
        load_weights(MonoDVPS(NetworkConfig(**{**TINY, "aspp_channels": 24})), file)


def test_what_fits_of_another_architecture(file, network):
    finer = MonoDVPS(NetworkConfig(**TINY, head_stride=2)).eval()
    before = {name: tensor.clone() for name, tensor in finer.state_dict().items()}
    anew = load_fitting_weights(finer, file)
    assert {name.split(".")[0] for name in anew} == {
        "semantic_decoder", "instance_decoder", "semantic_head", "center_head", "offset_head"
    }  # fmt: skip
    stored = network.state_dict()
    for name, tensor in finer.state_dict().items():
        assert torch.equal(tensor, before[name] if name in anew else stored[name]), name
    assert load_fitting_weights(MonoDVPS(NetworkConfig(**TINY)), file) == []


def test_what_fits_of_another_encoder_is_refused(file):
    other = MonoDVPS(NetworkConfig(**{**TINY, "encoder": "mobilenetv3_small_075"}))
    with pytest.raises(
        WeightsError, match=r"its encoder is mobilenetv3_small_050, this network's mobilenetv3_small_075"
    ):
        load_fitting_weights(other, file)


def test_metric_depth_at_another_canonical_focal_length_is_refused(tmp_path):
    """Filled without a word, it would be off by the ratio of the focal lengths."""
    file = tmp_path / "metric.safetensors"
    save_weights(file, MonoDVPS(NetworkConfig(**TINY, metric=True, canonical_focal_px=369.0)), {})
    other = MonoDVPS(NetworkConfig(**TINY, metric=True, canonical_focal_px=384.0))
    with pytest.raises(WeightsError, match=r"its canonical_focal_px is 369.0, this network's 384.0"):
        load_fitting_weights(other, file)
    with pytest.raises(WeightsError, match=r"canonical_focal_px is 369.0 there and 384.0 here.*network_of_weights"):
        load_weights(other, file)
    assert load_fitting_weights(MonoDVPS(NetworkConfig(**TINY)), file) == []  # up to scale, where it does not matter


def test_heads_at_stride_2_answer_in_pixels_of_the_image():
    network = MonoDVPS(NetworkConfig(**TINY, head_stride=2)).eval()
    image = torch.rand(1, 3, 64, 96)
    output = network.infer(image)
    assert output.class_logits.shape == (1, 19, 32, 48)
    assert output.center_heatmap.shape == (1, 1, 32, 48)
    assert output.disparities[0].shape == (1, 1, 32, 48)
    with torch.no_grad():
        network.offset_head.final.weight.zero_()
        network.offset_head.final.bias.copy_(torch.tensor([1.5, -2.0]))
    assert torch.allclose(network.infer(image).offsets_px[0, :, 0, 0], torch.tensor([3.0, -4.0]))


def test_another_input_size_is_the_same_architecture(file, network):
    larger = MonoDVPS(NetworkConfig(**{**TINY, "input_width": 128}))
    load_weights(larger, file)
    assert torch.equal(larger.semantic_head.final.weight, network.semantic_head.final.weight)
    assert larger.input_size == (64, 128)


def test_absent_device(file):
    with pytest.raises(DeviceError, match=r"cannot hold the network"):
        load_network(file, "cuda:77")


def test_a_prepared_network_cannot_be_saved(tmp_path, network):
    with pytest.raises(WeightsError, match=r"prepared for inference"):
        save_weights(tmp_path / "w.safetensors", prepare_for_inference(network), {})


def test_writing_where_one_cannot(tmp_path, network):
    with pytest.raises(WeightsError, match=r"cannot be written"):
        save_weights(tmp_path / "no" / "folder.safetensors", network, {})
    with pytest.raises(WeightsError, match=r"model card"):
        save_weights(tmp_path / "w.safetensors", network, {"data": {1, 2}})
    assert list(tmp_path.iterdir()) == []


ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path.stem for path in (ROOT / "monodvps_ros" / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_that_ship_load_by_name_and_have_a_card(name):
    network = load_network(name)
    file = weights_file(name)
    assert is_shipped(name) and file.stem == name and file.stat().st_size <= 20e6
    assert network.description.startswith(f"shipped weights {name}.safetensors: {network.config.encoder}")
    assert read_card(name)["card"]["license"] in network.description
    assert f"# {name}.safetensors" in file.with_suffix(".md").read_text()


def test_the_weights_for_drives_fit_their_config():
    network = load_network("drives")
    assert network.config == load(TrainingConfig, ROOT / "config" / "shipped" / "8_fine_flow.yaml").network
    output = network.infer(torch.rand(1, 3, *network.input_size))
    assert output.class_logits.isfinite().all() and output.disparities[0].isfinite().all()


def test_recordings_are_named_without_their_folders(tmp_path):
    network = MonoDVPS(NetworkConfig(**TINY))
    save_weights(tmp_path / "w.safetensors", network, {"training_data": [f"/far/away/drive_{i}" for i in range(8)]})
    said = load_network(tmp_path / "w.safetensors").description
    assert said.endswith("drive_0, drive_1, drive_2, drive_3, drive_4, drive_5 and 2 more")
    assert "away" not in said
