"""The server of one home: first start, restart, secrets, several clients, several homes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from snapshot_pipeline.embedded import DATABASES, EmbeddedServer, EmbeddedServerError
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.programs import program, running_as, server_account
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


def test_the_first_start_creates_both_databases_in_utc_on_loopback(server: EmbeddedServer) -> None:
    for database in DATABASES:
        assert execute(server, "SHOW timezone", database) == [("UTC",)]
    assert execute(server, "SELECT datcollate FROM pg_database WHERE datname = 'platform'") == [("C",)]
    sockets = postmaster(server).net_connections("inet")
    assert [connection.laddr.ip for connection in sockets if not connection.raddr] == ["127.0.0.1"]
    assert postmaster(server).net_connections("unix") == []


def test_the_path_may_contain_spaces_quotes_and_any_letters(server: EmbeddedServer) -> None:
    assert execute(server, "SHOW data_directory") == [(str(data_of(server)),)]
    assert {" ", "'", '"', "$", "%", "\\", "学"} <= set(str(data_of(server)))


def test_only_the_owner_can_read_the_password(server: EmbeddedServer) -> None:
    password = server.url("platform").password
    assert password is not None
    for name in ("password", "port", "server.log", "lock"):
        assert stat.S_IMODE((server.home / "postgres" / name).stat().st_mode) == 0o600, name
    for process in psutil.process_iter(["cmdline"]):
        assert password not in " ".join(process.info["cmdline"] or [])
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host="127.0.0.1", port=server.url("platform").port, user="snapshot", password="guess")  # noqa: S106


def test_no_secret_of_the_client_reaches_the_server_process(
    stopped_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", "postgresql://someone:secret@elsewhere/platform")
    stopped_server.start()
    names = set(postmaster(stopped_server).environ())
    assert names <= {"PATH", "LD_LIBRARY_PATH", "LC_ALL", "TZ", "PWD"} | {
        name for name in names if name.startswith("PG")
    }


def test_a_second_start_leaves_the_running_server_alone(server: EmbeddedServer) -> None:
    first = postmaster(server)
    EmbeddedServer(server.home).start()
    assert postmaster(server) == first


def test_a_restart_keeps_the_data_and_the_url(server: EmbeddedServer) -> None:
    url = server.url("platform")
    assert server.stop() is True
    assert server.stop() is False
    assert not server.is_running()
    server.start()
    assert server.url("platform") == url
    assert execute(server, "SELECT answer FROM kept") == [(42,)]


def test_stop_ends_open_connections(server: EmbeddedServer) -> None:
    with contextlib.closing(psycopg2.connect(plain_url(server))) as connection:
        assert server.stop() is True
        with pytest.raises(psycopg2.OperationalError):
            connection.cursor().execute("SELECT 1")


def test_two_homes_have_two_servers(stopped_server: EmbeddedServer, copied_server: EmbeddedServer) -> None:
    stopped_server.start()
    assert not copied_server.is_running()  # although the password is right and the port is the stored one
    copied_server.start()
    assert copied_server.url("platform").port != stopped_server.url("platform").port
    execute(stopped_server, "CREATE TABLE mine (a int)")
    assert execute(copied_server, "SELECT to_regclass('mine')") == [(None,)]
    assert copied_server.stop() is True
    assert stopped_server.is_running()


def test_processes_that_start_it_at_once_share_one_server(new_server: EmbeddedServer) -> None:
    def start_it() -> None:
        new_server.start()
        (new_server.home / f"url-{os.getpid()}").write_text(plain_url(new_server))

    clients = [fork(start_it) for _ in range(5)]
    assert [succeeded(client) for client in clients] == [True] * 5
    urls = [path.read_text() for path in new_server.home.glob("url-*")]
    assert urls == [plain_url(new_server)] * 5
    assert new_server.is_running()


def test_the_server_outlives_a_client_that_is_killed_or_interrupted(stopped_server: EmbeddedServer) -> None:
    started = stopped_server.home / "started"

    def start_it_and_stay() -> None:
        stopped_server.start()
        started.touch()
        time.sleep(60)

    for ending in (
        signal.SIGINT,
        signal.SIGKILL,
    ):  # the first as by Ctrl-C in its terminal
        stopped_server.stop()
        client = fork(start_it_and_stay)
        wait_until(started.exists)
        os.killpg(client, ending)
        assert not succeeded(client)
        assert stopped_server.is_running()
        started.unlink()


@contextlib.contextmanager
def other_program_on(port: int) -> Iterator[None]:
    """Listen on `port` as a program that is not a database, and close every connection."""

    def close_all() -> None:
        with contextlib.suppress(OSError):
            while True:
                listening.accept()[0].close()

    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=close_all)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_if_another_program_uses_the_port_a_new_one_is_chosen(stopped_server: EmbeddedServer) -> None:
    port = stopped_server.url("platform").port
    assert port is not None
    with other_program_on(port):
        stopped_server.start()
        assert stopped_server.url("platform").port != port
        assert execute(stopped_server, "SELECT answer FROM kept") == [(42,)]


def test_a_wrong_port_file_is_corrected_from_the_running_server(server: EmbeddedServer) -> None:
    url = server.url("platform")
    (server.home / "postgres" / "port").write_text("1\n")
    server.start()
    assert server.url("platform") == url


def test_a_home_moved_while_its_server_runs_keeps_its_server(server: EmbeddedServer, shelf: Path) -> None:
    running = postmaster(server)
    moved = EmbeddedServer(server.home.rename(shelf / "moved"))
    moved.start()
    assert postmaster(moved) == running
    assert moved.stop() is True
    assert has_ended(running)
    moved.home.rename(server.home)


def test_a_server_started_by_hand_is_refused(stopped_server: EmbeddedServer) -> None:
    directory = ServerDirectory(stopped_server.home)
    account = server_account(directory)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ["-c", f"port={port}", "-c", "unix_socket_directories="]
    by_hand = subprocess.Popen(
        [program("postgres", directory.cluster_dir, account), "-D", directory.data, *settings],
        cwd="/",
        stderr=subprocess.DEVNULL,
        **running_as(account),
    )
    pid_file = directory.data / "postmaster.pid"
    wait_until(lambda: pid_file.exists() and pid_file.stat().st_size > 0)  # PostgreSQL creates it before it writes it
    with pytest.raises(EmbeddedServerError, match="started by hand"):
        stopped_server.start()
    by_hand.send_signal(signal.SIGINT)
    by_hand.wait()
    stopped_server.start()


def test_libpq_variables_for_another_server_are_ignored(
    stopped_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    stopped_server.start()
    monkeypatch.delenv("PGHOSTADDR")
    assert execute(stopped_server, "SELECT answer FROM kept") == [(42,)]


def test_the_url_of_a_server_that_was_never_started_is_an_error(new_server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedServerError, match="no embedded server was ever started below"):
        new_server.url("platform")
    assert not new_server.home.exists()
    assert new_server.stop() is False
    assert not new_server.home.exists()
