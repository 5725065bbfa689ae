# SPDX-License-Identifier: Apache-2.0
"""What was predicted for one frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class PredictedFrame:
    """What was predicted for one frame.

    Attributes:
        sequence: name of its sequence.
        name: of the frame: its picture's name without its ending, or its stamp.
        stamp_ns: of the frame; None where the layout does not say it.
        class_ids: (H, W) uint8, 255 is void.
        instance_ids: (H, W) int32, 0 for stuff; they persist over the sequence.
        depth_m: (H, W) float32 metres, NaN where there is none.
    """

    sequence: str
    name: str
    stamp_ns: int | None
    class_ids: NDArray[np.uint8]
    instance_ids: NDArray[np.int32]
    depth_m: NDArray[np.float32]
