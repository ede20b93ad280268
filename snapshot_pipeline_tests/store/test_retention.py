"""Expired rows are deleted; open incidents, unsent messages and rows kept by the settings are not."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from snapshot_pipeline.store import retention
from snapshot_pipeline.store.retention import RetentionLimits, delete_expired_rows
from snapshot_pipeline_tests.store.conftest import Store

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
OLD = NOW - timedelta(days=400)
RECENT = NOW - timedelta(days=100)
LIMITS = RetentionLimits(incidents=NOW - timedelta(days=365), restatements=NOW - timedelta(days=365), snapshots=None)


def put(store: Store, table: str, *rows: dict[str, Any]) -> None:
    with store.engine.begin() as connection:
        connection.execute(insert(getattr(store.tables, table)), list(rows))


def count(store: Store, table: str) -> int:
    with store.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(getattr(store.tables, table))).scalar_one())


def incident(subject: str, closed_at: datetime | None) -> dict[str, Any]:
    columns = {"kind": "missing day", "title": "title", "detail": "detail"}
    return {**columns, "subject": subject, "opened_at": OLD, "notified_at": OLD, "closed_at": closed_at}


def message(sent_at: datetime | None) -> dict[str, Any]:
    columns = {"channel": "log", "title": "title", "body": "body", "severity": "error"}
    return {**columns, "created_at": OLD, "next_attempt_at": OLD, "sent_at": sent_at}


def restatement(restated_at: datetime) -> dict[str, Any]:
    columns = {"user_id": 1, "snapshot_date": OLD.date(), "column_name": "pace_score", "run_id": "r", "reason": "late"}
    return {**columns, "restated_at": restated_at}


def test_only_closed_incidents_and_sent_messages_expire(store: Store):
    put(store, "incidents", incident("old", OLD), incident("recent", RECENT), incident("open", None))
    put(store, "alert_messages", message(OLD), message(RECENT), message(None))
    put(store, "snapshot_restatements", restatement(OLD), restatement(RECENT))
    deleted = delete_expired_rows(store.engine, store.tables, LIMITS)
    assert deleted == {"alert_messages": 1, "incidents": 1, "snapshot_restatements": 1}
    with store.engine.connect() as connection:
        subjects = connection.execute(select(store.tables.incidents.c.subject)).scalars().all()
    assert sorted(subjects) == ["open", "recent"]
    assert (count(store, "alert_messages"), count(store, "snapshot_restatements")) == (2, 1)
    assert set(delete_expired_rows(store.engine, store.tables, LIMITS).values()) == {0}


def test_an_unsent_message_that_has_expired_is_deleted_with_its_attachment(store: Store):
    page = {"attachment_name": "2026-03-02.html", "attachment": b"page"}
    put(store, "alert_messages", {**message(None), **page, "expires_at": RECENT})
    put(store, "alert_messages", {**message(None), **page, "expires_at": datetime(2100, 1, 1, tzinfo=timezone.utc)})
    assert delete_expired_rows(store.engine, store.tables, LIMITS)["alert_messages"] == 1
    assert count(store, "alert_messages") == 1


def day(snapshot_date: date) -> dict[str, Any]:
    counts = {"published": 1, "failed": 0, "students_with_issues": 0}
    run = {"computed_at": NOW, "run_id": "r", "run_number": 1, "computed_with": {}}
    return {"snapshot_date": snapshot_date, **counts, **run}


def snapshot(user_id: int, snapshot_date: date) -> dict[str, Any]:
    figures = {"pace_score": 1.0, "learning_pace": "SLOW", "lessons_completed_count": 0, "time_spent_minutes_today": 0}
    figures |= {"quizzes_completed_count": 0, "exercises_submitted_count": 0, "last_activity_date": snapshot_date}
    figures |= {"days_since_activity": 0}
    return {"user_id": user_id, "snapshot_date": snapshot_date, "computed_at": NOW, **figures}


def summary(snapshot_date: date, **cohort: str) -> dict[str, Any]:
    counts = ("students", "failed", "active_students", "minutes_spent", "lessons_completed")
    counts += ("slow_students", "medium_students", "fast_students", "accelerated_students")
    counts += ("inactive_7_days", "inactive_14_days")
    return {"snapshot_date": snapshot_date, "computed_at": NOW, "run_id": "r", **cohort, **dict.fromkeys(counts, 0)}


def recommendation(week_start: date) -> dict[str, Any]:
    columns = {"recommendation_type": "TAKE_BREAK", "title": "title", "message": "message", "priority": 95}
    return {"user_id": 1, "week_start": week_start, "is_active": True, **columns}


def test_expired_snapshots_are_deleted_only_if_a_limit_is_set(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "ROWS_PER_TRANSACTION", 7)  # so that more than one transaction is needed
    first = date(2026, 1, 1)
    dates = [first + timedelta(days=n) for n in range(20)]
    put(store, "performance_snapshots", *(snapshot(user, on) for on in dates for user in (1, 2)))
    put(store, "snapshot_days", *map(day, dates))
    put(store, "day_summary", *map(summary, dates))
    put(store, "cohort_summary", *(summary(on, specialization="Law", level=level) for on in dates for level in "AB"))
    put(store, "adaptive_recommendations", recommendation(date(2025, 12, 29)), recommendation(date(2026, 1, 12)))
    assert "performance_snapshots" not in delete_expired_rows(store.engine, store.tables, LIMITS)
    assert count(store, "performance_snapshots") == 40
    deleted = delete_expired_rows(store.engine, store.tables, RetentionLimits(OLD, OLD, date(2026, 1, 11)))
    assert deleted["performance_snapshots"] == 20
    assert deleted["snapshot_days"] == deleted["day_summary"] == 10
    assert deleted["cohort_summary"] == 20
    assert deleted["adaptive_recommendations"] == 1
    with store.engine.connect() as connection:
        oldest = connection.execute(select(func.min(store.tables.performance_snapshots.c.snapshot_date))).scalar()
    assert oldest == date(2026, 1, 11)
