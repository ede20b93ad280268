"""The run lock: one process executes a run at a time, and others can see which."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.orchestration.instance.run_lock import CHECK_SECONDS, run_lock, run_lock_holders
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline.store.locks import LockedError
from snapshot_pipeline_tests.waiting import wait_for

HOLD = """
import sys, time
from snapshot_pipeline.orchestration.instance.run_lock import run_lock
from snapshot_pipeline.settings import load_settings
wanted_until = time.monotonic() + float(sys.argv[2])
with run_lock(load_settings(), sys.argv[1], lambda: time.monotonic() < wanted_until):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def settings(database_url: URL, monkeypatch: pytest.MonkeyPatch) -> Settings:
    url = database_url.render_as_string(hide_password=False)
    for name in ("SNAPSHOT_DATABASE_URL", "SNAPSHOT_DAGSTER_DATABASE_URL"):
        monkeypatch.setenv(name, url)
    return load_settings()


@pytest.fixture
def run_id() -> str:
    return str(uuid.uuid4())


def wanted() -> bool:
    return True


def holding_process(run_id: str, wanted_seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, run_id, str(wanted_seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def test_a_run_is_locked_once_and_released_afterwards(settings: Settings, run_id: str):
    assert run_lock_holders(settings, run_id) == []
    with run_lock(settings, run_id, wanted):
        (holder,) = run_lock_holders(settings, run_id)
        assert f"run {run_id[:8]} on " in holder
        assert run_lock_holders(settings, str(uuid.uuid4())) == []
        with pytest.raises(LockedError), run_lock(settings, run_id, wanted):
            pytest.fail("two processes execute a run")
    assert run_lock_holders(settings, run_id) == []


def test_a_killed_process_releases_the_lock_at_once(settings: Settings, run_id: str):
    process = holding_process(run_id, 1000)
    assert run_lock_holders(settings, run_id)
    process.kill()
    process.wait(10)
    wait_for(lambda: None if run_lock_holders(settings, run_id) else True, "the run is free", 5, pause=0.05)


def test_a_process_ends_itself_when_its_run_has_ended(settings: Settings, run_id: str):
    """A run that was given up for dead, e.g. after an hour without network, must not continue beside its retry."""
    process = holding_process(run_id, wanted_seconds=1)
    began = time.monotonic()
    assert process.wait(4 * CHECK_SECONDS) == -9
    assert time.monotonic() - began > CHECK_SECONDS  # two checks, not one: a run takes a moment to end by itself


def test_the_lock_is_taken_again_after_a_lost_session(settings: Settings, run_id: str, database_url: URL):
    """Otherwise all runs in progress would count as dead after a restart of the server."""
    engine = create_engine(database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with run_lock(settings, run_id, wanted), engine.connect() as connection:
        cut = text("SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'")
        assert connection.execute(cut).scalar_one() == 1
        wait_for(lambda: None if run_lock_holders(settings, run_id) else True, "it is lost", 5, pause=0.05)
        wait_for(lambda: True if run_lock_holders(settings, run_id) else None, "it is held again", 2 * CHECK_SECONDS)
