"""What the terminal can do, and what its user wants of it.

Put here: such questions. It is imported by every command, so nothing here imports more than the standard library.
Do not put here: anything that is drawn (`progress`, `tables`).
"""

from __future__ import annotations

import os
from typing import TextIO

_TELETYPES = ("dumb", "unknown")


def is_drawable(stream: TextIO) -> bool:
    """Whether lines there can be drawn over: a terminal, and one that is more than a teletype (`TERM=dumb`)."""
    return stream.isatty() and os.environ.get("TERM") not in _TELETYPES


def colors() -> bool | None:
    """False where the user wants no colours (https://no-color.org) or has none; None: as the stream is."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") in _TELETYPES else None
