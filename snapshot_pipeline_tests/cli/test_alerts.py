"""`alerts test` shows which channels accepted the test message; `status` lists incidents and undelivered messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from snapshot_pipeline.alerts.ui_address import find_ui_problem
from snapshot_pipeline.cli import command
from snapshot_pipeline.cli.alerts import NoChannelError
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.alerts.scans import channels_of, missing, scan, send
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, mail_receiver, web_receiver
from snapshot_pipeline_tests.store.conftest import Store

SECRET = "hunter2-very-secret"  # noqa: S105  # searched for in all output


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as started:
        yield started


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_the_outcome_is_shown_for_each_channel(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    with mail_receiver() as mails:
        mail = f"mailto://{mails.address}?from=pipeline@example.org&to=oncall@example.org&mode=insecure"
        monkeypatch.setenv("SNAPSHOT_ALERT_URLS", f"json://{receiver.address}/{SECRET} {mail}")
        result = run("alerts", "test")
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines() == [
            f"json://{receiver.address}: sent",
            f"mailto://{mails.address}: sent",
        ]
        assert receiver.titles == ["snapshot_pipeline: test message"]
        assert len(mails.mails) == 1
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere", "SNAPSHOT_UI_URL=nowhere is not an address"),
        ("closed", "cannot be reached from this machine"),
        ("receiver", "is not the Dagster UI"),
    ],
)
def test_a_wrong_address_of_the_ui_is_said_and_fails_nothing(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch, address: str, said: str
):
    addresses = {"closed": f"http://{closed_address()}", "receiver": f"http://{receiver.address}"}
    monkeypatch.setenv("SNAPSHOT_UI_URL", addresses.get(address, address))
    monkeypatch.setenv("SNAPSHOT_ALERT_URLS", f"json://{receiver.address}/")
    result = run("alerts", "test")
    assert result.exit_code == 0
    assert said in result.stderr


def test_a_dagster_ui_and_a_proxy_that_asks_for_a_login_are_right(monkeypatch: pytest.MonkeyPatch):
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.endswith("/server_info")
            self.send_response(401 if self.path.startswith("/proxy") else 200)
            self.end_headers()
            self.wfile.write(b'{"dagster_webserver_version": "1.13.27"}')

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for path in ("", "/proxy/"):
            assert find_ui_problem(f"http://127.0.0.1:{server.server_port}{path}") is None
        server.shutdown()


def test_a_channel_that_is_down_fails_the_test_but_not_the_others(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(
        "SNAPSHOT_ALERT_URLS", f"json://{closed_address()}/{SECRET} json://{receiver.address}/ x://{SECRET}"
    )
    result = run("alerts", "test")
    assert result.exit_code == 1
    down, sent = (line for line in result.output.splitlines() if line.startswith("json"))
    assert "failed: " in down
    assert sent.endswith("sent")
    assert "x://…, number 3 of 3" in result.output
    assert SECRET not in result.output


def test_without_channels_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNAPSHOT_ALERT_URLS", "")
    with pytest.raises(NoChannelError, match=r"^SNAPSHOT_ALERT_URLS is not set, so no messages [^\n]*$"):
        run("alerts", "test")


@pytest.fixture
def store(database_url: URL, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", database_url.render_as_string(hide_password=False))
    engine = create_engine(database_url, poolclass=NullPool)
    migrate(engine, "public")
    return Store(engine, "", StoreTables.of("public"))


def test_status_lists_incidents_and_says_that_nobody_is_notified(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNAPSHOT_ALERT_URLS", "")
    assert "No open incidents." in run("status", "--days", "1").output
    opened = datetime(2026, 3, 10, 1, 0, tzinfo=timezone.utc)
    incident_id = scan(store, [], opened, missing("2026-03-08")).opened[0].id
    output = run("status", "--days", "1").output
    (line,) = [line for line in output.splitlines() if "2026-03-10 01:00" in line]
    assert f"Incident {incident_id}, " in line
    assert "performance_snapshots 2026-03-08" in line
    assert "No messages about incidents are sent: set SNAPSHOT_ALERT_URLS" in output
    # Two lines contain a URL, a path or the reason for which Dagster's database cannot be read.
    tables = [line for line in output.splitlines() if not line.startswith(("Database: ", "Daemon: "))]
    assert max(map(len, tables)) <= 100


def test_status_shows_undelivered_messages_and_the_last_error(store: Store, monkeypatch: pytest.MonkeyPatch):
    address = closed_address()
    monkeypatch.setenv("SNAPSHOT_ALERT_URLS", f"json://{address}/{SECRET}")
    channels = channels_of(f"json://{address}/{SECRET}")
    opened = datetime(2026, 3, 10, 1, 0, tzinfo=timezone.utc)
    scan(store, channels, opened, missing("2026-03-08"))
    send(store, channels, opened)
    output = run("status", "--days", "1").output
    assert f"json://{address}: 1 message waiting since 2026-03-10 01:00, after 1 attempt: " in output
    assert "Connection error" in output
    assert "No messages about incidents" not in output
    assert SECRET not in output
