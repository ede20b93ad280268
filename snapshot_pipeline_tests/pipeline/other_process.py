"""A second process for concurrency tests, with the arguments TASK URL [ARGUMENTS].

It prints `ready` after its imports, starts when it reads a line, and prints `done` at the end. `hold` and `publish`
print `held` while they hold the lock; `publish` then reads a line and prints whether it may still publish; `stay in
publication` prints `publishing` in an open transaction, then reads a line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import adbc_driver_postgresql.dbapi as adbc
from sqlalchemy import URL, create_engine, make_url

from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.store import locks
from snapshot_pipeline.store.locks import LeaseLostError, exclusive_days
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.commands import PipedCommand
from snapshot_pipeline_tests.pipeline.installations import installation_on


@contextmanager
def other_process(task: str, url: URL, *arguments: object) -> Iterator[PipedCommand]:
    """Start the process and wait until it is ready; kill it at the end."""
    words = [task, url.render_as_string(hide_password=False), *map(str, arguments)]
    process = PipedCommand(words, os.environ, module=__name__)
    try:
        expect(process, "ready")
        yield process
    finally:
        process.close()


def begin(process: PipedCommand) -> None:
    """Send the process a line, so that it starts or continues."""
    process.stdin.write("begin\n")
    process.stdin.flush()


def expect(process: PipedCommand, word: str) -> None:
    """Assert that the process prints `word` next; its errors are on standard error."""
    assert process.stdout.readline().strip() == word


def send(word: str) -> None:
    """Print a word that the test expects."""
    print(word, flush=True)


def main() -> None:
    """Run one task."""
    task, url, arguments = sys.argv[1], make_url(sys.argv[2]), sys.argv[3:]
    send("ready")
    sys.stdin.readline()
    if task == "week":
        with installation_on(url, dask_scheduler=arguments[1]) as installation:
            run_week(installation, date.fromisoformat(arguments[0]), "other")
    elif task == "days":
        first, last = map(date.fromisoformat, arguments[:2])
        scheduler = next(iter(arguments[2:]), None)
        with installation_on(url, batch_rows=500, dask_scheduler=scheduler) as installation:
            run_days(installation, first, last, "other")
    elif task == "migrate":
        migrate(create_engine(url), arguments[0])
    elif task == "make months":
        first, last = map(date.fromisoformat, arguments)
        ensure_partitions(create_engine(url), StoreTables.of("public"), first, last)
    elif task == "hold":
        first, last = map(date.fromisoformat, arguments)
        with exclusive_days(create_engine(url), "public", first, last, "run of the other process", 10):
            send("held")
            sys.stdin.readline()
    elif task == "publish":
        locks.LEASE_SECONDS = float(next(iter(arguments[2:]), locks.LEASE_SECONDS))
        with exclusive_days(
            create_engine(url), "public", *map(date.fromisoformat, arguments[:2]), "frozen run", 10
        ) as lock:
            send("held")
            sys.stdin.readline()
            try:
                with bulk.transaction(adbc_uri(url)) as connection:
                    lock.lease.check(connection)
                send("published")
            except LeaseLostError:
                send("lost")
    elif task == "stay in publication":
        locks.LEASE_SECONDS = float(arguments[2])
        first, last = map(date.fromisoformat, arguments[:2])
        with exclusive_days(create_engine(url), "public", first, last, "frozen run", 10) as lock:
            try:
                with bulk.transaction(adbc_uri(url)) as connection:
                    lock.lease.check(connection)
                    send("publishing")
                    sys.stdin.readline()
                send("published")
            except adbc.Error as error:
                send("ended" if is_transient(error) else repr(error))
    send("done")
