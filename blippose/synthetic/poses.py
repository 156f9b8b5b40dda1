"""What people do: joint angles drawn from eight families of everyday and sporting poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blippose.synthetic.figure import LIMITS, Angles, limit, mirror


@dataclass(frozen=True)
class Activity:
    """A family of poses: how to draw one, how often it comes, and what it is called in MPII."""

    name: str
    category: str
    weight: float
    sample: Callable[[np.random.Generator], Angles]
    seated: bool = False


def sample_angles(activity: Activity, rng: np.random.Generator, noise: float = 4.0) -> Angles:
    """One pose of the family within the joint limits, mirrored in half of the cases."""
    angles = activity.sample(rng)
    spread = {"pitch": 0.3, "roll": 0.3, "bend": 0.7, "lean": 0.7}
    free = {name for name in LIMITS if not name.endswith(("hip flex", "knee"))}
    angles = {
        name: angles.get(name, 0.0)
        + noise * spread.get(name, 1.0 if name in free else 0.6) * float(rng.standard_normal())
        for name in LIMITS
    }
    angles["turn"] += float(rng.normal(0, 15))
    angles["nod"] += float(rng.normal(0, 8))
    return limit(mirror(angles) if rng.random() < 0.5 else angles)


def _arm(side: str, flex: float, abduct: float, twist: float, elbow: float) -> Angles:
    values = {"flex": flex, "abduct": abduct, "twist": twist}
    return {f"{side} shoulder {k}": v for k, v in values.items()} | {f"{side} elbow": elbow}


def _leg(side: str, flex: float, abduct: float, knee: float, ankle: float = 0.0) -> Angles:
    hip = {f"{side} hip flex": flex, f"{side} hip abduct": abduct}
    return hip | {f"{side} knee": knee, f"{side} ankle": ankle}


def _sample_arm(rng: np.random.Generator, side: str) -> Angles:
    """A gesture of one arm: hanging, on the hip, forwards, out, up, or folded."""
    u = rng.uniform
    gestures: list[tuple[float, Callable[[], Angles]]] = [
        (0.34, lambda: _arm(side, u(-15, 25), u(3, 20), u(-20, 40), u(5, 40))),
        (0.12, lambda: _arm(side, u(-35, -10), u(30, 50), u(50, 80), u(75, 105))),
        (0.16, lambda: _arm(side, u(35, 100), u(-5, 30), u(0, 50), u(10, 95))),
        (0.12, lambda: _arm(side, u(-10, 20), u(60, 110), u(-60, 30), u(0, 60))),
        (0.14, lambda: _arm(side, u(130, 178), u(-5, 25), u(-30, 30), u(0, 70))),
        (0.12, lambda: _arm(side, u(10, 35), u(0, 15), u(45, 75), u(75, 120))),
    ]
    weights = np.array([weight for weight, _ in gestures])
    return gestures[int(rng.choice(len(gestures), p=weights / weights.sum()))][1]()


def _sample_arms(rng: np.random.Generator) -> Angles:
    return _sample_arm(rng, "left") | _sample_arm(rng, "right")


def _stand(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    legs = _leg("left", u(-5, 12), u(0, 16), u(0, 12)) | _leg(
        "right", u(-5, 12), u(0, 16), u(0, 12)
    )
    return {"bend": u(-6, 12), "twist": u(-15, 15)} | legs | _sample_arms(rng)


def _stride(rng: np.random.Generator) -> Angles:
    """Walking to running: `pace` scales the swing, the arms go against the legs."""
    u, pace = rng.uniform, rng.uniform(0.35, 1.0)
    swing = np.sin(rng.uniform(0, 2 * np.pi))
    legs: Angles = {}
    for side, phase in (("left", swing), ("right", -swing)):
        knee = (70 * pace if phase < 0 else 25 * pace) * u(0.4, 1.3) + 5
        legs |= _leg(side, phase * 48 * pace + 8 * pace, u(-2, 5), knee, u(-5, 20))
        legs |= _arm(side, -phase * 50 * pace, u(4, 18), u(0, 35), 12 + 85 * pace * u(0.6, 1.1))
    return {"pitch": 14 * pace * u(0, 1.2), "bend": u(0, 8), "twist": -14 * swing * pace} | legs


def _sit(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    legs = _leg("left", u(78, 98), u(0, 22), u(60, 105)) | _leg(
        "right", u(78, 98), u(0, 22), u(60, 105)
    )
    if rng.random() < 0.5:
        arms = _arm("left", u(25, 60), u(0, 20), u(0, 45), u(20, 75)) | _arm(
            "right", u(25, 60), u(0, 20), u(0, 45), u(20, 75)
        )
    else:
        arms = _sample_arms(rng)
    return (
        {"pitch": u(-18, 6), "bend": u(0, 30), "twist": u(-15, 15), "nod": u(-5, 20)} | legs | arms
    )


def _lie(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    pitch = {0: u(-95, -82), 1: u(82, 93), 2: u(-60, -35)}[int(rng.choice(3, p=[0.5, 0.25, 0.25]))]
    bend = -u(0, 25) if pitch > 0 else u(0, 30)
    knees = (u(0, 60), u(0, 60)) if pitch < 0 else (u(0, 25), u(0, 25))
    # Half sitting on the floor (-60 to -35) brings the legs back to the horizontal.
    raised = 90 + pitch if -80 < pitch < 0 else 0.0
    hips = [raised + (0.6 * knee if pitch < 0 else 0.0) for knee in knees]
    legs = _leg("left", hips[0], u(0, 20), knees[0], 25.0) | _leg(
        "right", hips[1], u(0, 20), knees[1], 25.0
    )
    return {"pitch": pitch, "bend": bend, "roll": u(-8, 8)} | legs | _sample_arms(rng)


def _squat(rng: np.random.Generator) -> Angles:
    u, depth = rng.uniform, rng.uniform(0.4, 1.0)
    legs: Angles = {}
    for side in ("left", "right"):
        legs |= _leg(side, 115 * depth + u(-8, 8), u(8, 28), 125 * depth + u(-8, 8), -15.0)
    reach = _arm("left", u(40, 100), u(-5, 25), u(0, 30), u(0, 60)) | _arm(
        "right", u(40, 100), u(-5, 25), u(0, 30), u(0, 60)
    )
    arms = reach if rng.random() < 0.6 else _sample_arms(rng)
    return {"pitch": 32 * depth + u(-6, 10), "bend": u(0, 30), "nod": -u(0, 25)} | legs | arms


def _lunge(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    front, back = (
        _leg("left", u(55, 95), u(0, 12), u(60, 100)),
        _leg("right", u(-25, 5), u(0, 12), u(15, 80), u(0, 40)),
    )
    return (
        {"pitch": u(-5, 15), "bend": u(-5, 20), "twist": u(-20, 20)}
        | front
        | back
        | _sample_arms(rng)
    )


def _stretch(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    spread = u(5, 45)
    legs = _leg("left", u(-5, 15), spread, u(0, 15)) | _leg("right", u(-5, 15), spread, u(0, 15))
    if rng.random() < 0.5:
        trunk = {"pitch": u(25, 70), "bend": u(20, 60), "nod": u(-20, 20)}
        hips = {f"{side} hip flex": trunk["pitch"] + u(-6, 6) for side in ("left", "right")}
        arms = _arm("left", u(60, 140), u(0, 30), 0.0, u(0, 30)) | _arm(
            "right", u(60, 140), u(0, 30), 0.0, u(0, 30)
        )
        return trunk | legs | hips | arms
    return {"lean": u(-32, 32), "twist": u(-25, 25)} | legs | _sample_arms(rng)


def _jump(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    legs: Angles = {}
    for side in ("left", "right"):
        legs |= _leg(side, u(-15, 60), u(0, 45), u(5, 95), u(15, 45))
        legs |= _arm(side, u(60, 170), u(0, 60), u(-30, 30), u(0, 70))
    return {
        "pitch": u(-15, 20),
        "bend": u(-15, 25),
        "roll": u(-10, 10),
        "twist": u(-20, 20),
    } | legs


def _kick(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    kicking, standing = (
        _leg("right", u(50, 105), u(0, 45), u(0, 50), u(10, 40)),
        _leg("left", u(-5, 15), u(0, 8), u(5, 30)),
    )
    arms = _arm("left", u(20, 90), u(10, 70), u(-20, 30), u(10, 80)) | _arm(
        "right", u(-45, 20), u(20, 80), u(-20, 30), u(10, 60)
    )
    return {"pitch": u(-25, 5), "bend": u(0, 20), "twist": u(-25, 25)} | kicking | standing | arms


def _throw(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    arms = _arm("right", u(-10, 60), u(80, 150), u(-90, -20), u(40, 110)) | _arm(
        "left", u(40, 110), u(10, 60), u(0, 30), u(0, 50)
    )
    legs = _leg("left", u(15, 50), u(0, 15), u(10, 45)) | _leg(
        "right", u(-25, 5), u(0, 20), u(5, 50)
    )
    return {"pitch": u(-12, 18), "bend": u(-10, 15), "twist": u(-40, 10)} | arms | legs


def _handstand(rng: np.random.Generator) -> Angles:
    u = rng.uniform
    legs = _leg("left", u(-20, 45), u(0, 40), u(0, 40), 30.0) | _leg(
        "right", u(-20, 45), u(0, 40), u(0, 40), 30.0
    )
    arms = _arm("left", u(165, 180), u(-5, 12), 0.0, u(0, 12)) | _arm(
        "right", u(165, 180), u(-5, 12), 0.0, u(0, 12)
    )
    return {"pitch": 180 + u(-12, 12), "nod": -u(10, 30)} | legs | arms


ACTIVITIES: tuple[Activity, ...] = (
    Activity("standing, talking", "miscellaneous", 0.22, _stand),
    Activity("running, walking", "running", 0.18, _stride),
    Activity("sitting, quietly", "inactivity quiet/light", 0.14, _sit, seated=True),
    Activity("lying, quietly", "inactivity quiet/light", 0.05, _lie),
    Activity("squatting", "conditioning exercise", 0.08, _squat),
    Activity("lunging", "conditioning exercise", 0.07, _lunge),
    Activity("stretching, yoga", "conditioning exercise", 0.09, _stretch),
    Activity("jumping", "sports", 0.06, _jump),
    Activity("kicking, martial arts", "sports", 0.05, _kick),
    Activity("throwing, ball games", "sports", 0.05, _throw),
    Activity("gymnastics", "sports", 0.01, _handstand),
)


def sample_activity(rng: np.random.Generator) -> int:
    """Index into ACTIVITIES, by weight."""
    weights = np.array([activity.weight for activity in ACTIVITIES])
    return int(rng.choice(len(ACTIVITIES), p=weights / weights.sum()))
