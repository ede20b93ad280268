"""What an observation does to an incident: a plain function, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.alerts.incidents import KINDS, Observation, decide
from snapshot_pipeline.store.incidents import Incident
from snapshot_pipeline_tests.alerts.looks import DAY, MINUTE, NOW, check, missing


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
    )


def test_trouble_opens_an_incident_and_what_is_fine_does_not():
    decision = decide([missing("2026-03-08"), missing("2026-03-07", is_trouble=False)], [], {}, NOW)
    assert [observation.subject for observation in decision.opened] == ["2026-03-08"]
    assert not decision.closed


def test_trouble_that_lasts_tells_nobody_until_a_day_has_passed():
    incident = incident_of(missing("2026-03-08"), NOW)
    soon = decide([missing("2026-03-08")], [incident], {}, NOW + DAY - MINUTE)
    assert (soon.opened, soon.reminded) == ([], [])
    assert decide([missing("2026-03-08")], [incident], {}, NOW + DAY).reminded == [incident]


def test_an_incident_that_is_over_is_not_reminded_of_as_well():
    incident = incident_of(missing("2026-03-08"), NOW)
    decision = decide([missing("2026-03-08", is_trouble=False)], [incident], {}, NOW + 2 * DAY)
    assert [closed for closed, _ in decision.closed] == [incident]
    assert decision.reminded == []


def test_an_event_that_is_seen_again_changes_nothing_whatever_the_incident_is_by_now():
    failed = check("2026-03-08", False, NOW)
    incident = incident_of(failed, NOW)
    assert decide([failed], [incident], {failed.key: NOW}, NOW).lasting == []
    assert decide([failed], [], {failed.key: NOW + MINUTE}, NOW).opened == []
    # An older success that comes late does not close what failed after it.
    assert decide([check("2026-03-08", True, NOW - MINUTE)], [incident], {failed.key: NOW}, NOW).closed == []


observations = st.builds(
    Observation,
    kind=st.sampled_from(KINDS),
    subject=st.sampled_from(["a", "b", "c"]),
    is_trouble=st.booleans(),
    title=st.just("title"),
    detail=st.just("detail"),
    run_id=st.none(),
    event_at=st.one_of(st.none(), st.integers(0, 10).map(lambda minutes: NOW + timedelta(minutes=minutes))),
)


@given(st.lists(observations, unique_by=lambda one: one.key))
def test_deciding_on_the_same_look_twice_opens_and_closes_nothing_the_second_time(found: list[Observation]):
    first = decide(found, [], {}, NOW)
    still_open = [incident_of(one, NOW, number) for number, one in enumerate(first.opened, start=1)]
    known = {one.key: one.event_at for one in first.opened if one.event_at}
    second = decide(found, still_open, known, NOW)
    assert (second.opened, second.closed, second.reminded) == ([], [], [])


@given(st.lists(observations, unique_by=lambda one: one.key))
def test_what_is_open_after_a_look_is_what_is_in_trouble(found: list[Observation]):
    healthy = [replace(one, is_trouble=True, event_at=None) for one in found]
    still_open = [incident_of(one, NOW, number) for number, one in enumerate(healthy, start=1)]
    decision = decide(found, still_open, {}, NOW)
    assert {incident.subject for incident, _ in decision.closed} | {i.subject for i, _ in decision.lasting} == {
        one.subject for one in found
    }
    assert {one.key for _, one in decision.closed} == {one.key for one in found if not one.is_trouble}
