# SPDX-License-Identifier: Apache-2.0
"""The table of loss terms: what computes each, what it needs of a sample, and which parts of the networks it trains."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.flow import flow_term
from monodvps_ros.losses.panoptic import center_term, offset_term, semantic_term
from monodvps_ros.losses.panoptic_edge_discontinuity import panoptic_edges_term
from monodvps_ros.losses.panoptic_smoothness import panoptic_smoothness_term
from monodvps_ros.losses.pseudo_depth import pseudo_depth_term
from monodvps_ros.losses.reprojection import photometric_term
from monodvps_ros.losses.smoothness import smoothness_term
from monodvps_ros.losses.supervised_depth import supervised_depth_term
from monodvps_ros.losses.triplet import triplet_term
from monodvps_ros.losses.uprightness import uprightness_term


class Need(str, Enum):
    """What a term needs of a sample; the value is the flag of `TrainingBatch` that says whether it is there."""

    NOTHING = ""  # computed for every sample, but of itself no reason to train on one
    MOTION = "has_sources"  # both adjacent frames, and K
    LABELS = "labelled"  # a panoptic map
    MEASURED_DEPTH = "has_depth"  # depth in metres
    TEACHER_DEPTH = "has_inverse_depth"  # inverse depth up to scale and shift


@dataclass(frozen=True)
class Term:
    """One term of the objective.

    Attributes:
        name: of the term, and of its weight in `LossConfig`.
        group: setting that weighs the whole group besides; the term's own name where it is weighed once.
        compute: its value.
        need: samples without it are left out of the term's average, and are not chosen for it.
        reads: attributes of the batch that it looks at; names of the prediction begin with ``prediction.``.
        trains: parts of the networks, beside the encoder, that its gradient reaches.
    """

    name: str
    group: str
    compute: Callable[[TermInputs], Tensor]
    need: Need
    reads: tuple[str, ...]
    trains: frozenset[str]


_DISPARITIES, _FEATURES = "prediction.output.disparities", "prediction.output.depth_features"
_MOTIONS, _FLOW = "prediction.source_from_target", "prediction.output.flow_px"
_CENTERS, _OFFSETS = "prediction.output.center_heatmap", "prediction.output.offsets_px"
#: The depth head stands on the semantic decoder, which depth terms therefore train too.
_DEPTH_PARTS = frozenset({"depth", "semantic"})
_INSTANCE = frozenset({"instance"})

#: All terms, in the order in which they are reported: those of Eq. 11, of the instance loss, and the others of Eq. 10.
TERMS = (
    Term("photometric", "depth", photometric_term, Need.MOTION, ("sources", "intrinsics", _DISPARITIES, _MOTIONS),
         _DEPTH_PARTS | {"pose"}),
    Term("smoothness", "depth", smoothness_term, Need.NOTHING, (_DISPARITIES,), _DEPTH_PARTS),
    Term("panoptic_smoothness", "depth", panoptic_smoothness_term, Need.LABELS, ("panoptic", _DISPARITIES),
         _DEPTH_PARTS),
    Term("panoptic_edges", "depth", panoptic_edges_term, Need.LABELS, ("panoptic", _DISPARITIES), _DEPTH_PARTS),
    Term("triplet", "depth", triplet_term, Need.LABELS, ("panoptic", _FEATURES), _DEPTH_PARTS),
    Term("uprightness", "depth", uprightness_term, Need.LABELS, ("panoptic", _DISPARITIES), _DEPTH_PARTS),
    Term("supervised_depth", "depth", supervised_depth_term, Need.MEASURED_DEPTH, ("depth_m", _DISPARITIES),
         _DEPTH_PARTS),
    Term("pseudo_depth", "depth", pseudo_depth_term, Need.TEACHER_DEPTH, ("inverse_depth", _DISPARITIES),
         _DEPTH_PARTS),
    Term("center", "instance", center_term, Need.LABELS, ("centers", _CENTERS), _INSTANCE),
    Term("offset", "instance", offset_term, Need.LABELS, ("offsets_px", "offset_weights", _OFFSETS), _INSTANCE),
    Term("semantic", "semantic", semantic_term, Need.LABELS, ("panoptic",), frozenset({"semantic"})),
    Term("flow", "flow", flow_term, Need.MOTION, ("sources", _FLOW), frozenset({"flow"})),
)  # fmt: skip
#: What each `LossConfig.moving_test` asks for besides the photometric term.
MASK_READS = {
    "iou": ("panoptic", "prediction.flow_to_target_px"),
    "flow": ("panoptic", "prediction.flow_to_sources_px"),
}
