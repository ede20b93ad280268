"""`snapshot-pipeline dev`: one daemon at a time, a port of its own, and children that end with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from snapshot_pipeline.cli import dev
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.orchestration.instance.heartbeats import Heartbeat, find_living_daemon
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.waiting import wait_for, wait_until_ended


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104
def test_a_taken_port_is_one_line_before_anything_starts(
    taken_port: int, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SNAPSHOT_DATABASE_URL", raising=False)
    ended = CliRunner().invoke(dev.dev, ["--port", str(taken_port), "--host", host])
    assert isinstance(ended.exception, SnapshotPipelineError)
    message = str(ended.exception)
    assert message.startswith(f"port {taken_port} of {host} is taken by another process;")
    assert "\n" not in message
    assert not (tmp_path / "home").exists()


def test_an_address_of_another_machine_is_one_line() -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        ended = CliRunner().invoke(dev.dev, ["--host", host])
        assert str(ended.exception).startswith(f"the UI cannot listen on {host}, port 3000: ")


# One daemon at a time


def beat(daemon: str, age: float) -> Heartbeat:
    return Heartbeat(daemon, datetime.now(timezone.utc) - timedelta(seconds=age))


def search(readings: list[list[Heartbeat]], ended: tuple[str, ...] = ()) -> tuple[Heartbeat | None, int]:
    """Return what is found if the heartbeats are read as given, the last for ever, and how often a wait is reported."""
    waits: list[Heartbeat] = []

    def read() -> list[Heartbeat]:
        return readings.pop(0) if len(readings) > 1 else readings[0]

    return find_living_daemon(read, ended, waits.append, seconds=1.2), len(waits)


def test_a_heartbeat_that_moves_is_a_living_daemon() -> None:
    old, new = beat("a", 20), beat("a", 0)
    assert search([[old], [old], [new]]) == (new, 1)


def test_a_heartbeat_that_is_merely_recent_is_no_living_daemon() -> None:
    assert search([[beat("a", 1), beat("b", 500)]]) == (None, 1)


@pytest.mark.parametrize(("heartbeats", "ended"), [([], ()), ([beat("a", 600)], ()), ([beat("a", 1)], ("a",))])
def test_no_wait_for_a_daemon_that_is_known_to_have_ended(heartbeats: list[Heartbeat], ended: tuple[str, ...]) -> None:
    assert search([heartbeats], ended) == (None, 0)


def test_a_second_dev_is_refused_and_names_the_process_of_the_first(tmp_path: Path) -> None:
    refused = pytest.raises(SnapshotPipelineError, match=rf"already running .*\(process {os.getpid()}\)")
    with dev._daemon_lock(tmp_path), refused, dev._daemon_lock(tmp_path):
        pass
    with dev._daemon_lock(tmp_path):
        pass


def test_dev_waits_for_the_ending_daemon_of_one_that_was_killed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = dev._daemon_lock(tmp_path)
    file = holder.__enter__()
    dev._write_record(file, {"process": ended.pid, "daemons": ["a"]})
    threading.Timer(0.5, holder.__exit__, (None, None, None)).start()
    with dev._daemon_lock(tmp_path) as lock:
        assert dev._read_record(lock) == {"process": os.getpid(), "daemons": ["a"]}


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_record_that_was_cut_short_by_a_kill_is_ignored(content: str, tmp_path: Path) -> None:
    (tmp_path / "daemon").write_text(content)
    with dev._daemon_lock(tmp_path) as lock:
        assert dev._read_record(lock) == {"process": os.getpid()}


# Children

PARENT = """
import sys, time
from snapshot_pipeline.cli.dev import _children
with _children() as children:
    for module in sys.argv[1:]:
        children.start(module, (module,))
    time.sleep(600)
"""
CHILD = """
import os, signal, time
from pathlib import Path
{first}
Path("{name}.pid").write_text(str(os.getpid()))
time.sleep(600)
"""


SERVING = """
import time
from pathlib import Path
starts = Path({path!r})
with starts.open("a") as file:
    file.write("x")
if starts.read_text() != "x":
    time.sleep(600)
"""


def test_children_end_when_their_parent_is_killed_even_stubborn_ones(tmp_path: Path) -> None:
    stubborn = "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    for name, first in (("obedient", ""), ("stubborn", stubborn)):
        (tmp_path / f"{name}.py").write_text(CHILD.format(name=name, first=first))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, "obedient", "stubborn"], cwd=tmp_path, env=environment)

    def child(name: str) -> psutil.Process | None:
        file = tmp_path / f"{name}.pid"
        return psutil.Process(int(file.read_text())) if file.exists() and file.read_text() else None

    children = [wait_for(lambda name=name: child(name), f"{name} has started", 60) for name in ("obedient", "stubborn")]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until_ended(children, 30)


def test_everything_stops_when_a_child_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing.py").write_text("import sys; sys.exit(7)")
    (tmp_path / "waiting.py").write_text(CHILD.format(name=tmp_path / "waiting", first=""))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    recorded: list[bool] = []

    def record() -> bool:
        recorded.append(True)
        return True

    with dev._children() as children:
        children.start("waiting", ("waiting",))
        children.start("failing", ("failing",))
        with pytest.raises(SnapshotPipelineError, match="failing ended with status 7, so everything is stopped"):
            children.supervise(record)
    assert children.running[0].process.poll() is not None
    assert len(recorded) <= 1


def test_a_code_server_that_ends_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = tmp_path / "starts"
    (tmp_path / "serving.py").write_text(SERVING.format(path=str(starts)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(dev, "_SERVED_SECONDS", 0.0)

    class EnoughError(Exception):
        pass

    def record() -> bool:
        if starts.exists() and starts.read_text() == "xx":
            raise EnoughError
        return False

    with dev._children() as children:
        children.start("the code server", ("serving",), is_restarted=True)
        with pytest.raises(EnoughError):
            children.supervise(record)


def test_the_record_of_the_daemon_is_what_was_not_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeats: list[Heartbeat] = [beat("old", 300)]
    read: Callable[[object], list[Heartbeat]] = lambda _url: list(heartbeats)  # noqa: E731
    monkeypatch.setattr("snapshot_pipeline.orchestration.instance.heartbeats.read_heartbeats", read)
    url: object = None
    with dev._daemon_lock(tmp_path) as lock:
        dev._refuse_second_daemon(url, lock)  # type: ignore[arg-type]
        assert not dev._record_daemon(url, lock)  # type: ignore[arg-type]
        heartbeats.append(beat("ours", 0))
        assert dev._record_daemon(url, lock)  # type: ignore[arg-type]
    assert json.loads((tmp_path / "daemon").read_text())["daemons"] == ["ours"]


@pytest.mark.parametrize(
    ("configured", "host", "expected"),
    [
        ("", "127.0.0.1", "http://127.0.0.1:3001"),
        ("", "0.0.0.0", "http://127.0.0.1:3001"),  # noqa: S104
        ("https://dagster.example.org", "127.0.0.1", "https://dagster.example.org"),
    ],
)
def test_links_in_messages_lead_to_the_port_of_dev(
    monkeypatch: pytest.MonkeyPatch, configured: str, host: str, expected: str
) -> None:
    monkeypatch.setenv("SNAPSHOT_UI_URL", configured)
    dev._set_ui_url(load_settings(), host, 3001)
    assert load_settings().ui_url == expected
