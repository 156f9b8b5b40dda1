"""Sentences for whoever reads them: on a terminal between words, elsewhere each on its line."""

from __future__ import annotations

from rich.console import Console


def print_prose(console: Console, *sentences: str) -> None:
    """Broken before somebody's eyes, whole for a file or another program; nothing is markup."""
    for sentence in sentences:
        whole = not console.is_terminal
        console.print(sentence, highlight=False, markup=False, soft_wrap=whole)
