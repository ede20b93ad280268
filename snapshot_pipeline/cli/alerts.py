"""`snapshot-pipeline alerts`: test the channels of SNAPSHOT_ALERT_URLS and SNAPSHOT_REPORT_RECIPIENTS."""

from __future__ import annotations

import click

from snapshot_pipeline.alerts.channels import read_channels, read_report_recipients
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
    """Test the channels of SNAPSHOT_ALERT_URLS and SNAPSHOT_REPORT_RECIPIENTS."""


@alerts.command(
    name="test",
    short_help="Send a test message to each channel.",
    epilog="\b\nExample: SNAPSHOT_ALERT_URLS=json://127.0.0.1:8080 snapshot-pipeline alerts test",
)
def send_test() -> None:
    """Send a test message to each channel of incidents and each recipient of the weekly report; show which accepted it.

    Also says if SNAPSHOT_UI_URL, to which the links in messages lead, is not a Dagster UI.

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
