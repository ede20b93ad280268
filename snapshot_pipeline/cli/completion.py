"""`snapshot-pipeline completion`: what a shell has to be told to complete our commands and options.

Put here: printing the script. Do not put here: what is completed, which is the commands' own.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "snapshot-pipeline"


@click.command(name="completion", epilog='Example: eval "$(snapshot-pipeline completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and their values.

    \b
    For good:
      bash  add to ~/.bashrc:  eval "$(snapshot-pipeline completion bash)"
      zsh   add to ~/.zshrc:   eval "$(snapshot-pipeline completion zsh)"
      fish  snapshot-pipeline completion fish > ~/.config/fish/completions/snapshot-pipeline.fish
    """  # noqa: D301  # the backspace tells click to keep the lines that follow
    described = get_completion_class(shell)
    assert described is not None  # noqa: S101  # click knows these three
    completion = described(context.find_root().command, {}, PROGRAM, "_SNAPSHOT_PIPELINE_COMPLETE")
    # Not `source()`, which starts a bash to look at its version: the script is for another machine's shell, too.
    click.echo(completion.source_template % completion.source_vars())
