"""What stands round a person: walls, fields, clutter, occluders and light."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
_MARGIN = 1.08  # the scene is larger than a frame, so that the camera can pan


def draw_background(
    size: tuple[int, int],
    scene_rng: np.random.Generator,
    frame_rng: np.random.Generator,
    floor: float,
) -> Image.Image:
    """A textured scene at twice `size`; `floor` is the y (image pixels) where feet stand."""
    width, height = (round(side * _MARGIN) for side in size)
    horizon = min(0.97, max(0.2, float(scene_rng.uniform(0.5, 0.92)) * floor / height)) * height
    picture = _surfaces(width, height, horizon, scene_rng)
    draw = ImageDraw.Draw(picture)
    _furnish(draw, width, height, horizon, scene_rng)
    pixels = np.asarray(picture, dtype=np.float32)
    pixels = pixels + _noise(width, height, scene_rng)[..., None]
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if scene_rng.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(float(scene_rng.uniform(0.4, 1.6))))
    x, y = (
        int(frame_rng.integers(0, big - small + 1))
        for big, small in zip((width, height), size, strict=True)
    )
    frame = picture.crop((x, y, x + size[0], y + size[1]))
    # Doubled pixels average back to themselves, so nothing is lost and nothing interpolated.
    return frame.resize((2 * size[0], 2 * size[1]), Image.Resampling.NEAREST)


def draw_distractors(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Balls, bars and blobs, some in the colours of skin and clothes."""
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.poisson(2.0))):
        x, y = rng.random(2) * canvas.size
        reach = canvas.height * rng.uniform(0.02, 0.12)
        colour = _any_colour(rng) if rng.random() < 0.6 else _skin_like(rng)
        kind = rng.random()
        if kind < 0.35:
            _ball(draw, x, y, reach / 2, colour)
        elif kind < 0.75:
            angle = rng.uniform(0, np.pi)
            dx, dy = 1.6 * reach * np.cos(angle), 1.6 * reach * np.sin(angle)
            draw.line([x - dx, y - dy, x + dx, y + dy], fill=colour, width=max(2, int(reach / 4)))
        else:
            draw.rectangle([x - reach, y - reach / 2, x + reach, y + reach / 2], fill=colour)


def draw_occluders(
    canvas: Image.Image, rng: np.random.Generator, xy_canvas: Float[np.ndarray, "16 2"]
) -> None:
    """Now and then a thin pole, a box or leaves before the person, over one or two joints."""
    if rng.random() > 0.15:
        return
    draw, height = ImageDraw.Draw(canvas), canvas.height
    x, y = xy_canvas[int(rng.integers(16))]
    thick = float(rng.uniform(0.008, 0.022)) * height
    kind, colour = rng.random(), _any_colour(rng)
    if kind < 0.4:
        draw.rectangle([x - thick, 0, x + thick, height], fill=colour)
        draw.line([x - thick / 2, 0, x - thick / 2, height], fill=_scaled(colour, 1.3), width=2)
    elif kind < 0.7:
        draw.rectangle([x - 3 * thick, y - 2 * thick, x + 3 * thick, y + 2 * thick], fill=colour)
    else:
        green: Colour = (int(rng.integers(20, 70)), int(rng.integers(70, 140)), 40)
        for _ in range(9):
            cx, cy = np.array([x, y]) + rng.normal(0, 1.6 * thick, 2)
            draw.ellipse(
                [cx - thick, cy - thick / 2, cx + thick, cy + thick / 2],
                fill=_scaled(green, rng.uniform(0.7, 1.4)),
            )


