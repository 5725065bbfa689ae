# SPDX-License-Identifier: Apache-2.0
"""One frame: what each sample sees, its colour by deferred shading, and the picture with smooth outlines."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monodvps_ros.scenes.actors import Caster
from monodvps_ros.scenes.camera import Camera
from monodvps_ros.scenes.ground import (
    GroundHit,
    Zone,
    ground_bound,
    meet_ground,
    paint_ground,
    paint_markings,
    rails_on_road,
)
from monodvps_ros.scenes.noise import Noise
from monodvps_ros.scenes.raster import Grid, View, Visible, cast
from monodvps_ros.scenes.shading import Surface, paint_solids
from monodvps_ros.scenes.shadows import shadow_on_ground
from monodvps_ros.scenes.solids import Material, Shape, Solids
from monodvps_ros.scenes.street import GroundPlan
from monodvps_ros.scenes.weather import Weather, haze, light, paint_sky

_GAMMA = 1.0 / 1.35
_TONES = 4096


@dataclass(frozen=True, eq=False)
class SolidTable:
    """What shading looks up of all solids of a drive, on the device; (P, ...) each."""

    body: Tensor
    material: Tensor
    panoptic: Tensor
    color: Tensor
    color2: Tensor
    params: Tensor

    @classmethod
    def of(cls, solids: Solids, device: torch.device) -> "SolidTable":
        """Bring the arrays to a device, in single precision."""
        tables = {entry.name: torch.from_numpy(getattr(solids, entry.name)).to(device) for entry in fields(cls)}
        return cls(**{name: table.float() if table.is_floating_point() else table for name, table in tables.items()})


@dataclass(frozen=True, eq=False)
class Moment:
    """All that a frame's picture depends on.

    Attributes:
        camera: intrinsics.
        world_from_camera: (4, 4).
        world_from_body: (B, 4, 4); NaN for a body that is absent.
        view: the solids in sight.
        table: of all solids.
        plan: of the street in sight.
        casters: of shadows.
        signals: (G,) what the traffic lights show.
        weather: light.
        noise: of the drive.
        wear: age of the road, 0..1.
        view_distance_m: limit of sight.
    """

    camera: Camera
    world_from_camera: NDArray[np.float64]
    world_from_body: NDArray[np.float64]
    view: View
    table: SolidTable
    plan: GroundPlan
    casters: tuple[Caster, ...]
    signals: Tensor
    weather: Weather
    noise: Noise
    wear: float
    view_distance_m: float


@dataclass(frozen=True, eq=False)
class Seen:
    """What each of N samples sees: a solid, the ground, or the sky.

    Attributes:
        visible: the nearest solid.
        depth: (N,) metres along the axis; infinite for the sky.
        ground_rows: (M,) int64 samples that see the ground.
        ground: what they meet.
        surface: (N,) int64: the solid's row, or below 0 for the ground and the sky.
    """

    visible: Visible
    depth: Tensor
    ground_rows: Tensor
    ground: GroundHit
    surface: Tensor


def look(moment: Moment, grid: Grid) -> Seen:
    """Find out what each sample of a grid sees."""
    visible = cast(moment.view, grid, moment.noise)
    bound = ground_bound(grid, moment.world_from_camera, moment.view_distance_m)
    rows = (bound > visible.inverse_depth).nonzero()[:, 0]
    hit = meet_ground(
        grid.sample_x[rows], grid.sample_y[rows], moment.world_from_camera, moment.plan, moment.view_distance_m
    )
    nearer = (hit.zone >= 0) & (1.0 / hit.depth > visible.inverse_depth[rows])
    chosen = nearer.nonzero()[:, 0]
    hit, rows = hit.take(chosen), rows[chosen]
    depth = (1.0 / visible.inverse_depth).index_copy(0, rows, hit.depth)
    surface = visible.solid.index_copy(0, rows, -2 - hit.zone)
    return Seen(visible, depth, rows, hit, surface)


def shade(moment: Moment, grid: Grid, seen: Seen, wanted: Tensor | None = None) -> Tensor:
    """Return the colour of each sample, (N, 3) in 0..1; undefined where `wanted`, (N,) bool, is given and false."""
    pose = torch.from_numpy(moment.world_from_camera).float().to(grid.x.device)
    color = torch.empty(len(seen.depth), 3, device=grid.x.device)
    needed = torch.ones_like(seen.surface, dtype=torch.bool) if wanted is None else wanted
    sky = ((seen.surface == -1) & needed).nonzero()[:, 0]
    ray = torch.stack([grid.sample_x[sky], grid.sample_y[sky], torch.ones_like(sky, dtype=torch.float32)], dim=1)
    color[sky] = paint_sky(ray @ pose[:3, :3].T, moment.weather, moment.noise)
    chosen = needed[seen.ground_rows].nonzero()[:, 0]
    if len(chosen):
        rows = seen.ground_rows[chosen]
        color[rows] = haze(_shade_ground(moment, seen.ground.take(chosen)), seen.depth[rows], moment.weather)
    rows = ((seen.surface >= 0) & needed).nonzero()[:, 0]
    if len(rows):
        material = moment.table.material[moment.view.index[seen.surface[rows]]]
        material, order = torch.sort(material, stable=True)
        rows = rows[order]
        lit = _shade_solids(moment, grid, seen, rows, material, pose)
        color[rows] = haze(lit, seen.depth[rows], moment.weather)
    return color.clamp_(0.0, 1.0)


def _shade_ground(moment: Moment, hit: GroundHit) -> Tensor:
    focal, height = moment.camera.focal_px, float(moment.world_from_camera[2, 3])
    albedo = paint_ground(hit, hit.depth, focal, height, moment.noise, moment.wear)
    paint = paint_markings(hit, hit.depth, focal, height, moment.plan)
    worn = 0.86 - 0.35 * moment.wear * moment.noise.plane(hit.x / 0.4, hit.y / 0.4)
    albedo = torch.lerp(albedo, torch.full_like(albedo, 0.86), (paint * worn)[:, None])
    rails = rails_on_road(hit, hit.depth, focal, height, moment.plan)
    albedo = albedo * (1.0 - 0.45 * rails)[:, None]
    up = torch.tensor([[0.0, 0.0, 1.0]], device=albedo.device)
    normal = up.repeat(len(albedo), 1)
    shadow = shadow_on_ground(moment.casters, moment.world_from_body, moment.weather, hit.x, hit.y)
    side = (hit.zone == int(Zone.CURB)).float()[:, None]
    return albedo * light(normal, moment.weather) * (1.0 - shadow)[:, None] * (1.0 - 0.25 * side)


def _shade_solids(moment: Moment, grid: Grid, seen: Seen, rows: Tensor, material: Tensor, pose: Tensor) -> Tensor:
    """Return the lit colours of samples that see solids, sorted by material."""
    view = moment.view
    which, depth = seen.surface[rows], seen.depth[rows]
    ray = torch.stack([grid.sample_x[rows], grid.sample_y[rows], torch.ones_like(depth)], dim=1)
    transform = view.local_from_camera.float()[which]
    axes = transform[:, :, :3]
    local = _turned(axes, ray * depth[:, None]) + transform[..., 3]
    normal_cam, normal = _normals(view, which, ray, local, axes)
    back = seen.visible.back[rows]
    normal_cam = torch.where(back[:, None], -normal_cam, normal_cam)
    surface = _surface(local, normal, normal_cam, axes, ray, depth, moment, which, back)
    albedo = paint_solids(surface, material, moment.signals, moment.noise)
    lit = albedo * light(normal_cam @ pose[:3, :3].T, moment.weather)
    return torch.where((material == Material.LAMP)[:, None], albedo, lit)


def _turned(matrix: Tensor, vector: Tensor) -> Tensor:
    """Multiply (N, M, 3) matrices and (N, 3) vectors: (N, M); faster than a batched product of small ones."""
    product = matrix[..., 0] * vector[:, :1]
    product = torch.addcmul(product, matrix[..., 1], vector[:, 1:2])
    return torch.addcmul(product, matrix[..., 2], vector[:, 2:])


def _normals(view: View, which: Tensor, ray: Tensor, local: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit normals in the camera's frame and in the solids' axes: (N, 3) each."""
    front = view.front[which]
    face = _turned(front, ray).argmin(1)
    normal_cam = functional.normalize(-front.gather(1, face[:, None, None].expand(-1, 1, 3))[:, 0], dim=1)
    normal = _turned(axes, normal_cam)
    rows = (view.shape[which] != Shape.BOX).nonzero()[:, 0]
    if len(rows):
        half, is_cylinder = view.half[which[rows]], view.shape[which[rows]] == Shape.CYLINDER
        unit = local[rows] / half
        lid = (unit[:, 2].abs() >= unit[:, :2].norm(dim=1) - 1e-3) & is_cylinder
        bulge = unit / half * torch.where(is_cylinder[:, None], unit.new_tensor([1.0, 1.0, 0.0]), 1.0)
        cap = torch.sign(unit) * unit.new_tensor([0.0, 0.0, 1.0])
        own = functional.normalize(torch.where(lid[:, None], cap, bulge), dim=1)
        normal[rows] = own
        normal_cam[rows] = _turned(axes[rows].transpose(1, 2), own)
    return normal_cam, normal


