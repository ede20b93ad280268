"""`snapshot-pipeline alerts`: try the channels by which people are told of incidents.

Put here: what is printed, and the exit status. Do not put here: how a message is sent (`alerts`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import click

from snapshot_pipeline.alerts.channels import Channel, read_channels
from snapshot_pipeline.alerts.delivery import PATIENCE_SECONDS
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import load_settings

_TITLE = "snapshot_pipeline: a trial message"
_BODY = (
    "If you read this, you are told when the nightly snapshots or the weekly recommendations need somebody. Nothing is "
    "wrong."
)


class NoChannelError(SnapshotPipelineError):
    """There is nobody to tell."""


@click.group(name="alerts", epilog="Example: snapshot-pipeline alerts test")
def command() -> None:
    """Who is told of incidents: the channels of SNAPSHOT_ALERT_URLS."""


@command.command(name="test", epilog="Example: SNAPSHOT_ALERT_URLS=json://127.0.0.1:8080 snapshot-pipeline alerts test")
def trial() -> None:
    """Send a trial message to each channel, and say which have taken it.

    \b
    Exit status:
      0  each channel has taken it
      1  at least one has not, or there is none
    """  # noqa: D301  # the backspace tells click to keep the lines that follow
    told = read_channels(load_settings())
    for problem in told.problems:
        click.secho(f"error: {problem}", fg="red", err=True)
    if not told.channels and not told.problems:
        raise NoChannelError(
            "SNAPSHOT_ALERT_URLS is not set, so nobody is told of incidents; set it to one or more URLs, separated by "
            "spaces, as described at https://appriseit.com/services"
        )
    outcomes = _try(told.channels)
    for channel in told.channels:
        error = outcomes.get(channel.id, f"it has not answered within {PATIENCE_SECONDS:g} s")
        click.secho(
            f"{channel.name}: {'arrived' if error is None else f'failed: {error}'}", fg="red" if error else None
        )
    if told.problems or any(outcomes.get(channel.id, "") is not None for channel in told.channels):
        raise click.exceptions.Exit(1)


def _try(channels: Sequence[Channel]) -> dict[str, str | None]:
    """The error of each channel that has answered, None where there is none; all are tried side by side."""
    outcomes: dict[str, str | None] = {}

    def try_one(channel: Channel) -> None:
        outcomes[channel.id] = channel.send(_TITLE, _BODY, "info")

    threads = [threading.Thread(target=try_one, args=(channel,), daemon=True) for channel in channels]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE_SECONDS
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
    return dict(outcomes)
