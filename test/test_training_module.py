# SPDX-License-Identifier: Apache-2.0
"""What is trained, the motion between frames, the terms of the objective, the learning rate."""

from functools import cache
from pathlib import Path

import pytest
import torch
from tiny import TINY
from training_clip import SIZE, make_config, make_dataset, make_objective

from monodvps_ros.config import TrainingConfig, load
from monodvps_ros.errors import ConfigError, NotFiniteError
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.network import MonoDVPS
from monodvps_ros.training.dataset import Draw, collate
from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.parts import trained_parts
from monodvps_ros.training.predict import predict
from monodvps_ros.training.reference import REFERENCE_FILE, reference

CONFIGS = Path(__file__).parent.parent / "config"
SHIPPED = sorted(
    str(path.relative_to(CONFIGS))
    for folder in (CONFIGS, CONFIGS / "shipped")
    for path in folder.glob("*.yaml")
    if path.name not in {"nav2.yaml", "perception.yaml", "training_node.yaml"}
)


@pytest.mark.parametrize(
    ("loss", "frozen", "trained"),
    [
        ({}, (), {"encoder", "semantic", "instance", "depth", "flow", "pose"}),
        ({"depth": 0, "flow": 0}, (), {"encoder", "semantic", "instance"}),
        ({"semantic": 0, "instance": 0, "flow": 0}, ("encoder",), {"semantic", "depth", "pose"}),
    ],
)
def test_what_is_trained_follows_from_the_losses(loss, frozen, trained):
    objective = make_objective(make_config(loss=loss))
    assert trained_parts(objective, frozen) == trained
    with pytest.raises(ConfigError, match="nothing to train"):
        trained_parts(objective, ("encoder", "semantic", "instance", "depth", "flow", "pose"))


def test_frozen_parts_keep_weights_and_statistics(tmp_path):
    config = make_config(frozen=("encoder",))
    module = TrainingModule(config)
    dataset = make_dataset(tmp_path, config)
    before = {name: value.clone() for name, value in module.network.encoder.state_dict().items()}
    optimizer = module.configure_optimizers()["optimizer"]
    module.losses(collate([dataset[Draw(1, 0)], dataset[Draw(2, 0)]]))["total"].backward()
    optimizer.step()
    after = module.network.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert module.network.semantic_decoder.training


def test_motions_turn_the_earlier_pair_round(tmp_path):
    """Pose pairs go in temporal order: the motion to t - 1 is the inverse of the one found from t - 1 to t."""
    config = make_config()
    module = TrainingModule(config).eval()
    batch = collate([make_dataset(tmp_path, config)[Draw(2, 0)]])
    calls = []

    def pose(first, second):
        calls.append((first, second))
        return torch.zeros(2, 3), torch.tensor([[0.0, 0, -1.0], [0, 0, -2.0]])

    prediction = predict(module.network, pose, batch, module.objective)
    first, second = calls[0]
    assert torch.equal(first, torch.cat([batch.shown_sources[0], batch.shown]))
    assert torch.equal(second, torch.cat([batch.shown, batch.shown_sources[1]]))
    assert [motion[0, 2, 3].item() for motion in prediction.source_from_target] == [1.0, -2.0]
    assert len(prediction.flow_to_target_px) == 2
    assert prediction.flow_to_target_px[0].shape == (1, 2, *SIZE)


def test_flow_to_each_source_is_given_where_objects_are_masked_by_it(tmp_path):
    config = make_config(loss={"moving_test": "flow"})
    module = TrainingModule(config).eval()
    batch = collate([make_dataset(tmp_path, config)[Draw(2, 0)]])
    prediction = predict(module.network, module.pose_network, batch, module.objective)
    assert prediction.flow_to_target_px == ()
    network, shown = module.network, (batch.shown, *batch.shown_sources)
    target, *sources = (network.remember(network.encode(image)) for image in shown)
    for found, source in zip(prediction.flow_to_sources_px, sources, strict=True):
        expected = resize_bilinear(network.find_flow(target, source)[0], SIZE)
        assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "network",
    [{}, {"depth_decoder": "dense"}, {"depth_decoder": "dense", "head_stride": 2, "metric": True}],
    ids=["paper", "dense", "dense-metric-stride-2"],
)
def test_every_term_of_the_objective_trains(tmp_path, network):
    loss = {"supervised_depth": 1.0, "reprojection_shrink": 1 if network else 2}
    config = make_config(network={**TINY, **network}, loss=loss)
    module = TrainingModule(config).train()
    dataset = make_dataset(tmp_path, config)
    terms = module.losses(collate([dataset[Draw(place, 0)] for place in (1, 2, 3)]))
    assert set(terms) >= set(module.objective.active_terms)
    assert len(module.objective.active_terms) == 10
    terms["total"].backward()
    without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_a_term_that_is_not_finite_names_itself_and_the_sample(tmp_path):
    module = TrainingModule(make_config()).train()
    with torch.no_grad():
        module.network.semantic_head.final.bias.fill_(float("nan"))
    batch = collate([make_dataset(tmp_path, make_config())[Draw(1, 0)]] * 2)
    with pytest.raises(NotFiniteError, match=r"'semantic'.*clip drive/1"):
        module.losses(batch)


def test_the_rate_falls_to_zero():
    module = TrainingModule(make_config(max_steps=10, optimizer={"power": 1.0, "warmup_steps": 2}))
    assert [module.rate_at(step) for step in (0, 1, 5, 10)] == [0.5, 0.9, 0.5, 0.0]


def test_the_reference_file_holds_every_setting_and_its_default():
    assert (CONFIGS / REFERENCE_FILE.name).read_text() == reference()
    assert load(TrainingConfig, CONFIGS / REFERENCE_FILE.name) == TrainingConfig()


@cache
def _class_map_size(config):
    network = MonoDVPS(config).eval()
    with torch.inference_mode():  # with values: on the meta device, small networks take ten times as long
        decoded = network.semantic_decoder(network.encode(torch.zeros(1, 3, 64, 96)))
        return network.semantic_head(decoded[-1]).shape[-2:]


@pytest.mark.parametrize("name", SHIPPED)
def test_configs_that_ship_can_be_built(name):
    config = load(TrainingConfig, CONFIGS / name)
    stride = config.network.head_stride
    assert _class_map_size(config.network) == (64 // stride, 96 // stride)
    assert trained_parts(make_objective(config), config.frozen)
