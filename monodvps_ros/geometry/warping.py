# SPDX-License-Identifier: Apache-2.0
"""Synthesis of an image from another one: by pixel coordinates, by depth and motion, by flow.

A pixel is *inside* an image of W columns where -0.5 <= u < W - 0.5, and the same for rows: on some pixel's square.
"""

import torch
from torch import Tensor
from torch.nn import functional

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry.motion import transform_points
from monodvps_ros.geometry.projection import MIN_PROJECTED_DEPTH, back_project, pixel_grid, project
from monodvps_ros.shapes import check_shapes

_MODES = ("bilinear", "nearest")
_PADDINGS = ("border", "zeros")


def inside_image(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Tell which pixel coordinates lie on an image.

    Args:
        pixels: (B, 2, H, W) coordinates (u, v); NaN is not inside.
        size: height and width of the image.

    Returns:
        (B, 1, H, W) bool.

    Raises:
        ShapeError: `pixels` is not (B, 2, H, W).
    """
    check_shapes(pixels=(pixels, "B 2 H W"))
    u, v = pixels[:, 0:1], pixels[:, 1:2]
    return (u >= -0.5) & (u < size[1] - 0.5) & (v >= -0.5) & (v < size[0] - 0.5)


def warp(image: Tensor, pixels: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Sample an image at pixel coordinates.

    Args:
        image: (B, C, h, w); a floating dtype for bilinear, any dtype for nearest.
        pixels: (B, 2, H, W) coordinates (u, v) in the image, one for each pixel of the result.
        mode: 'bilinear', or 'nearest' (a coordinate halfway between two centres takes the greater one).
        padding: what lies outside of the image: 'border' repeats the outermost pixels, 'zeros' is 0; a bilinear
            sample near the edge blends with it.

    Returns:
        (B, C, H, W), of the dtype of `image`. Where a coordinate is NaN it is 0.

    Raises:
        ShapeError: a shape differs, B disagrees, the mode or padding is unknown, or an image of integers is to be
            sampled bilinearly.
    """
    sizes = check_shapes(image=(image, "B C h w"), pixels=(pixels, "B 2 H W"))
    if mode not in _MODES or padding not in _PADDINGS:
        raise ShapeError(f"mode '{mode}', padding '{padding}'; modes are {_MODES}, paddings are {_PADDINGS}")
    known = ~pixels.isnan().any(1, keepdim=True)
    pixels = torch.where(known, pixels, 0.0)
    sampled = _bilinear(image, pixels, padding) if mode == "bilinear" else _nearest(image, pixels)
    if mode == "nearest" and padding == "zeros":
        known = known & inside_image(pixels, (sizes["h"], sizes["w"]))
    return torch.where(known, sampled, torch.zeros((), dtype=sampled.dtype, device=sampled.device))


def warp_by_depth(
    source: Tensor,
    depth_m: Tensor,
    source_from_target: Tensor,
    intrinsics: Tensor,
    source_intrinsics: Tensor | None = None,
    *,
    mode: str = "bilinear",
    padding: str = "border",
) -> tuple[Tensor, Tensor]:
    """Synthesise the target image from a source image, the target's depth and the motion between the two.

    Args:
        source: (B, C, h, w) image to sample.
        depth_m: (B, 1, H, W) depth of the target in metres.
        source_from_target: (B, 4, 4) motion that carries points of the target camera into the source camera.
        intrinsics: (B, 3, 3) K of the target, in pixels of the H x W image.
        source_intrinsics: (B, 3, 3) K of the source, in pixels of the h x w image; None where it is the same.
        mode: 'bilinear' or 'nearest'.
        padding: as in `warp`.

    Returns:
        The image, (B, C, H, W), and where it can be believed, (B, 1, H, W) bool: the depth is finite and positive,
        the point lies before the source camera and projects inside the source. Elsewhere the image is finite (0 where
        the point is behind the camera), and no gradient reaches a depth that is not positive or not finite, nor one
        whose point is behind the camera.

    Raises:
        ShapeError: a shape differs, or arguments disagree on a size; as `warp` says.

    Source: Eq. 2 and the synthesis of section 3.2 of Petrovai & Nedevschi.
    """
    sizes = check_shapes(
        source=(source, "B C h w"),
        depth_m=(depth_m, "B 1 H W"),
        source_from_target=(source_from_target, "B 4 4"),
        intrinsics=(intrinsics, "B 3 3"),
        source_intrinsics=(source_intrinsics, "B 3 3"),
    )
    usable = (depth_m > 0) & depth_m.isfinite()
    pixels = _reprojected(
        torch.where(usable, depth_m, 1.0),
        source_from_target,
        intrinsics,
        intrinsics if source_intrinsics is None else source_intrinsics,
    )
    valid = usable & inside_image(pixels, (sizes["h"], sizes["w"]))
    return warp(source, pixels, mode, padding), valid


def rigid_flow(depth_m: Tensor, source_from_target: Tensor, intrinsics: Tensor) -> Tensor:
    """Return the flow that a scene at rest has while the camera moves.

    Args:
        depth_m: (B, 1, H, W) depth of the target in metres.
        source_from_target: (B, 4, 4) motion that carries points of the target camera into the source camera.
        intrinsics: (B, 3, 3) K of both cameras, in pixels of the H x W image.

    Returns:
        (B, 2, H, W) (dx, dy) at the target's pixels, pointing into the source; NaN without depth, and where the point
        is behind the source camera.

    Raises:
        ShapeError: a shape differs, or arguments disagree on a size.
    """
    sizes = check_shapes(
        depth_m=(depth_m, "B 1 H W"),
        source_from_target=(source_from_target, "B 4 4"),
        intrinsics=(intrinsics, "B 3 3"),
    )
    pixels = _reprojected(depth_m, source_from_target, intrinsics, intrinsics)
    return pixels - pixel_grid(sizes["H"], sizes["W"], depth_m.device, depth_m.dtype)


def _reprojected(depth_m: Tensor, source_from_target: Tensor, intrinsics: Tensor, source_intrinsics: Tensor) -> Tensor:
    """(B, 2, H, W) where each pixel lies in the source; NaN without depth, and behind the camera."""
    points = transform_points(source_from_target, back_project(depth_m, intrinsics))
    pixels = project(points, source_intrinsics)
    return torch.where(points[:, 2:3] > MIN_PROJECTED_DEPTH, pixels, torch.nan)


def warp_by_flow(
    source: Tensor, flow_px: Tensor, mode: str = "bilinear", padding: str = "border"
) -> tuple[Tensor, Tensor]:
    """Synthesise an image from another one by following the flow: result(p) = source(p + flow(p)).

    Args:
        source: (B, C, H, W) image to sample.
        flow_px: (B, 2, H, W) (dx, dy) in pixels, from the image that is wanted to the source; half precision is
            added to the coordinates in float32.
        mode: 'bilinear' or 'nearest'.
        padding: as in `warp`.

    Returns:
        The image, (B, C, H, W), and where it can be believed, (B, 1, H, W) bool: the flow is known and ends inside.

    Raises:
        ShapeError: a shape differs, or arguments disagree on a size; as `warp` says.
    """
    sizes = check_shapes(source=(source, "B C H W"), flow_px=(flow_px, "B 2 H W"))
    dtype = torch.promote_types(flow_px.dtype, torch.float32)
    pixels = pixel_grid(sizes["H"], sizes["W"], flow_px.device, dtype) + flow_px
    return warp(source, pixels, mode, padding), inside_image(pixels, (sizes["H"], sizes["W"]))


def visible_both_ways(
    flow_px: Tensor, flow_back_px: Tensor, relative: float = 0.01, absolute_px2: float = 0.5
) -> Tensor:
    """Tell where the surface seen in one frame is seen in the other too: there and back again ends where it began.

    Visible where |f + b'|^2 <= relative (|f|^2 + |b'|^2) + absolute, with b' the backward flow at the end of f, and
    where f ends inside the image. NaN in either flow is not visible.

    Args:
        flow_px: (B, 2, H, W) (dx, dy) from this frame to the other.
        flow_back_px: (B, 2, H, W) (dx, dy) from the other frame to this one.
        relative: share of the squared lengths that may be missed.
        absolute_px2: squared pixels that may be missed.

    Returns:
        (B, 1, H, W) bool in pixels of this frame.

    Raises:
        ShapeError: a shape differs, or the two disagree on a size.

    Source: Sundaram, Brox & Keutzer 2010, with the constants of Meister et al. 2018 (UnFlow).
    """
    check_shapes(flow_px=(flow_px, "B 2 H W"), flow_back_px=(flow_back_px, "B 2 H W"))
    back, inside = warp_by_flow(flow_back_px, flow_px)
    missed = (flow_px + back).square().sum(1, keepdim=True)
    length = (flow_px.square() + back.square()).sum(1, keepdim=True)
    return inside & (missed <= relative * length + absolute_px2)


def _bilinear(image: Tensor, pixels: Tensor, padding: str) -> Tensor:
    if not image.is_floating_point():
        raise ShapeError(f"image is {image.dtype}; bilinear sampling needs a floating dtype, or take mode='nearest'")
    height, width = image.shape[2:]
    # Beyond one pixel outside nothing changes any more; huge coordinates would overflow the integers inside.
    u = pixels[:, 0].clamp(-2.0, width + 1.0)
    v = pixels[:, 1].clamp(-2.0, height + 1.0)
    grid = torch.stack([(2.0 * u + 1.0) / width - 1.0, (2.0 * v + 1.0) / height - 1.0], 3)
    sampled = functional.grid_sample(image.to(grid.dtype), grid, "bilinear", padding, align_corners=False)
    return sampled.to(image.dtype)


def _nearest(image: Tensor, pixels: Tensor) -> Tensor:
    batch, channels, height, width = image.shape
    column = (pixels[:, 0] + 0.5).floor().clamp(0, width - 1).long()
    row = (pixels[:, 1] + 0.5).floor().clamp(0, height - 1).long()
    index = (row * width + column).reshape(batch, 1, -1).expand(-1, channels, -1)
    return image.flatten(2).gather(2, index).reshape(batch, channels, *pixels.shape[2:])
