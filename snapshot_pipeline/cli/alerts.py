"""`snapshot-pipeline alerts`: list the messages, and test the channels that they are sent to."""

from __future__ import annotations

from textwrap import indent

import click

from snapshot_pipeline.alerts.channels import read_all_channels, read_channels, read_report_recipients
from snapshot_pipeline.alerts.delivery import TIMEOUT_SECONDS, send_immediately
from snapshot_pipeline.alerts.messages import Message
from snapshot_pipeline.alerts.ui_address import find_ui_problem
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import load_settings

_TEST_MESSAGE = Message(
    "snapshot_pipeline: test message",
    "This is a test; no action is needed. Alerts about nightly snapshots and weekly recommendations will be sent "
    "to this channel.",
    "info",
)
_REPORT_TEST_MESSAGE = Message(
    "snapshot_pipeline: test message",
    "This is a test; no action is needed. The weekly report will be sent here on Mondays.",
    "info",
)


class NoChannelError(SnapshotPipelineError):
    """Neither SNAPSHOT_ALERT_URLS nor SNAPSHOT_REPORT_RECIPIENTS is set."""


@click.group(name="alerts", epilog="Example: snapshot-pipeline alerts test")
def alerts() -> None:
    """List the messages; test the channels of SNAPSHOT_ALERT_URLS and SNAPSHOT_REPORT_RECIPIENTS."""


@alerts.command(name="list", short_help="List the newest messages.", epilog="Example: snapshot-pipeline alerts list")
@click.option("--last", type=click.IntRange(min=1), default=5, show_default=True, help="Number of messages to list.")
def list_messages(last: int) -> None:
    """List the most recent messages, oldest first, with their text and delivery to each channel."""
    from snapshot_pipeline.pipeline.installation import open_for_reading
    from snapshot_pipeline.store.outbox import newest_messages

    settings = load_settings()
    names = {channel.id: channel.name for channel in read_all_channels(settings).channels}
    with open_for_reading(settings) as installation:
        messages = installation.transaction(newest_messages, last)
    if not messages:
        click.echo("No messages.")
    for message in messages:
        click.secho(f"{message.created_at.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}  {message.title}", bold=True)
        click.echo(indent(message.body.strip(), "    "))
        for channel, sent_at in message.channels.items():
            name = names.get(channel, "a channel that is no longer configured")
            state = f"sent {sent_at.astimezone(settings.zone):%Y-%m-%d %H:%M}" if sent_at else "waiting to be sent"
            click.echo(f"    ({name}: {state})")
        click.echo()


@alerts.command(
    name="test",
    short_help="Send a test message to each channel.",
    epilog="\b\nExample: SNAPSHOT_ALERT_URLS=json://127.0.0.1:8080 snapshot-pipeline alerts test",
)
def send_test() -> None:
    """Send a test message to each alert channel and each recipient of the weekly report; show which accepted it.

    Also warns if SNAPSHOT_UI_URL, which the links in messages point to, is not a Dagster UI.

    \b
    Exit status:
      0  every channel accepted it
      1  a channel did not accept it, or no channel is set
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    settings = load_settings()
    alert_list, report_list = read_channels(settings), read_report_recipients(settings)
    problems = [*alert_list.problems, *report_list.problems]
    for problem in problems:
        click.secho(f"error: {problem}", fg="red", err=True)
    if not problems and not alert_list.channels and not report_list.channels:
        raise NoChannelError(
            "SNAPSHOT_ALERT_URLS is not set, so no messages about incidents are sent; set it to one or more URLs, "
            "separated by spaces, as described at https://appriseit.com/services"
        )
    reports = [
        *send_immediately(alert_list.channels, _TEST_MESSAGE),
        *send_immediately(report_list.channels, _REPORT_TEST_MESSAGE),
    ]
    for report in reports:
        error = report.error if report.is_finished else f"no answer within {TIMEOUT_SECONDS:g} s"
        click.secho(f"{report.name}: {f'failed: {error}' if error else 'sent'}", fg="red" if error else None)
    ui_problem = find_ui_problem(settings.ui_url)
    if ui_problem:
        click.secho(f"warning: {ui_problem}.", fg="yellow", err=True)
    if problems or any(report.error or not report.is_finished for report in reports):
        raise click.exceptions.Exit(1)
