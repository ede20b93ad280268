"""`snapshot-pipeline dev`: start and supervise Dagster's code servers, web server and daemon on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from snapshot_pipeline.cli.terminal import print_sources
from snapshot_pipeline.cli.webserver import check_port, host_option, port_option
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import Settings, load_settings

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:  # imported late, so that a help text is fast
    from sqlalchemy import URL

    from snapshot_pipeline.orchestration.instance.heartbeats import Heartbeat

_POLL_SECONDS = 0.5
_CODE_SERVER_SECONDS = 180.0
_SERVED_SECONDS = 10.0  # one that ends earlier would end again and again
_STOP_SECONDS = 30.0
_LOCK_SECONDS = 8.0  # longer than `supervised.GRACE_SECONDS`


@click.command(epilog="Example: snapshot-pipeline dev --port 3001")
@port_option
@host_option
def dev(port: int, host: str) -> None:
    """Start the Dagster UI, and the daemon that runs the schedules, on this machine.

    Ends with status 1, before it starts anything, if the port is taken or a daemon is already running for the same
    Dagster database. The processes that it starts end with it, however it ends. The UI is that of `snapshot-pipeline
    webserver`; it has no authentication: keep it on the loopback address, or behind a proxy that does.
    """
    from snapshot_pipeline.cli.dagster_runs import set_dagster_home
    from snapshot_pipeline.orchestration.instance.dagster_internals import code_servers
    from snapshot_pipeline.orchestration.instance.database import check_dagster_database
    from snapshot_pipeline.postgres.engines import dagster_url

    if sys.platform == "win32":
        raise SnapshotPipelineError(
            "on Windows run `snapshot-pipeline webserver` and `dagster-daemon run` instead: child processes cannot be "
            "ended with their parent there"
        )
    check_port(host, port)
    settings = load_settings()
    workspace = set_dagster_home() / "workspace.yaml"
    url = dagster_url(settings)
    check_dagster_database(settings)
    with _daemon_lock(settings.home) as lock, _stopped_by_signals(), ExitStack() as stack:
        _refuse_second_daemon(url, lock)
        print_sources(settings)
        _set_ui_url(settings, host, port)
        click.echo(f"The Dagster UI will be at http://{host}:{port} in a few seconds; press Ctrl-C to stop it.")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="snapshot_pipeline-")))
        children = stack.enter_context(_children())
        shared = directory / "workspace.yaml"
        servers = code_servers(workspace, directory, shared)
        for server in servers:
            children.start(f"the code server of {server.name}", server.arguments, is_restarted=True)
        for server in servers:
            children.wait_for_socket(server.socket)
        web = ("--host", host, "--port", str(port), "--workspace", str(shared))
        children.start("the web server", ("snapshot_pipeline.cli", "webserver", *web))
        children.start(
            "the daemon",
            ("dagster._daemon", "run", "--log-level", "warning", "--workspace", str(shared)),
            keeps=lock.fileno(),
        )
        children.supervise(lambda: _record_daemon(url, lock))


def _set_ui_url(settings: Settings, host: str, port: int) -> None:
    """Let the links in messages lead to this UI, unless SNAPSHOT_UI_URL says otherwise."""
    if settings.ui_url == Settings.model_fields["ui_url"].default:
        address = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # every address
        os.environ["SNAPSHOT_UI_URL"] = f"http://{f'[{address}]' if ':' in address else address}:{port}"


# One daemon at a time


@contextmanager
def _daemon_lock(home: Path) -> Iterator[IO[str]]:
    """Hold the file SNAPSHOT_HOME/daemon, which the daemon inherits: it stays locked until both have ended.

    Raises:
        SnapshotPipelineError: Another `dev`, or its daemon, holds it.
    """
    from snapshot_pipeline.home import create_home

    create_home(home)
    path = home / "daemon"
    path.touch(mode=0o600)
    with path.open("r+", encoding="utf-8") as file:
        deadline = time.monotonic() + _LOCK_SECONDS
        while sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                process_id = _read_record(file).get("process")
                # The daemon of a killed `dev` needs some seconds to end.
                if _exists(process_id) or time.monotonic() > deadline:
                    raise SnapshotPipelineError(
                        f"`snapshot-pipeline dev` is already running on this machine (process {process_id}); stop it, "
                        "or use its UI"
                    ) from None
            time.sleep(0.1)
        record = {**_read_record(file), "process": os.getpid()}
        _write_record(file, record)
        yield file


def _refuse_second_daemon(url: URL, lock: IO[str]) -> None:
    from snapshot_pipeline.orchestration.instance.heartbeats import find_living_daemon, read_heartbeats

    def report_wait(heartbeat: Heartbeat) -> None:
        seconds = round(heartbeat.age.total_seconds())
        click.echo(f"A daemon reported {seconds} s ago; waiting up to 45 s to see whether it is still running.")

    # Our lock was free, so the daemons that held it have ended.
    ended = _read_record(lock).get("daemons", [])
    living = find_living_daemon(lambda: read_heartbeats(url), ended, report_wait)
    if living is not None:
        raise SnapshotPipelineError(
            f"a Dagster daemon ({living.daemon_id}) is already running for this Dagster database, here or on another "
            "machine; stop it, or run `snapshot-pipeline webserver` for the UI alone"
        )
    record = _read_record(lock)
    _write_record(lock, {**record, "known": sorted({beat.daemon_id for beat in read_heartbeats(url)})})


def _record_daemon(url: URL, lock: IO[str]) -> bool:
    """Record the id of our daemon once it has sent a heartbeat; return whether it has."""
    from sqlalchemy.exc import SQLAlchemyError

    from snapshot_pipeline.orchestration.instance.heartbeats import read_heartbeats

    record = _read_record(lock)
    with suppress(SnapshotPipelineError, SQLAlchemyError):  # the database may be away; the next call tries again
        ours = sorted({beat.daemon_id for beat in read_heartbeats(url)} - set(record["known"]))
        if ours:
            _write_record(lock, {**record, "daemons": ours})
        return bool(ours)
    return False


def _read_record(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        record = json.loads(file.read())
    except ValueError:  # empty, or cut short by a kill
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(file: IO[str], record: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(record))
    file.flush()


def _exists(process_id: object) -> bool:
    import psutil

    try:
        return isinstance(process_id, int) and psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# Children


@dataclass
class _Child:
    name: str
    arguments: Sequence[str]
    is_restarted: bool
    process: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)


@dataclass
class _Children:
    """The child processes; `pipe` is the reading end of a pipe that closes when this process ends."""

    pipe: int
    running: list[_Child] = field(default_factory=list)

    def start(
        self, name: str, arguments: Sequence[str], *, is_restarted: bool = False, keeps: int | None = None
    ) -> None:
        """Start `python -m` with the arguments as a child.

        Args:
            is_restarted: Whether it is started again if it ends; otherwise everything ends with it.
            keeps: A file descriptor that the child inherits.
        """
        self.running.append(_Child(name, arguments, is_restarted, self._spawn(arguments, keeps)))

    def _spawn(self, arguments: Sequence[str], keeps: int | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "snapshot_pipeline.cli.supervised", str(self.pipe), *arguments]
        descriptors = (self.pipe,) if keeps is None else (self.pipe, keeps)
        # In a session of their own: Ctrl-C reaches only this process, which stops them in order.
        return subprocess.Popen(command, pass_fds=descriptors, start_new_session=True)  # noqa: S603

    def wait_for_socket(self, path: Path) -> None:
        """Wait until a server accepts connections at a socket.

        Raises:
            SnapshotPipelineError: It does not in time.
        """
        deadline = time.monotonic() + _CODE_SERVER_SECONDS
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
                client.connect(str(path))
                return
            for child in self.running:
                self._check(child)
            time.sleep(0.1)
        raise SnapshotPipelineError(
            f"no code server answered within {_CODE_SERVER_SECONDS:.0f} s; see its output above"
        )

    def supervise(self, record: Callable[[], bool]) -> None:
        """Watch the children until this process is interrupted or one that is not restarted ends.

        Args:
            record: Called again and again until it returns True.
        """
        is_recorded = False
        while True:
            for child in self.running:
                has_served = time.monotonic() - child.started_at > _SERVED_SECONDS
                if child.is_restarted and has_served and (status := child.process.poll()) is not None:
                    click.echo(f"{child.name} ended with status {status}; starting it again", err=True)
                    child.process, child.started_at = self._spawn(child.arguments), time.monotonic()
                else:
                    self._check(child)
            is_recorded = is_recorded or record()
            time.sleep(_POLL_SECONDS)

    def _check(self, child: _Child) -> None:
        if child.process.poll() is not None:
            raise SnapshotPipelineError(
                f"{child.name} ended with status {child.process.returncode}, so everything is stopped; its output is "
                "above"
            )

    def stop(self) -> None:
        """Interrupt the children, the newest first: the code servers serve the others until they have ended."""
        for child in reversed(self.running):
            if child.is_restarted:
                continue
            child.process.send_signal(signal.SIGINT)
        for child in reversed(self.running):
            if child.is_restarted:
                child.process.send_signal(signal.SIGINT)
            try:
                child.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


@contextmanager
def _children() -> Iterator[_Children]:
    """Yield an empty list of children; stop them at the end, and let them end with this process if it is killed."""
    reader, writer = os.pipe()
    children = _Children(reader)
    try:
        yield children
    finally:
        children.stop()
        os.close(writer)
        os.close(reader)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Stop by SIGTERM as by Ctrl-C, and end normally: both are the usual way to stop."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        yield
