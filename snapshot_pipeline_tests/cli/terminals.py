"""A pseudo-terminal of 80 columns: what a command draws there, and key presses."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from snapshot_pipeline_tests.commands import Command

_ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


class Terminal:
    """A command in the foreground of its own terminal; `snapshot-pipeline` is forked, see `Command`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        inherited = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES", "CI")}
        variables = {**inherited, "TERM": environment.get("TERM", "xterm-256color")}
        self._process: Command | subprocess.Popen[bytes]
        program, *arguments = command
        if program == "snapshot-pipeline":
            self._process = Command(arguments, variables, (slave, slave, slave), in_terminal=True)
        else:
            self._process = subprocess.Popen(
                command,
                env=variables,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
            )
        os.close(slave)
        self.output = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)
        os.close(self._master)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def wait_for(self, pattern: str, seconds: float) -> None:
        """Wait until the text matches a pattern."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"no {pattern} within {seconds} s: {self.text[-2000:]}"
            assert self._read(), f"ended without {pattern}: {self.text[-2000:]}"

    def wait(self) -> int:
        """Wait until the command has ended; return its exit status."""
        while self._read():
            pass
        return self._process.wait(30)

    @property
    def text(self) -> str:
        """The output without escape sequences."""
        return _ESCAPES.sub("", self.output)

    def screen(self) -> str:
        """Return what is visible at the end, without erased lines."""
        lines = [""]
        for part in re.split(r"(\r\n|\n|\r|\x1b\[2K|\x1b\[1A)", self.output):
            if part in ("\r\n", "\n"):
                lines.append("")
            elif part == "\x1b[2K":
                lines[-1] = ""
            elif part == "\x1b[1A":
                if len(lines) > 1 and not lines[-1]:
                    lines.pop()
            elif part != "\r":
                lines[-1] += _ESCAPES.sub("", part)
        return "\n".join(lines)

    def _read(self) -> bool:
        """Read available output; return False at its end."""
        ready, _, _ = select.select([self._master], [], [], 0.2)
        if not ready:
            return self._process.poll() is None
        try:
            data = os.read(self._master, 65536)
        except OSError:  # closed by the command
            return False
        self.output += data.decode(errors="replace")
        return bool(data)
