"""What a person wears: skin, hair, clothes and their colours (RGB in 0..1 before shading)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

_SKIN: tuple[Colour, ...] = (
    (0.96, 0.80, 0.69),
    (0.91, 0.71, 0.57),
    (0.84, 0.62, 0.46),
    (0.72, 0.50, 0.35),
    (0.55, 0.37, 0.26),
    (0.38, 0.25, 0.18),
)

_HAIR: tuple[Colour, ...] = (
    (0.10, 0.08, 0.07),
    (0.22, 0.14, 0.09),
    (0.36, 0.22, 0.12),
    (0.60, 0.42, 0.20),
    (0.82, 0.68, 0.40),
    (0.55, 0.22, 0.10),
    (0.62, 0.61, 0.60),
)


@dataclass(frozen=True)
class Outfit:
    """What one person looks like, in all frames of a video."""

    skin: Colour
    hair: Colour
    shirt: Colour
    accent: Colour  # collar, buttons, print
    trousers: Colour
    shoes: Colour
    sole: Colour
    sleeve: float  # share of the arm that is covered: 0..1 upper arm, 1..2 forearm
    leg: float  # share of the leg that is covered, as for the arm
    skirt: bool
    hair_style: int  # 0 short, 1 long, 2 pony tail, 3 cap, 4 bald
    front: int  # 0 buttons, 1 round print, 2 bars, 3 zip, 4 number panel
    stripes: bool  # round the shirt
    is_loose: bool


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Random clothes, hair and skin."""
    shirt, trousers, shoes = (_cloth(rng) for _ in range(3))
    accent = _cloth(rng)
    while sum(abs(a - b) for a, b in zip(accent, shirt, strict=True)) < 0.7:
        accent = _cloth(rng)
    skirt = bool(rng.random() < 0.12)
    bare = float(rng.uniform(0.45, 0.95)), float(rng.uniform(1.2, 1.5))
    return Outfit(
        skin=_varied(_SKIN[rng.integers(len(_SKIN))], rng),
        hair=_varied(_HAIR[rng.choice(7, p=[0.26, 0.22, 0.18, 0.12, 0.1, 0.05, 0.07])], rng),
        shirt=shirt,
        accent=accent,
        trousers=trousers,
        shoes=shoes,
        sole=(0.92, 0.92, 0.9) if rng.random() < 0.6 else (0.15, 0.14, 0.14),
        sleeve=float(
            rng.choice(
                [0.12, rng.uniform(0.4, 0.75), rng.uniform(1.75, 1.95)], p=[0.12, 0.48, 0.4]
            )
        ),
        leg=0.2 if skirt else float(rng.choice([*bare, 1.93], p=[0.35, 0.08, 0.57])),
        skirt=skirt,
        hair_style=int(rng.choice(5, p=[0.42, 0.22, 0.14, 0.15, 0.07])),
        front=int(rng.integers(5)),
        stripes=bool(rng.random() < 0.15),
        is_loose=bool(rng.random() < 0.5),
    )


def _cloth(rng: np.random.Generator) -> Colour:
    """A colour as clothes have it: often dark, white or denim, now and then bright."""
    kind = rng.random()
    if kind < 0.25:
        grey = rng.uniform(0.08, 0.3)
        return _varied((grey, grey, grey * 1.1), rng)
    if kind < 0.4:
        return _varied((0.9, 0.9, 0.88), rng)
    if kind < 0.55:
        return _varied((0.2, 0.28, 0.45), rng)
    hue, value, saturation = rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.3, 0.9)
    rgb = value * (
        1 - saturation * np.clip(np.abs((hue * 6 + np.array([3, 1, 5])) % 6 - 3) - 1, 0, 1)
    )
    return (float(rgb[0]), float(rgb[1]), float(rgb[2]))


def _varied(colour: Colour, rng: np.random.Generator) -> Colour:
    r, g, b = (np.array(colour) * rng.uniform(0.88, 1.1) + rng.normal(0, 0.015, 3)).clip(0.02, 1)
    return (float(r), float(g), float(b))
