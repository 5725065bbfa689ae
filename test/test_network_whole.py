# SPDX-License-Identifier: Apache-2.0
"""The whole network: shapes, memory, batches, preparation for inference."""

import pytest
import torch
from tiny import TINY

from monodvps_ros.config import NetworkConfig
from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry import disparity_to_depth
from monodvps_ros.network import MonoDVPS, prepare_for_inference
from monodvps_ros.network.blank import without_values
from monodvps_ros.types import PerceptionModel


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return _with_statistics(MonoDVPS(NetworkConfig(**TINY)))


def _with_statistics(network):
    """Give batch normalisations statistics that are not 0 and 1, as training would."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def _everything(output):
    yield from (output.class_logits, output.center_heatmap, output.offsets_px)
    yield from (*output.disparities, *output.depth_features, *output.flow_px, *output.memory)


@pytest.mark.parametrize(("encoder", "stride"), [("resnet50", 32), ("resnet50", 16), ("hrnet_w48", 32)])
def test_shapes_of_the_papers_encoders(encoder, stride):
    config = NetworkConfig(encoder=encoder, output_stride=stride, separable_aspp=False)
    with without_values():
        network = MonoDVPS(config).eval()
        features = network.encode(torch.zeros(1, 3, 192, 640))
    output = network.decode(features, network.remember(features))
    assert output.class_logits.shape == (1, 19, 48, 160)
    assert output.center_heatmap.shape == (1, 1, 48, 160)
    assert output.offsets_px.shape == (1, 2, 48, 160)
    assert [tuple(d.shape) for d in output.disparities] == [(1, 1, 192 // s, 640 // s) for s in (2, 4, 8, 16)]
    assert [tuple(d.shape) for d in output.depth_features] == [(1, 32, 192 // s, 640 // s) for s in (2, 4, 8, 16)]
    assert [tuple(f.shape) for f in output.flow_px] == [(1, 2, 192 // s, 640 // s) for s in (4, 8, 16, 32)]


def test_it_keeps_the_pipelines_protocol(network):
    assert isinstance(network, PerceptionModel)
    assert network.input_size == (64, 96)
    assert network.depth_range_m == (0.1, 100.0)
    assert len(network.label_space) == 19


def test_untrained_depth_is_about_a_metre(network):
    """Room to both ends of 0.1 to 100 m, and the same at all scales."""
    for disparity in network(torch.rand(1, 3, 64, 96)).disparities:
        depth_m = disparity_to_depth(disparity, *network.depth_range_m)
        assert depth_m.min() > 0.5
        assert depth_m.max() < 2.0


def test_batch_of_two_equals_two_batches_of_one(network):
    now, before = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)
    both = network(now, network.remember(network.encode(before)))
    for i in range(2):
        alone = network(now[i : i + 1], network.remember(network.encode(before[i : i + 1])))
        for one, of_two in zip(_everything(alone), _everything(both), strict=True):
            assert torch.allclose(one, of_two[i : i + 1], atol=1e-5)


def test_memory_path_equals_two_frame_path(network):
    before, now = torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96)
    live = network.infer(now, network.infer(before).memory)
    both = network.remember(network.encode(torch.cat([before, now])))
    flow = network.find_flow(tuple(m[1:] for m in both), tuple(m[:1] for m in both))
    assert len(live.flow_px) == len(live.disparities) == 1
    assert live.depth_features == ()
    assert torch.allclose(live.flow_px[0], flow[0], atol=1e-5)
    assert not live.flow_px[0].requires_grad
    assert network.infer(before).flow_px == ()


def test_live_answers_are_those_of_training(network):
    image = torch.rand(1, 3, 64, 96)
    live, full = network.infer(image), network(image)
    assert torch.allclose(live.class_logits, full.class_logits, atol=1e-6)
    assert torch.allclose(live.disparities[0], full.disparities[0], atol=1e-6)
    assert torch.allclose(live.offsets_px, full.offsets_px, atol=1e-6)


def test_the_encoder_runs_once_a_frame(network):
    calls = []
    hook = network.encoder.register_forward_hook(lambda *_: calls.append(1))
    memory = network.infer(torch.rand(1, 3, 64, 96)).memory
    network.infer(torch.rand(1, 3, 64, 96), memory)
    hook.remove()
    assert len(calls) == 2


def test_offsets_are_in_pixels_of_the_input():
    network = MonoDVPS(NetworkConfig(**TINY)).eval()
    with torch.no_grad():
        network.offset_head.final.weight.zero_()
        network.offset_head.final.bias.copy_(torch.tensor([1.0, -2.0]))
    offsets = network.infer(torch.rand(1, 3, 64, 96)).offsets_px
    assert torch.equal(offsets[0, 0], torch.full((16, 24), 4.0))
    assert torch.equal(offsets[0, 1], torch.full((16, 24), -8.0))


def test_normalisation_is_inside(network):
    seen = []
    hook = network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.infer(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 64, 64))
    hook.remove()
    assert seen[0].abs().max() < 1e-6


def test_without_flow_there_is_none():
    network = MonoDVPS(NetworkConfig(**TINY, flow=False)).eval()
    output = network.infer(torch.rand(1, 3, 64, 96))
    assert output.memory == ()
    assert output.flow_px == ()
    assert network.find_flow((), ()) == ()


def test_wrong_sizes_are_refused(network):
    with pytest.raises(ShapeError, match=r"multiples of 32"):
        network(torch.rand(1, 3, 60, 96))
    with pytest.raises(ShapeError, match=r"image is \(1, 1, 64, 96\)"):
        network(torch.rand(1, 1, 64, 96))
    memory = network.infer(torch.rand(1, 3, 64, 64)).memory
    with pytest.raises(ShapeError, match=r"start again with empty memory"):
        network.infer(torch.rand(1, 3, 64, 96), memory)


@pytest.mark.parametrize("encoder", ["mobilenetv3_small_050", "resnet18", "convnext_atto", "hrnet_w18_small"])
def test_preparation_changes_nothing_but_speed(encoder):
    torch.manual_seed(0)
    network = _with_statistics(MonoDVPS(NetworkConfig(**{**TINY, "encoder": encoder, "output_stride": 32})))
    before, now = torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96)
    plain = network.infer(now, network.infer(before).memory)
    prepared = prepare_for_inference(network)
    quick = prepared.infer(now, prepared.infer(before).memory)
    norms = [m for m in prepared.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms == []
    for one, other in zip(_everything(plain), _everything(quick), strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-3)
    assert prepared.is_prepared
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


def test_every_part_learns():
    torch.manual_seed(0)
    network = MonoDVPS(NetworkConfig(**TINY)).train()
    before, now = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)
    output = network(now, network.remember(network.encode(before)))
    sum(entry.square().mean() for entry in _everything(output)).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []
