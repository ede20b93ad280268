"""What is said: what, which day, observed against threshold, how many, the run, what to do; one message a kind."""

from __future__ import annotations

from dataclasses import replace

from snapshot_pipeline.alerts.incidents import KINDS
from snapshot_pipeline.alerts.messages import all_clear, opened, reminders
from snapshot_pipeline_tests.alerts.looks import DAY, MINUTE, NOW, WORDING, check, missing
from snapshot_pipeline_tests.alerts.test_incidents import incident_of


def test_one_incident_is_told_with_day_figures_run_and_what_to_do():
    (message,) = opened([incident_of(check("2026-03-08", False, NOW), NOW, 12)], WORDING)
    assert message.title == "performance_snapshots 2026-03-08: the check success_rate has failed (incident 12)"
    assert "85.00% of 200 students, at least 90% wanted (170 published, 30 failed)" in message.body
    assert "http://ui.example.org/runs/run-1" in message.body
    assert "What to do: " in message.body
    assert message.severity == "failure"


def test_thirty_bad_days_are_one_message_that_names_each_incident():
    days = [f"2026-02-{day:02}" for day in range(1, 29)] + ["2026-03-01", "2026-03-02"]
    group = [incident_of(missing(day), NOW, number) for number, day in enumerate(days, start=12)]
    (message,) = opened(group, WORDING)
    assert message.title == "30 missing days (incidents 12 … 41)"
    assert all(f"Incident {number}: performance_snapshots {day}" in message.body for number, day in enumerate(days, 12))
    assert message.body.startswith("What to do: ")  # the end may be cut


def test_different_kinds_are_different_messages():
    group = [incident_of(missing("2026-03-08"), NOW, 1), incident_of(check("2026-03-07", False, NOW), NOW, 2)]
    assert len(opened(group, WORDING)) == 2


def test_a_reminder_says_since_when_in_the_platforms_time():
    (message,) = reminders([incident_of(missing("2026-03-08"), NOW, 3)], WORDING)
    assert message.title.startswith("Still: performance_snapshots 2026-03-08")
    assert "Open since 2026-03-10 02:00 CET." in message.body
    assert message.severity == "warning"


def test_an_all_clear_says_after_how_long_and_what_is_true_now():
    incident = incident_of(missing("2026-03-08"), NOW, 3)
    for later, said in ((5 * MINUTE, "5 min"), (200 * MINUTE, "3 h 20 min"), (DAY * 2 + 60 * MINUTE, "2 d 1 h")):
        (message,) = all_clear([(incident, missing("2026-03-08", is_trouble=False))], NOW + later, WORDING)
        assert f"Over after {said}: the day is there" in message.body
        assert message.title.startswith("Over: ")
        assert message.severity == "success"


def test_there_is_something_to_do_about_every_kind():
    for kind in KINDS:
        incident = incident_of(missing("2026-03-08"), NOW)
        (message,) = opened([replace(incident, kind=kind)], WORDING)
        assert len(message.body.split("What to do: ")[1]) > 50
