"""A primary and its streaming replica, from the binaries of the embedded server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.programs import program, running_as, server_account
from snapshot_pipeline_tests.integration.database_faults.faults import wait_for

_REPLICATING = {"wal_level": "replica", "max_wal_senders": "4", "fsync": "off", "autovacuum": "off"}


def query(url: URL, statement: str) -> object:
    """Run one statement outside a transaction; return the first value."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def enable_replication(server: EmbeddedServer) -> None:
    """Configure an embedded server for replication; without autovacuum, so that an idle server writes nothing."""
    for name, value in _REPLICATING.items():
        query(server.url("postgres"), f"ALTER SYSTEM SET {name} = '{value}'")
    server.stop()
    server.start()


@contextmanager
def replica(primary: EmbeddedServer) -> Iterator[URL]:
    """Start a replica of a server, created by `pg_basebackup`; yield the URL of its database `platform`."""
    directory = ServerDirectory(primary.home)
    account = server_account(directory)
    data = directory.cluster_dir / "replica"
    data.mkdir(mode=0o700)
    if account:
        os.chown(data, account.uid, account.gid)
    url = primary.url("platform")
    connection = f"host={url.host} port={url.port} user={url.username} password={url.password}"
    subprocess.run(
        [
            program("pg_basebackup", directory.cluster_dir, account),
            *("--dbname", connection, "--pgdata", data, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
        ],
        check=True,
        cwd=directory.cluster_dir,
        **running_as(account),
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = Path(primary.home) / "replica.log"
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "logging_collector": "off",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program("postgres", directory.cluster_dir, account),
                *("-D", data),
                *(argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")),
            ],
            cwd=data,
            stdout=output,
            stderr=subprocess.STDOUT,
            **running_as(account),
        )
    standby = url.set(port=port)
    try:
        wait_for(lambda: process.poll() is None and _answers(standby), f"the replica answers; see {log}", 60)
        yield standby
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown
        process.wait(30)


def _answers(url: URL) -> bool:
    try:
        return bool(query(url, "SELECT pg_is_in_recovery()"))
    except OperationalError:
        return False


def await_replay(primary: URL, standby: URL) -> None:
    """Wait until the replica has replayed everything that the primary has written."""
    written = query(primary, "SELECT pg_current_wal_lsn()")
    wait_for(lambda: query(standby, f"SELECT pg_last_wal_replay_lsn() >= '{written}'"), "the replica has caught up")
