"""A second process for the tests of what happens side by side: `python -m … TASK URL [ARGUMENTS]`.

It says `ready` when everything is imported, begins when it reads a line, and says `done` at the end; `hold` says
`held` while it holds the lock. Put here: tasks that must run in a process of their own. Do not put here: assertions.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from sqlalchemy import URL, create_engine, make_url

from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.months import drop_partitions_before, ensure_partitions
from snapshot_pipeline.store.tables import StoreTables


@contextmanager
def other_process(task: str, url: URL, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start the process and wait until it is ready; killed at the end if it still runs."""
    command = [sys.executable, "-m", __name__, task, url.render_as_string(hide_password=False)]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        expect(process, "ready")
        yield process
    finally:
        process.kill()
        process.communicate()


def begin(process: subprocess.Popen[str]) -> None:
    """Let it begin."""
    assert process.stdin is not None
    process.stdin.write("begin\n")
    process.stdin.flush()


def expect(process: subprocess.Popen[str], word: str) -> None:
    """Wait until it says `word`; its error is on standard error when it says something else."""
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def say(word: str) -> None:
    """Tell the test."""
    print(word, flush=True)  # the pipe is the only way to tell


def main(task: str, url: URL, *arguments: str) -> None:
    """Do one task."""
    if task == "days":
        # Here, because importing it is most of what the other tasks would take.
        from snapshot_pipeline.pipeline.snapshots import run_days
        from snapshot_pipeline_tests.pipeline.installations import installation_on
    say("ready")
    sys.stdin.readline()
    if task == "days":
        first, last = map(date.fromisoformat, arguments[:2])
        scheduler = next(iter(arguments[2:]), None)
        with installation_on(url, batch_rows=500, dask_scheduler=scheduler) as installation:
            run_days(installation, first, last, "other")
    elif task == "migrate":
        migrate(create_engine(url), arguments[0])
    elif task == "make months":
        first, last = map(date.fromisoformat, arguments)
        ensure_partitions(create_engine(url), StoreTables.of("public"), first, last)
    elif task == "drop months":
        drop_partitions_before(create_engine(url), StoreTables.of("public"), date.fromisoformat(arguments[0]))
    elif task == "hold":
        first, last = map(date.fromisoformat, arguments)
        with exclusive_days(create_engine(url), "public", first, last, "run of the other process", 10):
            say("held")
            sys.stdin.readline()
    say("done")


if __name__ == "__main__":
    main(sys.argv[1], make_url(sys.argv[2]), *sys.argv[3:])
