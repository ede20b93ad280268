"""`snapshot-pipeline dev`: the Dagster UI and its daemon on this machine."""

from __future__ import annotations

import os
import sys

import click

from snapshot_pipeline.settings import load_settings


@click.command(name="dev", epilog="Example: snapshot-pipeline dev --port 3001")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Where the UI listens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address the UI listens on.")
def command(port: int, host: str) -> None:
    """Open the Dagster UI, with the daemon that runs the schedules, on this machine.

    The UI has no password: leave it on the loopback address, or put a proxy that has one before it.
    """
    from snapshot_pipeline.cli.dagster_runs import dagster_home, prepare_environment
    from snapshot_pipeline.postgres.engines import check_connection, dagster_url

    settings = load_settings()
    check_connection(dagster_url(settings))
    environment = prepare_environment()
    click.echo(f"The Dagster UI will be at http://{host}:{port} in a few seconds; Ctrl-C ends it.")
    # By the workspace, as a bare `dagster dev` does: the code location must have the same name whoever starts it, since
    # Dagster keeps the state of the schedules under that name.
    workspace = dagster_home() / "workspace.yaml"
    arguments = [sys.executable, "-m", "dagster", "dev", "--workspace", str(workspace)]
    arguments += ["--host", host, "--port", str(port)]
    sys.stdout.flush()
    os.execve(sys.executable, arguments, environment)  # noqa: S606  # becomes Dagster: signals and exit status are its own
