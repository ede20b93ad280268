"""`snapshot-pipeline alerts`: test the channels of SNAPSHOT_ALERT_URLS."""

from __future__ import annotations

import click

from snapshot_pipeline.alerts.channels import read_channels
from snapshot_pipeline.alerts.delivery import TIMEOUT_SECONDS, send_immediately
from snapshot_pipeline.alerts.messages import Message
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import load_settings

_TEST_MESSAGE = Message(
    "snapshot_pipeline: test message",
    "This is a test; no action is needed. Alerts about nightly snapshots and weekly recommendations will be sent "
    "to this channel.",
    "info",
)


class NoChannelError(SnapshotPipelineError):
    """SNAPSHOT_ALERT_URLS is not set."""


@click.group(name="alerts", epilog="Example: snapshot-pipeline alerts test")
def alerts() -> None:
    """Test the alert channels of SNAPSHOT_ALERT_URLS."""


@alerts.command(
    name="test",
    short_help="Send a test message to each channel.",
    epilog="\b\nExample: SNAPSHOT_ALERT_URLS=json://127.0.0.1:8080 snapshot-pipeline alerts test",
)
def send_test() -> None:
    """Send a test message to each channel, and show which channels accepted it.

    \b
    Exit status:
      0  every channel accepted it
      1  a channel did not accept it, or no channel is set
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    channel_list = read_channels(load_settings())
    for problem in channel_list.problems:
        click.secho(f"error: {problem}", fg="red", err=True)
    if not channel_list.channels and not channel_list.problems:
        raise NoChannelError(
            "SNAPSHOT_ALERT_URLS is not set, so no messages about incidents are sent; set it to one or more URLs, "
            "separated by spaces, as described at https://appriseit.com/services"
        )
    reports = send_immediately(channel_list.channels, _TEST_MESSAGE)
    for report in reports:
        error = report.error if report.is_finished else f"no answer within {TIMEOUT_SECONDS:g} s"
        click.secho(f"{report.name}: {f'failed: {error}' if error else 'sent'}", fg="red" if error else None)
    if channel_list.problems or any(report.error or not report.is_finished for report in reports):
        raise click.exceptions.Exit(1)
