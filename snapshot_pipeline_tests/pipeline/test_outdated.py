"""Days that were computed with another version of the formula or other settings are known, until they are computed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.outdated import outdated_days
from snapshot_pipeline.pipeline.recompute import recompute_day
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, installation_on

FIRST, LAST = COMPUTED[0], COMPUTED[-1]


def test_days_of_another_zone_are_outdated_until_they_are_computed_again(computed: Installation):
    assert outdated_days(computed) == []
    with installation_on(computed.engine.url, timezone="America/New_York") as moved:
        (outdated,) = outdated_days(moved)
        assert (outdated.first, outdated.last) == (FIRST, LAST)
        assert "SNAPSHOT_TIMEZONE=Europe/Budapest, not with SNAPSHOT_TIMEZONE=America/New_York" in str(outdated)
        recomputed = recompute_day(moved, LAST, "check")
        assert recomputed.differs
        assert recomputed.is_outdated
        middle = COMPUTED[4]
        run_days(moved, middle, middle, "one day")
        assert [(days.first, days.last) for days in outdated_days(moved)] == [
            (FIRST, middle - timedelta(days=1)),
            (middle + timedelta(days=1), LAST),
        ]
        run_days(moved, FIRST, LAST, "all days")
        assert outdated_days(moved) == []


@pytest.mark.parametrize(
    ("setting", "value", "then"),
    [
        ("naive_timezone", "Asia/Tokyo", "SNAPSHOT_NAIVE_TIMEZONE=UTC"),
        ("score_maximum", 20, "SNAPSHOT_SCORE_MAXIMUM=100"),
    ],
)
def test_every_setting_that_decides_the_figures_is_kept(computed: Installation, setting: str, value: object, then: str):
    with installation_on(computed.engine.url, **{setting: value}) as changed:
        (outdated,) = outdated_days(changed)
    assert then in str(outdated)


def test_version_of_the_formula_is_kept(computed: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("snapshot_pipeline.pipeline.outdated.FORMULA_VERSION", 2)
    (outdated,) = outdated_days(computed)
    assert "version 1 of the formula, not with version 2 of the formula" in str(outdated)


def test_days_before_the_start_date_cannot_be_computed_and_are_left_out(computed: Installation):
    with installation_on(computed.engine.url, timezone="UTC", start_date=LAST) as changed:
        assert [(days.first, days.last) for days in outdated_days(changed)] == [(LAST, LAST)]
