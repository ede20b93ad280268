"""The guarded web server: pages of other sites can neither read nor change anything; the UI, links and probes work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.asset_daemon import get_auto_materialize_paused, set_auto_materialize_paused
from dagster_webserver.webserver import DagsterWebserver
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from snapshot_pipeline.orchestration.instance.webserver import GuardedWebserver
from snapshot_pipeline.settings import SettingsError, load_settings

PAUSE = "mutation { setAutoMaterializePaused(paused: true) }"
VERSION = "{ version }"
HOST = "127.0.0.1:3000"
OWN = {"Host": HOST}
PAGE = {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
FOREIGN = {"Origin": "https://evil.example"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def context() -> Iterator[WorkspaceProcessContext]:
    with (
        dg.DagsterInstance.local_temp() as instance,
        WorkspaceProcessContext(instance, workspace_load_target=None) as context,
    ):
        yield context


@pytest.fixture
def instance(context: WorkspaceProcessContext) -> dg.DagsterInstance:
    set_auto_materialize_paused(context.instance, False)
    return context.instance


def client_of(context: WorkspaceProcessContext, listens_on: str = "", prefix: str = "", **settings: Any) -> TestClient:
    server = GuardedWebserver(context, load_settings(_env_file=None, **settings), listens_on, prefix)
    return TestClient(server.create_asgi_app(), follow_redirects=False)


@pytest.fixture(scope="module")
def client(context: WorkspaceProcessContext) -> TestClient:
    return client_of(context)


@pytest.fixture(scope="module")
def stock(context: WorkspaceProcessContext) -> TestClient:
    """Dagster's own server, to show that each attack succeeds there."""
    return TestClient(DagsterWebserver(context).create_asgi_app())


def post(client: TestClient, headers: dict[str, str], query: str = PAUSE) -> Any:
    return client.post("/graphql", json={"query": query}, headers=headers)


def get(client: TestClient, headers: dict[str, str], query: str = PAUSE) -> Any:
    return client.get("/graphql", params={"query": query}, headers={"Accept": "*/*", **headers})


def post_text(client: TestClient, headers: dict[str, str], query: str = PAUSE) -> Any:
    content_type = {"Content-Type": "text/plain"}
    return client.post("/graphql", params={"query": query}, content="x", headers={**content_type, **headers})


@pytest.mark.parametrize("send", [post, get, post_text])
@pytest.mark.parametrize(
    "headers",
    [
        {**OWN, **FOREIGN},
        {**OWN, "Origin": "null"},
        {**OWN, "Origin": "http://127.0.0.1:8888"},
        {**OWN, "Origin": "http://localhost:3000"},
        {**OWN, "Sec-Fetch-Site": "cross-site"},
        {**OWN, "Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example:3000", "Origin": "http://evil.example:3000", "Sec-Fetch-Site": "same-origin"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example"},
        {"Host": ""},
    ],
    ids=str,
)
def test_a_page_of_another_site_cannot_send_a_mutation(
    send: Any, headers: dict[str, str], client: TestClient, stock: TestClient, instance: dg.DagsterInstance
) -> None:
    assert send(stock, headers).status_code == 200
    assert get_auto_materialize_paused(instance)  # the attack succeeds against Dagster's own server
    set_auto_materialize_paused(instance, False)
    answer = send(client, headers)
    assert (answer.status_code, answer.text.count("\n")) == (403, 1)
    assert answer.text.startswith("Refused: the request is f")
    assert not get_auto_materialize_paused(instance)
    assert send(client, headers, VERSION).status_code == 403  # nor read anything, where a browser would let it


@pytest.mark.parametrize("headers", [{}, PAGE, {"Sec-Fetch-Site": "none"}, LINK], ids=str)
def test_a_mutation_by_get_or_as_text_is_refused_from_anywhere(
    headers: dict[str, str], client: TestClient, stock: TestClient, instance: dg.DagsterInstance
) -> None:
    for send in (get, post_text):
        assert send(stock, {**OWN, **headers}).status_code == 200
        assert get_auto_materialize_paused(instance)
        set_auto_materialize_paused(instance, False)
        expected = 403 if headers == LINK and send is post_text else 405
        assert send(client, {**OWN, **headers}).status_code == expected
    hidden = "query A { version } mutation B { setAutoMaterializePaused(paused: true) }"
    answer = client.get("/graphql", params={"query": hidden, "operationName": "B"}, headers=OWN)
    assert answer.status_code == 405
    assert not get_auto_materialize_paused(instance)


@pytest.mark.parametrize("headers", [{}, PAGE, {"Sec-Fetch-Site": "none"}], ids=str)
def test_the_ui_and_clients_without_a_browser_are_served(
    headers: dict[str, str], client: TestClient, instance: dg.DagsterInstance
) -> None:
    own = {**OWN, **headers}
    assert post(client, own).json() == {"data": {"setAutoMaterializePaused": True}}
    assert get_auto_materialize_paused(instance)
    assert get(client, own, VERSION).status_code == 200
    page = client.get("/runs", headers=own)
    assert (page.status_code, page.headers["X-Frame-Options"]) == (200, "SAMEORIGIN")


def test_a_link_on_another_site_opens_a_page_and_no_frame_does(client: TestClient) -> None:
    assert client.get("/runs/1", headers={**OWN, **LINK}).status_code == 200
    assert client.get("/runs/1", headers={**OWN, **LINK, "Sec-Fetch-Dest": "iframe"}).status_code == 403
    assert client.get("/runs/1", headers={**OWN, **LINK, "Host": "evil.example"}).status_code == 403
    assert client.post("/graphql", json={"query": PAUSE}, headers={**OWN, **LINK}).status_code == 403


@pytest.mark.parametrize("prefix", ["", "/dagster"])
def test_a_probe_of_server_info_passes_with_any_host(prefix: str, context: WorkspaceProcessContext) -> None:
    client = client_of(context, prefix=prefix)
    for headers in ({"Host": "10.1.2.3:3000"}, {"Host": "10.1.2.3", **FOREIGN}):
        answer = client.get(f"{prefix}/server_info", headers=headers)
        assert answer.json()["dagster_version"] == dg.__version__
    assert client.post(f"{prefix}/server_info", headers=headers).status_code == 403
    assert client.get(f"{prefix}/dagit_info", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers", [{**OWN, **FOREIGN}, {**OWN, "Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}], ids=str
)
def test_a_websocket_of_another_site_is_refused(headers: dict[str, str], client: TestClient, stock: TestClient) -> None:
    with stock.websocket_connect("/graphql", headers=headers) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/graphql", headers=headers):
        pass
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/server_info", headers=headers):
        pass
    own = {**OWN, "Origin": f"http://{HOST}"}
    with client.websocket_connect("/graphql", headers=own) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}


