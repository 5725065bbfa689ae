# SPDX-License-Identifier: Apache-2.0
"""What the networks say of a training batch: everything that the active terms of the objective ask for, once each."""

import torch
from torch import Tensor

from monodvps_ros.geometry import invert_transform, transform_from_axis_angle
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.losses import Objective, TrainingPrediction
from monodvps_ros.network import MonoDVPS, PoseNetwork
from monodvps_ros.training.batch import StepBatch
from monodvps_ros.types import NetworkOutput

#: What terms read of all scales; without any of these the network computes the finest alone.
_OF_ALL_SCALES = ("prediction.output.disparities", "prediction.output.depth_features", "prediction.output.flow_px")


def predict(network: MonoDVPS, pose_network: PoseNetwork, batch: StepBatch, objective: Objective) -> TrainingPrediction:
    """Run the networks on a batch.

    The encoder sees t and t - 1 in one call. Flow is found from t to t - 1, and back where it is asked for; where
    moving objects are masked, also between t and t + 1, without gradients, since that flow is only looked at.

    Args:
        network: the network.
        pose_network: finds the camera's motion; run only where the photometric term is on.
        batch: what the networks are shown.
        objective: tells which terms are on.
    """
    reads, moves = objective.reads, bool(batch.shown_sources)
    reprojects = moves and "prediction.source_from_target" in reads
    trains_flow = moves and "prediction.output.flow_px" in reads
    to_target = moves and "prediction.flow_to_target_px" in reads
    to_sources = moves and "prediction.flow_to_sources_px" in reads
    flows = network.config.flow and (trains_flow or to_target or to_sources)
    finest_only = reads.isdisjoint(_OF_ALL_SCALES)
    count = batch.shown.shape[0]
    encoded = network.encode(torch.cat([batch.shown, batch.shown_sources[0]]) if flows else batch.shown)
    memory = network.remember(_part(encoded, 1, count)) if flows else ()
    output = network.decode(_part(encoded, 0, count), memory, finest_only)
    back: tuple[Tensor, ...] = ()
    if flows and (trains_flow or to_target):
        back = network.find_flow(network.remember(_part(encoded, 1, count)), output.memory)
    looked_at: tuple[Tensor, ...] = ()
    if flows and (to_target or to_sources):
        looked_at = _flow_to_look_at(network, batch, output, back if to_target else output.flow_px, to_target)
    return TrainingPrediction(
        output=output,
        source_from_target=_motions(pose_network, batch) if reprojects else (),
        flow_back_px=back if trains_flow else (),
        flow_to_target_px=looked_at if to_target else (),
        flow_to_sources_px=looked_at if to_sources else (),
    )


@torch.no_grad()
def _flow_to_look_at(
    network: MonoDVPS, batch: StepBatch, output: NetworkOutput, first: tuple[Tensor, ...], to_target: bool
) -> tuple[Tensor, ...]:
    """Find flow between the target and each source, at the images' size; that of the first source is known."""
    found = [first[0].detach()]
    for source in batch.shown_sources[1:]:
        pair = network.remember(network.encode(source)), output.memory
        found.append(network.find_flow(*(pair if to_target else pair[::-1]))[0])
    return tuple(resize_bilinear(flow, batch.truth.size) for flow in found)


def _part(maps: tuple[Tensor, ...], place: int, count: int) -> tuple[Tensor, ...]:
    return tuple(entry[place * count : (place + 1) * count] for entry in maps)


def _motions(pose_network: PoseNetwork, batch: StepBatch) -> tuple[Tensor, ...]:
    """Find the motion from the target to each source; the pose network is given every pair in temporal order.

    All pairs go through it at once. The first source is the frame before, for which the motion is turned round.
    """
    sources, target = batch.shown_sources, batch.shown
    earlier = [sources[0], *(target for _ in sources[1:])]
    later = [target, *sources[1:]]
    rotation, translation = pose_network(torch.cat(earlier), torch.cat(later))
    motions = transform_from_axis_angle(rotation.float(), translation.float()).split(target.shape[0])
    return (invert_transform(motions[0]), *motions[1:])
