"""`blippose.json`: the file beside weights in Hugging Face's format that says their frame.

    {"frame": {"input_size": 384, "num_bins": null, "resize": "stretch", "crop": "full"}, ...}

It may also say whether the model was trained on drawn people, on which splits, what its captions
taught, how it was decoded when it was validated, and how its confidence is calibrated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from blippose.blip import TINY
from blippose.calibration import Calibration
from blippose.caption import CaptionFormat
from blippose.decoding import UNKNOWN, Decoding, Free, InputFrame, Taught, from_record, to_record
from blippose.errors import UserError, first_line
from blippose.lineage import Lineage, taught_in

FRAME_FILE = "blippose.json"


@dataclass(frozen=True)
class Stated:
    """What is said of weights beside themselves: in a frame's file, or in a checkpoint.

    Args:
        frame: of the coordinates in captions.
        synthetic: whether all of its trainings were on drawn people; None where nobody has said.
        decoding: how it was decoded when it was validated; None likewise.
        calibrations: of its confidence.
        taught: by its training captions.
    """

    frame: InputFrame
    synthetic: bool | None = None
    decoding: Decoding | None = None
    calibrations: tuple[Calibration, ...] = ()
    taught: Taught = UNKNOWN

    @property
    def own_decoding(self) -> Decoding:
        """How it is decoded unless somebody says otherwise."""
        return self.decoding or Free()

    def record(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "frame": self.frame.record(),
            "synthetic": self.synthetic,
            "decoding": None if self.decoding is None else to_record(self.decoding),
            "taught": asdict(self.taught),
            "calibrations": [asdict(each) for each in self.calibrations],
        }


def find_frame_file(name: str) -> Path | None:
    """The frame's file in a local folder, or beside the weights on the hub; None without one.

    It is fetched with the weights: once they are there the hub, which may be out of reach for half
    a minute, is not asked again.
    """
    if Path(name).expanduser().is_dir():
        path = Path(name).expanduser() / FRAME_FILE
        return path if path.is_file() else None
    try:
        cached = try_to_load_from_cache(name, FRAME_FILE)
        if cached is not None:  # a path, or a mark that the hub has said that there is none
            return Path(cached) if isinstance(cached, str) else None
        return Path(hf_hub_download(name, FRAME_FILE))
    except LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError
        raise UserError(
            f"{name}: the hub is out of reach, so the frame of its coordinates ({FRAME_FILE}) "
            "is not known; download the folder and name that"
        ) from error
    except EntryNotFoundError:
        return None


def knows_poses(weights: str) -> bool:
    """Whether weights that `load_blip` has loaded come from blippose, and can look already."""
    return _at_hand(weights) is not None


def lineage_of(weights: str) -> Lineage:
    """What weights that `load_blip` has loaded say of their trainings.

    Raises:
        UserError: their `blippose.json` cannot be read.
    """
    if (path := _at_hand(weights)) is None:
        return Lineage()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if "manifest" in record:
            return Lineage.of(record)
        return Lineage(record.get("synthetic"), taught=taught_in(record))  # the shipped one's
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read ({first_line(error)}); export it again"
        ) from error


def check_locations(weights: str, caption_format: CaptionFormat) -> None:
    """See that location tokens that weights know are places where captions mean them to be.

    Raises:
        UserError: they are of other bins: a token keeps what it has learned by its name.
    """
    path = _at_hand(weights) if caption_format.location_tokens else None
    if path is None or not (theirs := read_frame(path).frame.caption_format).location_tokens:
        return
    (found, side), (bins, size) = ((f.bins, f.input_size) for f in (theirs, caption_format))
    if (found, side) != (bins, size):
        raise UserError(
            f"model.weights={weights}: its location tokens are {found} bins of {side} px, and "
            f"model.caption asks for {bins} of {size}; set model.caption.num_bins={found}, or "
            "start from weights without location tokens"
        )


def _at_hand(weights: str) -> Path | None:
    """The frame's file beside weights that are on this machine."""
    if weights == "random":
        return None
    folder = TINY if weights == "tiny" else Path(weights).expanduser()
    if folder.is_dir():
        path = folder / FRAME_FILE
        return path if path.is_file() else None
    cached = try_to_load_from_cache(weights, FRAME_FILE)
    return Path(cached) if isinstance(cached, str) else None


def read_frame(path: Path) -> Stated:
    """What the file says.

    Raises:
        UserError: it says none, or cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        calibrations = tuple(map(Calibration.of, record.get("calibrations", ())))
        return Stated(
            frame_of(record["frame"]),
            record.get("synthetic"),
            decoding_of(record),
            calibrations,
            taught_in(record),
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read ({first_line(error)}); expected "
            '{"frame": {"input_size": 384, "num_bins": null, "resize": "stretch", "crop": "full"}}'
        ) from error


def frame_of(record: Mapping[str, Any]) -> InputFrame:
    """The frame in a record.

    Raises:
        TypeError, ValueError, UserError: it is none.
    """
    frame = InputFrame(**record)
    _ = frame.caption_format  # or ValueError
    return frame


def decoding_of(record: Mapping[str, Any]) -> Decoding | None:
    """How the model of a record was decoded when it was validated; None where it does not say.

    Raises:
        UserError: what it says is no way to decode.
    """
    said = record.get("decoding")
    return None if said is None else from_record(said)
