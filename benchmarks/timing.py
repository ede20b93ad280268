"""Rounds: every contender in turn, several times; medians and ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contenders.protocol import Contender, Run
from benchmarks.contenders.tables import flush_to_disk


@dataclass(frozen=True)
class Timed:
    """A contender's runs, one per round, in order."""

    name: str
    runs: list[Run]

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return median(run.seconds for run in self.runs)

    @property
    def process_seconds(self) -> float | None:
        """Median wall time of the whole process, if it is a process of its own."""
        times = [run.process_seconds for run in self.runs if run.process_seconds is not None]
        return median(times) if times else None

    @property
    def rows(self) -> int:
        """Rows of the last run."""
        return self.runs[-1].rows

    @property
    def peak_bytes(self) -> int | None:
        """Peak memory over all runs."""
        peaks = [run.peak_bytes for run in self.runs if run.peak_bytes is not None]
        return max(peaks) if peaks else None

    def ratio_to(self, other: Timed) -> float:
        """How many times as long this contender takes: the median of the ratios within each round.

        The ratios are paired, because a temporary slowdown of the machine affects both runs of a round.
        """
        # A slow contender runs in fewer rounds; compare those.
        return median(own.seconds / others.seconds for own, others in zip(self.runs, other.runs, strict=False))


def run_rounds(
    contenders: Sequence[Contender],
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
    rounds_of: Callable[[Contender], int] | None = None,
) -> list[Timed]:
    """Run each contender once per round, each time with empty tables and after a checkpoint.

    Caches are warm: each contender has run once before.

    Args:
        contenders: In the order in which to run them.
        say: Called with a line per run.
        rounds_of: Number of rounds of a contender, if fewer than `rounds`.
    """
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
            if rounds_of and number > rounds_of(contender):
                continue
            contender.clean()
            flush_to_disk(contender.task.dataset)
            run = contender.run()
            runs[contender.name].append(run)
            say(f"  round {number} of {rounds}: {contender.name:<22} {run.seconds:9.3f} s {run.rows:12,} rows")
    return [Timed(name, of_contender) for name, of_contender in runs.items()]
