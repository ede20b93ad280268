"""Days that were computed with another version of the formula, or with other settings, than a run would use now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from snapshot_pipeline.metrics.days import contiguous_ranges
from snapshot_pipeline.metrics.snapshot import FORMULA_VERSION
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import days_text
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import outdated_settings

_NAMES = {
    "formula": "version {} of the formula",
    "timezone": "SNAPSHOT_TIMEZONE={}",
    "naive_timezone": "SNAPSHOT_NAIVE_TIMEZONE={}",
    "score_maximum": "SNAPSHOT_SCORE_MAXIMUM={:g}",
}


@dataclass(frozen=True)
class OutdatedDays:
    """Consecutive days that were computed with the same outdated settings.

    Attributes:
        computed_with: What they were computed with, see `computed_with`.
        now: What a run would use now.
    """

    first: date
    last: date
    computed_with: Mapping[str, Any]
    now: Mapping[str, Any]

    def __str__(self) -> str:
        then = [text.format(self.computed_with.get(name, 0)) for name, text in _NAMES.items() if self._differs(name)]
        now = [text.format(self.now[name]) for name, text in _NAMES.items() if self._differs(name)]
        days = f"{days_text(self.first, self.last)} {'was' if self.first == self.last else 'were'}"
        return (
            f"{days} computed with {' and '.join(then)}, not with {' and '.join(now)}: "
            f"`snapshot-pipeline materialize --from {self.first} --to {self.last}`"
        )

    def _differs(self, name: str) -> bool:
        return bool(self.computed_with.get(name) != self.now[name])


def computed_with(settings: Settings) -> dict[str, Any]:
    """The formula's version and the settings that decide a day's figures, as they are kept with the day."""
    return {
        "formula": FORMULA_VERSION,
        "timezone": settings.timezone,
        "naive_timezone": settings.naive_timezone,
        "score_maximum": settings.score_maximum,
    }


def outdated_days(installation: Installation) -> list[OutdatedDays]:
    """Computed days from the start date on whose formula version or settings are outdated; ascending."""
    settings, now = installation.settings, computed_with(installation.settings)
    by_day = installation.transaction(outdated_settings, settings.start_date, now)
    ranges: list[OutdatedDays] = []
    for then, days in groupby(by_day, key=by_day.__getitem__):
        ranges += [OutdatedDays(first, last, then, now) for first, last in contiguous_ranges(list(days))]
    return ranges
