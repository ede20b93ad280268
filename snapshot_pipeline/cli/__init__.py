"""The command `snapshot-pipeline`.

Put here: the list of commands, and what they share (errors shown as one line). Each command lives in a module of its
own that is imported only when it is called, so that `--help`, `status` and `db` start in an instant.
Do not put here: anything that computes; a command reads its options, calls one function and prints.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from snapshot_pipeline.cli.terminal import colors
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.gc_settings import collect_less_often

_COMMANDS = {
    "demo": ("snapshot_pipeline.cli.demo", "Fill the embedded database with sample students and run both jobs."),
    "dev": ("snapshot_pipeline.cli.dev", "Open the Dagster UI on this machine."),
    "load": ("snapshot_pipeline.cli.load", "Load a platform from six CSV files."),
    "sample": ("snapshot_pipeline.cli.sample", "Fill the database with life-like sample students."),
    "check": ("snapshot_pipeline.cli.check", "Hold a platform's database against what the pipeline needs."),
    "materialize": ("snapshot_pipeline.cli.materialize", "Compute the snapshots of a range of days, through Dagster."),
    "retry-failed": ("snapshot_pipeline.cli.retry_failed", "Compute only the students that failed, through Dagster."),
    "recommend": ("snapshot_pipeline.cli.recommend", "Compute the recommendations of a week, through Dagster."),
    "report": ("snapshot_pipeline.cli.report", "Write the page of a week, through Dagster, and open it."),
    "student": ("snapshot_pipeline.cli.student", "Show one student's days, and how a pace score comes about."),
    "status": ("snapshot_pipeline.cli.status", "Show the last days and the latest week."),
    "alerts": ("snapshot_pipeline.cli.alerts", "Who is told of incidents: send a trial message to each channel."),
    "db": ("snapshot_pipeline.cli.db", "The database: its URL, starting, stopping, migrating."),
    "completion": ("snapshot_pipeline.cli.completion", "Print what bash, zsh or fish needs to complete all this."),
}


class _Interrupted(click.ClickException):
    """Ctrl-C: one line, and the exit status by which shells know it."""

    exit_code = 128 + signal.SIGINT

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class _Commands(click.Group):
    """Commands by name, imported when they are called."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # From the table, too.
        found = [
            CompletionItem(name, help=told) for name, (_, told) in _COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Written from the table: the listing imports no command.
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in _COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: snapshot-pipeline demo",
)
@click.version_option(package_name="snapshot_pipeline")
@click.pass_context
def command(context: click.Context) -> None:
    """Compute nightly performance snapshots and weekly recommendations for a learning platform.

    Settings come from SNAPSHOT_* variables or a .env file (see .env.example). With none set, a private PostgreSQL
    server is used, below ./.snapshot_pipeline.

    \b
    Exit status of every command:
      0    done, and nothing is wrong
      1    an error: one line on stderr says what, and what to do
      2    a wrong option or argument
      3    done, and something is to be seen to (status, check)
      130  interrupted by Ctrl-C
    """  # noqa: D301  # the backspace tells click to keep the lines that follow
    context.color = colors()


def main() -> None:
    """Run the command line; what a user can mend is shown as one line, with exit status 1."""
    collect_less_often()
    try:
        command()
    except SnapshotPipelineError as error:
        click.secho(f"error: {error}", fg="red", err=True, color=colors())
        sys.exit(1)
