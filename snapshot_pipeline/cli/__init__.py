"""The command `snapshot-pipeline`: its subcommands, its exit status, and shell completion.

Put here: options and output; a command parses its options, calls one function of another package and prints the result.
A module is imported only when one of its commands is called, so that `--help`, `status` and `db` start fast.
"""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
from typing import IO, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from snapshot_pipeline.cli.terminal import colors
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.gc_settings import collect_less_often

_PACKAGE = "snapshot_pipeline.cli"

_COMMANDS = {
    "demo": ("demo", "Generate sample students and twelve weeks, with an incident to resolve."),
    "dev": ("dev", "Start the Dagster UI and its daemon on this machine."),
    "webserver": ("webserver", "Serve the Dagster UI, guarded against the pages of other sites."),
    "load": ("platform_data", "Load a platform from CSV files."),
    "sample": ("platform_data", "Generate a platform with realistic sample students."),
    "check": ("check", "Check that a platform's database has what the pipeline needs."),
    "materialize": ("runs", "Compute the snapshots of a range of days."),
    "retry-failed": ("runs", "Compute only the failed students again."),
    "recommend": ("runs", "Compute the recommendations and the students at risk of a week."),
    "report": ("runs", "Write the report of a week as an HTML page."),
    "withdraw": ("withdraw", "Delete published days, or a published week."),
    "student": ("student", "Show one student's days, and how the scores are computed."),
    "at-risk": ("at_risk", "Show the students who need a person, with the reasons."),
    "status": ("status", "Show the last days, the newest week and the open incidents."),
    "alerts": ("alerts", "List the messages; test the channels."),
    "db": ("db", "Print the database's URL, open psql; start, stop, delete or migrate it."),
    "completion": ("", "Print the completion script of bash, zsh or fish."),
}
"""The module (below this package) and the summary of each command; the function has the command's name."""


class _Interrupted(click.ClickException):
    """Ctrl-C: one line, and the exit status that shells expect."""

    exit_code = 128 + signal.SIGINT

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is called; listing the commands imports none."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{_PACKAGE}.{_COMMANDS[cmd_name][0]}".rstrip("."))
        loaded: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            similar = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean '{similar[0]}'?" if similar else "see 'snapshot-pipeline --help'"
            ctx.fail(f"No such command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: snapshot-pipeline demo",
)
@click.version_option(package_name="snapshot_pipeline")
@click.pass_context
def command(context: click.Context) -> None:
    """Compute nightly performance snapshots and weekly recommendations for a learning platform.

    Settings are SNAPSHOT_* variables in the environment, in .env in DAGSTER_HOME, or in ./.env (see .env.example); the
    first that names a setting decides. Without any, the data is kept in an embedded PostgreSQL server in
    ./.snapshot_pipeline.

    \b
    Exit status of every command:
      0    done, no problems
      1    an error: one line on stderr says what happened and what to do
      2    an invalid option or argument
      3    done, but there is a problem or advice; see the command's --help
      130  interrupted by Ctrl-C
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    context.color = colors()


@click.command(epilog='Example: eval "$(snapshot-pipeline completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and their values.

    \b
    To install it permanently:
      bash  add to ~/.bashrc:  eval "$(snapshot-pipeline completion bash)"
      zsh   add to ~/.zshrc:   eval "$(snapshot-pipeline completion zsh)"
      fish  snapshot-pipeline completion fish > ~/.config/fish/completions/snapshot-pipeline.fish
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # noqa: S101  # click supports these three
    script = completion_class(context.find_root().command, {}, "snapshot-pipeline", "_SNAPSHOT_PIPELINE_COMPLETE")
    # Not `source()`, which runs bash to find its version: the script may be for another machine.
    click.echo(script.source_template % script.source_vars())


def main() -> None:
    """Run the command line; an error that a user can fix is one line on stderr, with exit status 1."""
    collect_less_often()
    try:
        command()
    except SnapshotPipelineError as error:
        click.secho(f"error: {error}", fg="red", err=True, color=colors())
        sys.exit(1)
