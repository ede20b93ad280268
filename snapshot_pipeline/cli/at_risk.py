"""`snapshot-pipeline at-risk`: the students who need a person, with the reasons."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snapshot_pipeline.cli.terminal import DAY, print_json
from snapshot_pipeline.settings import load_settings

if TYPE_CHECKING:
    from snapshot_pipeline.report.student_list import ListedStudent, StudentList


@click.command(epilog="Example: snapshot-pipeline at-risk --specialization web --csv students.csv")
@click.option("--week", type=DAY, help="The week's Monday.  [default: the newest computed week]")
@click.option("--specialization", help="Only students of this specialization.")
@click.option("--level", help="Only students of this level.")
@click.option("--csv", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the list into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; its keys are in docs/operations.md.")
def at_risk(
    week: date | None, specialization: str | None, level: str | None, file: Path | None, *, as_json: bool
) -> None:
    """Show the students at risk of a week: with a low engagement score, dormant, or not started.

    With SNAPSHOT_STUDENT_URL the ids are links, where the terminal supports them. The file of --csv can be read by its
    owner only.
    """
    from snapshot_pipeline.pipeline.installation import open_for_reading
    from snapshot_pipeline.pipeline.student_lists import read_student_list
    from snapshot_pipeline.report.student_list import as_csv

    settings = load_settings()
    with open_for_reading(settings) as installation:
        listed = read_student_list(installation, week, specialization, level)
    if file is not None:
        _write(file, as_csv(listed))
    if as_json:
        print_json(as_document(listed))
    elif file is not None:
        click.echo(f"{len(listed.students):,} students at risk in {file}")
    else:
        _print(listed)


def as_document(listed: StudentList) -> dict[str, Any]:
    """Return the document that `--json` prints."""
    return {
        "week_start": listed.week_start,
        "active_students": listed.active,
        "students": [_student_document(listed, student) for student in listed.students],
    }


def _student_document(listed: StudentList, student: ListedStudent) -> dict[str, Any]:
    reasons = [{"code": code, "text": text} for code, text in student.reasons]
    return {**asdict(student), "reasons": reasons, "link": listed.link(student)}


def _write(file: Path, text: str) -> None:
    try:
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline=""
        ) as opened:
            opened.write(text)
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None


def _print(listed: StudentList) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from snapshot_pipeline.cli.tables import student_id

    if not listed.students:
        click.echo(f"No student at risk in the week of {listed.week_start}.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("student", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("weeks", justify="right", no_wrap=True)
    table.add_column("reasons", overflow="fold")
    for student in listed.students:
        table.add_row(
            student_id(student.user_id, listed.student_url),
            student.state.replace("_", " "),
            "" if student.score is None else f"{student.score:.2f}",
            "" if student.weeks is None else f"{student.weeks}",
            Text("\n".join(student.texts)),  # not markup, even if a title has brackets
        )
    click.echo(f"Students at risk, week of {listed.week_start}: {len(listed.students):,} of {listed.active:,} active")
    click.echo()
    console = Console()
    console.print(table, width=min(100, console.width))
