"""Modules of a model made to compute otherwise: of another class, with the weights that they have.

Names of weights and what the model saves stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def recast(model: Model, classes: Mapping[type[nn.Module], type[nn.Module]]) -> Model:
    """`model` itself, whose modules of each class are of that class's other from now on.

    Args:
        model: what is changed in place.
        classes: by the very class of a module, not of its base, the subclass that it gets; which
            has no constructor, as none is called.
    """
    for module in model.modules():
        if other := classes.get(type(module)):
            module.__class__ = other
    return model
