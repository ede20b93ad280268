"""The server's log: kept short, and quoted in messages.

Put here: reading and turning over `server.log`. Do not put here: what a line of it means (`starting`).
"""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 10_000_000


def turn_over(log: Path) -> None:
    """Put a log that has grown big aside, as `server.log.1`; no server may be writing to it."""
    if log.exists() and log.stat().st_size > MAX_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))


def end_of(log: Path) -> int:
    """How many bytes it has; it is made, readable by its owner only, when it is missing."""
    log.touch(mode=0o600)
    return log.stat().st_size


def said_since(log: Path, beginning: int) -> str:
    """The last lines of what stands behind the first `beginning` bytes, as one line."""
    with log.open("rb") as file:
        file.seek(beginning)
        return last_lines(file.read().decode(errors="replace"))


def last_lines(text: str) -> str:
    """The last five lines, as one line."""
    return " | ".join(line.strip() for line in text.splitlines()[-5:] if line.strip())
