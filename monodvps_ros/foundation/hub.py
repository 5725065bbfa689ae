# SPDX-License-Identifier: Apache-2.0
"""Load models of the Hugging Face hub, by name or from a folder, with errors that say what to do."""

from typing import Any

import torch
from torch import Tensor

from monodvps_ros.errors import MissingDependencyError, WeightsError

#: What images are normalised with where a model's preprocessor says nothing else (ImageNet).
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(name: str, kind: str, device: torch.device) -> tuple[Any, Any]:
    """Load a model and its preprocessor.

    Args:
        name: on the hub, or a folder of `save_pretrained`. The hub needs the network the first time; later the files
            come from the local cache (``HF_HOME``; ``HF_HUB_OFFLINE=1`` forbids to ask the network).
        kind: name of the auto class in transformers, ``AutoModelForDepthEstimation`` or the like.
        device: where to put it.

    Returns:
        The model in evaluation mode, without gradients; and its preprocessor.

    Raises:
        MissingDependencyError: transformers is not installed.
        WeightsError: there is no such model, or it cannot be had.
    """
    try:
        import transformers  # noqa: PLC0415 (optional)
    except ImportError:
        raise MissingDependencyError(
            "models of the Hugging Face hub need transformers; install it with: pip install 'monodvps_ros[foundation]'"
        ) from None
    processor_kind = "AutoProcessor" if "oneformer" in name.lower() else "AutoImageProcessor"
    try:
        model = getattr(transformers, kind).from_pretrained(name)
        processor = getattr(transformers, processor_kind).from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"model '{name}' cannot be had: {reason}; check the name and the network connection, or give a folder that "
            "holds the model's files"
        ) from error
    return model.to(device).eval().requires_grad_(False), processor


def normalise(image: Tensor, processor: Any) -> Tensor:
    """Normalise an image as a model's preprocessor does.

    Args:
        image: (1, 3, H, W) in 0..1.
        processor: may hold `image_mean` and `image_std`, itself or in its `image_processor`.
    """
    inner = getattr(processor, "image_processor", processor)
    mean = image.new_tensor(getattr(inner, "image_mean", None) or MEAN)[:, None, None]
    deviation = image.new_tensor(getattr(inner, "image_std", None) or DEVIATION)[:, None, None]
    return (image - mean) / deviation
