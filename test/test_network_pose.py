# SPDX-License-Identifier: Apache-2.0
"""The pose network of a weights file, and the motions that a metric one counts in."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ENCODER, TINY

from monodvps_ros.config import NetworkConfig
from monodvps_ros.errors import WeightsError
from monodvps_ros.geometry import axis_angle_to_matrix, canonical_factor, motion_of_camera
from monodvps_ros.network import (
    MonoDVPS,
    PoseNetwork,
    load_network,
    load_pose_network,
    load_pose_weights,
    read_card,
    save_weights,
)

PAIR = torch.rand(2, 1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A weights file with a pose network, and what went into it."""
    torch.manual_seed(2)
    network = MonoDVPS(NetworkConfig(**TINY, metric=True)).eval()
    pose_network = PoseNetwork(ENCODER, shrink=2, metric=True).eval()
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(file, network, {}, pose_network=pose_network)
    return file, network, pose_network


def test_a_weights_file_brings_its_pose_network(saved):
    file, network, pose_network = saved
    assert read_card(file)["pose"] == {
        "encoder": ENCODER,
        "shrink": 2,
        "normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    loaded = load_pose_network(file)
    with torch.no_grad():
        for expected, found in zip(pose_network(*PAIR), loaded(*PAIR), strict=True):
            assert torch.equal(expected, found)
    own = load_network(file, for_inference=False).state_dict()
    assert own.keys() == network.state_dict().keys()
    assert all(torch.equal(own[name], value) for name, value in network.state_dict().items())


def test_training_starts_from_a_pose_network_of_the_same_architecture_alone(saved):
    file, _, pose_network = saved
    same, other = PoseNetwork(ENCODER, shrink=2, metric=True), PoseNetwork(ENCODER, shrink=2)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    assert load_pose_weights(same, file) and not load_pose_weights(other, file)
    filled, kept = same.state_dict(), other.state_dict()
    assert all(torch.equal(value, filled[name]) for name, value in pose_network.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in before.items())


def test_files_without_a_pose_network_say_so(saved, tmp_path):
    save_weights(tmp_path / "w.safetensors", saved[1], {})
    assert "pose" not in read_card(tmp_path / "w.safetensors")
    assert load_pose_network(tmp_path / "w.safetensors") is None
    assert load_pose_network("random") is None
    assert load_pose_network("graph.onnx") is None


@pytest.mark.parametrize(
    "change",
    [{"encoder": 3}, {"shrink": 0}, {"shrink": 10**9}, {"encoder": "no_such_encoder"}, {"normalization": {"std": [0]}}],
)
def test_a_description_of_no_pose_network_is_refused(saved, tmp_path, change):
    header = read_card(saved[0])
    header["pose"].update(change)
    file = tmp_path / "w.safetensors"
    save_file(load_file(saved[0]), file, metadata={"monodvps": json.dumps(header)})
    for load in (load_network, load_pose_network):
        with pytest.raises(WeightsError, match=r"w\.safetensors: "):
            load(file)


def test_tensors_of_a_pose_network_without_its_description_are_refused(saved, tmp_path):
    header = read_card(saved[0])
    del header["pose"]
    file = tmp_path / "w.safetensors"
    save_file(load_file(saved[0]), file, metadata={"monodvps": json.dumps(header)})
    with pytest.raises(WeightsError, match="not of this network: pose_network"):
        load_network(file)


@pytest.mark.parametrize(("turn", "reach", "error"), [((0.0, 0.0), 1.0, 1e-9), ((0.002, -0.003), 0.1, 0.02)])
def test_motions_of_the_canonical_camera_move_the_same_pixels(turn, reach, error):
    """A point is seen at the same pixels by both cameras, before and after the motion; pixels are not square.

    Shifts agree everywhere; turns, here of 1.5 px about the centre, near the centre of the image.
    """
    canonical, generator = 384.0, torch.Generator().manual_seed(1)
    intrinsics = torch.tensor([[[500.0, 0, 300], [0, 240, 100], [0, 0, 1]]], dtype=torch.float64)
    rotation = torch.tensor([[*turn, 0.0]], dtype=torch.float64)
    translation = torch.tensor([[0.2, -0.1, -1.2]], dtype=torch.float64)
    pixels = (torch.rand(50, 2, generator=generator, dtype=torch.float64) - 0.5) * reach * torch.tensor([600.0, 200.0])
    depth_m = 5 + 20 * torch.rand(50, generator=generator, dtype=torch.float64)

    def moved(turn, shift, focal_u, focal_v, depth):
        rays = pixels / torch.tensor([focal_u, focal_v])
        points = torch.cat([rays, torch.ones(50, 1)], 1) * depth[:, None]
        after = points @ axis_angle_to_matrix(turn)[0].T + shift
        return after[:, :2] / after[:, 2:] * torch.tensor([focal_u, focal_v])

    of_camera = motion_of_camera(rotation, translation, intrinsics, canonical)
    assert of_camera[1][0].tolist() == pytest.approx([0.2 * 240 / 500, -0.1, -1.2 * 240 / 384])
    found = moved(*of_camera, 500.0, 240.0, depth_m)
    expected = moved(rotation, translation, canonical, canonical, depth_m / canonical_factor(intrinsics, canonical)[0])
    assert (found - expected).abs().max() < error
    assert (moved(rotation, translation, 500.0, 240.0, depth_m) - expected).abs().max() > 1.0  # taken as they are


def test_a_network_up_to_scale_counts_motions_as_its_depth():
    given = torch.rand(1, 3), torch.rand(1, 3), torch.eye(3)[None]
    assert motion_of_camera(*given, 0.0) == given[:2]
