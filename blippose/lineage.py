"""What a model's weights have learned from: which splits, what kind of people, what captions.

Checkpoints hold it, and the file beside exported weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from blippose.decoding import Taught


@dataclass(frozen=True)
class Lineage:
    """The trainings of a model, as far as they are on record.

    Args:
        synthetic: whether the last one was on drawn people; None where nobody has said.
        manifests: hashes of the splits, the last one last; None of one that nobody knows.
        taught: by the captions of all of them; None where nobody has said.
    """

    synthetic: bool | None = None
    manifests: tuple[str | None, ...] = ()
    taught: Taught | None = None

    @staticmethod
    def of(record: Mapping[str, Any]) -> Lineage:
        """Of a model that was trained, by what `record` wrote; versions before wrote less.

        Raises:
            TypeError: a record of another program.
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
            "taught": None if self.taught is None else asdict(self.taught),
        }

    def then(self, manifest: Mapping[str, Any], taught: Taught) -> Lineage:
        """With one more training, on the split of a manifest."""
        manifests = (*self.manifests, manifest["hash"])
        return Lineage(manifest["synthetic"], manifests, (self.taught or Taught()) | taught)


def taught_in(record: Mapping[str, Any]) -> Taught | None:
    """What the model of a record was taught; None where it does not say.

    Raises:
        TypeError: what it says is nothing of the kind.
    """
    said = record.get("taught")
    return None if said is None else Taught(**said)
