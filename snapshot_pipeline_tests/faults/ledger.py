"""The table of injected faults and their outcomes, which `make faults` prints."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


def injections(thorough: int, otherwise: int) -> int:
    """How often to inject a fault: `make faults` does it more often than the other targets."""
    return thorough if os.environ.get("SNAPSHOT_TEST_FAULTS") == "thorough" else otherwise


@dataclass
class Fault:
    """One kind of fault and all its injections.

    Attributes:
        name: What was injected, e.g. `SIGKILL of the run's process`.
        injected: Number of injections that took effect.
        detection_seconds: Seconds from each injection until it was noticed (the run failed or was retried).
        notifications: Number of messages about it, including the resolution; None if none is expected, because the
            pipeline recovers by itself.
        rows_wrong: Published rows that differ from the expected ones at the end.
        rows_missing: Student-days that should be published and are not at the end.
    """

    name: str
    injected: int = 0
    detection_seconds: list[float] = field(default_factory=list)
    notifications: int | None = None
    rows_wrong: int = 0
    rows_missing: int = 0

    def record(self, seconds: float) -> None:
        """Count an injection that was noticed after `seconds`."""
        self.injected += 1
        self.detection_seconds.append(seconds)


class Ledger:
    """The faults of one session, in the order in which they were first injected."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}

    def fault(self, name: str) -> Fault:
        """Return the entry of a fault; create it if it is new."""
        return self._faults.setdefault(name, Fault(name))

    @property
    def faults(self) -> Iterable[Fault]:
        """All entries."""
        return self._faults.values()

    def show(self) -> None:
        """Print the table."""
        table = Table("fault", title="Faults injected", title_justify="left")
        for name in ("injected", "noticed in (median, max)", "messages", "rows wrong", "rows missing"):
            table.add_column(name, justify="right")
        for fault in self.faults:
            table.add_row(
                fault.name,
                f"{fault.injected}",
                f"{statistics.median(fault.detection_seconds):.1f} s, {max(fault.detection_seconds):.1f} s"
                if fault.detection_seconds
                else "",
                "recovers" if fault.notifications is None else f"{fault.notifications}",
                f"{fault.rows_wrong}",
                f"{fault.rows_missing}",
            )
        Console(width=140).print(table)
