"""The command `snapshot-pipeline` and other programs in processes of their own, forked from one with all imports.

Tests that are about the start of the interpreter, such as imports, PYTHON* variables, the list of processes and an
installed program, start Python instead.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from snapshot_pipeline_tests.forking import PROJECT, Forked


class Command(Forked):
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
        command = ["snapshot-pipeline", *arguments]
        super().__init__(partial(_run_main, module), command, environment, streams, directory, in_terminal=in_terminal)


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


def _run_main(module: str) -> None:
    importlib.import_module(module).main()
