"""What a model's weights have learned from: which splits, what kind of people, what captions.

Checkpoints hold it, and the file beside exported weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from blippose.decoding import UNKNOWN, Taught
from blippose.errors import UserError

_EXAMPLE = '{"hidden_coordinates": true, "single_joints": false}'


@dataclass(frozen=True)
class Lineage:
    """The trainings of a model, as far as they are on record; none of BLIP's own are.

    Args:
        synthetic: whether all of them were on drawn people; None where nobody has said.
        manifests: hashes of the splits, the last one last, each once in a row; None of one that
            nobody knows.
        taught: by the captions of all of them.
    """

    synthetic: bool | None = None
    manifests: tuple[str | None, ...] = ()
    taught: Taught = field(default_factory=Taught)

    @staticmethod
    def of(record: Mapping[str, Any]) -> Lineage:
        """Of a model that was trained, by what `record` wrote; versions before wrote less.

        Raises:
            UserError: what was taught is nothing of the kind.
        """
        earlier = record.get("earlier_manifests") or ()
        manifests = (*earlier, record.get("manifest"))
        return Lineage(record.get("synthetic"), manifests, taught_in(record))

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "synthetic": self.synthetic,
            "manifest": self.manifests[-1] if self.manifests else None,
            "earlier_manifests": list(self.manifests[:-1]),
            "taught": asdict(self.taught),
        }

    def then(self, manifest: Mapping[str, Any] | None, taught: Taught) -> Lineage:
        """With one more training, on the split of a manifest; None of one that nobody knows.

        One that goes on, on the split of the last, is the same training.
        """
        is_drawn, digest = None, None
        if manifest is not None:
            is_drawn, digest = bool(manifest["synthetic"]), manifest["hash"]
        earlier = self.manifests[:-1] if self.manifests[-1:] == (digest,) else self.manifests
        return Lineage(self._and_drawn(is_drawn), (*earlier, digest), self.taught | taught)

    def _and_drawn(self, is_drawn: bool | None) -> bool | None:
        """`synthetic`, with one more training on such people."""
        if self.synthetic is None and not self.manifests:  # the first on record
            return is_drawn
        if False in (self.synthetic, is_drawn):
            return False
        return None if None in (self.synthetic, is_drawn) else True


def lineage_in(checkpoint: Mapping[str, Any]) -> Lineage:
    """What a checkpoint's weights have learned from.

    Raises:
        UserError: what was taught is nothing of the kind.
    """
    return Lineage.of(checkpoint.get("blippose", {}))


def taught_in(record: Mapping[str, Any]) -> Taught:
    """What the model of a record was taught, as far as it says so.

    Raises:
        UserError: what it says is nothing of the kind.
    """
    said = record.get("taught")
    if said is None:
        return UNKNOWN
    if not isinstance(said, Mapping):
        raise UserError(f"taught={said}: expected what captions have taught, such as {_EXAMPLE}")
    return Taught(**{each.name: said.get(each.name) for each in fields(Taught)})
