# SPDX-License-Identifier: Apache-2.0
"""Load models of the Hugging Face hub, by name or from a folder, with errors that say what to do."""

from typing import Any

import torch
from torch import Tensor

from monodvps_ros.errors import WeightsError, shortened
from monodvps_ros.optional import import_optional

#: What images are normalised with where a model's preprocessor says nothing else (ImageNet).
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class HubModel:
    """A model of the hub and how its images are normalised.

    Its preprocessor is not built, only read: images are resized here as everywhere in this package, and OneFormer's
    would ask a second repository for class names.

    Args:
        name: on the hub, or a folder of `save_pretrained`. The hub needs the network the first time; later the files
            come from the local cache (``HF_HOME``; ``HF_HUB_OFFLINE=1`` forbids to ask the network).
        kind: name of the auto class in transformers, ``AutoModelForDepthEstimation`` or the like.
        device: where to run it.

    Attributes:
        model: in evaluation mode, without gradients.
        config: its configuration.

    Raises:
        MissingDependencyError: transformers is not installed.
        WeightsError: there is no such model, or it cannot be had.
    """

    def __init__(self, name: str, kind: str, device: torch.device) -> None:
        transformers = _transformers()
        try:
            model = getattr(transformers, kind).from_pretrained(name)
            described, _ = transformers.ImageProcessingMixin.get_image_processor_dict(name)
        except (OSError, ValueError) as error:
            raise _cannot_be_had(name, error) from error
        self.name = name
        self.model: Any = model.to(device).eval().requires_grad_(False)
        self.config: Any = model.config
        self._device = device
        self._mean, self._deviation = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (described.get("image_mean") or MEAN, described.get("image_std") or DEVIATION)
        )

    def normalise(self, image: Tensor) -> Tensor:
        """Normalise an image (1, 3, H, W) in 0..1 as the model's preprocessor does."""
        return (image - self._mean) / self._deviation

    def tokens(self, text: str, length: int) -> Tensor:
        """Return a text as (1, length) token numbers, 0 after its end, by the model's own tokenizer.

        Raises:
            WeightsError: the tokenizer cannot be had, or does not know the text's words.
        """
        try:
            tokenizer = _transformers().AutoTokenizer.from_pretrained(self.name)
        except (OSError, ValueError) as error:
            raise _cannot_be_had(self.name, error) from error
        found = tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        numbers: Tensor = found["input_ids"] * found["attention_mask"]
        said = tokenizer.decode(found["input_ids"][0], skip_special_tokens=True)
        if said.split() != text.split():  # where its files are missing, transformers makes one that knows no words
            raise _cannot_be_had(self.name, ValueError(f"its tokenizer makes '{said}' of '{text}'"))
        return numbers.to(self._device)


def _transformers() -> Any:
    return import_optional("transformers", "a model of the Hugging Face hub")


def _cannot_be_had(name: str, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:300]
    return WeightsError(
        f"model '{shortened(name)}' cannot be loaded: {reason}; check the name and the network connection, or give "
        "a folder that contains the model's files"
    )
