"""`blippose analyze`: the two studies of why it works, each a command of its own."""

from __future__ import annotations

from blippose.arguments import suggest
from blippose.errors import UserError

STUDIES = ("attention", "occlusion")  # second words, each a module analyze_WORD beside this one
HELP = """\
blippose analyze: why it works. Two studies of a run's best model, on the run's
own data.

  blippose analyze attention run=runs/demo  where it looks for each joint
  blippose analyze attention run=runs/demo layer=2 head=1
                                            the pictures of that head
  blippose analyze attention run=runs/demo images=photo.jpg
                                            pictures of your own photos
  blippose analyze occlusion run=runs/demo  what a hidden joint costs
  blippose analyze occlusion run=runs/demo radius=0.5 fill=noise out=noise

Each holds every figure against controls, with intervals, and writes a page,
its figures as JSON, arrays and pictures into RUN/attention or RUN/occlusion.
Cut off, the same command goes on; several processes share the work (torchrun
--nproc-per-node=2 -m blippose analyze ...).

`blippose analyze attention --help` and `blippose analyze occlusion --help` list
the settings."""


def study(arguments: list[str]) -> tuple[str, list[str]] | None:
    """The command of `analyze WORD ...`, and the rest of its arguments; None to be told of them.

    Raises:
        UserError: the first word is no study.
    """
    word = arguments[0] if arguments else "--help"
    if word in STUDIES:
        return f"analyze_{word}", arguments[1:]
    if word in ("-h", "--help", "help"):
        return None
    guess = suggest(word, STUDIES) if "=" not in word else ""
    raise UserError(
        f"analyze: expected {' or '.join(STUDIES)} as its second word, got {word}{guess}"
    )
