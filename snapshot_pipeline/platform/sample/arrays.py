"""What made-up things are while they are made: arrays, one entry each.

Put here: the types of the arrays, and what is done to several of them alike.
Do not put here: what the entries stand for (`people`, `studies`, `attempts`), or Arrow (`arrow_tables`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_OneKind = TypeVar("_OneKind", bound="Entries")


@dataclass(frozen=True)
class Entries:
    """The base of dataclasses that hold arrays of equal length only: one field a property, one entry a thing."""

    def where(self: _OneKind, chosen: Flags) -> _OneKind:
        """The chosen ones."""
        return type(self)(*(values[chosen] for values in _arrays(self)))


def concatenated(parts: Sequence[_OneKind]) -> _OneKind:
    """The entries of all parts, one part after the other."""
    return type(parts[0])(*(np.concatenate(columns) for columns in zip(*map(_arrays, parts), strict=True)))


def _arrays(entries: Entries) -> list[NDArray[Any]]:
    return [getattr(entries, field.name) for field in fields(entries)]
