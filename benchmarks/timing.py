"""Rounds: every contender in turn, several times, and what that comes to.

Put here: the order of runs, medians, ratios. Do not put here: what is run (`contenders`), or how it is shown
(`report`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contenders.protocol import Contender, Run
from benchmarks.contenders.tables import settle


@dataclass(frozen=True)
class Timed:
    """A contender's runs, one a round.

    Attributes:
        name: The contender.
        runs: In the order of the rounds.
    """

    name: str
    runs: list[Run]

    @property
    def seconds(self) -> float:
        """The median."""
        return median(run.seconds for run in self.runs)

    @property
    def process_seconds(self) -> float | None:
        """The median of the whole processes, where they are processes of their own."""
        times = [run.process_seconds for run in self.runs if run.process_seconds is not None]
        return median(times) if times else None

    @property
    def rows(self) -> int:
        """Rows of the last run."""
        return self.runs[-1].rows

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that any of the runs has held."""
        peaks = [run.peak_bytes for run in self.runs if run.peak_bytes is not None]
        return max(peaks) if peaks else None

    def ratio_to(self, other: Timed) -> float:
        """How many times longer this one takes: the median of the ratios within each round.

        Paired, because what slows the machine for a while slows both runs of a round.
        """
        # One that was run in fewer rounds, because it takes long, is compared in those.
        return median(own.seconds / others.seconds for own, others in zip(self.runs, other.runs, strict=False))


def take_turns(
    contenders: Sequence[Contender],
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
    rounds_of: Callable[[Contender], int] | None = None,
) -> list[Timed]:
    """Run each contender once a round, each time with its tables empty and nothing left to be written.

    Warm: each has run once before, so what of the data fits into the machine's memory is there.

    Args:
        contenders: In the order in which they are run.
        rounds: How many.
        say: Told each run.
        rounds_of: After how many rounds a contender is left out; None for all.
    """
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
            if rounds_of and number > rounds_of(contender):
                continue
            contender.clean()
            settle(contender.task.world)
            run = contender.run()
            runs[contender.name].append(run)
            say(f"  round {number} of {rounds}: {contender.name:<22} {run.seconds:9.3f} s {run.rows:12,} rows")
    return [Timed(name, of_contender) for name, of_contender in runs.items()]
