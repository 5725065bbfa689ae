# SPDX-License-Identifier: Apache-2.0
"""Motion of a camera from the motion that the canonical camera would have made, and back.

A metric network takes every image for one of the canonical camera, of focal length f_c in both directions: its depth
is z f_c / f_y (`canonical_factor`). A point (x, y, z) of the camera then lies at (x f_x / f_y, y, z f_c / f_y) of the
canonical one, and small motions carry over by the same stretching.
"""

import torch
from torch import Tensor

from monodvps_ros.shapes import check_shapes


def motion_of_camera(
    rotation: Tensor, translation: Tensor, intrinsics: Tensor, canonical_focal_px: float
) -> tuple[Tensor, Tensor]:
    """Turn motions of the canonical camera into those of the camera that took the images.

    Args:
        rotation: (B, 3) axis-angle, radians, small.
        translation: (B, 3) metres of the canonical camera.
        intrinsics: (B, 3, 3) K in pixels of the network's input.
        canonical_focal_px: focal length at which the network's depth is in metres; 0 where its depth is up to scale,
            and motions are returned as they are.

    Returns:
        Rotation (B, 3) in radians and translation (B, 3) in metres.

    Raises:
        ShapeError: a shape differs.

    Source: ours. Points seen by one camera are seen at the same pixels by the other after translations, and after
    small rotations near the centre of the image.
    """
    check_shapes(rotation=(rotation, "B 3"), translation=(translation, "B 3"), intrinsics=(intrinsics, "B 3 3"))
    if not canonical_focal_px:
        return rotation, translation
    focal_u, focal_v = intrinsics[:, 0, 0], intrinsics[:, 1, 1]
    one = torch.ones_like(focal_u)
    turned = torch.stack([canonical_focal_px / focal_v, canonical_focal_px / focal_u, one], 1)
    moved = torch.stack([focal_v / focal_u, one, focal_v / canonical_focal_px], 1)
    return rotation * turned, translation * moved
