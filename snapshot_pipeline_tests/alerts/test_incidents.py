"""`plan_changes`, a pure function: what observations do to incidents."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.alerts.incidents import KINDS, Observation, plan_changes
from snapshot_pipeline.store.incidents import Incident
from snapshot_pipeline_tests.alerts.scans import DAY, MINUTE, NOW, check, missing


def incident_of(observation: Observation, opened_at: datetime, number: int = 1) -> Incident:
    return Incident(
        number,
        observation.kind,
        observation.subject,
        observation.title,
        observation.detail,
        observation.run_id,
        opened_at,
        opened_at,
        None,
        observation.event_at,
        observation.command,
        observation.partitions,
    )


def test_only_a_problem_opens_an_incident():
    plan = plan_changes([missing("2026-03-08"), missing("2026-03-07", is_problem=False)], [], {}, NOW)
    assert [observation.subject for observation in plan.to_open] == ["2026-03-08"]
    assert not plan.to_close


def test_an_open_incident_is_silent_until_its_daily_reminder():
    incident = incident_of(missing("2026-03-08"), NOW)
    soon = plan_changes([missing("2026-03-08")], [incident], {}, NOW + DAY - MINUTE)
    assert (soon.to_open, soon.to_remind) == ([], [])
    assert plan_changes([missing("2026-03-08")], [incident], {}, NOW + DAY).to_remind == [incident]


def test_a_closed_incident_gets_no_reminder():
    incident = incident_of(missing("2026-03-08"), NOW)
    plan = plan_changes([missing("2026-03-08", is_problem=False)], [incident], {}, NOW + 2 * DAY)
    assert [closed for closed, _ in plan.to_close] == [incident]
    assert plan.to_remind == []


def test_an_event_that_was_already_handled_changes_nothing():
    failed = check("2026-03-08", False, NOW)
    incident = incident_of(failed, NOW)
    assert plan_changes([failed], [incident], {failed.key: NOW}, NOW).to_update == []
    assert plan_changes([failed], [], {failed.key: NOW + MINUTE}, NOW).to_open == []
    # A late report of an older success does not close an incident that opened after it.
    assert plan_changes([check("2026-03-08", True, NOW - MINUTE)], [incident], {failed.key: NOW}, NOW).to_close == []


observations = st.builds(
    Observation,
    kind=st.sampled_from(KINDS),
    subject=st.sampled_from(["a", "b", "c"]),
    is_problem=st.booleans(),
    title=st.just("title"),
    detail=st.just("detail"),
    run_id=st.none(),
    event_at=st.one_of(st.none(), st.integers(0, 10).map(lambda minutes: NOW + timedelta(minutes=minutes))),
)


@given(st.lists(observations, unique_by=lambda observation: observation.key))
def test_repeating_a_scan_changes_nothing(scanned: list[Observation]):
    first = plan_changes(scanned, [], {}, NOW)
    still_open = [incident_of(observation, NOW, number) for number, observation in enumerate(first.to_open, start=1)]
    known = {observation.key: observation.event_at for observation in first.to_open if observation.event_at}
    second = plan_changes(scanned, still_open, known, NOW)
    assert (second.to_open, second.to_close, second.to_remind) == ([], [], [])


@given(st.lists(observations, unique_by=lambda observation: observation.key))
def test_exactly_the_problems_stay_open_after_a_scan(scanned: list[Observation]):
    problems = [replace(observation, is_problem=True, event_at=None) for observation in scanned]
    still_open = [incident_of(problem, NOW, number) for number, problem in enumerate(problems, start=1)]
    plan = plan_changes(scanned, still_open, {}, NOW)
    after = [incident.subject for incident, _ in [*plan.to_close, *plan.to_update]]
    assert sorted(after) == sorted(observation.subject for observation in scanned)
    closed = {observation.key for _, observation in plan.to_close}
    assert closed == {observation.key for observation in scanned if not observation.is_problem}
