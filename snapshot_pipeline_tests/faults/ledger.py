"""What was injected and what came of it: the table that `make faults` prints.

Put here: one line per fault. Do not put here: the faults.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Fault:
    """One kind of fault, over all of its injections.

    Attributes:
        name: What was done, e.g. `SIGKILL of the run's process`.
        injected: How often it is known to have struck.
        noticed: Seconds from each injection until it was noticed (the run failed, or was tried again).
        told: Messages that arrived because of it, all-clears included; None where nobody is to be told, since the
            pipeline gets over it by itself.
        rows_wrong: Published figures' rows that differ from what they should be, when all was over.
        rows_missing: Student days that should be published and are not, when all was over.
    """

    name: str
    injected: int = 0
    noticed: list[float] = field(default_factory=list)
    told: int | None = None
    rows_wrong: int = 0
    rows_missing: int = 0

    def struck(self, seconds: float) -> None:
        """Count an injection that was noticed after `seconds`."""
        self.injected += 1
        self.noticed.append(seconds)


class Ledger:
    """The faults of one session, in the order in which they were first injected."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}

    def of(self, name: str) -> Fault:
        """The line of a fault."""
        return self._faults.setdefault(name, Fault(name))

    @property
    def faults(self) -> Iterable[Fault]:
        """All lines."""
        return self._faults.values()

    def show(self) -> None:
        """Print the table."""
        table = Table("fault", title="Faults injected", title_justify="left")
        for name in ("injected", "noticed in (median, most)", "told", "rows wrong", "rows missing"):
            table.add_column(name, justify="right")
        for fault in self.faults:
            table.add_row(
                fault.name,
                f"{fault.injected}",
                f"{statistics.median(fault.noticed):.1f} s, {max(fault.noticed):.1f} s" if fault.noticed else "",
                "heals itself" if fault.told is None else f"{fault.told}",
                f"{fault.rows_wrong}",
                f"{fault.rows_missing}",
            )
        Console(width=140).print(table)
