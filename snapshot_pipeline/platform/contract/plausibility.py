"""Findings about values that are possible but look wrong: units, roles, cohorts, times. Each is one query.

The thresholds are constants; docs/operations.md, "What check finds in the rows", explains them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    String,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)

from snapshot_pipeline.platform.contract.findings import Finding, with_count
from snapshot_pipeline.platform.contract.requirements import TIMES
from snapshot_pipeline.platform.contract.rows import Rows
from snapshot_pipeline.platform.numbers import double
from snapshot_pipeline.platform.tables import is_student

MIN_ROWS = 30
"""Fewer rows say nothing about the unit of a column, or about a share."""

LOW_SCORES = 0.20
"""If 99 % of the scores above 0 are at most this share of full marks, the unit is wrong: an error."""

SUSPICIOUS_SCORES = 0.50
"""As `LOW_SCORES`, but advice: the quizzes may be hard."""

SCORES_ABOVE = 0.50
"""The share of scores above full marks from which the unit is wrong: an error."""

SUSPICIOUS_SCORES_ABOVE = 0.10
"""As `SCORES_ABOVE`, but advice: there may be much extra credit."""

SCORE_NOISE = 1.001
"""A score up to this multiple of full marks is not above it."""

SECONDS_MEDIAN = 300
"""Median minutes of a lesson from which they look like seconds: five hours for one lesson."""

MILLISECONDS_MEDIAN = 50_000
"""Median minutes of a lesson from which they look like milliseconds: five weeks for one lesson."""

IMPOSSIBLE_MINUTES = 0.25
"""The share of completed lessons with more minutes than passed until the completion that makes it an error."""

UNMATCHED_STUDENTS = 0.50
"""The share of students whose specialization and level match no lesson from which recommendations are meaningless."""

STUDENTS_WITHOUT_COHORT = 0.50
"""The share of active students without specialization or level from which it is advice."""

NEVER_STARTED = 0.50
"""The share of completed lessons without a start from which it is advice."""

ZONE_HOURS = 14
"""Times without a zone that are at most this far in the future look like those of another zone."""

COMMON_MAXIMA = (1, 4, 5, 6, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 500, 1000)
"""Full marks that a finding suggests."""

REQUIRED_IDS = {
    "users": ("id",),
    "lessons": ("id",),
    "user_lesson_progress": ("lesson_id",),
    "quiz_attempts": ("id",),
}
"""The ids without which a row cannot be computed. A row whose other ids are null is ignored."""

_MAX_NAME = 40
_MAX_ROLES = 10
_NOT_TEXT = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"


def plausibility_findings(rows: Rows) -> Iterator[Finding]:
    """Yield findings about the rows of the tables that can be queried."""
    yield from _null_id_findings(rows)
    yield from _role_findings(rows)
    yield from _cohort_findings(rows)
    yield from _score_findings(rows)
    yield from _minutes_findings(rows)
    yield from _start_findings(rows)
    for table, names in TIMES.items():
        if rows.can_query(table, *names):
            yield from _early_findings(table, rows)
            yield from _future_findings(table, rows)
            yield from _timeless_findings(table, rows)


def _null_id_findings(rows: Rows) -> Iterator[Finding]:
    for table, names in REQUIRED_IDS.items():
        for name in names:
            if rows.can_query(table, name) and not rows.found[table].columns[name].is_not_null:
                yield from _null_findings(table, name, rows)


def _null_findings(table: str, name: str, rows: Rows) -> Iterator[Finding]:
    query = select(func.count().label("how_many")).where(rows.tables[table].c[name].is_(None), rows.is_recent(table))

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        has = with_count(row.how_many, "row has", "rows have")
        return Finding(
            "error",
            table,
            f"{has} no {name} (NULL), so the students of these rows cannot be computed: correct the rows, or leave "
            "them out in a view",
        )

    yield from rows.findings(table, f"whether {name} is null", query, judge)


def _role_findings(rows: Rows) -> Iterator[Finding]:
    if not rows.can_query("users", "role", "is_active"):
        return
    users = rows.tables["users"]
    role, of_students = cast(users.c.role, String), is_student(users, rows.rules.student_roles)
    has_student = exists(select(literal(1)).select_from(users).where(of_students))
    has_active = exists(select(literal(1)).select_from(users).where(of_students, users.c.is_active))
    counted = select(role.label("role"), func.count().label("users")).group_by(role).cte("counted")
    most = select(counted).order_by(counted.c.users.desc(), counted.c.role).limit(_MAX_ROLES).cte("most")
    listed = func.coalesce(most.c.role, "NULL") + " (" + cast(most.c.users, String) + ")"
    ordered = func.string_agg(listed, literal_column("', ' ORDER BY most.users DESC, most.role"))
    roles = select(ordered).select_from(most).scalar_subquery()
    # Counted only if it is needed: without students.
    query = select(
        has_student.label("has_student"), has_active.label("has_active"), case((~has_active, roles)).label("roles")
    )
    setting = f"SNAPSHOT_STUDENT_ROLES={','.join(rows.rules.student_roles)}"

    def judge(row: Row[Any]) -> Finding | None:
        if row.has_active:
            return None
        if row.roles is None:
            return Finding("advice", "users", "there are no users yet, so no snapshot would be published")
        if row.has_student:
            return Finding(
                "advice",
                "users",
                f"there are students ({setting}), but none is active (is_active true), so no snapshot would be "
                "published; check the values of is_active",
            )
        return Finding(
            "error",
            "users",
            f"no user has a role of {setting}, so no snapshot would be published; the roles there are: "
            f"{_plain(row.roles, 400)}; name those of students in SNAPSHOT_STUDENT_ROLES",
        )

    yield from rows.findings("users", "whether there are students", query, judge)


def _cohort_findings(rows: Rows) -> Iterator[Finding]:
    if not (
        rows.can_query("users", "role", "is_active", "current_specialization", "current_level")
        and rows.can_query("lessons", "specialization_id", "level_id", "is_published")
    ):
        return
    users, lessons = rows.tables["users"], rows.tables["lessons"]
    cohort = cast(users.c.current_specialization, String), cast(users.c.current_level, String)
    cohorts = (
        select(cohort[0].label("specialization"), cohort[1].label("level"), func.count().label("students"))
        .where(is_student(users, rows.rules.student_roles), users.c.is_active)
        .group_by(*cohort)
        .cte("cohorts")
    )
    course = cast(lessons.c.specialization_id, String), cast(lessons.c.level_id, String)
    courses = (
        select(course[0].label("specialization"), course[1].label("level"))
        .where(lessons.c.is_published)
        .distinct()
        .cte("courses")
    )
    has_cohort = and_(*(func.coalesce(cohorts.c[name], "") != "" for name in ("specialization", "level")))
    is_matched = exists(
        select(literal(1)).where(
            cohorts.c.specialization == courses.c.specialization, cohorts.c.level == courses.c.level
        )
    )
    alike = [_folded(cohorts.c[name]) == _folded(courses.c[name]) for name in ("specialization", "level")]
    shown = courses.c.specialization + " / " + courses.c.level
    similar = select(func.min(shown)).where(*alike).correlate(cohorts).scalar_subquery()
    matched = select(
        cohorts.c.specialization,
        cohorts.c.level,
        cohorts.c.students,
        has_cohort.label("has_cohort"),
        and_(has_cohort, ~is_matched).label("is_unmatched"),
        case((and_(has_cohort, ~is_matched), similar)).label("similar"),
    ).cte("matched")
    example = (
        select(matched.c.specialization, matched.c.level, matched.c.similar)
        .where(matched.c.is_unmatched)
        .order_by(matched.c.similar.is_(None), matched.c.students.desc(), matched.c.specialization, matched.c.level)
        .limit(1)
        .cte("example")
    )

    def total(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return cast(func.coalesce(func.sum(matched.c.students).filter(condition), 0), BigInteger)

    query = select(
        total(true()).label("students"),
        total(~matched.c.has_cohort).label("without"),
        total(matched.c.is_unmatched).label("unmatched"),
        total(matched.c.similar.is_not(None)).label("fixable"),
        *(select(part).scalar_subquery().label(part.name) for part in example.c),
        exists(select(literal(1)).select_from(courses)).label("has_lessons"),
    )

    def judge(row: Row[Any]) -> Finding | None:
        if row.unmatched:
            return _unmatched_cohort(row)
        if row.has_lessons and row.students >= MIN_ROWS and row.without >= STUDENTS_WITHOUT_COHORT * row.students:
            return Finding(
                "advice",
                "users",
                f"{row.without:,} of {row.students:,} active students have no current_specialization or no "
                "current_level (null or empty), so they get no next lesson and no engagement score; fill the columns, "
                "or read them through a view",
            )
        return None

    yield from rows.findings("users", "whether the students' cohorts have lessons", query, judge)


def _unmatched_cohort(row: Row[Any]) -> Finding:
    pair = f"{_quoted(row.specialization)} / {_quoted(row.level)}"
    has = with_count(row.unmatched, "active student has", "active students have")
    if row.fixable:
        would = (
            f"{row.fixable:,} of them would match after trimming and in lower case ({pair} against "
            f"{_quoted(row.similar)}): correct the values, or read users through a view that does"
        )
    else:
        would = f"the most frequent is {pair}: correct the values, or publish lessons of it"
    return Finding(
        "error" if row.unmatched >= UNMATCHED_STUDENTS * (row.students - row.without) else "advice",
        "users",
        f"{has} a current_specialization and current_level that no published lesson has, so they get no next lesson; "
        f"{would}",
    )


def _score_findings(rows: Rows) -> Iterator[Finding]:
    table = "quiz_attempts"
    if not rows.can_query(table, "score"):
        return
    maximum = rows.rules.score_maximum
    score = double(rows.tables[table].c.score)
    is_positive = and_(score > 0, score < math.inf)
    top = func.percentile_cont(0.99).within_group(score.asc()).filter(is_positive)
    query = select(
        func.count().filter(is_positive).label("scores"),
        top.label("top"),
        func.count().filter(and_(score > maximum * SCORE_NOISE, is_positive)).label("above"),
        func.max(score).filter(is_positive).label("highest"),
    ).where(rows.is_recent(table))

    def judge(row: Row[Any]) -> Finding | None:
        if row.scores < MIN_ROWS:
            return None
        fix = f"set SNAPSHOT_SCORE_MAXIMUM to the score of full marks (now {maximum:g}{_suggested(row.top)})"
        if row.above >= SUSPICIOUS_SCORES_ABOVE * row.scores:
            return Finding(
                "error" if row.above >= SCORES_ABOVE * row.scores else "advice",
                table,
                f"{row.above:,} of {row.scores:,} scores{rows.period} are above full marks and count as 100 %: they "
                f"look like {'percent' if maximum == 1 else 'points'}; {fix}",
                detail=f"the highest is {row.highest:g}",
            )
        if row.top > SUSPICIOUS_SCORES * maximum:
            return None
        unit = "fractions" if _suggestion(row.top) == 1 else "points of another scale"
        return Finding(
            "error" if row.top <= LOW_SCORES * maximum else "advice",
            table,
            f"99 % of {row.scores:,} scores above 0{rows.period} are at most {row.top:.3g}, which counts as "
            f"{100 * row.top / maximum:.2g} %: they look like {unit}; {fix}",
            detail=f"the highest is {row.highest:g}",
        )

    yield from rows.findings(table, "the unit of score", query, judge)


def _minutes_findings(rows: Rows) -> Iterator[Finding]:
    table = "user_lesson_progress"
    if not rows.can_query(table, "started_at", "completed_at", "time_spent_minutes"):
        return
    progress = rows.tables[table].c
    minutes = double(progress.time_spent_minutes)
    is_complete = and_(
        rows.is_valid(progress.started_at),
        rows.is_valid(progress.completed_at),
        progress.started_at <= progress.completed_at,
    )
    passed = case((is_complete, func.extract("epoch", progress.completed_at - progress.started_at) / 60))
    is_impossible = minutes > passed + 1
    query = select(
        func.count().label("lessons"),
        func.percentile_cont(0.5).within_group(minutes.asc()).label("median"),
        func.count(passed).label("completed"),
        func.count().filter(is_impossible).label("impossible"),
        func.min(rows.example(table, "time_spent_minutes", "started_at", "completed_at"))
        .filter(and_(is_impossible, minutes >= SECONDS_MEDIAN))
        .label("example"),
    ).where(minutes > 0, minutes < math.inf, rows.is_recent(table))

    def judge(row: Row[Any]) -> Finding | None:
        if row.lessons < MIN_ROWS or row.median < SECONDS_MEDIAN:
            return None
        unit, divisor = ("milliseconds", 60_000) if row.median >= MILLISECONDS_MEDIAN else ("seconds", 60)
        is_certain = divisor == 60_000 or row.impossible >= max(1, IMPOSSIBLE_MINUTES * row.completed)
        impossible = (
            f", and {row.impossible:,} of {row.completed:,} completed lessons have more minutes than passed from start "
            "to completion"
            if row.impossible
            else ""
        )
        return Finding(
            "error" if is_certain else "advice",
            table,
            f"the median time_spent_minutes of {row.lessons:,} lessons{rows.period} is {row.median:,.0f}{impossible}: "
            f"they look like {unit}, so whole days count as study; read the table through a view with "
            f"time_spent_minutes / {divisor}",
            detail=f"e.g. {row.example}" if row.example else None,
        )

    yield from rows.findings(table, "the unit of time_spent_minutes", query, judge)


def _start_findings(rows: Rows) -> Iterator[Finding]:
    table = "user_lesson_progress"
    if not rows.can_query(table, "started_at", "completed_at"):
        return
    progress = rows.tables[table].c
    has_no_start = progress.started_at.is_(None)
    query = select(
        func.count().label("completed"),
        func.count().filter(has_no_start).label("how_many"),
        func.min(rows.example(table, "completed_at")).filter(has_no_start).label("example"),
    ).where(rows.is_valid(progress.completed_at), rows.is_recent(table))

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        is_usual = row.completed >= MIN_ROWS and row.how_many >= NEVER_STARTED * row.completed
        return Finding(
            "advice" if is_usual else "note",
            table,
            f"{row.how_many:,} of {with_count(row.completed, 'completed lesson', 'completed lessons')}{rows.period} "
            f"{'was' if row.how_many == 1 else 'were'} never started (started_at is null): the completion counts as "
            "the start, and the minutes belong to its day"
            + ("; find out why the platform does not fill started_at" if is_usual else ""),
            detail=f"e.g. {row.example}",
        )

    yield from rows.findings(table, "whether completed lessons have a start", query, judge)


def _early_findings(table: str, rows: Rows) -> Iterator[Finding]:
    columns = [rows.tables[table].c[name] for name in TIMES[table]]
    is_early = or_(*(rows.is_early(column) for column in columns))
    query = select(func.count().label("how_many"), func.min(rows.example(table, *TIMES[table])).label("example")).where(
        is_early
    )

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        return Finding(
            "note",
            table,
            f"{with_count(row.how_many, 'row has', 'rows have')} a {' or '.join(TIMES[table])} before 2000 (such as 0 "
            "for never), which counts as null; store null on the platform",
            detail=f"e.g. {row.example}",
        )

    yield from rows.findings(table, "whether times are before 2000", query, judge)


def _future_findings(table: str, rows: Rows) -> Iterator[Finding]:
    names = TIMES[table]
    columns = [rows.tables[table].c[name] for name in names]
    is_future = or_(*(rows.is_future(column) for column in columns))
    is_far = or_(*(rows.is_future(column, timedelta(hours=ZONE_HOURS)) for column in columns))
    query = select(
        func.count().label("how_many"),
        func.count().filter(is_far).label("far"),
        func.min(rows.example(table, *names)).label("example"),
    ).where(is_future)
    has_no_zone = any(not getattr(column.type, "timezone", True) for column in columns)
    zone = rows.rules.naive_zone.key

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        message = (
            f"{with_count(row.how_many, 'row has', 'rows have')} a {' or '.join(names)} in the future, which counts as "
            "null until then"
        )
        example = f"e.g. {row.example}"
        if has_no_zone and row.far < row.how_many:
            close = row.how_many - row.far
            return Finding(
                "advice",
                table,
                f"{message}; {close:,} of them by at most {ZONE_HOURS} hours in a column without time zone: is it "
                f"really local time of {zone}? If not, set SNAPSHOT_NAIVE_TIMEZONE",
                detail=example,
            )
        return Finding("note", table, f"{message}; correct the rows, or the clock that wrote them", detail=example)

    yield from rows.findings(table, "whether times are in the future", query, judge)


def _timeless_findings(table: str, rows: Rows) -> Iterator[Finding]:
    columns = [rows.tables[table].c[name] for name in TIMES[table]]
    has_none = and_(*(or_(column.is_(None), rows.is_early(column), rows.is_future(column)) for column in columns))
    query = select(
        func.count().label("how_many"),
        func.count().filter(and_(*(column.is_(None) for column in columns))).label("empty"),
        func.min(rows.example(table, *TIMES[table])).label("example"),
    ).where(has_none)

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        return Finding(
            "note",
            table,
            f"{with_count(row.how_many, 'row has', 'rows have')} no valid {' or '.join(TIMES[table])} and "
            f"{'is' if row.how_many == 1 else 'are'} ignored ({row.empty:,} null): not started or not submitted yet, "
            "or the time was not stored",
            detail=f"e.g. {row.example}",
        )

    yield from rows.findings(table, "whether rows have a time", query, judge)


def _folded(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.lower(func.trim(value))


def _suggestion(top: float) -> float | None:
    return next((maximum for maximum in COMMON_MAXIMA if top <= 1.1 * maximum), None)


def _suggested(top: float) -> str:
    suggestion = _suggestion(top)
    return "" if suggestion is None else f"; {suggestion:g} would fit"


def _quoted(value: str) -> str:
    """Return a value in quotes, so that spaces at its ends are visible."""
    return f"'{re.sub(_NOT_TEXT, '?', value)[:_MAX_NAME]}'"


def _plain(value: str, length: int) -> str:
    line = " ".join(re.sub(_NOT_TEXT, " ", value).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
