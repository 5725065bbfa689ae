# SPDX-License-Identifier: Apache-2.0
"""What the odometry is told of a frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """One frame at the network's size.

    Attributes:
        stamp_ns: of the frame; not before the last one.
        image: (1, 3, H, W) in 0..1.
        inverse_depth: (1, 1, h, w) in the network's unit, of the same field of view.
        is_static: (H, W) bool, false on what may move by itself and where the camera has no image.
        is_road: (H, W) bool.
        intrinsics: (3, 3) K in pixels of `image`; None where it is not known.
        camera_height_m: of the camera above the road; 0 where it is not known.
    """

    stamp_ns: int
    image: Tensor
    inverse_depth: Tensor
    is_static: Tensor
    is_road: Tensor
    intrinsics: NDArray[np.float64] | None
    camera_height_m: float = 0.0
