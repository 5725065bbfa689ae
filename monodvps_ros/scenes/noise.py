# SPDX-License-Identifier: Apache-2.0
"""Value noise in two and three dimensions, from tables drawn on the CPU, the same on every device."""

import torch
from torch import Tensor
from torch.nn import functional

_SIZE_2D = 256
_SIZE_3D = 32
_SIZE_CLOTH = 512
_CELL_M = 0.05
_CLOUDS = ((1.6, 0.5), (0.7, 0.28), (0.3, 0.15), (0.12, 0.07))


class Noise:
    """Smooth random functions of world coordinates.

    Args:
        seed: of the tables.
        device: where the noise is evaluated.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        flat = torch.rand(_SIZE_2D * _SIZE_2D, generator=generator)
        cube = torch.rand(_SIZE_3D**3, generator=generator)
        self._flat, self._cube = flat.to(device), cube.to(device)
        levels = _weave(generator)
        sizes = torch.tensor([len(level) for level in levels])
        self._cloth = torch.cat([level.flatten() for level in levels]).to(device)
        self._mask = (sizes - 1).to(device)
        self._shift = sizes.log2().round().long().to(device)
        self._begin = (sizes * sizes).cumsum(0).sub(sizes * sizes).to(device)

    def cells(self, x: Tensor, y: Tensor) -> Tensor:
        """Return one random number in 0..1 for each unit cell; any shape."""
        mask = _SIZE_2D - 1
        return self._flat[(y.floor().long() & mask) * _SIZE_2D + (x.floor().long() & mask)]

    def plane(self, x: Tensor, y: Tensor) -> Tensor:
        """Evaluate 2-D value noise of unit wavelength; any shape, values 0..1."""
        mask = _SIZE_2D - 1
        column, row = x.floor(), y.floor()
        fx, fy = x - column, y - row
        fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
        left, low = column.long() & mask, (row.long() & mask) * _SIZE_2D
        right, high = (left + 1) & mask, (low + _SIZE_2D) & (_SIZE_2D * _SIZE_2D - 1)
        return _bilinear(self._flat, (low, high), (left, right), fx, fy)

    def space(self, points: Tensor) -> Tensor:
        """Evaluate 3-D value noise of unit wavelength at (N, 3) points: (N,) values 0..1."""
        mask, size = _SIZE_3D - 1, _SIZE_3D
        base = points.floor()
        fade = points - base
        fade = fade * fade * (3.0 - 2.0 * fade)
        low = base.long() & mask
        high = (low + 1) & mask
        x0, x1 = low[:, 0], high[:, 0]
        y0, y1 = low[:, 1] * size, high[:, 1] * size
        z0, z1 = low[:, 2] * (size * size), high[:, 2] * (size * size)
        fx, fy, fz = fade.unbind(1)
        near, far = (_bilinear(self._cube, (z + y0, z + y1), (x0, x1), fx, fy) for z in (z0, z1))
        return torch.lerp(near, far, fz)

    def cloth(self, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
        """Evaluate a texture with detail from 0.1 m to 6.4 m, filtered to the (N,) metres that a pixel covers.

        Places are (N,) metres; it repeats after 25.6 m. The result, (N,), has mean 0 and standard deviation about 1
        where all detail is seen.

        Source: mip maps, Williams 1983, blended between two levels.
        """
        level = (footprint * (1.0 / _CELL_M)).clamp(min=1.0).log2().clamp(max=float(len(self._mask)) - 1.001)
        low = level.floor()
        share, number = level - low, low.long()
        return torch.lerp(self._texel(x, y, number), self._texel(x, y, number + 1), share)

    def _texel(self, x: Tensor, y: Tensor, number: Tensor) -> Tensor:
        cells = torch.exp2(-number.float()) * (1.0 / _CELL_M)
        x, y = x * cells - 0.5, y * cells - 0.5
        column, row = x.floor(), y.floor()
        fx, fy = x - column, y - row
        mask, shift, begin = self._mask[number], self._shift[number], self._begin[number]
        left, low = column.long() & mask, row.long() & mask
        right, high = (left + 1) & mask, begin + (((low + 1) & mask) << shift)
        low = begin + (low << shift)
        return _bilinear(self._cloth, (low, high), (left, right), fx, fy)

    def clouds(self, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
        """Sum four octaves of 2-D noise from wavelength 1.6 down, each faded where a pixel's `footprint` covers it.

        All (N,), in one unit; the result has mean 0 and lies within plus or minus 1.
        """
        total = torch.zeros_like(x)
        for number, (wavelength, amplitude) in enumerate(_CLOUDS):
            turned = 0.8 * x + 0.6 * y + 17.0 * number, 0.8 * y - 0.6 * x + 31.0 * number
            value = self.plane(turned[0] / wavelength, turned[1] / wavelength)
            total += (value - 0.5) * (2.0 * amplitude) * fade(footprint, wavelength)
        return total


def _bilinear(
    table: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], share_x: Tensor, share_y: Tensor
) -> Tensor:
    """Look values up between two rows, as places of their first column, and two columns."""
    low, high = (torch.lerp(table[row + columns[0]], table[row + columns[1]], share_x) for row in rows)
    return torch.lerp(low, high, share_y)


def _weave(generator: torch.Generator) -> list[Tensor]:
    """Draw a square texture that repeats, octave by octave, and its mip maps."""
    total = torch.zeros(_SIZE_CLOTH, _SIZE_CLOTH)
    step = 2
    while step <= _SIZE_CLOTH // 4:
        coarse = torch.rand(_SIZE_CLOTH // step, _SIZE_CLOTH // step, generator=generator) - 0.5
        padded = functional.pad(coarse[None, None], (2, 2, 2, 2), mode="circular")
        fine = functional.interpolate(padded, scale_factor=step, mode="bicubic", align_corners=False)[0, 0]
        total += fine[2 * step : -2 * step, 2 * step : -2 * step] * (3.6 * step**-0.3)
        step *= 2
    levels = [total]
    while len(levels[-1]) > 1:
        levels.append(functional.avg_pool2d(levels[-1][None, None], 2)[0, 0])
    return levels


def fade(footprint: Tensor, wavelength: float) -> Tensor:
    """Return how much of a texture of that wavelength a pixel still resolves, 1 (all) to 0 (none).

    Full while a pixel covers less than 0.35 wavelengths, nothing from 1.1 wavelengths on; ours.
    """
    return ((1.1 - footprint / wavelength) / 0.75).clamp(0.0, 1.0)


def pulses(position: Tensor, period: float | Tensor, duty: float | Tensor, footprint: Tensor) -> Tensor:
    """Box-filter a train of pulses, so that stripes do not alias.

    Args:
        position: (N,) along the stripes' normal; a pulse covers 0..duty * period of each period.
        period: distance of two pulses.
        duty: share of the period that is covered.
        footprint: (N,) width of the box; at least a hundredth of the period is taken.

    Returns:
        (N,) share of the box that pulses cover, 0..1.

    Source: difference of the integral of the train at both ends of the box, as every box filter.
    """
    scaled = position / period
    half = (footprint / period).clamp(min=0.01) * 0.5

    def integral(at: Tensor) -> Tensor:
        whole = at.floor()
        share: Tensor = torch.minimum(at - whole, torch.as_tensor(duty, dtype=at.dtype, device=at.device))
        return whole * duty + share

    return (integral(scaled + half) - integral(scaled - half)) / (2.0 * half)


def band(position: Tensor, low: float | Tensor, high: float | Tensor, footprint: Tensor) -> Tensor:
    """Box-filter one stripe low..high: (N,) share of the box around `position` that it covers, 0..1."""
    width = footprint.clamp(min=1e-3)
    overlap = torch.minimum(position + width / 2, torch.as_tensor(high, device=position.device)) - torch.maximum(
        position - width / 2, torch.as_tensor(low, device=position.device)
    )
    return (overlap / width).clamp(0.0, 1.0)
