"""Days in a run configuration: an invalid one is refused with one line, before anything is computed."""

from __future__ import annotations

from datetime import date

import pytest

from snapshot_pipeline.orchestration.manual_jobs import (
    RunConfigDaysError,
    days_to_compute,
    parse_day,
    require_in_order,
)

START, NEWEST = date(2026, 1, 1), date(2026, 2, 28)


def test_parse_day_reads_a_day_and_returns_none_for_empty_text() -> None:
    assert parse_day("first_day", " 2026-02-01 ") == date(2026, 2, 1)
    assert parse_day("first_day", "  ") is None


def test_an_invalid_day_is_one_line_with_the_field_and_an_example() -> None:
    with pytest.raises(RunConfigDaysError) as error:
        parse_day("first_day", "1st of May")
    assert (
        str(error.value) == "first_day: '1st of May' is not a day; expected a day such as 2026-11-22, or an empty value"
    )


def test_days_in_the_wrong_order_are_refused() -> None:
    require_in_order(("from", "to"), START, None)
    with pytest.raises(RunConfigDaysError, match="from: 2026-02-28 is after to: 2026-01-01"):
        require_in_order(("from", "to"), NEWEST, START)


def test_days_without_partition_are_refused_with_the_bound() -> None:
    assert days_to_compute(START, START, START, NEWEST) == [START]
    with pytest.raises(RunConfigDaysError, match="2025-12-31 is before SNAPSHOT_START_DATE=2026-01-01"):
        days_to_compute(date(2025, 12, 31), START, START, NEWEST)
    with pytest.raises(RunConfigDaysError, match="2026-03-01 has not ended; the last day that has ended is 2026-02-28"):
        days_to_compute(START, date(2026, 3, 1), START, NEWEST)
    with pytest.raises(RunConfigDaysError, match="no day has ended yet"):
        days_to_compute(START, START, START, None)
