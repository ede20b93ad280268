"""The command `snapshot-pipeline` and other programs in processes of their own, forked from one with all imports.

Importing Dagster and pandas takes longer than most commands. Tests that are about the start of the interpreter, such as
imports, PYTHON* variables, the list of processes and an installed program, start Python instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from multiprocessing import reduction
from pathlib import Path

PROJECT = Path(__file__).parents[1]

FORK_SERVER = multiprocessing.get_context("forkserver")
"""A process without threads whose children start with these modules imported."""

FORK_SERVER.set_forkserver_preload(
    [
        "snapshot_pipeline.cli.platform_data",
        "snapshot_pipeline.cli.runs",
        "snapshot_pipeline.cli.status",
        "snapshot_pipeline.definitions",
        "snapshot_pipeline.orchestration.instance.launcher",
        "snapshot_pipeline.orchestration.instance.storage",
        "snapshot_pipeline.store.migrate",
    ]
)


class Command:
    """A running `snapshot-pipeline`, or another program.

    Args:
        arguments: The subcommand and its options.
        streams: File descriptors for its standard input, output and error.
        in_terminal: Whether standard input is a terminal, to whose foreground the process then belongs.
        module: The module whose function `main` is the program.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: tuple[int, int, int],
        directory: Path = PROJECT,
        *,
        in_terminal: bool = False,
        module: str = "snapshot_pipeline.cli",
    ) -> None:
        inherited = _Streams(streams)
        self._process = FORK_SERVER.Process(
            target=_main, args=(module, list(arguments), dict(environment), inherited, str(directory), in_terminal)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the command is running."""
        return self._process.exitcode

    def wait(self, seconds: float = 60) -> int:
        """Wait until the command has ended; return the exit status."""
        self._process.join(seconds)
        status = self.poll()
        assert status is not None, f"the command runs for more than {seconds} s"
        return status

    def kill(self) -> None:
        """Send SIGKILL, unless the command has ended."""
        self._process.kill()


class PipedCommand(Command):
    """A program with pipes for its standard input and output; its errors are ours."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], *, module: str) -> None:
        (read_by_it, written), (read, written_by_it) = os.pipe(), os.pipe()
        super().__init__(arguments, environment, (read_by_it, written_by_it, 2), module=module)
        os.close(read_by_it)
        os.close(written_by_it)
        self.stdin, self.stdout = open(written, "w"), open(read)  # noqa: PTH123, SIM115  # descriptors, not paths

    def close(self) -> None:
        """Kill the program and close the pipes."""
        self.kill()
        self.wait(10)
        self.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()


def run_command(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path = PROJECT,
    seconds: float = 120,
    *,
    given: str = "",
    module: str = "snapshot_pipeline.cli",
) -> subprocess.CompletedProcess[str]:
    """Run a command with a text as its standard input to its end, and return its status and output."""
    with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        text.write(given.encode())
        text.seek(0)
        streams = (text.fileno(), output.fileno(), errors.fileno())
        command = Command(arguments, environment, streams, directory, module=module)
        try:
            status = command.wait(seconds)
        finally:
            command.kill()
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(list(arguments), status, *texts)


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
    module: str, arguments: list[str], environment: dict[str, str], streams: _Streams, directory: str, in_terminal: bool
) -> None:
    main = importlib.import_module(module).main
    os.setsid()
    streams.install()
    if in_terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(directory)
    sys.argv = ["snapshot-pipeline", *arguments]
    main()