def relight(
    picture: Image.Image, scene_rng: np.random.Generator, frame_rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Gain, colour cast, a gradient of light, and for some a soft lens or a noisy sensor."""
    if scene_rng.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(float(scene_rng.uniform(0.3, 0.8))))
    pixels = np.asarray(picture, dtype=np.float32)
    height, width, _ = pixels.shape
    gain = np.float32(scene_rng.uniform(0.8, 1.18)) * scene_rng.uniform(0.94, 1.06, 3).astype(
        np.float32
    )
    slope_x, slope_y = scene_rng.uniform(-0.15, 0.15, 2)
    ramp = (
        1
        + slope_x * np.linspace(-1, 1, width)[None]
        + slope_y * np.linspace(-1, 1, height)[:, None]
    )
    pixels = pixels * ramp.astype(np.float32)[..., None] * gain
    if scene_rng.random() < 0.4:
        grain = frame_rng.integers(-6, 7, (height, width, 1), dtype=np.int8)
        pixels = pixels + grain
    lit: UInt8[np.ndarray, "height width 3"] = pixels.clip(0, 255).astype(np.uint8)
    return lit


def _surfaces(width: int, height: int, horizon: float, rng: np.random.Generator) -> Image.Image:
    """A wall over a floor, or a sky over a field, each a vertical gradient."""
    is_outdoor = rng.random() < 0.5
    if is_outdoor:
        sky = np.array([rng.uniform(110, 200), rng.uniform(160, 220), rng.uniform(200, 245)])
        ground = _ground(rng)
        upper = (sky, sky * 0.4 + 150)
    else:
        wall = np.array(_any_colour(rng)) * 0.45 + 100
        upper = (wall * 0.85, wall)
        ground = np.array(_any_colour(rng)) * 0.4 + rng.uniform(20, 90)
    t = np.arange(height, dtype=np.float64)[:, None]
    above = upper[0] + (upper[1] - upper[0]) * (t / max(horizon, 1)).clip(0, 1)
    below = ground * (0.75 + 0.4 * ((t - horizon) / max(height - horizon, 1)).clip(0, 1))
    column = np.where(t < horizon, above, below).clip(0, 255).astype(np.uint8)
    return Image.fromarray(column[:, None]).resize((width, height), Image.Resampling.NEAREST)


def _ground(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    grounds = np.array(
        [[70, 130, 55], [190, 170, 130], [120, 120, 125], [150, 95, 60], [225, 230, 235]]
    )
    ground: Float[np.ndarray, "3"] = grounds[
        rng.choice(5, p=[0.42, 0.2, 0.22, 0.11, 0.05])
    ] * rng.uniform(0.8, 1.1)
    return ground


def _furnish(
    draw: ImageDraw.ImageDraw, width: int, height: int, horizon: float, rng: np.random.Generator
) -> None:
    """Bricks, panels, windows, trees, poles, field lines and boxes along the horizon."""
    # Its own: how many bricks a frame has must not change what the rest of its video looks like.
    wall_rng = rng.spawn(1)[0]
    kind = rng.random()
    if kind < 0.18:
        _bricks(draw, width, horizon, wall_rng)
    elif kind < 0.4:
        _trees(draw, width, horizon, wall_rng)
    elif kind < 0.6:
        _windows(draw, width, horizon, wall_rng)
    if rng.random() < 0.4:
        _floor_lines(draw, width, height, horizon, rng)
    for _ in range(int(rng.poisson(2.2))):
        x, w = rng.uniform(0, width), rng.uniform(0.03, 0.16) * width
        h = rng.uniform(0.06, 0.4) * height
        base = horizon + rng.uniform(-0.01, 0.1) * height
        colour = _any_colour(rng)
        draw.rectangle([x, base - h, x + w, base], fill=colour)
        draw.rectangle([x, base - h, x + w, base - 0.9 * h], fill=_scaled(colour, 1.25))
    for _ in range(int(rng.poisson(0.7))):
        x, thick = rng.uniform(0, width), rng.uniform(0.004, 0.015) * width
        draw.rectangle([x, 0, x + thick, horizon + 0.02 * height], fill=_any_colour(rng))


def _bricks(
    draw: ImageDraw.ImageDraw, width: int, horizon: float, rng: np.random.Generator
) -> None:
    tall = rng.uniform(9, 18)
    base = np.array([rng.uniform(120, 180), rng.uniform(70, 140), rng.uniform(50, 120)])
    for row in range(int(horizon / tall) + 1):
        y = horizon - row * tall
        shades = rng.uniform(0.82, 1.12, int(width / (2.2 * tall)) + 2)
        for column, shade in enumerate(shades):
            x = (column - 0.5 * (row % 2)) * 2.2 * tall
            fill = tuple(int(v) for v in (base * shade).clip(0, 255))
            draw.rectangle([x, y - tall + 1, x + 2.2 * tall - 2, y - 1], fill=fill)


def _trees(
    draw: ImageDraw.ImageDraw, width: int, horizon: float, rng: np.random.Generator
) -> None:
    for _ in range(int(rng.integers(4, 12))):
        x, r = rng.uniform(0, width), rng.uniform(0.05, 0.16) * width
        green = (int(rng.uniform(25, 80)), int(rng.uniform(70, 130)), int(rng.uniform(25, 70)))
        y = horizon - rng.uniform(0.3, 1.6) * r
        draw.rectangle([x - r / 9, y, x + r / 9, horizon], fill=(80, 60, 45))
        for _ in range(5):
            dx, dy = rng.normal(0, 0.35 * r, 2)
            box = [x + dx - r * 0.6, y + dy - r * 0.5, x + dx + r * 0.6, y + dy + r * 0.5]
            draw.ellipse(box, fill=_scaled(green, rng.uniform(0.75, 1.3)))


def _windows(
    draw: ImageDraw.ImageDraw, width: int, horizon: float, rng: np.random.Generator
) -> None:
    pane, frame = _scaled((150, 190, 215), rng.uniform(0.5, 1.15)), _any_colour(rng)
    w, h, step = (
        rng.uniform(0.06, 0.15) * width,
        rng.uniform(0.25, 0.55) * horizon,
        rng.uniform(0.18, 0.4),
    )
    top = rng.uniform(0.08, 0.3) * horizon
    for x in np.arange(rng.uniform(0, 0.2), 1.0, step) * width:
        draw.rectangle([x - 2, top - 2, x + w + 2, top + h + 2], fill=frame)
        draw.rectangle([x, top, x + w, top + h], fill=pane)
        draw.line([x + w / 2, top, x + w / 2, top + h], fill=frame, width=2)


def _floor_lines(
    draw: ImageDraw.ImageDraw, width: int, height: int, horizon: float, rng: np.random.Generator
) -> None:
    """Lines that meet on the horizon: planks, lanes, a pitch."""
    colour = _scaled((235, 235, 230), rng.uniform(0.3, 1.0))
    vanishing = rng.uniform(-0.2, 1.2) * width
    for x in np.linspace(-2, 3, int(rng.integers(4, 14))) * width:
        draw.line([vanishing + 0.1 * (x - vanishing), horizon, x, height * 1.2], fill=colour)
    if rng.random() < 0.5:
        for k in (0.08, 0.25, 0.6):
            y = horizon + k * (height - horizon)
            draw.line([0, y, width, y], fill=colour)


def _noise(width: int, height: int, rng: np.random.Generator) -> Float[np.ndarray, "height width"]:
    """Grey texture at three scales: each coarse layer is enlarged to the next finer one."""
    layer = np.zeros((2, 2), dtype=np.float32)
    for cell, strength in ((48, 9.0), (12, 7.0), (3, 6.0)):
        grid = (width // cell + 2, height // cell + 2)
        coarse = Image.fromarray(layer).resize(grid, Image.Resampling.BICUBIC)
        texture = rng.standard_normal(grid[::-1], dtype=np.float32)
        layer = np.asarray(coarse) + texture * np.float32(strength * rng.uniform(0.1, 1.0))
    full = Image.fromarray(layer).resize((width, height), Image.Resampling.BILINEAR)
    noise: np.ndarray = np.asarray(full)
    return noise


def _ball(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour) -> None:
    for k, gain in ((1.0, 0.75), (0.8, 1.0), (0.4, 1.25)):
        cx, cy = x - (1 - k) * 0.35 * r, y - (1 - k) * 0.35 * r
        draw.ellipse([cx - k * r, cy - k * r, cx + k * r, cy + k * r], fill=_scaled(colour, gain))


def _any_colour(rng: np.random.Generator) -> Colour:
    base, spread = rng.uniform(40, 215), rng.uniform(5, 55)
    r, g, b = (base + rng.normal(0, spread, 3)).clip(15, 245)
    return (int(r), int(g), int(b))


def _skin_like(rng: np.random.Generator) -> Colour:
    return _scaled((222, 170, 135), rng.uniform(0.45, 1.1))


def _scaled(colour: Colour, gain: float) -> Colour:
    r, g, b = (min(255, int(channel * gain)) for channel in colour)
    return (r, g, b)
