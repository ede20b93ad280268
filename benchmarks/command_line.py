"""How the programs of this directory end."""

from __future__ import annotations

import sys

import click

from snapshot_pipeline.errors import SnapshotPipelineError


def run_command(command: click.Command) -> None:
    """Run a command; an error of ours is one line on stderr and exit status 1."""
    try:
        command()
    except SnapshotPipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
