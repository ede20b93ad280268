"""`snapshot-pipeline webserver`: Dagster's web server, guarded against the pages of other sites."""

from __future__ import annotations

import errno
import socket

import click

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import load_settings


@click.command(epilog="Example: snapshot-pipeline webserver --host 0.0.0.0 --port 3000")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The port of the UI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address on which the UI listens.")
@click.option("--path-prefix", default="", help="The path of the UI behind a proxy, e.g. /dagster.")
def webserver(port: int, host: str, path_prefix: str) -> None:
    """Serve the Dagster UI until Ctrl-C or SIGTERM; for production, beside `dagster-daemon run`.

    It is Dagster's own web server, with the code locations of the file workspace.yaml. It refuses requests for a host
    that is not in SNAPSHOT_UI_HOSTS, and requests that a browser sends for the page of another site. It has no
    authentication: keep it on the loopback address, or behind a proxy that has. GET /server_info is always answered,
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

    with dg.DagsterInstance.get() as instance:
        serve(instance, home / "workspace.yaml", settings, host, port, path_prefix)


def check_port(host: str, port: int) -> None:
    """Bind an address and port for an instant.

    Raises:
        SnapshotPipelineError: Another process listens there, or it is not an address of this machine.
    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
                probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SnapshotPipelineError(
                f"port {port} of {host} is taken by another process; stop that, or choose another port with --port"
            ) from None
        raise SnapshotPipelineError(
            f"the UI cannot listen on {host}, port {port}: {error.strerror}; choose others with --host and --port"
        ) from None
