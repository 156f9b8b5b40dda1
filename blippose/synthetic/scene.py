"""One video frame: background, clutter, people, occluders and light; and where the joints are.

All positions are `xy_img`: 0-based image pixels, x right, y down. A frame depends on
(seed, video, frame) alone; frames of one video share scene, clothes and build.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from blippose.synthetic.background import (
    draw_background,
    draw_distractors,
    draw_occluders,
    relight,
)
from blippose.synthetic.body import dress
from blippose.synthetic.figure import Build, Matrix, pose_skeleton, rotation, sample_build
from blippose.synthetic.head import skull
from blippose.synthetic.mesh import Mesh, box, join
from blippose.synthetic.outfit import Outfit, sample_outfit
from blippose.synthetic.poses import ACTIVITIES, sample_activity, sample_angles

OVERSAMPLING = 2  # drawn larger and averaged down, against jagged edges
_SIZES = ((320, 180), (384, 216), (448, 252), (480, 270), (320, 240), (300, 300), (216, 384))
_SIZE_WEIGHTS = (0.16, 0.24, 0.2, 0.12, 0.14, 0.06, 0.08)


@dataclass(frozen=True)
class Person:
    """Where one drawn person is."""

    xy_img: Float[np.ndarray, "16 2"]
    head_box: Float[np.ndarray, "2 2"]  # least and largest x, y of her skull, image pixels
    stature: float  # image pixels that her upright height would take


@dataclass(frozen=True)
class Frame:
    """A drawn image with its people, nearest last, and the index of their activity."""

    image: UInt8[np.ndarray, "height width 3"]
    people: tuple[Person, ...]
    activity: int


@dataclass(frozen=True)
class _Actor:
    build: Build
    outfit: Outfit
    activity: int
    angles: tuple[dict[str, float], dict[str, float]]
    yaw: float
    view: Matrix
    distance: float
    span: float  # share of the image that the figure takes
    is_tight: bool  # the picture's edge may cut hands and toes
    place: tuple[float, float]
    light: Float[np.ndarray, "3"]


def render_frame(seed: int, video: int, frame: int, num_people: int = 1) -> Frame:
    """Frame `frame` of video `video`."""
    video_seed = np.random.SeedSequence((seed, video))
    scene_seed, *actor_seeds = video_seed.spawn(1 + num_people)
    scene_rng = np.random.default_rng(scene_seed)
    rng = np.random.default_rng(np.random.SeedSequence((seed, video, 1 + frame)))
    size = _SIZES[int(scene_rng.choice(len(_SIZES), p=_SIZE_WEIGHTS))]
    actors = [_sample_actor(np.random.default_rng(child)) for child in actor_seeds]
    posed = [_place(actor, rng, size, slot, num_people) for slot, actor in enumerate(actors)]
    posed.sort(key=lambda item: item[1].stature)
    canvas = draw_background(
        size, scene_rng, rng, floor=max(_feet(person) for _, person, _ in posed)
    )
    draw_distractors(canvas, scene_rng)
    for mesh, person, light in posed:
        _draw_shadow(canvas, person, light)
        draw_mesh(canvas, mesh, light)
    draw_occluders(canvas, scene_rng, posed[-1][1].xy_img * OVERSAMPLING)
    image = relight(canvas.reduce(OVERSAMPLING), scene_rng, rng)
    return Frame(image, tuple(person for _, person, _ in posed), actors[0].activity)


def _sample_actor(rng: np.random.Generator) -> _Actor:
    activity = sample_activity(rng)
    kind = ACTIVITIES[activity]
    start = sample_angles(kind, rng)
    # The motion of a video bends limbs by some degrees but leaves the trunk where it is.
    still = ("pitch", "roll", "bend", "lean")
    end = {k: v if k in still else v + float(rng.normal(0, 12)) for k, v in start.items()}
    # People who lie are mostly seen from above.
    above = float(rng.normal(25 if kind.name.startswith("lying") else 8, 7))
    view = rotation("z", float(rng.normal(0, 3))) @ rotation("x", above)
    light = np.array([rng.uniform(-1, 1), rng.uniform(0.4, 1.2), rng.uniform(0.3, 1.2)])
    return _Actor(
        build=sample_build(rng),
        outfit=_suited(sample_outfit(rng), kind.name),
        activity=activity,
        angles=(start, end),
        yaw=float(rng.uniform(-180, 180) if rng.random() < 0.65 else rng.normal(0, 35)),
        view=view,
        distance=float(rng.uniform(2.2, 7)),
        span=float(0.48 + 0.46 * np.sqrt(rng.random())),
        is_tight=bool(rng.random() < 0.12),
        place=(float(rng.random()), float(rng.random())),
        light=light / np.linalg.norm(light),
    )


def _suited(outfit: Outfit, activity: str) -> Outfit:
    """Shorts for a skirt where legs go far apart."""
    if activity.startswith(("standing", "running", "sitting")) or not outfit.skirt:
        return outfit
    return replace(outfit, skirt=False, leg=0.6)


def _place(
    actor: _Actor, rng: np.random.Generator, size: tuple[int, int], slot: int, num_people: int
) -> tuple[Mesh, Person, Float[np.ndarray, "3"]]:
    """The actor in this frame: a mesh whose x, y are image pixels and z is nearness."""
    share, yaw = rng.random(), actor.yaw + float(rng.normal(0, 8))
    angles = {k: v + share * (actor.angles[1][k] - v) for k, v in actor.angles[0].items()}
    skeleton = pose_skeleton(actor.build, angles, yaw)
    mesh = dress(skeleton, actor.build, actor.outfit)
    joints = _project(skeleton.joints @ actor.view.T, actor.distance)
    body = _project(mesh.quads @ actor.view.T, actor.distance)
    if ACTIVITIES[actor.activity].seated:
        mesh = join([mesh, _seat(skeleton.joints, actor, yaw)])
    seat = _project(mesh.quads[len(body) :] @ actor.view.T, actor.distance)
    quads = np.concatenate([body, seat])
    # A few hands and toes may leave the picture, the joints themselves not.
    shown = joints if actor.is_tight else np.concatenate([joints, body.reshape(-1, 3)])
    low, high = shown[:, :2].min(axis=0) - 0.01, shown[:, :2].max(axis=0) + 0.01
    room = np.array(size) * [1 / num_people if num_people > 1 else 1, 1]
    scale = actor.span * float((room / (high - low)).min())
    free = room - scale * (high - low)
    place = np.array(actor.place) + rng.normal(0, 0.06, 2)
    corner = free * place.clip(0.01, 0.99) + [room[0] * slot if num_people > 1 else 0, 0]
    shift = np.append(corner - scale * low, 0.0)
    xy_img = (joints * scale + shift)[:, :2]
    skull_quads = skull(skeleton, actor.build, actor.outfit).quads
    outline = _project(skull_quads.reshape(-1, 3) @ actor.view.T, actor.distance)
    xy_skull = (outline * scale + shift)[:, :2]
    return (
        Mesh(quads, mesh.colours, mesh.bias).moved(np.full(3, scale), shift),
        Person(xy_img, np.stack([xy_skull.min(axis=0), xy_skull.max(axis=0)]), scale),
        actor.light,
    )


def _project(points: np.ndarray, distance: float) -> np.ndarray:
    """Perspective with unit scale at the pelvis: x right, y down, z nearness."""
    factor = distance / (distance - points[..., 2:])
    return np.concatenate([points[..., :2] * [1, -1] * factor, points[..., 2:]], axis=-1)


def _seat(joints: Float[np.ndarray, "16 3"], actor: _Actor, yaw: float) -> Mesh:
    """A block, stool or chair below the pelvis, down to the feet."""
    rng = np.random.default_rng(int(abs(actor.yaw) * 1e6))
    top = -0.07 * actor.build.girth
    height = max(0.1, top - float(joints[:, 1].min()) - 0.03)
    frame = rotation("y", yaw)
    colour = (
        float(rng.uniform(0.2, 0.8)),
        float(rng.uniform(0.2, 0.6)),
        float(rng.uniform(0.1, 0.6)),
    )
    width, deep = float(rng.uniform(0.22, 0.5)), 0.24
    forward = frame[:, 2] * 0.04
    if rng.random() < 0.4:
        size = np.array([width, height, deep])
        return box(np.array([0, top - height / 2, 0]) + forward, frame, size, colour)
    parts = [
        box(np.array([0, top - 0.015, 0]) + forward, frame, np.array([width, 0.03, deep]), colour)
    ]
    for x in (-0.45, 0.45):
        for z in (-0.42, 0.42):
            leg = frame @ np.array([x * width, top - 0.03 - height / 2, z * deep]) + forward
            parts.append(box(leg, frame, np.array([0.02, height, 0.02]), colour, cells=2))
    if rng.random() < 0.5:
        back = frame @ np.array([0, top + 0.13, -0.15])
        parts.append(box(back, frame, np.array([width, 0.22, 0.015]), colour))
    return join(parts)


def _feet(person: Person) -> float:
    return float(person.xy_img[:, 1].max()) + 0.03 * person.stature


def _draw_shadow(canvas: Image.Image, person: Person, light: Float[np.ndarray, "3"]) -> None:
    """A soft dark ellipse on the floor below the person, away from the light."""
    x, y = person.xy_img.T
    low = x[y > y.max() - 0.2 * person.stature]  # what is near the floor
    left, right = low.min(), low.max()
    centre = np.array([(left + right) / 2 - 0.08 * light[0] * person.stature, _feet(person)])
    half = np.array([max(0.16 * person.stature, 0.55 * (right - left)), 0.045 * person.stature])
    wide, tall = (int(length) for length in np.ceil(half) + 1)
    blur = 0.012 * person.stature
    rim = int(3 * blur) + 1
    mask = Image.new("L", (wide + 2 * rim, tall + 2 * rim))
    ImageDraw.Draw(mask).ellipse((rim, rim, rim + wide, rim + tall), fill=115)
    mask = mask.filter(ImageFilter.GaussianBlur(blur))
    # Drawn at a quarter of the canvas: a blurred thing needs no more.
    mask = mask.resize((4 * mask.width, 4 * mask.height), Image.Resampling.BILINEAR)
    column, row = (centre * OVERSAMPLING).astype(int).tolist()
    canvas.paste((12, 12, 16), (column - mask.width // 2, row - mask.height // 2), mask)


def draw_mesh(canvas: Image.Image, mesh: Mesh, light: Float[np.ndarray, "3"]) -> None:
    """Shade the quadrilaterals that face the camera and draw them far to near."""
    # Image y runs down, so outward faces turn clockwise: flip y for normals.
    points = mesh.quads * [1.0, -1.0, 1.0]
    normals = np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
    length = np.linalg.norm(normals, axis=1)
    seen = (normals[:, 2] > 0) & (length > 1e-9)
    normals = normals[seen] / length[seen, None]
    depth = mesh.quads[seen, :, 2].mean(axis=1) + mesh.bias[seen]
    near = (depth - depth.min()) / (np.ptp(depth) + 1e-9)
    lit = 0.5 + 0.55 * np.maximum(normals @ light, 0) + 0.1 * normals[:, 2]
    rgb = mesh.colours[seen] * (lit * (0.86 + 0.14 * near))[:, None] * 255
    colours = rgb.clip(0, 255).astype(np.uint8).tolist()
    corners = mesh.quads[seen, :, :2] * OVERSAMPLING + (OVERSAMPLING - 1) / 2
    flat = corners.round().reshape(-1, 8).tolist()  # Pillow cuts fractions off
    polygon = ImageDraw.Draw(canvas).polygon
    for index in np.argsort(depth, kind="stable").tolist():
        polygon(flat[index], fill=tuple(colours[index]))