PUBLIC = "dagster.example.org"
BY_PROXY = {"Host": PUBLIC, "Origin": f"https://{PUBLIC}"}


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {"Host": "localhost:3001", "Origin": "http://localhost:3001"}, 200),
        ({}, {"Host": "[::1]:3000", "Origin": "http://[::1]:3000"}, 200),
        ({}, BY_PROXY, 403),
        ({"ui_url": f"https://{PUBLIC}/"}, BY_PROXY, 200),
        ({"ui_url": f"https://{PUBLIC}:8443"}, {**OWN, "Origin": f"https://{PUBLIC}:8443"}, 200),  # Host is replaced
        ({"ui_url": f"https://{PUBLIC}:8443"}, {**OWN, "Origin": f"https://{PUBLIC}:9443"}, 403),
        ({"ui_hosts": PUBLIC}, BY_PROXY, 200),
        ({"ui_hosts": f"other.example, {PUBLIC}"}, {**BY_PROXY, "Host": "DAGSTER.example.org.:443"}, 200),
        ({"ui_hosts": PUBLIC}, OWN, 403),
        ({"ui_hosts": PUBLIC}, {**BY_PROXY, "Origin": "https://x.dagster.example.org"}, 403),
        ({"ui_hosts": "fd00::1"}, {"Host": "[fd00::1]:3000"}, 200),
        ({"listens_on": "10.1.2.3"}, {"Host": "10.1.2.3:3000"}, 200),
        ({"listens_on": "0.0.0.0"}, {"Host": "0.0.0.0:3000"}, 403),  # noqa: S104
    ],
    ids=str,
)
def test_the_names_of_the_ui_are_loopback_its_url_or_those_set(
    settings: dict[str, str], headers: dict[str, str], status: int, context: WorkspaceProcessContext
) -> None:
    assert post(client_of(context, **settings), headers, VERSION).status_code == status


@pytest.mark.parametrize("value", ["https://dagster.example.org", "dagster.example.org:3000", "*", "a.example/x"])
def test_a_setting_that_is_not_a_host_name_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"SNAPSHOT_UI_HOSTS=.* is not a host name"):
        load_settings(ui_hosts=value)


@pytest.mark.parametrize("prefix", ["", "/dagster"])
def test_a_weekly_report_is_served_read_only_and_without_rights(
    prefix: str, context: WorkspaceProcessContext, tmp_path: Path
) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "2026-02-16.html").write_text("<!doctype html>page", encoding="utf-8")
    client = client_of(context, prefix=prefix, home=tmp_path)
    answer = client.get(f"{prefix}/reports/2026-02-16.html", headers=OWN)
    assert (answer.status_code, answer.text) == (200, "<!doctype html>page")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", "sandbox"} <= set(policy)
    assert not [rule for rule in policy if rule.startswith("script-src")]
    assert client.post(f"{prefix}/reports/2026-02-16.html", headers=OWN).status_code == 405
    assert client.get(f"{prefix}/reports/2026-02-16.html", headers={"Host": "evil.example"}).status_code == 403


def test_nothing_but_reports_is_served_from_the_home(context: WorkspaceProcessContext, tmp_path: Path) -> None:
    reports, secret = tmp_path / "reports", tmp_path / "students" / "2026-02-16.html"
    for directory in (reports, secret.parent):
        directory.mkdir()
    secret.write_text("a secret")
    (reports / "notes.html").write_text("a secret")
    (reports / "2026-02-09.html").symlink_to(secret)
    client = client_of(context, home=tmp_path)
    for name in ("2026-02-16.html", "2026-02-09.html", "notes.html"):
        assert client.get(f"/reports/{name}", headers=OWN).status_code == 404
    for name in ("../students/2026-02-16.html", "..%2Fstudents%2F2026-02-16.html", "%2e%2e/students/2026-02-16.html"):
        assert "a secret" not in client.get(f"/reports/{name}", headers=OWN).text  # the page of the UI, for any path
