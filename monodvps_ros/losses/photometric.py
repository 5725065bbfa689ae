# SPDX-License-Identifier: Apache-2.0
"""Photometric error (Eq. 3) and its minimum over source images with auto-masking."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from monodvps_ros.errors import ShapeError, counted
from monodvps_ros.losses.panoptic_map import with_channel
from monodvps_ros.losses.reduction import masked_mean
from monodvps_ros.shapes import check_shapes

_C1 = 0.01**2
_C2 = 0.03**2
#: Standard deviation of the noise that breaks ties between standing still and reprojection (Godard et al. 2019).
TIE_NOISE = 1e-5


def photometric_error(prediction: Tensor, target: Tensor, alpha: float = 0.85) -> Tensor:
    """Measure pixel by pixel how two images differ: Eq. 3.

    pe = alpha / 2 (1 - SSIM) + (1 - alpha) |target - prediction|, each averaged over the channels; the first summand
    is clamped to 0..alpha.

    Args:
        prediction: (B, C, H, W) in 0..1, H and W at least 2.
        target: (B, C, H, W) in 0..1.
        alpha: share of the structural part.

    Returns:
        (B, 1, H, W), 0 for a perfect fit, with a gradient of 0 there.

    Raises:
        ShapeError: the shapes differ, or an image has fewer than 2 rows or columns.

    Source: Eq. 3 of Petrovai & Nedevschi, after Godard et al. 2019, Eq. 2.
    """
    _check_pair(prediction, target)
    return _error(prediction, target, _Windows(target), alpha)


def minimum_reprojection_loss(
    warped: Sequence[Tensor] | Tensor,
    sources: Sequence[Tensor] | Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    valid: Sequence[Tensor] | None = None,
    standing: Tensor | None = None,
    generator: torch.Generator | None = None,
    alpha: float = 0.85,
) -> Tensor:
    """Average the photometric error to the source image that fits each pixel best; leave standing pixels out.

    Where some unwarped source fits a pixel at least as well as every warped one does, the pixel stands still in the
    image (a standing camera, or an object that drives along). It counts with that unwarped source's error, which is
    constant, so it gives no gradient: a pixel trains only where warping explains it better than standing still. (The
    paper's sentence on this has the comparison the other way round; its reference, Godard et al. 2019, is followed.)

    Args:
        warped: S source images warped to the target, each (B, 3, H, W), or stacked in front as (S, B, 3, H, W).
        sources: the S source images before warping, in the same form; empty for no auto-masking.
        target: (B, 3, H, W) in 0..1.
        mask: (B, 1, H, W) or (B, H, W), 1 or true where a pixel counts, 0 where it does not (moving objects); None
            where all count.
        valid: for each source (B, 1, H, W) bool, where its warped image can be believed; elsewhere it is no candidate
            for the minimum, and a pixel for which no source is does not count. None where all can.
        standing: `reprojection_errors` of the unwarped sources, where they are known already; `sources` is empty then.
        generator: draws the noise that breaks ties between standing still and reprojection: normal, of standard
            deviation `TIE_NOISE`, used in the comparison only. None: no noise, and a tie counts as standing still.
        alpha: as in `photometric_error`.

    Returns:
        Scalar: for each image the sum over its counted pixels divided by their number, averaged over the batch.
        Perfect fit: 0. Standing camera: the mean error of the unwarped sources, 0 if nothing moves, without gradient.
        A mask of zeros: 0, without gradient.

    Raises:
        ShapeError: shapes differ, the numbers of images differ, or there is no source.

    Source: Godard et al. 2019, Eqs. 1 and 5; section 3.2 of Petrovai & Nedevschi.
    """
    candidates, unwarped = _images(warped, "warped"), _images(sources, "sources")
    _check_numbers(len(candidates), len(unwarped), None if valid is None else len(valid))
    errors = reprojection_errors(candidates, target, "warped", alpha)
    if unwarped:
        standing = reprojection_errors(unwarped, target, "sources", alpha)
    keep = torch.ones_like(errors[:, :1], dtype=torch.bool) if mask is None else with_channel(mask, "mask")
    check_shapes(target=(target, "B 3 H W"), mask=(keep, "B 1 H W"))
    if valid is not None:
        usable = _joined(valid, target)
        errors, keep = errors.masked_fill(~usable, torch.inf), keep * usable.any(1, keepdim=True)
    best = errors.min(1, keepdim=True).values
    if standing is not None:
        still = standing.min(1, keepdim=True).values.detach()
        best = torch.where(_with_noise(still, generator) <= best, still, best)
    return masked_mean(best, keep)


def _check_numbers(warped: int, sources: int, valid: int | None) -> None:
    if warped == 0 or sources not in (0, warped):
        raise ShapeError(
            f"warped contains {counted(warped, 'image')} but sources contains {sources}: "
            "give one or more, and as many of the one as of the other"
        )
    if valid not in (None, warped):
        raise ShapeError(f"valid contains {counted(valid, 'mask')} but warped contains {counted(warped, 'image')}")


def reprojection_errors(images: Sequence[Tensor], target: Tensor, name: str = "warped", alpha: float = 0.85) -> Tensor:
    """Measure the photometric error of each of S images to the target.

    Args:
        images: S images, each (B, 3, H, W).
        target: (B, 3, H, W).
        name: what error messages call the images.
        alpha: as in `photometric_error`.

    Returns:
        (B, S, H, W).

    Raises:
        ShapeError: shapes differ.
    """
    for place, image in enumerate(images):
        check_shapes("", target=(target, "B 3 H W"), **{f"{name}[{place}]": (image, "B 3 H W")})
    _check_pair(target, target)
    windows = _Windows(target)
    return torch.cat([_error(image, target, windows, alpha) for image in images], 1)


def _joined(valid: Sequence[Tensor], target: Tensor) -> Tensor:
    for place, entry in enumerate(valid):
        check_shapes("", target=(target, "B 3 H W"), **{f"valid[{place}]": (entry, "B 1 H W")})
    return torch.cat(list(valid), 1)


def _with_noise(values: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return values
    return values + TIE_NOISE * torch.randn(values.shape, generator=generator, device=generator.device).to(values)


def _images(images: Sequence[Tensor] | Tensor, name: str) -> Sequence[Tensor]:
    if not isinstance(images, Tensor):
        return images
    if images.dim() not in (4, 5):
        raise ShapeError(f"{name} is {tuple(images.shape)} but must be (S, B, 3, H, W), or a sequence of (B, 3, H, W)")
    return images.unbind(0) if images.dim() == 5 else (images,)


def _check_pair(prediction: Tensor, target: Tensor) -> None:
    sizes = check_shapes(prediction=(prediction, "B C H W"), target=(target, "B C H W"))
    if min(sizes["H"], sizes["W"]) < 2:
        raise ShapeError(f"prediction is {tuple(prediction.shape)}: reflection padding needs at least 2 x 2 pixels")


class _Windows:
    """Mean and variance of an image in each 3 x 3 window, and the image for covariances with another one.

    Neither variance nor covariance changes when an image is shifted; taken about its own mean it loses fewer digits.
    """

    def __init__(self, image: Tensor) -> None:
        shift = image.detach().mean((2, 3), keepdim=True)
        self.centered = functional.pad(image - shift, (1, 1, 1, 1), "reflect")
        self.centered_mean = _window_mean(self.centered)
        self.mean = self.centered_mean + shift
        self.variance = _window_mean(self.centered * self.centered) - self.centered_mean * self.centered_mean


def _window_mean(image: Tensor) -> Tensor:
    """Average 3 x 3 windows; written out, because pooling takes five times as long on a CPU."""
    rows = image[..., :-2] + image[..., 1:-1] + image[..., 2:]
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9


def _dissimilarity(x: _Windows, y: _Windows) -> Tensor:
    """Structural dissimilarity (1 - SSIM) / 2 in 0..1, after Wang et al. 2004, of images given by their windows."""
    covariance = _window_mean(x.centered * y.centered) - x.centered_mean * y.centered_mean
    above = (2 * x.mean * y.mean + _C1) * (2 * covariance + _C2)
    below = (x.mean * x.mean + y.mean * y.mean + _C1) * (x.variance + y.variance + _C2)
    return ((1 - above / below) / 2).clamp(0, 1)


def _error(prediction: Tensor, target: Tensor, windows: _Windows, alpha: float) -> Tensor:
    structure = _dissimilarity(_Windows(prediction), windows).mean(1, keepdim=True)
    return alpha * structure + (1 - alpha) * (target - prediction).abs().mean(1, keepdim=True)
