"""A Dask scheduler and workers in their own processes, started as in docs/scaling.md, and their inspection."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import dask
from distributed import Client

from snapshot_pipeline_tests.forking import Forked, preload, run_service
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.integration.database_faults.faults import wait_for

TIMEOUT_SECONDS = 120
"""A Dask process starts in two seconds, and within a minute on a busy machine."""

StartProcess = Callable[[Sequence[str], Mapping[str, str], Path, int], "subprocess.Popen[bytes] | Forked"]
"""Starts `dask` with arguments, an environment, a directory and a file descriptor for its output."""

preload("bokeh.server.server", "distributed.cli.dask_worker", "distributed.dashboard.scheduler", __name__)


def start_dask(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path, output: int
) -> subprocess.Popen[bytes]:
    """Start it as users do."""
    command = [sys.executable, "-m", "dask", *arguments]
    return subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)


def fork_dask(arguments: Sequence[str], environment: Mapping[str, str], directory: Path, output: int) -> Forked:
    """Fork it."""
    return Forked(_run_dask, ["dask", *arguments], environment, (output,) * 3, directory)


def _run_dask() -> None:
    dask.config.refresh()  # the environment is another than when the module was imported
    run_service("dask")


class Cluster:
    """A scheduler and its workers, each with its own log."""

    def __init__(self, directory: Path, start_process: StartProcess, scheduler_settings: Mapping[str, str]) -> None:
        self._directory = directory
        self._start_process = start_process
        self._scheduler_settings = {f"DASK_{name}": value for name, value in scheduler_settings.items()}
        self.port, self.dashboard_port = _free_port(), _free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes] | Forked] = {}

    def start_scheduler(self) -> None:
        """Start the scheduler, on the same port each time."""
        command = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--dashboard-address", f"127.0.0.1:{self.dashboard_port}"]
        self._start("scheduler", command, self._scheduler_settings)
        wait_for(lambda: "Scheduler at" in self.log("scheduler"), "the scheduler runs", TIMEOUT_SECONDS)

    def start_worker(self, name: str, code: Path = PROJECT) -> None:
        """Start a worker with one thread.

        Args:
            name: Name of the worker.
            code: Directory from which it imports our package.
        """
        command = ["worker", self.address, "--host", "127.0.0.1", "--no-dashboard"]
        command += ["--name", name, "--nthreads", "1", "--no-nanny", "--memory-limit", "0"]
        self._start(name, command, {"PYTHONPATH": str(code)})

    def start_workers(self, *names: str) -> None:
        """Start several workers without waiting for them."""
        for name in names:
            self.start_worker(name)

    def have_workers(self, *names: str) -> None:
        """Start and kill workers until exactly these run."""
        for name, process in self.processes.items():
            if name not in (*names, "scheduler") and process.poll() is None:
                self.kill(name)
        running = {name for name, process in self.processes.items() if process.poll() is None}
        self.start_workers(*(name for name in names if name not in running))
        self.await_workers(*names)

    def await_workers(self, *names: str) -> None:
        """Wait until exactly these workers have joined the scheduler."""
        with self.client() as client:
            wait_for(lambda: set(_workers(client)) == set(names), f"the workers are {names}", TIMEOUT_SECONDS)

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL wait until the process has ended."""
        process = self.processes[name]
        assert process.poll() is None, f"{name} has already ended: {self.log(name)[-2000:]}"
        process.send_signal(signal_number)
        if signal_number == signal.SIGKILL:
            process.wait(20)

    def processing(self) -> dict[str, list[str]]:
        """Return the names of the tasks in progress, by worker."""
        with self.client() as client:
            return {
                name: [str(key) for key in client.processing([address]).get(address, ())]
                for name, address in _workers(client).items()
            }

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Open a separate client of the scheduler."""
        with Client(self.address, set_as_default=False, timeout=20) as client:
            yield client

    def log(self, name: str) -> str:
        """Return the log of a process."""
        return self._log_of(name).read_text(errors="replace")

    def logs(self) -> str:
        """Return all logs."""
        return "".join(self.log(name) for name in self.processes)

    def stop(self) -> None:
        """Kill all remaining processes."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(20)

    def _start(self, name: str, arguments: list[str], settings: Mapping[str, str]) -> None:
        # Without our settings, because a worker must not need any.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("SNAPSHOT_", "DASK_"))}
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        environment |= {"PYTHONPATH": str(PROJECT), **settings, "DASK_TEMPORARY_DIRECTORY": str(directory)}
        with self._log_of(name).open("wb") as output:
            self.processes[name] = self._start_process(arguments, environment, directory, output.fileno())

    def _log_of(self, name: str) -> Path:
        return self._directory / f"{name}.log"


@contextmanager
def cluster(
    directory: Path, *workers: str, start_process: StartProcess = fork_dask, **scheduler_settings: str
) -> Iterator[Cluster]:
    """Start a cluster with these workers; stop it at the end."""
    started = Cluster(directory, start_process, scheduler_settings)
    try:
        started.start_scheduler()
        started.have_workers(*workers)
        yield started
    finally:
        started.stop()


def _workers(client: Client) -> dict[str, str]:
    return {worker["name"]: address for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
