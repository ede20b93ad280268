"""What a step says when it fails, and whether it asks to be tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.steps import MAX_RETRIES, readable_failures
from snapshot_pipeline.postgres import errors as postgres_errors
from snapshot_pipeline.settings import Settings
from snapshot_pipeline_tests.installation import TestInstallation

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
DAY = "2026-02-10"


@pytest.fixture
def impatient(installation: TestInstallation, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Pauses of a fraction of a second, and no retries within the step."""
    monkeypatch.setattr(postgres_errors, "MAX_ATTEMPTS", 1)
    return installation.settings.model_copy(update={"retry_seconds": 0.05, "lock_timeout_seconds": 0.2})


def executed(installation: TestInstallation, settings: Settings) -> dg.ExecuteInProcessResult:
    job = build_defs(settings).resolve_job_def("daily_snapshots_job")
    return job.execute_in_process(
        instance=installation.instance, partition_key=DAY, run_config=QUIET, raise_on_error=False
    )


def kinds(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.event_type_value for event in result.all_events]


@pytest.fixture
def application(installation: TestInstallation) -> Iterator[threading.Event]:
    """The application alters a table until the event is set."""
    over, held = threading.Event(), threading.Event()

    def alter() -> None:
        with create_engine(installation.url, poolclass=NullPool).begin() as connection:
            connection.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            held.set()
            over.wait(60)

    thread = threading.Thread(target=alter)
    thread.start()
    assert held.wait(10)
    yield over
    over.set()
    thread.join(10)


def test_a_transient_error_retries_the_step_and_the_run_succeeds(
    installation: TestInstallation, impatient: Settings, application: threading.Event
):
    watcher = threading.Thread(target=_end_when_given_way, args=(installation, application))
    watcher.start()
    result = executed(installation, impatient.model_copy(update={"retry_seconds": 0.5}))
    watcher.join(10)
    assert result.success
    assert "STEP_UP_FOR_RETRY" in kinds(result)


def _end_when_given_way(installation: TestInstallation, application: threading.Event) -> None:
    waits = text("SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted")
    with create_engine(installation.url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as watching:
        for wanted in (True, False):  # our session waits for the table, and then no longer does
            deadline = time.monotonic() + 20
            while bool(watching.execute(waits).scalar()) is not wanted and time.monotonic() < deadline:
                time.sleep(0.01)
    application.set()


def test_a_lasting_error_is_one_line_after_all_retries(
    installation: TestInstallation, impatient: Settings, application: threading.Event
):
    assert not application.is_set()
    began = time.monotonic()
    result = executed(installation, impatient)
    assert time.monotonic() - began > 0.05 * (1 + 2 + 4)
    assert kinds(result).count("STEP_UP_FOR_RETRY") == MAX_RETRIES
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    description = failed.step_failure_data.user_failure_data.description
    assert "was locked for longer than SNAPSHOT_LOCK_TIMEOUT_SECONDS" in description
    assert "\n" not in description


@pytest.mark.parametrize("wrong", ["schema", "password"])
def test_a_wrong_setting_fails_at_once(installation: TestInstallation, impatient: Settings, wrong: str):
    url = installation.url.set(password="wrong").render_as_string(hide_password=False)  # noqa: S106
    settings = {"schema": {"platform_schema": "nowhere"}, "password": {"database_url": SecretStr(url)}}
    result = executed(installation, impatient.model_copy(update=settings[wrong]))
    assert not result.success
    assert "STEP_UP_FOR_RETRY" not in kinds(result)


def test_a_programming_error_keeps_its_traceback_and_is_not_retried():
    with pytest.raises(ZeroDivisionError), readable_failures(1.0):
        raise ZeroDivisionError
