"""What a model's training taught that some ways to decode rest on.

A model answers in any way that it is asked; what it was never taught, it makes up.
"""

from __future__ import annotations

from dataclasses import dataclass

from blippose.decoding.modes import Decoding, Parallel, Prompted


@dataclass(frozen=True)
class Taught:
    """What a model has seen in any of its trainings; None where nobody has said.

    Args:
        hidden_coordinates: captions whose coordinates were hidden from it.
        single_joints: captions that name one joint alone.
        close_ups: images of persons close up.
    """

    hidden_coordinates: bool | None = False
    single_joints: bool | None = False
    close_ups: bool | None = False

    def __or__(self, later: Taught) -> Taught:
        return Taught(
            _either(self.hidden_coordinates, later.hidden_coordinates),
            _either(self.single_joints, later.single_joints),
            _either(self.close_ups, later.close_ups),
        )

    def caution(self, decoding: Decoding) -> str | None:
        """What speaks against poses that are read so, in a sentence; None where nothing does.

        >>> print(Taught(hidden_coordinates=True).caution(Parallel()))
        None
        """
        if reads_hidden(decoding) and self.hidden_coordinates is False:
            why = "which reads hidden coordinates, and none were hidden in its training"
        elif asks_single_joints(decoding) and self.single_joints is False:
            why = "which asks for each joint alone, and no training caption named one alone"
        elif decoding.close_up and self.close_ups is False:
            return (
                f"The model is asked by decoding={decoding.name}, and its training showed no "
                "close-ups: its second look may say less than its first would. "
                "decoding.close_up=false looks once."
            )
        else:
            return None
        return (
            f"The model is asked by decoding={decoding.name}, {why}: its poses are made up. "
            "decoding=constrained asks for neither."
        )


UNKNOWN = Taught(None, None, None)


def _either(one: bool | None, other: bool | None) -> bool | None:
    if one or other:
        return True
    return None if one is None or other is None else False


def reads_hidden(decoding: Decoding) -> bool:
    """Whether it shows the model masks where the numbers stand.

    To the end (`refine=None`) it equals `constrained`, whatever the first guess was.
    """
    return isinstance(decoding, Parallel) and decoding.refine is not None


def asks_single_joints(decoding: Decoding) -> bool:
    """Whether each joint has a prompt of its own."""
    return isinstance(decoding, Prompted)
