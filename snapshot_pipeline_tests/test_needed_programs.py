"""A test whose program is missing is skipped locally, with the install command, and fails in CI."""

from __future__ import annotations

import pytest

from snapshot_pipeline_tests.needed_programs import needed_program


def test_installed_program_is_returned_with_its_path():
    assert needed_program("sh", "a system without a shell?").endswith("/sh")


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_missing_program_names_the_install_command(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-program is not on PATH; get it by `apt-get install it`"):
        needed_program("no-such-program", "apt-get install it")
