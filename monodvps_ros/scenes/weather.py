# SPDX-License-Identifier: Apache-2.0
"""Light and weather of a drive: sun, sky, haze, and their effect on colours."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monodvps_ros.scenes.noise import Noise

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """How a drive is lit; colours are factors on albedo, or what is seen, in 0..1.

    Attributes:
        name: for people.
        sun: direction to the sun, a unit vector in the world.
        sun_color: of the direct light.
        sky_light: of the light from above.
        bounce: of the light from below.
        zenith: colour of the sky overhead.
        horizon: colour of the sky at the horizon, and of the haze.
        clouds: share of the sky that is cloudy, 0..1.
        haze_m: distance at which 63 % of a colour is haze.
        shadow: how dark the sun's shadows are, 0..1.
    """

    name: str
    sun: tuple[float, float, float]
    sun_color: Color
    sky_light: Color
    bounce: Color
    zenith: Color
    horizon: Color
    clouds: float
    haze_m: float
    shadow: float


_PRESETS: dict[str, tuple[float, Color, Color, Color, Color, Color, float, float, float]] = {
    # elevation of the sun in degrees, then as in Weather
    "clear": (48, (0.78, 0.74, 0.66), (0.52, 0.58, 0.68), (0.30, 0.28, 0.25), (0.22, 0.44, 0.78), (0.72, 0.82, 0.92), 0.40, 900, 0.45),
    "morning": (22, (0.92, 0.72, 0.50), (0.46, 0.50, 0.62), (0.28, 0.25, 0.24), (0.36, 0.52, 0.76), (0.94, 0.82, 0.68), 0.45, 450, 0.40),
    "evening": (13, (0.95, 0.58, 0.34), (0.40, 0.40, 0.52), (0.25, 0.21, 0.20), (0.30, 0.36, 0.60), (0.96, 0.68, 0.46), 0.55, 500, 0.38),
    "overcast": (55, (0.22, 0.22, 0.22), (0.80, 0.82, 0.86), (0.38, 0.38, 0.38), (0.62, 0.66, 0.71), (0.82, 0.84, 0.86), 0.95, 500, 0.10),
    "fog": (40, (0.16, 0.16, 0.15), (0.82, 0.83, 0.85), (0.45, 0.45, 0.45), (0.74, 0.76, 0.78), (0.80, 0.81, 0.82), 1.0, 95, 0.05),
}  # fmt: skip


def choose_weather(name: str, generator: np.random.Generator) -> Weather:
    """Make the named weather, 'any' for one by chance; the sun's direction is drawn.

    Args:
        name: a choice of `SceneConfig.weather`.
        generator: of what is random.
    """
    if name == "any":
        name = str(generator.choice(list(_PRESETS), p=[0.35, 0.2, 0.15, 0.2, 0.1]))
    elevation, *rest = _PRESETS[name]
    height = np.deg2rad(elevation + generator.uniform(-5.0, 5.0))
    around = generator.uniform(0.0, 2.0 * np.pi)
    sun = (float(np.cos(height) * np.cos(around)), float(np.cos(height) * np.sin(around)), float(np.sin(height)))
    return Weather(name, sun, *rest)


def light(normal: Tensor, weather: Weather) -> Tensor:
    """Return the light on surfaces: (N, 3) for (N, 3) unit normals in the world; Lambert's law and a hemisphere."""
    direct = (normal @ normal.new_tensor(weather.sun)).clamp(min=0.0)[:, None] * normal.new_tensor(weather.sun_color)
    up = (normal[:, 2:] + 1.0) / 2.0
    return direct + torch.lerp(normal.new_tensor(weather.bounce), normal.new_tensor(weather.sky_light), up)


def paint_sky(direction: Tensor, weather: Weather, noise: Noise) -> Tensor:
    """Return the colour of the sky in (N, 3) directions of the world: (N, 3).

    Clouds lie on a plane overhead and thin out towards the horizon; they depend on the direction alone.
    """
    unit = direction / direction.norm(dim=1, keepdim=True)
    up = unit[:, 2].clamp(min=0.0)
    base = torch.lerp(unit.new_tensor(weather.horizon), unit.new_tensor(weather.zenith), up.sqrt()[:, None])
    glow = (unit @ unit.new_tensor(weather.sun)).clamp(min=0.0) ** 24
    base = base + 0.35 * glow[:, None] * unit.new_tensor(weather.sun_color)
    away = 1.0 / (up + 0.09)
    x, y = unit[:, 0] * away * 1.6, unit[:, 1] * away * 1.6
    mass = noise.clouds(x, y, 0.004 * away) + weather.clouds - 0.5
    cover = (mass * 2.2).clamp(0.0, 1.0) * (up / 0.16).clamp(max=1.0)
    white = unit.new_tensor(weather.horizon) * 0.55 + 0.45 - 0.16 * (mass.clamp(0.0, 1.0))[:, None]
    return torch.lerp(base, white, 0.85 * cover[:, None])


def haze(color: Tensor, depth: Tensor, weather: Weather) -> Tensor:
    """Fade (N, 3) colours into the horizon's by Beer's law over (N,) metres."""
    through = torch.exp(-depth / weather.haze_m)[:, None]
    return torch.lerp(color.new_tensor(weather.horizon), color, through)