def _surface(
    local: Tensor,
    normal: Tensor,
    normal_cam: Tensor,
    axes: Tensor,
    ray: Tensor,
    depth: Tensor,
    moment: Moment,
    which: Tensor,
    back: Tensor,
) -> Surface:
    """Work out places on faces and how far a pixel reaches there, from the plane's derivative along the image."""
    facing = normal_cam[:, 0] * ray[:, 0] + normal_cam[:, 1] * ray[:, 1] + normal_cam[:, 2]
    facing = torch.where(facing < 0, facing.clamp(max=-0.04), facing.clamp(min=0.04))
    pixel = (depth / moment.camera.focal_px)[:, None]
    step_u = pixel * (ray.new_tensor([1.0, 0.0, 0.0]) - ray * (normal_cam[:, 0] / facing)[:, None])
    step_v = pixel * (ray.new_tensor([0.0, 1.0, 0.0]) - ray * (normal_cam[:, 1] / facing)[:, None])
    local_u, local_v = _turned(axes, step_u), _turned(axes, step_v)
    steps = torch.hypot(local_u, local_v)
    size = normal.abs()
    side = torch.where(size[:, 2] > 0.75, 2, torch.where(size[:, 0] >= size[:, 1], 0, 1))
    first = torch.where(side == 0, 1, 0)[:, None]
    second = torch.where(side == 2, 1, 2)[:, None]
    index, table = moment.view.index[which], moment.table
    return Surface(
        local=local,
        half=moment.view.half[which],
        normal=normal,
        a=local.gather(1, first)[:, 0],
        b=local.gather(1, second)[:, 0],
        step_a=steps.gather(1, first)[:, 0],
        step_b=steps.gather(1, second)[:, 0],
        side=side,
        color=table.color[index],
        color2=table.color2[index],
        params=table.params[index],
        key=(index % 61).float(),
        back=back,
    )


