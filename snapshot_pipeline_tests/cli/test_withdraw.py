"""`snapshot-pipeline withdraw`: what it deletes and says, and the options that it refuses."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from snapshot_pipeline.cli import command
from snapshot_pipeline.pipeline.periods import PeriodError
from snapshot_pipeline_tests.installation import TestInstallation


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_a_withdrawn_week_and_its_days_can_be_computed_again(installation: TestInstallation) -> None:
    assert run("materialize", "--from", "2026-02-08", "--to", "2026-02-15").exit_code == 0
    for week in ("2026-02-02", "2026-02-09"):
        assert run("recommend", "--week", week).exit_code == 0
    assert run("report", "--week", "2026-02-09").exit_code == 0
    page = installation.settings.home / "reports" / "2026-02-09.html"
    assert page.is_file()
    withdrawn = run("withdraw", "--week", "2026-02-09")
    assert withdrawn.exit_code == 0
    assert " recommendations deleted\nthe week of 2026-02-02 is shown now\n" in withdrawn.output
    assert not page.exists()
    assert "week of 2026-02-02" in run("status").output
    assert run("withdraw", "--week", "2026-02-02").output.endswith("no week is shown now\n")
    assert "snapshots deleted" in run("withdraw", "--from", "2026-02-14", "--to", "2026-02-15").output
    assert run("withdraw", "--from", "2026-02-14").output == "2026-02-14 to 2026-02-14: 0 snapshots deleted\n"
    with pytest.raises(Exception, match="no snapshots for its Sunday"):
        run("recommend", "--week", "2026-02-09")
    assert run("materialize", "--from", "2026-02-15", "--to", "2026-02-15").exit_code == 0
    assert run("recommend", "--week", "2026-02-09").exit_code == 0


@pytest.mark.parametrize(
    "arguments", [[], ["--to", "2026-02-01"], ["--from", "2026-02-01", "--week", "2026-02-02"], ["--week", "monday"]]
)
def test_options_that_name_neither_days_nor_a_week_are_refused(arguments: list[str]) -> None:
    assert run("withdraw", *arguments).exit_code == 2


def test_days_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(PeriodError, match="--from 2026-02-02 is after --to 2026-02-01"):
        run("withdraw", "--from", "2026-02-02", "--to", "2026-02-01")
