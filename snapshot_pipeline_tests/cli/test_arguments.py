"""What a wrong option or argument says: the value, and what is expected."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from snapshot_pipeline import cli


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["status", "--days", "abc"], "'abc' is not a valid integer; expected 1 to 366."),
        (["status", "--days", "367"], "'367' is not a valid integer; expected 1 to 366."),
        (["dev", "--port", "1.5"], "'1.5' is not a valid integer; expected 1 to 65535."),
        (["student", "Zoë"], "'Zoë' is not a valid student id; expected -9223372036854775808 to 9223372036854775807."),
        (["demo", "--students", "many"], "'many' is not a valid integer."),
    ],
)
def test_a_wrong_number_is_named_with_what_is_expected(arguments: list[str], expected: str):
    result = CliRunner().invoke(cli.command, arguments)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].endswith(expected)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("materialise", "did you mean 'materialize'?"), ("stauts", "did you mean 'status'?"), ("x", "--help'")],
)
def test_a_mistyped_command_suggests_the_right_one(typed: str, hint: str):
    result = CliRunner().invoke(cli.command, [typed])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith(f"Error: No such command '{typed}'; ")
    assert result.output.splitlines()[-1].endswith(hint)