def edge_mask(surface: Tensor, size: tuple[int, int]) -> Tensor:
    """Mark the pixels beside which another surface is seen: (H, W) bool."""
    image = surface.view(size)
    mask = torch.zeros_like(image, dtype=torch.bool)
    across, down = image[:, 1:] != image[:, :-1], image[1:] != image[:-1]
    mask[:, 1:] |= across
    mask[:, :-1] |= across
    mask[1:] |= down
    mask[:-1] |= down
    return mask


def picture(moment: Moment, grid: Grid, seen: Seen, antialias: bool) -> Tensor:
    """Return the picture, (H, W, 3) uint8 on the device; `antialias` takes four samples in each pixel of an outline."""
    size = moment.camera.height, moment.camera.width
    color = shade(moment, grid, seen)
    if antialias:
        mask = edge_mask(seen.surface, size)
        pixel = mask.flatten().nonzero()[:, 0]
        fine, place = Grid.of_edges(moment.camera, mask)
        home = pixel[place // 4]
        # What no pixel's centre sees is left out: it is thinner than a pixel.
        shown = seen.surface[seen.surface >= 0].unique()
        near = replace(moment, view=moment.view.take(shown))
        finely = look(near, fine)
        row = torch.where(finely.surface >= 0, shown[finely.surface.clamp(min=0)], finely.surface)
        # A sample that sees what its pixel's centre sees takes the colour from there.
        differs = row != seen.surface[home]
        samples = torch.where(differs[:, None], shade(near, fine, finely, differs), color[home])
        color[pixel] = torch.empty_like(samples).index_copy_(0, place, samples).view(-1, 4, 3).mean(1)
    tones = (torch.arange(_TONES, device=color.device) / (_TONES - 1.0)) ** _GAMMA
    display = (tones * 255.0 + 0.5).to(torch.uint8)
    return display[(color * (_TONES - 1.0) + 0.5).int()].view(*size, 3)
