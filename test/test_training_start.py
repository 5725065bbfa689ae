# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: pretrained encoders are fetched only where nothing else replaces them."""

import pytest
import timm
import torch
from tiny import DEPTH_ALONE, ENCODER, TINY
from training_clip import Clip, make_config

from monodvps_ros.config import to_dict
from monodvps_ros.errors import WeightsError
from monodvps_ros.network import save_weights
from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.run import LAST_CHECKPOINT, train

HUB = {"encoder_weights": "hub", "pose_encoder_weights": "hub"}
OTHER = "mobilenetv3_small_075"


@pytest.fixture
def fetched(monkeypatch):
    """Names of what is fetched of a hub, which has networks whose first filters are all 0.25."""
    names = []

    def fetch(name, *_, **__):
        names.append(name.removeprefix("timm/").split(".")[0])
        weights = timm.create_model(names[-1]).state_dict()
        return weights | {"conv_stem.weight": torch.full_like(weights["conv_stem.weight"], 0.25)}

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetch)
    return names


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A weights file with its pose network, one without, and a checkpoint."""
    folder = tmp_path_factory.mktemp("start")
    module = TrainingModule(make_config())
    save_weights(folder / "both.safetensors", module.network, {}, pose_network=module.pose_network)
    save_weights(folder / "alone.safetensors", module.network, {})
    torch.save({"monodvps_config": to_dict(module.config), "state_dict": module.state_dict()}, folder / "run.ckpt")
    return folder, module


def stems(module):
    return module.network.encoder.body.conv_stem.weight, module.pose_network.encoder.body.conv_stem.weight


def test_without_initial_weights_both_encoders_are_fetched(fetched):
    module = TrainingModule(make_config(**HUB))
    assert fetched == [ENCODER, ENCODER]
    # Filters for three channels, spread over six and halved for the pose network.
    assert [stem.unique().tolist() for stem in stems(module)] == [[0.25], [0.125]]


@pytest.mark.parametrize("name", ["both.safetensors", "run.ckpt"])
def test_what_initial_weights_replace_is_not_fetched(fetched, start, name):
    folder, before = start
    module = TrainingModule(make_config(**HUB), str(folder / name))
    assert not fetched
    assert all(torch.equal(*pair) for pair in zip(stems(module), stems(before), strict=True))


def test_a_pose_network_that_the_file_lacks_or_has_otherwise_is_fetched(fetched, start):
    folder, before = start
    for name, changed in (("alone", {}), ("both", {"pose_shrink": 2})):
        module = TrainingModule(make_config(**HUB, **changed), str(folder / f"{name}.safetensors"))
        assert torch.equal(stems(module)[0], stems(before)[0])
        assert stems(module)[1].unique().tolist() == [0.125]
    assert fetched == [ENCODER, ENCODER]


def test_another_encoder_than_the_checkpoints_is_fetched(fetched, start):
    config = make_config(**HUB, partial_start=True, pose_encoder=OTHER)
    module = TrainingModule(config, str(start[0] / "run.ckpt"))
    assert fetched == [OTHER]
    assert torch.equal(stems(module)[0], stems(start[1])[0])
    config = make_config(**HUB, partial_start=True, network={**TINY, "encoder": OTHER})
    module = TrainingModule(config, str(start[0] / "run.ckpt"))
    assert fetched == [OTHER, OTHER]
    assert torch.equal(stems(module)[1], stems(start[1])[1])


def test_an_encoder_that_does_not_fit_is_refused_before_anything_is_fetched(fetched, start):
    other = make_config(**HUB, network={**TINY, "encoder": OTHER})
    with pytest.raises(WeightsError, match=f"encoder is '{ENCODER}' there and '{OTHER}' here"):
        TrainingModule(other, str(start[0] / "both.safetensors"))
    assert not fetched


@pytest.mark.slow
def test_a_resumed_run_fetches_nothing(fetched, tmp_path):
    config = {**DEPTH_ALONE, **HUB}
    train(make_config(**config, max_steps=1), [Clip()], tmp_path, names=["clip"])
    assert len(fetched) == 2
    assert (tmp_path / LAST_CHECKPOINT).is_file()
    assert train(make_config(**config, max_steps=2), [Clip()], tmp_path, names=["clip"], resume=True).steps == 2
    assert len(fetched) == 2
