# SPDX-License-Identifier: Apache-2.0
"""What the networks say of a training batch: everything that the active terms of the objective ask for, once each."""

import torch
from torch import Tensor

from monodvps_ros.geometry import invert_transform, transform_from_axis_angle
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.losses import Objective, TrainingPrediction
from monodvps_ros.network import MonoDVPS, PoseNetwork
from monodvps_ros.training.batch import StepBatch

#: What terms read of all scales; without any of these the network computes the finest alone.
_OF_ALL_SCALES = ("prediction.output.disparities", "prediction.output.depth_features", "prediction.output.flow_px")


def predict(network: MonoDVPS, pose_network: PoseNetwork, batch: StepBatch, objective: Objective) -> TrainingPrediction:
    """Run the networks on a batch.

    The encoder sees t and t - 1 in one call. Flow is found from t to t - 1 and back; where moving
    objects are masked, also from t + 1 to t, without gradients, since that flow is only looked at.

    Args:
        network: the network.
        pose_network: finds the camera's motion; run only where the photometric term is on.
        batch: what the networks are shown.
        objective: tells which terms are on.
    """
    reads, moves = objective.reads, bool(batch.shown_sources)
    reprojects = moves and "prediction.source_from_target" in reads
    masks = moves and "prediction.flow_to_target_px" in reads
    trains_flow = moves and "prediction.output.flow_px" in reads
    flows = network.config.flow and (trains_flow or masks)
    finest_only = reads.isdisjoint(_OF_ALL_SCALES)
    count = batch.shown.shape[0]
    encoded = network.encode(torch.cat([batch.shown, batch.shown_sources[0]]) if flows else batch.shown)
    memory = network.remember(_part(encoded, 1, count)) if flows else ()
    output = network.decode(_part(encoded, 0, count), memory, finest_only)
    back: tuple[Tensor, ...] = ()
    to_target: list[Tensor] = []
    if flows:
        back = network.find_flow(network.remember(_part(encoded, 1, count)), output.memory)
        to_target.append(back[0].detach())
    if flows and masks:
        with torch.no_grad():
            later = [network.remember(network.encode(source)) for source in batch.shown_sources[1:]]
            to_target += [network.find_flow(remembered, output.memory)[0] for remembered in later]
    size = batch.truth.size
    return TrainingPrediction(
        output=output,
        source_from_target=_motions(pose_network, batch) if reprojects else (),
        flow_back_px=back if trains_flow else (),
        flow_to_target_px=tuple(resize_bilinear(flow, size) for flow in to_target) if masks else (),
    )


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
