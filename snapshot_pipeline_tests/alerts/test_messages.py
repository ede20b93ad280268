"""Message texts: what is wrong and when, observed and expected values, the run, what to do; one message per kind."""

from __future__ import annotations

from dataclasses import replace

from snapshot_pipeline.alerts.incidents import KINDS
from snapshot_pipeline.alerts.messages import opened_messages, reminder_messages, resolved_messages
from snapshot_pipeline_tests.alerts.scans import DAY, FORMAT, MINUTE, NOW, check, missing
from snapshot_pipeline_tests.alerts.test_incidents import incident_of


def test_a_message_names_day_figures_run_and_remediation():
    (message,) = opened_messages([incident_of(check("2026-03-08", False, NOW), NOW, 12)], FORMAT)
    assert message.title == "performance_snapshots 2026-03-08: the check success_rate failed (incident 12)"
    assert "85.00% of 200 students, expected at least 90% (170 published, 30 failed)" in message.body
    assert "http://ui.example.org/runs/run-1" in message.body
    assert "What to do: " in message.body
    assert message.severity == "failure"


def test_thirty_missing_days_are_one_message_that_lists_them():
    days = [f"2026-02-{day:02}" for day in range(1, 29)] + ["2026-03-01", "2026-03-02"]
    group = [incident_of(missing(day), NOW, number) for number, day in enumerate(days, start=12)]
    (message,) = opened_messages(group, FORMAT)
    assert message.title == "30 missing days (incidents 12 … 41)"
    assert all(f"Incident {number}: performance_snapshots {day}" in message.body for number, day in enumerate(days, 12))
    assert message.body.startswith("What to do: ")  # the end may be truncated


def test_different_kinds_are_different_messages():
    group = [incident_of(missing("2026-03-08"), NOW, 1), incident_of(check("2026-03-07", False, NOW), NOW, 2)]
    assert len(opened_messages(group, FORMAT)) == 2


def test_a_reminder_says_since_when_in_the_platforms_time_zone():
    (message,) = reminder_messages([incident_of(missing("2026-03-08"), NOW, 3)], FORMAT)
    assert message.title.startswith("Still open: performance_snapshots 2026-03-08")
    assert "Open since 2026-03-10 02:00 CET." in message.body
    assert message.severity == "warning"


def test_a_resolved_message_says_after_how_long_and_what_was_observed():
    incident = incident_of(missing("2026-03-08"), NOW, 3)
    for later, duration in ((5 * MINUTE, "5 min"), (200 * MINUTE, "3 h 20 min"), (DAY * 2 + 60 * MINUTE, "2 d 1 h")):
        (message,) = resolved_messages([(incident, missing("2026-03-08", is_problem=False))], NOW + later, FORMAT)
        assert f"Resolved after {duration}: the day has been computed" in message.body
        assert message.title.startswith("Resolved: ")
        assert message.severity == "success"


def test_every_kind_has_a_remediation():
    for kind in KINDS:
        incident = incident_of(missing("2026-03-08"), NOW)
        (message,) = opened_messages([replace(incident, kind=kind)], FORMAT)
        assert len(message.body.split("What to do: ")[1]) > 50
