# SPDX-License-Identifier: Apache-2.0
"""Rigid motion: axis-angle, 4 x 4 transforms, and points carried by them.

Products are written out instead of left to matmul, which mixed precision or TF32 would round to 10 bits.
"""

import torch
from torch import Tensor

from monodvps_ros.shapes import check_shapes

#: Squared angle below which series stand in for the closed forms, whose quotients vanish there.
_SMALL_SQUARED_ANGLE = 1e-4


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Return the rotation about an axis by an angle.

    Value and gradient are finite everywhere, also at the zero rotation.

    Args:
        axis_angle: (B, 3) the axis times the angle in radians.

    Returns:
        (B, 3, 3) rotation matrices, of the same dtype.

    Raises:
        ShapeError: the argument is not (B, 3).

    Source: Rodrigues' formula, R = I + sin(a)/a [v] + (1 - cos(a))/a^2 [v]^2 with a = |v|; series near a = 0.
    """
    check_shapes(axis_angle=(axis_angle, "B 3"))
    square = (axis_angle * axis_angle).sum(1)
    small = square < _SMALL_SQUARED_ANGLE
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    sine = torch.where(small, 1.0 - square / 6.0 * (1.0 - square / 20.0), angle.sin() / angle)
    half = (0.5 * angle).sin() / angle
    cosine = torch.where(small, 0.5 - square / 24.0 * (1.0 - square / 30.0), 2.0 * half * half)
    x, y, z = axis_angle.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    outer = axis_angle[:, :, None] * axis_angle[:, None, :]
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    # [v]^2 = v v^T - |v|^2 I
    return (
        (1.0 - cosine * square)[:, None, None] * identity + sine[:, None, None] * cross + cosine[:, None, None] * outer
    )


def transform_from_axis_angle(axis_angle: Tensor, translation: Tensor, invert: bool = False) -> Tensor:
    """Return the rigid motion p' = R p + t, or the motion back.

    Args:
        axis_angle: (B, 3) the rotation axis times the angle in radians.
        translation: (B, 3) in the unit of the points that it is to move.
        invert: return the inverse, p = R^T (p' - t).

    Returns:
        (B, 4, 4), of the same dtype.

    Raises:
        ShapeError: a shape differs, or B disagrees.

    Source: Eq. 1 of Petrovai & Nedevschi.
    """
    check_shapes(axis_angle=(axis_angle, "B 3"), translation=(translation, "B 3"))
    matrix = _assemble(axis_angle_to_matrix(axis_angle), translation)
    return invert_transform(matrix) if invert else matrix


def invert_transform(matrix: Tensor) -> Tensor:
    """Return the inverse of rigid motions, by transposing their rotations.

    Args:
        matrix: (B, 4, 4) rigid motions.

    Returns:
        (B, 4, 4), of the same dtype.

    Raises:
        ShapeError: the argument is not (B, 4, 4).
    """
    check_shapes(matrix=(matrix, "B 4 4"))
    back = matrix[:, :3, :3].transpose(1, 2)
    return _assemble(back, -(back * matrix[:, None, :3, 3]).sum(2))


def transform_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Carry points by a rigid motion.

    Args:
        matrix: (B, 4, 4); the last row is taken as 0 0 0 1.
        points: (B, 3, ...) x, y, z in the second axis, any axes after it.

    Returns:
        The shape of `points`.

    Raises:
        ShapeError: a shape differs, or B disagrees.
    """
    shape = points.shape
    flat = points.flatten(2) if points.dim() > 2 else points
    check_shapes(matrix=(matrix, "B 4 4"), points=(flat, "B 3 N" if points.dim() > 2 else "B 3"))
    flat = flat.reshape(shape[0], 3, -1)
    rows = matrix[:, :3]
    moved = rows[..., 0:1] * flat[:, 0:1] + rows[..., 1:2] * flat[:, 1:2] + rows[..., 2:3] * flat[:, 2:3]
    return (moved + rows[..., 3:4]).reshape(shape)


def _assemble(rotation: Tensor, translation: Tensor) -> Tensor:
    last = torch.zeros_like(rotation[:, :1, :1]).expand(-1, 1, 4) + torch.tensor(
        [0.0, 0.0, 0.0, 1.0], dtype=rotation.dtype, device=rotation.device
    )
    return torch.cat([torch.cat([rotation, translation[:, :, None]], 2), last], 1)
