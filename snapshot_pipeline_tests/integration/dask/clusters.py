"""A Dask scheduler and its workers in processes of their own, started as docs/scaling.md says.

Put here: starting, stopping and killing them, and looking at them from outside. Do not put here: what is expected.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.integration.database_faults.faults import wait_for

PATIENCE = 120
"""Seconds: a process of Dask starts in two, and in a minute on a machine that has much else to do."""


class Cluster:
    """One scheduler and its workers, each with a log of its own."""

    def __init__(self, directory: Path, **scheduler_settings: str) -> None:
        self._directory = directory
        self._scheduler_settings = {f"DASK_{name}": value for name, value in scheduler_settings.items()}
        self.port, self.dashboard_port = _free_port(), _free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_scheduler(self) -> None:
        """Start the scheduler, on the same port each time."""
        command = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--dashboard-address", f"127.0.0.1:{self.dashboard_port}"]
        self._start("scheduler", command, self._scheduler_settings)
        wait_for(lambda: "Scheduler at" in self.log("scheduler"), "the scheduler runs", PATIENCE)

    def start_worker(self, name: str, code: Path = PROJECT) -> None:
        """Start a worker with one thread.

        Args:
            name: Its name.
            code: Where it finds our package.
        """
        command = ["worker", self.address, "--host", "127.0.0.1", "--no-dashboard"]
        command += ["--name", name, "--nthreads", "1", "--no-nanny", "--memory-limit", "0"]
        self._start(name, command, {"PYTHONPATH": str(code)})

    def start_workers(self, *names: str) -> None:
        """Start some, side by side."""
        for name in names:
            self.start_worker(name)

    def have_workers(self, *names: str) -> None:
        """Let exactly these be there: start those that are not, kill those that should not be."""
        for name, process in self.processes.items():
            if name not in (*names, "scheduler") and process.poll() is None:
                self.kill(name)
        there = {name for name, process in self.processes.items() if process.poll() is None}
        self.start_workers(*(name for name in names if name not in there))
        self.await_workers(*names)

    def await_workers(self, *names: str) -> None:
        """Wait until the scheduler knows exactly these."""
        with self.client() as client:
            wait_for(lambda: set(_workers(client)) == set(names), f"the workers are {names}", PATIENCE)

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal; one that kills is waited for."""
        process = self.processes[name]
        assert process.poll() is None, f"{name} has ended before: {self.log(name)[-2000:]}"
        process.send_signal(signal_number)
        if signal_number == signal.SIGKILL:
            process.wait(20)

    def processing(self) -> dict[str, list[str]]:
        """The names of the tasks that each worker has in hand."""
        with self.client() as client:
            return {
                name: [str(key) for key in client.processing([address]).get(address, ())]
                for name, address in _workers(client).items()
            }

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Somebody else's client of the same scheduler."""
        with Client(self.address, set_as_default=False, timeout=20) as client:
            yield client

    def log(self, name: str) -> str:
        """What a process has said."""
        return self._log_of(name).read_text(errors="replace")

    def logs(self) -> str:
        """What all of them have said."""
        return "".join(self.log(name) for name in self.processes)

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(20)

    def _start(self, name: str, arguments: list[str], settings: Mapping[str, str]) -> None:
        # None of ours: a worker must need no settings.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SNAPSHOT_", "DASK_"))}
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        with self._log_of(name).open("wb") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                cwd=directory,
                env={"PYTHONPATH": str(PROJECT), **kept, **settings, "DASK_TEMPORARY_DIRECTORY": str(directory)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _log_of(self, name: str) -> Path:
        return self._directory / f"{name}.log"


@contextmanager
def cluster(directory: Path, *workers: str, **scheduler_settings: str) -> Iterator[Cluster]:
    """A cluster with these workers; nothing of it is left at the end."""
    found = Cluster(directory, **scheduler_settings)
    try:
        found.start_scheduler()
        found.have_workers(*workers)
        yield found
    finally:
        found.stop()


def _workers(client: Client) -> dict[str, str]:
    return {worker["name"]: address for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
