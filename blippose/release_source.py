"""Where a release lies, and how it comes there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blippose import mpii, synthetic
from blippose.errors import UserError


@dataclass(frozen=True)
class Synthetic:
    """A release that blippose draws itself.

    Args:
        num_persons: persons that the default filter keeps.
        seed: of everything that is drawn.
    """

    num_persons: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_persons < 2:
            raise UserError(
                f"data.synthetic.num_persons={self.num_persons}: expected 2 or more, one to train "
                "on and one to judge by"
            )
        if self.seed < 0:
            raise UserError(f"data.synthetic.seed={self.seed}: expected 0 or more")


@dataclass(frozen=True)
class ReleaseSource:
    """Where a release lies, and how it comes there."""

    root: str
    annotations: str | None = None
    synthetic: Synthetic | None = None

    @property
    def images(self) -> Path:
        """The folder of images."""
        return Path(self.root).expanduser() / "images"

    def prepare(self) -> None:
        """Draw the synthetic release where it is asked for and missing."""
        if self.synthetic is not None and self.annotations is None:
            root, spec = Path(self.root).expanduser(), self.synthetic
            synthetic.write_release(root, spec.num_persons, spec.seed)

    def read(self) -> mpii.Release:
        """The release.

        Raises:
            UserError: it is missing or corrupt, or was drawn and is not as it was.
        """
        if self.synthetic is not None and self.annotations is None and not self.path.exists():
            raise UserError(
                f"{self.path}: no such file; `blippose data "
                f"data.synthetic.num_persons={self.synthetic.num_persons} "
                f"data.synthetic.seed={self.synthetic.seed}` draws these persons"
            )
        synthetic.check_unchanged(self.path)
        return mpii.read_release(self.path)

    @property
    def path(self) -> Path:
        """Of the annotations."""
        return Path(self.annotations or Path(self.root) / mpii.ANNOTATIONS).expanduser()
