"""The files of the weekly reports, `<home>/reports/<monday>.html`: their paths, writing, reading, and retention.

The lists of students, `<home>/students/<monday>.html` and `.csv`, are written and deleted in the same way.
"""

from __future__ import annotations

import os
import re
import uuid
from datetime import date, timedelta
from pathlib import Path

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.home import HomeError, create_directory
from snapshot_pipeline.settings import Settings

_NAME = re.compile(r"\d{4}-\d{2}-\d{2}\.html")
_NAME_OF_WEEK = re.compile(r"\d{4}-\d{2}-\d{2}\.(html|csv)")


class ReportError(SnapshotPipelineError):
    """There is nothing to report, or the file cannot be written."""


def report_path(settings: Settings, week_start: date) -> Path:
    """The path of a week's report, whether it exists or not."""
    return settings.home / "reports" / f"{week_start}.html"


def find_report(settings: Settings, name: str) -> bytes | None:
    """The page with a file name such as `2026-11-16.html`; None if this machine has none."""
    path = settings.home / "reports" / name
    if not _NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
        return None
    return path.read_bytes()


def student_list_path(settings: Settings, week_start: date, suffix: str) -> Path:
    """The path of a week's list of students, `html` or `csv`, whether it exists or not."""
    return settings.home / "students" / f"{week_start}.{suffix}"


def save_report(settings: Settings, path: Path, page: bytes, mode: int = 0o666) -> None:
    """Replace the file atomically: a reader sees the old page or the new one.

    Args:
        path: In one of the directories of SNAPSHOT_HOME.
        mode: The rights of the file, less those that the umask takes away.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        create_directory(settings.home, path.parent.name)
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(page)
            os.replace(temporary, path)  # noqa: PTH105  # the same on Windows, where Path.rename refuses
        finally:
            temporary.unlink(missing_ok=True)
    except HomeError as error:
        raise ReportError(f"the file {path} cannot be written: {error}") from error
    except OSError as error:
        raise ReportError(
            f"the file {path} cannot be written: {error.strerror}; give this user write permission on "
            f"{path.parent}, or set SNAPSHOT_HOME to another directory"
        ) from error


def delete_expired_reports(written: Path, weeks: int) -> list[Path]:
    """Delete the reports of weeks that are `weeks` or more before the newest one; never the one just written.

    Relative to the newest report, not to the current date, so that an old week can be written at any time.
    """
    files = [path for path in sorted(written.parent.iterdir()) if _NAME_OF_WEEK.fullmatch(path.name)]
    mondays = {path: date.fromisoformat(path.stem) for path in files}
    oldest = max(mondays.values()) - timedelta(weeks=weeks - 1)
    expired = [path for path, monday in mondays.items() if monday < oldest and path.stem != written.stem]
    for path in expired:
        path.unlink(missing_ok=True)
    return expired
