"""`snapshot-pipeline webserver`: Dagster's web server, guarded against the pages of other sites."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from snapshot_pipeline.cli.terminal import BoundedInteger
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import load_settings

port_option = click.option(
    "--port", type=BoundedInteger(1, 65_535), default=3000, show_default=True, help="The port of the UI."
)
host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address on which the UI listens."
)


@click.command(epilog="Example: snapshot-pipeline webserver --host 0.0.0.0 --port 3000")
@port_option
@host_option
@click.option(
    "--workspace",
    type=click.Path(exists=True, path_type=Path),
    help="A workspace file; by default that in DAGSTER_HOME.",
)
@click.option("--path-prefix", default="", help="The path of the UI behind a proxy, e.g. /dagster.")
def webserver(port: int, host: str, workspace: Path | None, path_prefix: str) -> None:
    """Serve the Dagster UI until Ctrl-C or SIGTERM; for production, beside `dagster-daemon run`.

    It is Dagster's own web server, with the code locations of the file workspace.yaml. It refuses requests for a host
    that is not in SNAPSHOT_UI_HOSTS, and requests that a browser sends for the page of another site. It has no
    authentication: keep it on the loopback address, or behind a proxy that does. GET /server_info is always answered,
    for probes.
    """
    from snapshot_pipeline.cli.dagster_runs import set_dagster_home

    settings = load_settings()
    if path_prefix and (not path_prefix.startswith("/") or path_prefix.endswith("/")):
        raise click.BadParameter("expected a path such as /dagster", param_hint="--path-prefix")
    home = set_dagster_home()
    check_port(host, port)
    import dagster as dg

    from snapshot_pipeline.orchestration.instance.webserver import serve

    with suppress(KeyboardInterrupt), dg.DagsterInstance.get() as instance:  # the usual way to stop it
        serve(instance, workspace or home / "workspace.yaml", settings, host, port, path_prefix)


def check_port(host: str, port: int) -> None:
    """Bind an address and port for an instant.

    Raises:
        SnapshotPipelineError: Another process listens there, or it is not an address of this machine.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        attempts = [_try_to_bind(family, kind, protocol, address) for family, kind, protocol, _, address in addresses]
        errors = [error for error in attempts if error]
    except OSError as error:  # not a name
        addresses, errors = [], [error]
    if any(error.errno == errno.EADDRINUSE for error in errors):
        raise SnapshotPipelineError(
            f"port {port} of {host} is taken by another process; stop that, or choose another port with --port"
        )
    if len(errors) >= len(addresses):  # `localhost` may have an IPv6 address that the machine lacks
        raise SnapshotPipelineError(
            f"the UI cannot listen on {host}, port {port}: {errors[0].strerror}; choose others with --host and --port"
        )


def _try_to_bind(family: int, kind: int, protocol: int, address: Any) -> OSError | None:
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
    except OSError as error:
        return error
    return None
