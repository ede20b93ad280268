"""Days in a run configuration: an invalid one is refused with one line, before anything is computed."""

from __future__ import annotations

from datetime import date

import pytest

from snapshot_pipeline.orchestration.manual_jobs import parse_day
from snapshot_pipeline.pipeline.periods import PeriodError


def test_parse_day_reads_a_day_and_returns_none_for_empty_text() -> None:
    assert parse_day("first_day", " 2026-02-01 ") == date(2026, 2, 1)
    assert parse_day("first_day", "  ") is None


def test_an_invalid_day_is_one_line_with_the_field_and_an_example() -> None:
    with pytest.raises(PeriodError) as error:
        parse_day("first_day", "1st of May")
    assert str(error.value) == "first_day: '1st of May' is not a date; expected a date such as 2026-11-22, or nothing"
