"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """How many there are, one in the singular.

    >>> counted(1, "image"), counted(1170, "image")
    ('1 image', '1,170 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
