"""Results as files: one per measurement, replaced when it is measured again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.contenders.protocol import Run
from benchmarks.machine import Machine
from benchmarks.timing import Timed

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        kind: `days`, `week`, `history` or `unchanged`.
        days: Days of study in the data set.
        computed_days: Number of computed days; 0 for a week.
        timed: The contenders.
        agreements: Results of the comparisons with ours, a sentence each.
        taken_at: Time of the measurement, UTC.
        figures: Other figures, by name.
    """

    kind: str
    students: int
    days: int
    computed_days: int
    timed: list[Timed]
    agreements: list[str]
    machine: Machine
    taken_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        days = f"-{self.computed_days}-days" if self.computed_days else ""
        return f"{self.kind}{days}-of-{self.students}-students-{self.days}-days"

    def of(self, contender: str) -> Timed | None:
        """One contender's times, or None if it was not timed."""
        return next((timed for timed in self.timed if timed.name == contender), None)


def save(result: Result, directory: Path) -> Path:
    """Write a result, replacing an earlier one of the same measurement."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.name}.json"
    path.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    return path


def load(directory: Path) -> list[Result]:
    """All results of a directory, from the smallest data set to the largest."""
    found = [_result(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(directory.glob("*.json"))]
    return sorted(found, key=lambda result: (result.kind, result.students, result.days, result.computed_days))


def _result(values: dict[str, Any]) -> Result:
    timed = [Timed(one["name"], [Run(**run) for run in one["runs"]]) for one in values.pop("timed")]
    return Result(timed=timed, machine=Machine(**values.pop("machine")), **values)
