"""The server after a kill, a reboot, an interruption or damage, and with a second container."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg2
import pytest

from snapshot_pipeline.embedded import EmbeddedServer, EmbeddedServerError, directory, processes
from snapshot_pipeline.home import HomeError
from snapshot_pipeline_tests.integration.embedded.servers import (
    data_of,
    execute,
    fork,
    plain_url,
    postmaster,
    succeeded,
    wait_until,
)
from snapshot_pipeline_tests.waiting import has_ended


def test_a_killed_server_starts_again_with_its_data(server: EmbeddedServer) -> None:
    execute(server, "CREATE TABLE written_just_before AS SELECT 43")
    killed = postmaster(server)
    killed.kill()
    server.start()
    assert postmaster(server).pid != killed.pid
    assert execute(server, "TABLE written_just_before") == [(43,)]
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_a_killed_child_that_is_still_ending_is_waited_for_and_reaped(
    stopped_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no lock any more and is no zombie yet: nothing but its parent knows it."""
    with subprocess.Popen(["sleep", "0.5"]) as ending:
        monkeypatch.setattr(processes, "_children", [(data_of(stopped_server), ending)])
        stopped_server.start()
        assert ending.returncode == 0


def test_a_query_that_outlives_its_killed_server_does_not_block_the_new(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy backend does not notice that its postmaster is dead, and keeps the shared memory until it is done."""
    monkeypatch.setattr(processes, "ORPHAN_SECONDS", 1.0)
    with contextlib.closing(psycopg2.connect(plain_url(server), async_=True)) as busy:
        finish(busy)
        busy.cursor().execute("SELECT count(*) FROM generate_series(1, 1e6) a, generate_series(1, 1e6) b")
        backend = psutil.Process(busy.get_backend_pid())
        is_active = f"SELECT 1 FROM pg_stat_activity WHERE pid = {backend.pid} AND state = 'active'"  # noqa: S608
        wait_until(lambda: execute(server, is_active) == [(1,)])
        postmaster(server).kill()
        server.start()
        assert execute(server, "SELECT answer FROM kept") == [(42,)]
        assert has_ended(backend)


def finish(connection: psycopg2.extensions.connection) -> None:
    wait_until(lambda: connection.poll() == psycopg2.extensions.POLL_OK)


def leftovers(server: EmbeddedServer) -> list[Path]:
    return list((server.home / "postgres").glob("new-*"))


def test_the_next_start_removes_what_an_interrupted_first_start_left(new_server: EmbeddedServer) -> None:
    client = fork(new_server.start)
    wait_until(lambda: any(new_server.home.glob("postgres/new-*/data/PG_VERSION")))
    os.killpg(client, signal.SIGKILL)  # initdb too, as after a power failure
    assert not succeeded(client)
    assert leftovers(new_server) != []
    new_server.start()
    assert leftovers(new_server) == []
    assert execute(new_server, "SELECT 1", "dagster") == [(1,)]


@pytest.mark.parametrize("pattern", ["new-*/data/PG_VERSION", "data/postmaster.pid"])
def test_a_client_killed_during_the_first_start_does_not_block_the_next(
    new_server: EmbeddedServer, pattern: str
) -> None:
    """Its child goes on: initdb in a directory that is being removed, or the server."""
    client = fork(new_server.start)
    wait_until(lambda: any(new_server.home.glob(f"postgres/{pattern}")))
    os.kill(client, signal.SIGKILL)
    assert not succeeded(client)
    new_server.start()
    assert execute(new_server, "SELECT 1", "dagster") == [(1,)]
    new_server.stop()
    new_server.start()  # the killed client's initdb has ended by now
    assert leftovers(new_server) == []


def test_a_database_that_a_killed_client_is_creating_does_no_harm(server: EmbeddedServer) -> None:
    """Its statement goes on: the database is missing when we check, and exists when we create it."""
    execute(server, "DROP DATABASE dagster")
    with contextlib.closing(psycopg2.connect(plain_url(server), async_=True)) as killed:
        finish(killed)
        killed.cursor().execute("CREATE DATABASE dagster")
        server.start()
        assert execute(server, "SELECT 1", "dagster") == [(1,)]


def test_after_a_reboot_a_pid_file_of_a_dead_process_is_ignored(server: EmbeddedServer) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    leave_pid_file(server, ended.pid)
    assert not server.is_running()
    server.start()
    assert server.is_running()


def test_after_a_reboot_an_unrelated_process_with_the_old_pid_survives(server: EmbeddedServer) -> None:
    with subprocess.Popen(["sleep", "60"]) as unrelated:
        leave_pid_file(server, unrelated.pid)
        assert not server.is_running()
        assert server.stop() is False
        server.start()
        assert server.is_running()
        assert unrelated.poll() is None
        unrelated.kill()


def test_after_a_reboot_another_homes_server_with_the_old_pid_survives(
    stopped_server: EmbeddedServer, copied_server: EmbeddedServer
) -> None:
    copied_server.start()
    leave_pid_file(stopped_server, postmaster(copied_server).pid)
    assert stopped_server.stop() is False
    stopped_server.start()
    assert stopped_server.is_running()
    assert copied_server.stop() is True
    assert stopped_server.is_running()


def leave_pid_file(server: EmbeddedServer, pid: int) -> None:
    """Leave postmaster.pid as a server that was not stopped does."""
    server.start()
    path = data_of(server) / "postmaster.pid"
    lines = path.read_text().split("\n")
    server.stop()
    path.write_text("\n".join([str(pid), *lines[1:]]))
    shutil.chown(path, data_of(server).stat().st_uid, data_of(server).stat().st_gid)


def test_a_server_of_another_container_on_the_directory_is_respected(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers would destroy the cluster. Neither sees the other's processes; the inherited lock shows them."""
    monkeypatch.setattr(processes, "ORPHAN_SECONDS", 0.2)
    monkeypatch.setattr(processes, "is_ours", lambda *_: False)
    (server.home / "postgres" / "port").write_text("1\n")
    with pytest.raises(EmbeddedServerError, match="in another container"):
        server.start()
    monkeypatch.undo()
    server.start()
    assert server.stop() is True


def test_a_lost_password_file_is_reported_and_the_data_are_kept(stopped_server: EmbeddedServer) -> None:
    password = stopped_server.home / "postgres" / "password"
    kept = password.rename(stopped_server.home / "kept")
    with pytest.raises(EmbeddedServerError, match=r"password is missing.*restore it"):
        stopped_server.start()
    kept.rename(password)
    stopped_server.start()
    assert execute(stopped_server, "SELECT answer FROM kept") == [(42,)]


def test_a_wrong_password_file_is_reported_at_once(stopped_server: EmbeddedServer) -> None:
    password = stopped_server.home / "postgres" / "password"
    kept = password.read_text()
    password.write_text("wrong\n")
    with pytest.raises(EmbeddedServerError, match="does not accept the password in"):
        stopped_server.start()
    password.write_text(kept)
    assert stopped_server.stop() is True


def test_a_broken_cluster_is_reported_with_the_end_of_the_log(
    stopped_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the log has just been rotated."""
    monkeypatch.setattr(directory, "MAX_LOG_BYTES", 0)
    (data_of(stopped_server) / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerError, match=r"server\.log: .*incompatible with server") as caught:
        stopped_server.start()
    assert "\n" not in str(caught.value)
    assert (stopped_server.home / "postgres" / "server.log.1").exists()
    (data_of(stopped_server) / "PG_VERSION").write_text("18\n")


def test_a_home_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeError, match="is not a directory; set SNAPSHOT_HOME"):
        EmbeddedServer(tmp_path / "home").start()


def test_databases_that_cannot_be_created_are_reported_in_one_line(new_server: EmbeddedServer) -> None:
    new_server.start()
    for statement in ("ALTER DATABASE template1 IS_TEMPLATE false", "DROP DATABASE template1", "DROP DATABASE dagster"):
        execute(new_server, statement, "postgres")
    with pytest.raises(EmbeddedServerError, match=r'its databases cannot be created: .*"template1" does not') as caught:
        new_server.start()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ('LOG: could not bind IPv4 address "127.0.0.1": Address already in use', True),
        ('FATAL: lock file "postmaster.pid" already exists', True),
        ('FATAL: could not write lock file "postmaster.pid": No space left on device', False),
        ("FATAL: database files are incompatible with server", False),
    ],
)
def test_a_start_on_a_full_disk_is_not_repeated_for_two_minutes(log: str, expected: bool) -> None:
    assert processes.may_be_retried(log) is expected


def test_a_full_disk_at_the_first_start_is_reported_in_one_line(shelf: Path) -> None:
    """No file may have more than a megabyte, as if the disk were full."""
    limit = 2**20
    # Fixtures of other files may have set the URL of a database.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSHOT_")}
    finished = subprocess.run(
        [sys.executable, "-m", "snapshot_pipeline.cli", "db", "start"],
        env={**environment, "SNAPSHOT_HOME": str(shelf / "full")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1, finished.stdout
    (line,) = finished.stderr.splitlines()
    assert line.startswith("error: no PostgreSQL cluster could be created")
    assert "File too large" in line
