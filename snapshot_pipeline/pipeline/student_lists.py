"""Read the list of the students at risk of a week, and write it into SNAPSHOT_HOME/students."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.report_files import delete_expired_reports, save_report, student_list_path
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.report.student_list import ListedStudent, StudentList, as_csv, as_html
from snapshot_pipeline.store.at_risk import StoredAtRisk, at_risk_weeks, newest_at_risk_week, students_at_risk

_PRIVATE = 0o600


class NoListError(SnapshotPipelineError):
    """The students at risk of the week were not computed."""


@dataclass(frozen=True)
class WrittenLists:
    """The files of a week.

    Attributes:
        paths: HTML and CSV.
        students: How many students are in them.
        deleted: Expired files that were deleted.
    """

    paths: tuple[Path, Path]
    students: int
    deleted: list[Path]


def read_student_list(
    installation: Installation,
    week_start: date | None = None,
    specialization: str | None = None,
    level: str | None = None,
) -> StudentList:
    """Read the students at risk of a week, by default the newest one that was computed.

    Args:
        specialization: Only the students who have it.
        level: Only the students who have it.

    Raises:
        NoListError: The week, or any week, was not computed.
    """
    week = week_start or installation.transaction(newest_at_risk_week)
    numbers = installation.transaction(at_risk_weeks, week, week) if week else {}
    if week is None or week not in numbers:
        name = f"of the week of {week}" if week else "of any week"
        command = f"snapshot-pipeline recommend --week {week}" if week else "snapshot-pipeline recommend --help"
        raise NoListError(f"the students at risk {name} were not computed; see `{command}`")
    rows = installation.transaction(students_at_risk, week, specialization, level)
    students = [listed_student(row) for row in rows]
    return StudentList(week, students, numbers[week].students, installation.settings.student_url)


def listed_student(row: StoredAtRisk) -> ListedStudent:
    """Return a row of the table as the lists show it."""
    weeks = (row.week_start - row.listed_since).days // 7 + 1 if row.listed_since else None
    reasons = [(reason["code"], reason["text"]) for reason in row.reasons]
    figures = (row.score, row.results, row.presence, row.timeliness, row.recency)
    cohort = (row.specialization, row.level)
    return ListedStudent(row.user_id, row.state, *figures, reasons, row.listed_since, weeks, *cohort, row.peers)


def write_student_lists(installation: Installation, week_start: date) -> WrittenLists:
    """Write the list of a week as HTML and CSV, readable by this user alone, and delete expired lists.

    Raises:
        NoListError: The week was not computed.
        ReportError: A file cannot be written.
    """
    settings = installation.settings
    listed = retry_transient(read_student_list, installation, week_start)
    page, table = (student_list_path(settings, week_start, suffix) for suffix in ("html", "csv"))
    save_report(settings, page, as_html(listed).encode(), _PRIVATE)
    save_report(settings, table, as_csv(listed).encode(), _PRIVATE)
    return WrittenLists((page, table), len(listed.students), delete_expired_reports(page, settings.report_weeks))
