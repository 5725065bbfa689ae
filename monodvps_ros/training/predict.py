# SPDX-License-Identifier: Apache-2.0
"""Predictions for a training batch: everything that the active terms of the objective read, computed once."""

from dataclasses import replace

import torch
from torch import Tensor

from monodvps_ros.geometry import invert_transform, motion_of_camera, transform_from_axis_angle
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.losses import Objective, TrainingPrediction
from monodvps_ros.network import MonoDVPS, PoseNetwork
from monodvps_ros.training.batch import StepBatch
from monodvps_ros.types import NetworkOutput

#: Read by terms at all scales; without any of these the network computes only the finest.
_OF_ALL_SCALES = ("prediction.output.disparities", "prediction.output.depth_features", "prediction.output.flow_px")


def predict(network: MonoDVPS, pose_network: PoseNetwork, batch: StepBatch, objective: Objective) -> TrainingPrediction:
    """Run the networks on a batch.

    The encoder sees t and t - 1 in one call. Flow is predicted from t to t - 1, and back where needed; with masks of
    moving objects also between t and t + 1, without gradients, since that flow is not trained. Where depth is
    frozen, motion is trained at the finest disparity alone.

    Args:
        network: the network.
        pose_network: predicts the camera motion; runs only if the photometric term is active.
        batch: input of the networks.
        objective: determines the active terms.
    """
    reads, moves = objective.reads, bool(batch.shown_sources)
    reprojects = moves and "prediction.source_from_target" in reads
    trains_flow = moves and "prediction.output.flow_px" in reads
    to_target = moves and "prediction.flow_to_target_px" in reads
    to_sources = moves and "prediction.flow_to_sources_px" in reads
    flows = network.config.flow and (trains_flow or to_target or to_sources)
    frozen = "prediction.output.depth_features" not in reads and not _trains_depth(network)
    finest_only = frozen or reads.isdisjoint(_OF_ALL_SCALES)
    count = batch.shown.shape[0]
    encoded = network.encode(torch.cat([batch.shown, batch.shown_sources[0]]) if flows else batch.shown)
    memory = network.remember(_part(encoded, 1, count)) if flows else ()
    output = network.decode(_part(encoded, 0, count), () if frozen else memory, finest_only)
    if frozen and memory:
        output = replace(output, flow_px=network.find_flow(output.memory, memory))
    back: tuple[Tensor, ...] = ()
    if flows and (trains_flow or to_target):
        back = network.find_flow(network.remember(_part(encoded, 1, count)), output.memory)
    looked_at: tuple[Tensor, ...] = ()
    if flows and (to_target or to_sources):
        looked_at = _flow_to_look_at(network, batch, output, back if to_target else output.flow_px, to_target)
    return TrainingPrediction(
        output=output,
        source_from_target=_motions(pose_network, batch, objective.canonical_focal_px) if reprojects else (),
        flow_back_px=back if trains_flow else (),
        flow_to_target_px=looked_at if to_target else (),
        flow_to_sources_px=looked_at if to_sources else (),
    )


def _trains_depth(network: MonoDVPS) -> bool:
    parts = (network.encoder, network.semantic_decoder, network.depth_head)
    return any(weight.requires_grad for part in parts for weight in part.parameters())


@torch.no_grad()
def _flow_to_look_at(
    network: MonoDVPS, batch: StepBatch, output: NetworkOutput, first: tuple[Tensor, ...], to_target: bool
) -> tuple[Tensor, ...]:
    """Predict flow between the target and each source, at image size; that of the first source is given."""
    found = [first[0].detach()]
    for source in batch.shown_sources[1:]:
        pair = network.remember(network.encode(source)), output.memory
        found.append(network.find_flow(*(pair if to_target else pair[::-1]))[0])
    return tuple(resize_bilinear(flow, batch.truth.size) for flow in found)


def _part(maps: tuple[Tensor, ...], place: int, count: int) -> tuple[Tensor, ...]:
    return tuple(entry[place * count : (place + 1) * count] for entry in maps)


def _motions(pose_network: PoseNetwork, batch: StepBatch, canonical_focal_px: float) -> tuple[Tensor, ...]:
    """Predict the motion from the target to each source; the pose network gets every pair in temporal order.

    All pairs are one batch. The motion to the first source, the previous frame, is inverted.
    """
    sources, target = batch.shown_sources, batch.shown
    earlier = [sources[0], *(target for _ in sources[1:])]
    later = [target, *sources[1:]]
    rotation, translation = pose_network(torch.cat(earlier), torch.cat(later))
    intrinsics = batch.truth.intrinsics
    assert intrinsics is not None  # the photometric term asked for it
    motion = motion_of_camera(
        rotation.float(), translation.float(), intrinsics.repeat(len(sources), 1, 1), canonical_focal_px
    )
    motions = transform_from_axis_angle(*motion).split(target.shape[0])
    return (invert_transform(motions[0]), *motions[1:])
