"""Dagster's web server, which has no authentication, with a guard against the pages of other sites; the weekly reports.

Any page that a browser of this machine, or of the network, shows could otherwise launch runs: by a form, a GET, a
WebSocket, or a name that its owner lets point to this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dagster_webserver.webserver import DagsterWebserver
from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from snapshot_pipeline.orchestration.instance.dagster_internals import workspace_context
from snapshot_pipeline.pipeline.report_files import find_report
from snapshot_pipeline.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from dagster import DagsterInstance
    from starlette.applications import Starlette
    from starlette.requests import Request

PROBE_PATH = "/server_info"
"""The path that answers every request, whatever its Host: probes of load balancers use addresses."""

_REPORT_HEADERS = {
    # The page has styles and nothing else: whatever got into it could not run, load, send or be framed.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")
_LOG = logging.getLogger("dagster-webserver")

_SHUTDOWN_SECONDS = 3
"""How long open connections may delay the end: each open page has a WebSocket."""

# As `dagster-webserver` by default: milliseconds, seconds, connections, milliseconds.
_STATEMENT_TIMEOUT, _POOL_RECYCLE, _MAX_OVERFLOW, _POLL_RATE = 15_000, 3_600, 20, 2_000


class OriginGuard:
    """ASGI middleware that refuses requests for a foreign host and requests from the pages of other sites.

    Args:
        app: The application.
        hosts: The host names of the UI; empty for loopback and the host of `ui_url`.
        ui_url: The address of the UI, which may be that of a proxy that replaces the Host header.
        listens_on: The address on which the server listens.
        probe_path: The path that is not guarded.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], ui_url: str, listens_on: str = "", probe_path: str = PROBE_PATH
    ) -> None:
        public = urlsplit(ui_url)
        public_host = _bare(public.hostname or "")
        default = {"localhost", "127.0.0.1", "::1", public_host, _bare(listens_on)} - {"", "0.0.0.0", "::"}  # noqa: S104
        self._app = app
        self._hosts = {_bare(host) for host in hosts} or default
        # A loopback name says nothing about who serves it: another port may be another application.
        self._authorities = {_bracketed(host) for host in self._hosts if not _is_loopback(host)}
        if public_host in self._hosts and not _is_loopback(public_host):
            self._authorities.add(public.netloc.lower())
        self._probe_path = probe_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an admissible request on to the application; answer another one with one line."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        reason = self._refusal(scope)
        if reason is None:
            await self._app(scope, receive, _without_frames(send) if scope["type"] == "http" else send)
            return
        _LOG.warning("Refused %s %s: %s.", scope.get("method", "WebSocket"), scope["path"], reason)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})  # before accept: status 403
        else:
            await PlainTextResponse(f"Refused: {reason}.\n", status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        method = scope.get("method")
        if scope["path"] == self._probe_path and method in ("GET", "HEAD"):
            return None
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own_host(hosts[0]):
            shown = ", ".join(_bracketed(host) for host in sorted(self._hosts))
            return (
                f"the request is for the host {hosts[0][:100] if hosts else ''!r}, and this UI is {shown}; "
                "if that is its name too, add it to SNAPSHOT_UI_HOSTS"
            )
        # A link in a mail or a chat opens a page; a page cannot read or change anything in that way.
        if (
            method == "GET"
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        ):
            return None
        for origin in headers.getlist("origin"):
            if not self._is_own_origin(origin, hosts[0]):
                return (
                    f"the request is from a page of {origin[:100]!r}, not of this UI; if that is a proxy's address, "
                    "let the proxy pass the Host header on, or set SNAPSHOT_UI_URL to it"
                )
        sites = headers.getlist("sec-fetch-site")
        if not set(sites) <= {"same-origin", "none"}:
            return f"the request is from a page of another site (Sec-Fetch-Site: {', '.join(sites)[:100]})"
        return None

    def _is_own_host(self, value: str) -> bool:
        match = _HOST.fullmatch(value.lower())
        return match is not None and _bare(match[1]) in self._hosts

    def _is_own_origin(self, value: str, host: str) -> bool:
        scheme, separator, authority = value.lower().partition("://")
        return bool(separator) and scheme in ("http", "https") and authority in {host.lower(), *self._authorities}


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's web server behind `OriginGuard`; a mutation must be a POST of JSON.

    It also serves the weekly reports of this machine, at `/reports/<Monday>.html`.
    """

    def __init__(self, context: Any, settings: Settings, listens_on: str = "", path_prefix: str = "") -> None:
        self._guard = Middleware(
            OriginGuard,
            hosts=settings.ui_hosts,
            ui_url=settings.ui_url,
            listens_on=listens_on,
            probe_path=f"{path_prefix}{PROBE_PATH}",
        )
        self._settings, self._path_prefix = settings, path_prefix
        super().__init__(context, path_prefix, live_data_poll_rate=_POLL_RATE)

    def build_routes(self) -> list[BaseRoute]:
        """Return the route of the weekly reports, and those of Dagster."""
        routes: list[BaseRoute] = super().build_routes()  # type: ignore[no-untyped-call]
        return [Route(f"{self._path_prefix}/reports/{{name}}", self._serve_report), *routes]

    def _serve_report(self, request: Request) -> Response:
        page = find_report(self._settings, request.path_params["name"])
        if page is None:
            text = "There is no such report on this machine. To write one: snapshot-pipeline report --week MONDAY\n"
            return PlainTextResponse(text, status_code=404)
        return Response(page, media_type="text/html", headers=_REPORT_HEADERS)

    def build_middleware(self) -> list[Middleware]:
        """Return the guard, and what Dagster has."""
        return [self._guard, *super().build_middleware()]

    async def execute_graphql_request(
        self, request: Request, query: str, variables: dict[str, Any] | None, operation_name: str | None
    ) -> JSONResponse:
        """Execute a request; refuse a mutation by GET, or with a content type that any page's form can send."""
        is_json = request.headers.get("content-type", "").startswith(("application/json", "application/graphql"))
        if not (request.method == "POST" and is_json) and _changes_something(query):
            message = "a mutation must be sent by POST with the content type application/json"
            return JSONResponse({"errors": [{"message": message}]}, status_code=405, headers={"Allow": "POST"})
        return await super().execute_graphql_request(request, query, variables, operation_name)


def serve(
    instance: DagsterInstance, workspace: Path, settings: Settings, host: str, port: int, path_prefix: str = ""
) -> None:
    """Serve the UI of the code locations in a workspace file until the process is interrupted."""
    import uvicorn

    instance.optimize_for_webserver(_STATEMENT_TIMEOUT, _POOL_RECYCLE, _MAX_OVERFLOW)
    with workspace_context(instance, workspace) as context:
        app: Starlette = GuardedWebserver(context, settings, host, path_prefix).create_asgi_app()
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_SECONDS)


def _changes_something(query: object) -> bool:
    try:
        document = parse(str(query))
    except GraphQLError:
        return False  # Dagster answers with the error
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return any(node.operation is not OperationType.QUERY for node in operations)


def _without_frames(send: Send) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":  # another site could place a button of ours under its own
            MutableHeaders(scope=message)["X-Frame-Options"] = "SAMEORIGIN"
        await send(message)

    return send_with_header


def _bare(host: str) -> str:
    return host.strip().strip("[]").rstrip(".").lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
