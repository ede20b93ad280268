"""Message texts: what is wrong and how bad, what to do, the command, the link; one message per kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snapshot_pipeline.alerts.incidents import FAILED_CHECK, FAILED_RUN, KINDS
from snapshot_pipeline.alerts.messages import opened_messages, reminder_messages, resolved_messages
from snapshot_pipeline_tests.alerts.scans import DAY, FORMAT, MINUTE, NOW, check, missing
from snapshot_pipeline_tests.alerts.test_incidents import incident_of


def test_a_message_says_what_and_how_bad_then_what_to_do_the_command_and_the_link():
    (message,) = opened_messages([incident_of(check("2026-03-08", False, NOW), NOW, 12)], FORMAT)
    assert message.title == (
        "performance_snapshots, 2026-03-08: 170 of 200 students published (85 %, at least 90 % expected)"
    )
    assert message.body.splitlines() == [
        "Fix their cause; then run:",
        "Command: snapshot-pipeline retry-failed --from 2026-03-08 --to 2026-03-08",
        "Result: http://ui.example.org/assets/performance_snapshots?view=checks&checkDetail=success_rate "
        "(tab Partitions: 2026-03-08)",
        "Incident 12",
    ]
    assert message.severity == "failure"


def test_the_link_of_a_table_of_the_platform_and_of_many_days():
    incident = incident_of(check("2026-03-08", False, NOW), NOW)
    table = replace(incident, subject="learning_platform/users/contract", partitions={"": "found"})
    (message,) = opened_messages([table], FORMAT)
    assert "/assets/learning_platform/users?view=checks&checkDetail=contract\n" in message.body
    days = {f"2026-02-{day:02}": "found" for day in range(1, 29)}
    (message,) = opened_messages([replace(incident, partitions=days)], FORMAT)
    assert "(tab Partitions: 28 from 2026-02-01 to 2026-02-28)" in message.body


def test_several_causes_of_failed_runs_are_one_message_that_lists_them():
    runs = {f"2026-02-{day:02}": "run-1" for day in range(1, 4)}
    group = [
        replace(incident_of(missing("2026-03-08"), NOW, number), kind=FAILED_RUN, partitions=runs, run_id="run-1")
        for number in range(12, 42)
    ]
    (message,) = opened_messages(group, FORMAT)
    assert message.title == "30 causes of failed runs (incidents 12 to 41)"
    assert all(f"Incident {number}: performance_snapshots" in message.body for number in range(12, 42))
    assert message.body.count("Partitions: 2026-02-01, 2026-02-02, 2026-02-03") == 30
    assert message.body.startswith("Fix the cause")  # the end may be truncated


def test_different_kinds_are_different_messages():
    group = [incident_of(missing("2026-03-08"), NOW, 1), incident_of(check("2026-03-07", False, NOW), NOW, 2)]
    assert len(opened_messages(group, FORMAT)) == 2


def test_a_reminder_says_since_when_in_the_platforms_time_zone():
    (message,) = reminder_messages([incident_of(missing("2026-03-08"), NOW, 3)], FORMAT)
    assert message.title.startswith("Still open: performance_snapshots 2026-03-08")
    assert "Open since 2026-03-10 02:00 CET." in message.body
    assert message.severity == "warning"


def test_a_reminder_and_an_all_clear_are_short():
    incident = incident_of(check("2026-03-08", False, NOW), NOW, 3)
    (reminder,) = reminder_messages([incident], FORMAT)
    assert len(reminder.body.splitlines()) == 4
    (resolved,) = resolved_messages([(incident, check("2026-03-08", True, NOW + MINUTE))], NOW + MINUTE, FORMAT)
    assert resolved.body == (
        "Resolved after 1 min: 2026-03-08: 194 of 200 students published (97 %, at least 90 % expected)\nIncident 3"
    )


def test_a_resolved_message_says_after_how_long_and_what_was_observed():
    incident = incident_of(missing("2026-03-08"), NOW, 3)
    for later, duration in ((5 * MINUTE, "5 min"), (200 * MINUTE, "3 h 20 min"), (DAY * 2 + 60 * MINUTE, "2 d 1 h")):
        (message,) = resolved_messages([(incident, missing("2026-03-08", is_problem=False))], NOW + later, FORMAT)
        assert f"Resolved after {duration}: the day has been computed" in message.body
        assert message.title.startswith("Resolved: ")
        assert message.severity == "success"


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {FAILED_CHECK}))
def test_every_other_kind_says_what_to_do_and_where_to_look(kind: str):
    incident = replace(incident_of(missing("2026-03-08"), NOW), kind=kind, run_id="run-1")
    (message,) = opened_messages([incident], FORMAT)
    assert len(message.body.splitlines()[1]) > 50
    assert "http://ui.example.org/runs/run-1" in message.body
    (message,) = opened_messages([replace(incident, run_id=None)], FORMAT)
    assert "http://ui.example.org/assets/incidents?view=checks&checkDetail=no_open_incidents" in message.body
