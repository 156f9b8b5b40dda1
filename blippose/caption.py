"""The caption grammar: a pose as text, and back.

    right ankle (120,310), right knee (118,250), ..., left wrist (201,160)
    right ankle (<loc_120>,<loc_310>), ...

Joints come in one of `ORDERS`, by default MPII's ids, each with the integer bins of x and y in the
model's input frame. With as many bins as the input has pixels (the default) a bin is a pixel. Any
order is read, and poses are in MPII id order whatever was written. Knows nothing of
tokenizers or models; any text whatever can be read, and what is wrong with it is data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float, Int

from blippose.pose import JOINTS, NUM_JOINTS, TORSO_OUTWARDS, Pose

# Joint ids as captions may write them, by name.
ORDERS = {"mpii": tuple(range(NUM_JOINTS)), "torso": TORSO_OUTWARDS}

# Every place where a joint is named, with its "(x,y)" where one follows. BLIP's decoded text has
# spaces inside the brackets: "right ankle ( 120, 310 )". ASCII, as else the Turkish dotless i
# would pass for an i. Of the two forms of numbers a format believes its own alone.
_X, _Y = (rf"(?P<{axis}_loc><loc_)?(?P<{axis}>-?[0-9]+)(?({axis}_loc)>)" for axis in "xy")
_NAMED = re.compile(
    rf"\b(?P<name>{'|'.join(JOINTS)})\b(?:\s*\(\s*{_X}\s*,\s*{_Y}\s*\))?",
    re.IGNORECASE | re.ASCII,
)
Span = tuple[int, int]  # of characters: the first, and the one behind the last
_JOINT_IDS = {name: joint for joint, name in enumerate(JOINTS)}


class Reason(StrEnum):
    """Why a joint is missing from a caption."""

    ABSENT = "absent"  # its name does not occur
    NO_NUMBER = "no number"  # its name occurs, "(x,y)" in the format's form does not follow
    TWICE = "twice"  # named more than once: neither is believed
    OUT_OF_RANGE = "out of range"  # a number that is not a bin


@dataclass(frozen=True)
class ParsedCaption:
    """What a caption says: a pose in the input frame, and per joint why it is missing, or None."""

    pose: Pose
    reasons: tuple[Reason | None, ...]


@dataclass(frozen=True)
class CaptionFormat:
    """The bins that stand in a caption.

    Args:
        input_size: side of the model's square input, px.
        num_bins: how many integers cover that side; None means one bin a pixel.
        order: of the joints, one of `ORDERS`.
        location_tokens: whether a number is a token of its own, "<loc_120>", that is added to the
            vocabulary, so that any number of bins takes one a number; False writes digits.
    """

    input_size: int
    num_bins: int | None = None
    order: str = "mpii"
    location_tokens: bool = False

    def __post_init__(self) -> None:
        for key in ("input_size", "num_bins"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise ValueError(
                    f"{key}={value}: expected 1 or more, whole; a caption needs at least "
                    "one pixel and one bin"
                )
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order!r}: expected one of {', '.join(ORDERS)}")

    @property
    def bins(self) -> int:
        """Number of bins a side."""
        return self.input_size if self.num_bins is None else self.num_bins

    @property
    def joint_order(self) -> tuple[int, ...]:
        """Joint ids in the order in which captions name them."""
        return ORDERS[self.order]

    def number(self, value: int | str) -> str:
        """A number as captions write it.

        >>> CaptionFormat(96).number(7), CaptionFormat(96, location_tokens=True).number(7)
        ('7', '<loc_7>')
        """
        return f"<loc_{value}>" if self.location_tokens else str(value)

    @property
    def bin_px(self) -> float:
        """Width of a bin, input pixels."""
        return self.input_size / self.bins

    def quantize(self, xy_input: Float[np.ndarray, "*any 2"]) -> Int[np.ndarray, "*any 2"]:
        """The bin of each coordinate; what lies outside the input goes to the nearest border bin.

        Pixel centres are integers, so the input covers [-0.5, input_size - 0.5].
        """
        share = (np.asarray(xy_input, dtype=np.float64) + 0.5) / self.input_size
        return np.clip(np.floor(share * self.bins), 0, self.bins - 1).astype(np.int64)

    def dequantize(self, xy_bin: Int[np.ndarray, "*any 2"]) -> Float[np.ndarray, "*any 2"]:
        """The centre of each bin in the input frame, px: within half a bin of what was written."""
        return (np.asarray(xy_bin) + 0.5) * self.bin_px - 0.5

    def encode(
        self,
        xy_input: Float[np.ndarray, "16 2"],
        valid: Bool[np.ndarray, "16"] | None = None,
    ) -> str:
        """The caption of a pose in the input frame; joints that are not valid are left out.

        >>> CaptionFormat(384, order="torso").encode(np.arange(32.0).reshape(16, 2))[:34]
        'pelvis (12,13), thorax (14,15), up'

        Without `valid`, the valid joints are those with finite coordinates.
        """
        if valid is None:
            valid = np.isfinite(xy_input).all(axis=-1)
        xy_bin = self.quantize(np.where(valid[:, None], xy_input, 0.0))
        return ", ".join(
            f"{JOINTS[joint]} ({','.join(map(self.number, xy_bin[joint].tolist()))})"
            for joint in self.joint_order
            if valid[joint]
        )

    def decode(self, caption: str) -> ParsedCaption:
        """The pose that a caption says, and why each missing joint is missing. Never raises.

        >>> parsed = CaptionFormat(384).decode("right ankle ( 120, 310 ), right knee (999,1), hi")
        >>> parsed.pose.xy[0]
        array([120., 310.])
        >>> [str(reason) for reason in parsed.reasons[:3]]
        ['None', 'out of range', 'absent']
        """
        read = [self._read(places) for places in _places(caption)]
        xy = np.full((NUM_JOINTS, 2), np.nan)
        for joint, bins in enumerate(read):
            if not isinstance(bins, Reason):
                xy[joint] = self.dequantize(np.array(bins))
        reasons = tuple(bins if isinstance(bins, Reason) else None for bins in read)
        return ParsedCaption(Pose.of(xy), reasons)

    def number_spans(self, caption: str) -> dict[int, tuple[Span, Span]]:
        """Where the numbers of each joint that `decode` finds stand, x before y, by joint id.

        >>> CaptionFormat(384).number_spans("right ankle ( 120, 310 ), right knee (999,1)")
        {0: ((14, 17), (19, 22))}
        """
        return {
            joint: (places[0].span("x"), places[0].span("y"))
            for joint, places in enumerate(_places(caption))
            if not isinstance(self._read(places), Reason)
        }

    def _read(self, places: list[re.Match[str]]) -> tuple[int, int] | Reason:
        """The bins of a joint from the places that name it."""
        if not places:
            return Reason.ABSENT
        if len(places) > 1:
            return Reason.TWICE
        forms = {places[0][f"{axis}_loc"] is not None for axis in "xy"}
        if places[0]["x"] is None or forms != {self.location_tokens}:
            return Reason.NO_NUMBER
        x, y = self._bin(places[0]["x"]), self._bin(places[0]["y"])
        return Reason.OUT_OF_RANGE if x is None or y is None else (x, y)

    def _bin(self, number: str) -> int | None:
        # A length check first: Python refuses to read integers of thousands of digits.
        digits = number.lstrip("0") or "0"
        if len(digits) > len(str(self.bins)) or not 0 <= int(digits) < self.bins:
            return None
        return int(digits)


def xy_said(captions: Sequence[ParsedCaption]) -> Float[np.ndarray, "caption 16 2"]:
    """The poses of captions in the input frame, px; NaN where a joint is missing."""
    return np.stack([parsed.pose.xy for parsed in captions])


def _places(caption: str) -> list[list[re.Match[str]]]:
    """Every place where each joint is named."""
    places: list[list[re.Match[str]]] = [[] for _ in JOINTS]
    for match in _NAMED.finditer(caption):
        places[_JOINT_IDS[match["name"].lower()]].append(match)
    return places
