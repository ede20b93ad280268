"""Python processes that are forked from one that has imported everything, instead of starting an interpreter.

To import Dagster, pandas and our package takes longer than most commands, and half the time of a short-lived service.
"""

from __future__ import annotations

import fcntl
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from multiprocessing import forkserver, reduction, resource_tracker, util
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]

FORK_SERVER = multiprocessing.get_context("forkserver")
"""A process without threads whose children start with the preloaded modules imported."""

_preloaded = [
    "snapshot_pipeline.cli.platform_data",
    "snapshot_pipeline.cli.runs",
    "snapshot_pipeline.cli.status",
    "snapshot_pipeline.definitions",
    "snapshot_pipeline.orchestration.instance.launcher",
    "snapshot_pipeline.orchestration.instance.storage",
    "snapshot_pipeline.store.migrate",
]


def preload(*modules: str) -> None:
    """Let the fork server import these modules, too; to be called before it starts, that is at import."""
    _preloaded.extend(modules)


FORK_SERVER.set_forkserver_preload(_preloaded)


class Forked:
    """A running process that is a child of the fork server.

    Args:
        run: What it runs; pickled.
        arguments: Its `sys.argv`.
        streams: File descriptors for its standard input, output and error.
        in_terminal: Whether standard input is a terminal, to whose foreground the process then belongs.
    """

    def __init__(
        self,
        run: Callable[[], None],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: tuple[int, int, int],
        directory: Path = PROJECT,
        *,
        in_terminal: bool = False,
    ) -> None:
        inherited = _Streams(streams)
        self._process = FORK_SERVER.Process(
            target=_main, args=(run, list(arguments), dict(environment), inherited, str(directory), in_terminal)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process is running."""
        return self._process.exitcode

    def wait(self, timeout: float = 60) -> int:
        """Wait until the process has ended; return the exit status.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self._process.kill()


class _Streams:
    """File descriptors that are passed to the child when this is pickled."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._descriptors = descriptors

    def __getstate__(self) -> list[object]:
        return [reduction.DupFd(descriptor) for descriptor in self._descriptors]

    def __setstate__(self, state: list[reduction._DupFd]) -> None:
        self._descriptors = [duplicate.detach() for duplicate in state]

    def install(self) -> None:
        """Make them the standard streams, as the interpreter does when it starts."""
        for number, descriptor in enumerate(self._descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        read = io.BufferedReader(io.FileIO(0, closefd=False))
        written = [io.BufferedWriter(io.FileIO(number, "w", closefd=False)) for number in (1, 2)]
        sys.stdin = io.TextIOWrapper(read, "utf-8")
        sys.stdout = io.TextIOWrapper(written[0], "utf-8", line_buffering=os.isatty(1))
        sys.stderr = io.TextIOWrapper(written[1], "utf-8", "backslashreplace", line_buffering=True)


def _main(
    run: Callable[[], None],
    arguments: list[str],
    environment: dict[str, str],
    streams: _Streams,
    directory: str,
    in_terminal: bool,
) -> None:
    os.setsid()
    streams.install()
    if in_terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it
    os.chdir(directory)
    _become(run, arguments, environment)


def _become(run: Callable[[], None], arguments: list[str], environment: Mapping[str, str]) -> None:
    """Run something with what a new interpreter would have: arguments, environment, reactions to signals."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if environment is not os.environ:
        os.environ.clear()
        os.environ.update(environment)
    time.tzset()
    sys.argv = arguments
    run()


# Services, which start processes themselves


def run_service(module: str) -> None:
    """Run a module as `python -m` does; the Python processes that it starts are forked from it."""
    subprocess.Popen = _ForkingPopen  # type: ignore[misc]
    util.spawnv_passfds = _fork_code
    if sys.argv[:3] == ["dagster", "api", "grpc"]:
        _fork_runs()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class _ForkingPopen(subprocess.Popen):  # type: ignore[type-arg]
    """A child that runs `python -m` is forked without `exec`."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        if command[:2] == [sys.executable, "-m"]:
            environment, descriptors = options.get("env") or os.environ, options.get("pass_fds", ())
            options["preexec_fn"] = partial(_run_child, command[2:], environment, descriptors)
        super().__init__(command, **options)


def _run_child(arguments: list[str], environment: Mapping[str, str], descriptors: Collection[int]) -> None:
    _keep_open({*descriptors, resource_tracker.getfd()})
    _exit_after(partial(_become, partial(run_service, arguments[0]), arguments, environment))


def _fork_runs() -> None:
    """Let a code server fork the processes of its runs, from a process that is forked now, before it has threads."""
    get_context = multiprocessing.get_context
    context = get_context("forkserver")
    forkserver._forkserver.__init__()  # type: ignore[misc]  # it would use the server of the tests
    context.set_forkserver_preload([])
    forkserver.ensure_running()

    def get_forking_context(method: str | None = None) -> BaseContext:
        return context if method == "spawn" else get_context(method)

    multiprocessing.get_context = get_forking_context  # type: ignore[assignment]


def _fork_code(path: str, arguments: list[str], descriptors: Collection[int]) -> int:
    """Replace `multiprocessing.util.spawnv_passfds`, whose last argument is the code to run."""
    process_id = os.fork()
    if process_id == 0:
        _keep_open(descriptors)
        _exit_after(partial(exec, arguments[-1], {}))
    return process_id


def _keep_open(descriptors: Collection[int]) -> None:
    """Close all but some descriptors and the standard streams, as `exec` does."""
    edges = [2, *sorted(descriptors), os.sysconf("SC_OPEN_MAX")]
    for low, high in pairwise(edges):
        os.closerange(low + 1, high)


def _exit_after(run: Callable[[], object]) -> None:
    """Run something; then end the process, with the status with which an interpreter would end."""
    os._exit(multiprocessing.Process(target=run)._bootstrap())  # type: ignore[attr-defined]
