# SPDX-License-Identifier: Apache-2.0
"""The paint of solids: one function for each material, from a surface point's place on its solid to its albedo.

Textures are functions of the place on the solid alone, so they move with it and look the same from everywhere;
patterns finer than a pixel fade into their mean.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from monodvps_ros.scenes.noise import Noise, band, fade, pulses
from monodvps_ros.scenes.solids import Material


@dataclass(frozen=True, eq=False)
class Surface:
    """N points on solids.

    Attributes:
        local: (N, 3) in the solid's axes, metres from its middle.
        half: (N, 3) half the solid's extents.
        normal: (N, 3) in the solid's axes.
        a: (N,) horizontal place on the face, metres; b: (N,) the other one, upward on sides.
        step_a: (N,) metres that a pixel covers along a; step_b: along b.
        side: (N,) 0 on faces across x, 1 across y, 2 across z.
        color: (N, 3), color2: (N, 3), params: (N, 4) of the solid.
        key: (N,) a number for each solid, to set one apart from the next.
        back: (N,) bool, on the inner side of a shell.
    """

    local: Tensor
    half: Tensor
    normal: Tensor
    a: Tensor
    b: Tensor
    step_a: Tensor
    step_b: Tensor
    side: Tensor
    color: Tensor
    color2: Tensor
    params: Tensor
    key: Tensor
    back: Tensor

    def cut(self, begin: int, end: int) -> "Surface":
        """Cut out a run of the points, without copying them."""
        return Surface(**{entry.name: getattr(self, entry.name)[begin:end] for entry in fields(self)})


def paint_solids(surface: Surface, material: Tensor, signals: Tensor, noise: Noise) -> Tensor:
    """Return the albedo of points on solids, (N, 3), about 0..1; more where a surface shines.

    `material` is (N,) and ascends; `signals` is (G,) what each group of traffic lights shows: 0 red, 1 yellow, 2 green.
    """
    color = torch.empty_like(surface.color)
    ends = torch.bincount(material, minlength=len(Material)).cumsum(0).tolist()
    for kind, painter in _PAINTERS.items():
        begin, end = ends[kind - 1] if kind else 0, ends[kind]
        if end > begin:
            color[begin:end] = painter(surface.cut(begin, end), noise, signals)
    return color


def _grain(s: Surface, noise: Noise, amplitude: float) -> Tensor:
    step = torch.sqrt(s.step_a * s.step_b)
    return 1.0 + 0.5 * amplitude * noise.cloth(s.a + 5.7 * s.key, s.b + 2.0 * s.side, step)[:, None]


def _mix(base: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(base, other, share[:, None])


def _plain(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    return s.color * _grain(s, noise, 0.16)


def _roof(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    rows = pulses(s.b, 0.32, 0.22, s.step_b)
    tile = noise.cells(s.a / 0.3 + 0.5 * (s.b / 0.32).floor(), s.b / 0.32) - 0.5
    tile = tile * fade(torch.maximum(s.step_a, s.step_b), 0.3)
    return s.color * _grain(s, noise, 0.22) * (1.0 - 0.25 * rows + 0.3 * tile)[:, None]


def _brick(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    row = (s.b / 0.16).floor()
    shifted = s.a + 0.21 * (row % 2)
    joint = torch.maximum(pulses(s.b, 0.16, 0.12, s.step_b), pulses(shifted, 0.42, 0.05, s.step_a))
    stone = (noise.cells(shifted / 0.42, row) - 0.5) * fade(torch.maximum(s.step_a, s.step_b), 0.25)
    base = s.color * (1.0 + 0.35 * stone)[:, None]
    return _mix(base, s.color * 0.6 + 0.22, joint) * _grain(s, noise, 0.18)


def _slats(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    period, duty = s.params[:, 0], s.params[:, 1]
    board = pulses(s.a, period, duty, s.step_a)
    tone = (noise.cells(s.a / period, s.key) - 0.5) * fade(s.step_a, 0.15)
    return _mix(s.color2, s.color * (1.0 + 0.35 * tone)[:, None], board) * _grain(s, noise, 0.14)


def _foliage(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    step = torch.maximum(s.step_a, s.step_b)
    place = s.local + s.key[:, None]
    leaf = torch.zeros_like(s.a)
    for wavelength, amplitude in ((0.13, 0.26), (0.42, 0.30), (1.3, 0.22)):
        leaf = leaf + amplitude * (noise.space(place / wavelength) - 0.5) * 2.0 * fade(step, wavelength)
    height = (s.local[:, 2] / s.half[:, 2]).clamp(-1.0, 1.0)
    lit = (0.62 + 0.9 * leaf + 0.30 * height - 0.55 * s.back.float()).clamp(0.0, 1.35)
    return torch.lerp(s.color2, s.color, lit[:, None])


def _facade(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    bay, floor, share, style = s.params.unbind(1)
    width = 2.0 * torch.where(s.side == 0, s.half[:, 1], s.half[:, 0])
    bay = width / (width / bay).round().clamp(min=1.0)
    across, up = s.a + width / 2, s.b + s.half[:, 2]
    base = s.color * _grain(s, noise, 0.10)
    streak = noise.plane(across / 0.5, up / 5.0) - 0.5
    base = base * (1.0 + 0.14 * streak * fade(s.step_a, 0.5))[:, None]
    course = band((up % floor) - 0.06, -0.06, 0.12, s.step_b)
    base = _mix(base, s.color2 * 0.92, 0.7 * course * (style != 3).float() * (up > 0.5 * floor).float())
    side_gap = (1.0 - share) / 2.0
    low, high = torch.where(style == 2, 0.10, 0.28), torch.where(style == 2, 0.90, 0.84)

    def opening(grow: float) -> Tensor:
        columns = pulses(across - side_gap * bay + grow, bay, share + 2.0 * grow / bay, s.step_a)
        rows = pulses(up - low * floor + grow, floor, (high - low) + 2.0 * grow / floor, s.step_b)
        return columns * rows

    on_wall = (s.side < 2) & (up < 2.0 * s.half[:, 2] - 0.35 * floor)
    frame = opening(0.10) * on_wall.float()
    glass = opening(0.0) * on_wall.float()
    cell = noise.cells(across / bay + 7.0 * s.key, up / floor + 3.0 * s.side + s.key)
    depth = ((up % floor) / floor - low) / (high - low)
    pane = 0.16 + 0.34 * depth.clamp(0.0, 1.0) * (0.5 + cell)
    window = torch.stack([0.80 * pane, 0.92 * pane, 1.08 * pane], dim=1)
    curtain = (cell > 0.62).float() * (depth > 0.35).float() * fade(s.step_b, 1.2)
    window = _mix(window, torch.full_like(window, 0.66), 0.75 * curtain)
    bars = torch.maximum(
        pulses(across - side_gap * bay + 0.03, bay * share / 2.0, 0.08, s.step_a),
        band(depth, 0.66, 0.72, s.step_b / 2.0),
    )
    window = _mix(window, s.color2, bars * (style != 2).float())
    wall = _mix(_mix(base, s.color2, frame), window, glass)
    plinth = band(up, 0.0, 0.55, s.step_b) * (s.side < 2).float()
    return _mix(wall, s.color * 0.55, plinth * (1.0 - glass))


def _paint(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    x, _, z = s.local.unbind(1)
    half_x, half_y, half_z = s.half.unbind(1)
    upper = s.params[:, 0] >= 1.0
    front, rear = (s.side == 0) & (x > 0), (s.side == 0) & (x < 0)
    dirt = 1.0 - 0.18 * ((-z / half_z).clamp(0.0, 1.0)) * (~upper).float()
    base = s.color * (dirt * (1.0 + 0.05 * (s.normal[:, 2] > 0.5).float()))[:, None] * _grain(s, noise, 0.05)
    outer = band(s.a.abs(), 0.58 * half_y, 0.96 * half_y, s.step_a)
    tall = band(s.b, -0.55 * half_z, 0.55 * half_z, s.step_b)
    lamp = outer * tall * upper.float()
    head, tail = base.new_tensor([0.96, 0.96, 0.90]), base.new_tensor([0.78, 0.06, 0.05])
    base = _mix(base, head.expand_as(base), lamp * front.float())
    base = _mix(base, tail.expand_as(base), lamp * rear.float())
    grille = band(s.a.abs(), -1.0, 0.48 * half_y, s.step_a) * tall
    base = _mix(base, base.new_tensor([0.10, 0.10, 0.11]).expand_as(base), 0.85 * grille * (front & upper).float())
    plate = band(s.a.abs(), -1.0, 0.26, s.step_a) * band(s.b, -0.02, 0.10, s.step_b) * (~upper & (s.side == 0)).float()
    base = _mix(base, torch.full_like(base, 0.92), plate)
    flank = s.side == 1
    doors = torch.maximum(
        band((x - 0.05 * half_x).abs(), -1.0, 0.012, s.step_a),
        band((x.abs() - 0.46 * half_x).abs(), -1.0, 0.012, s.step_a),
    )
    base = _mix(base, base * 0.45, doors * flank.float() * 0.8)
    handle = band((x + 0.12 * half_x).abs(), -1.0, 0.09, s.step_a) * band(z, 0.35 * half_z, 0.65 * half_z, s.step_b)
    base = _mix(base, base * 0.5, handle * (flank & upper).float())
    sill = band(z, -half_z, -0.62 * half_z, s.step_b) * (~upper).float()
    return _mix(base, base.new_tensor([0.10, 0.10, 0.11]).expand_as(base), 0.85 * sill)


def _glass(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    up = (s.local[:, 2] / s.half[:, 2]).clamp(-1.0, 1.0) * 0.5 + 0.5
    streak = noise.plane(s.a / 0.8 + 9.0 * s.key, s.b / 0.5) - 0.5
    pane = s.color * (0.75 + 0.75 * up + 0.3 * streak)[:, None]
    lean = 1.0 - 0.22 * up
    edge = torch.where(s.side == 0, s.half[:, 1] * lean, s.half[:, 0] * lean)
    post = band(s.a.abs(), edge - 0.10, edge + 9.0, s.step_a)
    middle = band(s.local[:, 0].abs(), -1.0, 0.05, s.step_a) * (s.side == 1).float()
    rim = band(s.b, s.half[:, 2] - 0.07, s.half[:, 2] + 1.0, s.step_b)
    share = torch.maximum(torch.maximum(post, middle), rim)
    share = torch.where(s.side == 2, 1.0, share)
    return _mix(pane, s.color2, share)


def _coach(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    is_box, shade = s.params[:, 0] > 0.5, s.params[:, 1]
    base = s.color * _grain(s, noise, 0.07)
    half_z = s.half[:, 2]
    stripe = band(s.b, half_z * (-0.2 - 0.5 * shade), half_z * (0.05 - 0.5 * shade), s.step_b) * (s.side < 2).float()
    logo = band(s.a, -0.55 * s.half[:, 0], 0.15 * s.half[:, 0], s.step_a) * band(
        s.b, 0.1 * half_z, 0.6 * half_z, s.step_b
    )
    letters = pulses(s.a + 0.1 * noise.plane(s.a, s.b / 0.2), 0.55, 0.55, s.step_a)
    boxed = _mix(base, s.color2, torch.maximum(0.9 * stripe, logo * letters * (s.side == 1).float()))
    ribs = pulses(s.a, 1.1, 0.04, s.step_a) * (s.side == 1).float()
    boxed = boxed * (1.0 - 0.25 * ribs)[:, None]
    light = _mix(base, base * 0.35 + 0.6, stripe)
    windows = band(s.b, -0.02 * half_z, 0.66 * half_z, s.step_b) * torch.where(
        s.side == 1, pulses(s.a + s.half[:, 0] - 0.35, 1.45, 0.92, s.step_a), 1.0
    )
    windows = windows * (s.side < 2).float()
    pane = s.color2 * (0.8 + 0.5 * (s.b / half_z).clamp(-1, 1) + 0.5 * (noise.cells(s.a / 1.45, s.key) - 0.5))[:, None]
    coach = _mix(light, pane, windows)
    nose = (s.side == 0) & (s.b < -0.35 * half_z)
    lamp = band(s.a.abs(), 0.62 * s.half[:, 1], 0.88 * s.half[:, 1], s.step_a) * band(
        s.b, -0.72 * half_z, -0.58 * half_z, s.step_b
    )
    glow = torch.where(
        (s.local[:, 0] > 0)[:, None], s.color.new_tensor([0.97, 0.97, 0.9]), s.color.new_tensor([0.8, 0.06, 0.05])
    )
    coach = _mix(coach, glow, lamp * nose.float())
    board = band(s.a.abs(), -1.0, 0.62 * s.half[:, 1], s.step_a) * band(s.b, 0.72 * half_z, 0.9 * half_z, s.step_b)
    coach = _mix(coach, s.color.new_tensor([0.95, 0.6, 0.1]).expand_as(coach), board * (s.side == 0).float() * 0.8)
    return torch.where(is_box[:, None], boxed, coach)


def _wheel(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    radius = torch.hypot(s.local[:, 0], s.local[:, 1]) / s.half[:, 0]
    cap = (s.normal[:, 2].abs() > 0.5).float()
    hub = band(radius, -1.0, 0.62, s.step_a / s.half[:, 0]) * cap
    rim = band(radius, 0.16, 0.22, s.step_a / s.half[:, 0]) + band(radius, 0.40, 0.46, s.step_a / s.half[:, 0])
    return _mix(s.color * _grain(s, noise, 0.1), s.color2 * (1.0 - 0.45 * rim)[:, None], hub)


def _lamp(s: Surface, _noise: Noise, signals: Tensor) -> Tensor:
    state = signals[s.params[:, 0].long().clamp(max=len(signals) - 1)]
    faces = ((s.side == 0) & (s.local[:, 0] < 0)).float()
    base = s.color
    lights = ((0.30, (1.0, 0.12, 0.08)), (0.0, (1.0, 0.72, 0.10)), (-0.30, (0.10, 0.95, 0.42)))
    for number, (height, shine) in enumerate(lights):
        radius = torch.hypot(s.a, s.b - height)
        disc = band(radius, -1.0, 0.115, torch.maximum(s.step_a, s.step_b)) * faces
        glow = torch.where((state == number)[:, None], base.new_tensor(shine) * 1.6, base.new_tensor(shine) * 0.16)
        base = _mix(base, glow, disc)
    return base


def _sign(s: Surface, noise: Noise, _signals: Tensor) -> Tensor:
    kind, step = s.params[:, 0], torch.maximum(s.step_a, s.step_b)
    face = ((s.side == 0) & ((s.local[:, 0] < 0) | (kind == 3))).float()
    radius = torch.hypot(s.a, s.b) / s.half[:, 1]
    ring = band(radius, 0.74, 0.95, step / s.half[:, 1])
    border = torch.maximum((s.a.abs() / s.half[:, 1]), (s.b.abs() / s.half[:, 2]))
    border = band(border, 0.86, 0.96, step / s.half[:, 2])
    glyph = (noise.cells(s.a / 0.12 + 40.0 * s.params[:, 1], s.b / 0.12 + s.key) > 0.5).float()
    glyph = glyph * band(radius, -1.0, 0.5, step / s.half[:, 1]) * fade(step, 0.2)
    rows = pulses(s.b + s.half[:, 2] * 0.72, s.half[:, 2] * 0.55, 0.5, s.step_b)
    words = (noise.cells(s.a / 0.11 + 31.0 * s.params[:, 1], s.b / (s.half[:, 2] * 0.55)) > 0.32).float()
    text = rows * words * band(s.a.abs(), -1.0, 0.8 * s.half[:, 1], s.step_a)
    text = torch.where(s.half[:, 1] > 0.5, text, glyph)
    ink = torch.where(kind == 3, torch.maximum(text, border), torch.where(kind == 0, ring, border))
    ink = torch.maximum(ink, torch.where(kind == 3, 0.0, glyph))
    metal = torch.where((kind == 3)[:, None], s.color, s.color.new_tensor([0.5, 0.51, 0.52]))
    return _mix(metal, _mix(s.color, s.color2, ink), face)


_PAINTERS: dict[Material, Callable[[Surface, Noise, Tensor], Tensor]] = {
    Material.PLAIN: _plain,
    Material.FACADE: _facade,
    Material.FOLIAGE: _foliage,
    Material.PAINT: _paint,
    Material.GLASS: _glass,
    Material.COACH: _coach,
    Material.SLATS: _slats,
    Material.BRICK: _brick,
    Material.LAMP: _lamp,
    Material.SIGN: _sign,
    Material.WHEEL: _wheel,
    Material.ROOF: _roof,
}
