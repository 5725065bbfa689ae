# SPDX-License-Identifier: Apache-2.0
"""Names of models on the Hugging Face hub, and of their classes."""

from monodvps_ros.errors import ConfigError, LabelError, shortened
from monodvps_ros.labels import LabelSpace

#: Short names of panoptic models trained on Cityscapes.
PANOPTIC_MODELS = {
    "mask2former-cityscapes": "facebook/mask2former-swin-small-cityscapes-panoptic",
    "mask2former-cityscapes-large": "facebook/mask2former-swin-large-cityscapes-panoptic",
    "oneformer-cityscapes": "shi-labs/oneformer_cityscapes_swin_large",
}
#: Short names of depth models.
DEPTH_MODELS = {
    "depth-anything-v2-metric": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf",
    "depth-anything-v2-metric-large": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf",
    "depth-anything-v2": "depth-anything/Depth-Anything-V2-Small-hf",
    "zoedepth": "Intel/zoedepth-kitti",
}
#: Other words for classes, after `_plain`.
SYNONYMS = {"motorbike": "motorcycle", "pedestrian": "person", "bike": "bicycle"}


def parse_pair(spec: str) -> tuple[str, str]:
    """Part ``PANOPTIC+DEPTH`` into the two hub names or folders.

    Args:
        spec: short names of this module, names on the hub (``owner/name``) or local folders, joined by ``+``.

    Raises:
        ConfigError: there are not two parts, or one is neither a short name, a hub name nor a folder.
    """
    parts = spec.split("+")
    if len(parts) != 2:
        raise ConfigError(
            f"model '{shortened(spec)}' must be PANOPTIC+DEPTH, as in 'mask2former-cityscapes+depth-anything-v2-metric'"
        )
    return resolve(parts[0], PANOPTIC_MODELS, "panoptic"), resolve(parts[1], DEPTH_MODELS, "depth")


def resolve(name: str, known: dict[str, str], kind: str) -> str:
    """Return the hub name or folder that a name stands for.

    Raises:
        ConfigError: it is neither a short name nor looks like a hub name or a folder.
    """
    if name in known:
        return known[name]
    if "/" in name:
        return name
    raise ConfigError(
        f"no {kind} model '{shortened(name)}'; there are {', '.join(known)}; or give a name on the hub (owner/name) "
        "or a folder"
    )


def class_mapping(names: dict[int, str], labels: LabelSpace) -> list[int]:
    """Map a model's classes, by number, to a label space by their names: a class id for each, by ascending number.

    Raises:
        LabelError: a name has no counterpart; all such are listed.
    """
    wanted = {_plain(name): class_id for class_id, name in enumerate(labels.names)}
    found = [wanted.get(_plain(names[number])) for number in sorted(names)]
    unknown = [names[number] for number, class_id in zip(sorted(names), found, strict=True) if class_id is None]
    if unknown:
        raise LabelError(
            f"classes without a counterpart in '{labels.name}': {shortened(', '.join(unknown))}; it has "
            f"{', '.join(labels.names)}; "
            "choose a model that was trained on its classes"
        )
    return [class_id for class_id in found if class_id is not None]


def _plain(name: str) -> str:
    """Fold case, hyphens and underscores, and other words for the same class."""
    folded = " ".join(name.lower().replace("-", " ").replace("_", " ").split())
    return SYNONYMS.get(folded, folded)
