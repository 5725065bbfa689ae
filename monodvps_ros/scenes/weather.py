# SPDX-License-Identifier: Apache-2.0
"""Light and weather of a drive: sun, sky, haze, and their effect on colours."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from monodvps_ros.scenes.noise import Noise
from monodvps_ros.scenes.solids import Color


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


_NORTH = (0.0, 1.0, 0.0)
_PRESETS = (
    # The sun's elevation in degrees stands beside each; its direction is drawn.
    (48.0, Weather("clear", _NORTH, (0.78, 0.74, 0.66), (0.52, 0.58, 0.68), (0.30, 0.28, 0.25), (0.22, 0.44, 0.78),
                   (0.72, 0.82, 0.92), clouds=0.40, haze_m=900.0, shadow=0.45)),
    (22.0, Weather("morning", _NORTH, (0.92, 0.72, 0.50), (0.46, 0.50, 0.62), (0.28, 0.25, 0.24), (0.36, 0.52, 0.76),
                   (0.94, 0.82, 0.68), clouds=0.45, haze_m=450.0, shadow=0.40)),
    (13.0, Weather("evening", _NORTH, (0.95, 0.58, 0.34), (0.40, 0.40, 0.52), (0.25, 0.21, 0.20), (0.30, 0.36, 0.60),
                   (0.96, 0.68, 0.46), clouds=0.55, haze_m=500.0, shadow=0.38)),
    (55.0, Weather("overcast", _NORTH, (0.22, 0.22, 0.22), (0.80, 0.82, 0.86), (0.38, 0.38, 0.38), (0.62, 0.66, 0.71),
                   (0.82, 0.84, 0.86), clouds=0.95, haze_m=500.0, shadow=0.10)),
    (40.0, Weather("fog", _NORTH, (0.16, 0.16, 0.15), (0.82, 0.83, 0.85), (0.45, 0.45, 0.45), (0.74, 0.76, 0.78),
                   (0.80, 0.81, 0.82), clouds=1.0, haze_m=95.0, shadow=0.05)),
)  # fmt: skip


def choose_weather(name: str, generator: np.random.Generator) -> Weather:
    """Make the weather that `SceneConfig.weather` names, 'any' for one by chance; the sun's direction is drawn."""
    names = [weather.name for _, weather in _PRESETS]
    if name == "any":
        name = str(generator.choice(names, p=[0.35, 0.2, 0.15, 0.2, 0.1]))
    elevation, weather = _PRESETS[names.index(name)]
    height = np.deg2rad(elevation + generator.uniform(-5.0, 5.0))
    around = generator.uniform(0.0, 2.0 * np.pi)
    sun = (float(np.cos(height) * np.cos(around)), float(np.cos(height) * np.sin(around)), float(np.sin(height)))
    return replace(weather, sun=sun)


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
