"""Printed tables: they fit 80 columns on the largest platforms, and name problems in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from snapshot_pipeline.cli import tables
from snapshot_pipeline.cli.platform_data import _print_sample_summary
from snapshot_pipeline.cli.tables import DayStatus, IncidentOverview, WeekCounts
from snapshot_pipeline.platform.sample import SampleOptions
from snapshot_pipeline.recommendations.rules import RECOMMENDATION_TYPES
from snapshot_pipeline.store.days import DayCount
from snapshot_pipeline.store.failures import OpenFailures
from snapshot_pipeline.store.incidents import Incident
from snapshot_pipeline.store.outbox import Undelivered

ZONE = ZoneInfo("America/Argentina/ComodRivadavia")
DAY, MANY = date(2026, 11, 25), 1_234_567
NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
DAYS = [
    DayStatus(DAY, "ok", DayCount(DAY, MANY, 0), 100.0),
    DayStatus(DAY, "too few", DayCount(DAY, 0, MANY), None),
    DayStatus(DAY, "too few", DayCount(DAY, 989_996, 10_004), 50.0),
    DayStatus(DAY, "missing", None, None),
    DayStatus(DAY, "not yet", None, None),
    DayStatus(DAY, "ok", DayCount(DAY, 0, 0), None),
    DayStatus(DAY, "invalid", DayCount(DAY, MANY, 0, MANY), 50.0),
]
REASONS = ("completed_before_started", "unexpected_error")
FAILURES = [OpenFailures(reason, MANY * 60, NOW, MANY) for reason in REASONS]
WEEK = WeekCounts(date(2026, 11, 16), {kind.name: MANY for kind in RECOMMENDATION_TYPES})
TITLE = "success_rate of performance_snapshots failed for 14 days, 2026-11-11 to 2026-11-24 [red]not markup[/red]"
INCIDENT = Incident(MANY, "failed_check", "x", TITLE, "word " * 40, None, NOW, NOW, None, None)
INCIDENTS = IncidentOverview(
    [INCIDENT],
    {"a": "slack"},
    has_alert_channels=True,
    undelivered=[Undelivered("a", MANY, NOW, 1_000, "timeout")],
)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setenv("COLUMNS", "80")
    return lambda: [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_days_of_a_million_students_fit_and_name_the_problem(lines: Callable[[], list[str]]):
    tables.print_days(DAYS)
    header, *days = lines()
    assert header.split() == ["day", "students", "published", "failed", "rate", "mean", "pace"]
    assert days == [
        "Wed 2026-11-25  1,234,567  1,234,567          0  100.00%     100.00",
        "Wed 2026-11-25  1,234,567          0  1,234,567    0.00%             too few",
        "Wed 2026-11-25  1,000,000    989,996     10,004   98.99%      50.00  too few",
        "Wed 2026-11-25                                                       missing",
        "Wed 2026-11-25                                                       not yet",
        "Wed 2026-11-25          0          0          0",
        "Wed 2026-11-25  1,234,567  1,234,567          0  100.00%      50.00  invalid",
    ]
    assert max(map(len, days)) <= 80


def test_failures_of_a_million_students_fit(lines: Callable[[], list[str]]):
    tables.print_failures(FAILURES, DAY, DAY, ZONE)
    printed = lines()
    assert len(printed) == 1 + len(FAILURES)
    assert max(map(len, printed)) <= 80
    assert printed[1] == "completed_before_started    74,074,020  2026-11-25 09:00  1,234,567"


def test_a_week_of_a_million_students_fits(lines: Callable[[], list[str]]):
    tables.print_week(WEEK)
    printed = lines()
    assert [line.split() for line in printed[1:]] == [[kind.name, "1,234,567"] for kind in RECOMMENDATION_TYPES]
    assert max(map(len, printed)) <= 80


def test_an_incident_is_one_line_within_the_width(lines: Callable[[], list[str]]):
    tables.print_incidents(INCIDENTS, ZONE)
    printed = lines()
    assert len(printed) == 3  # incident, where the rest is, channel
    assert printed[0].startswith("Incident 1234567, since 2026-11-25 09:00: success_rate of performance_snapshots")
    assert printed[0].endswith("…")
    assert printed[-1] == "slack: 1,234,567 messages waiting since 2026-11-25 09:00, after 1,000 attempts: timeout"
    assert max(map(len, printed[:-1])) <= 80


def test_the_row_counts_of_a_large_sample_fit(lines: Callable[[], list[str]]):
    options = SampleOptions(10_000_000, 3_650, 1_234_567, DAY, 0.0123, ZONE)
    _print_sample_summary(options, {"user_lesson_progress": 1_234_567_890}, timedelta(hours=2).total_seconds())
    _, _, *rows = lines()
    assert rows[0] == "  user_lesson_progress  1,234,567,890 rows"
    assert max(map(len, rows)) <= 80
