"""Shell completion, in a real bash at a real prompt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from snapshot_pipeline_tests.cli.terminals import Terminal

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with the command on the path and a prompt that is easy to find."""
    program = tmp_path / "snapshot-pipeline"
    program.write_text(f"#!{sys.executable}\nfrom snapshot_pipeline.cli import main\nmain()\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PS1": "prompt> ", "HOME": str(tmp_path)}


@needs_bash
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("snapshot-pipeline mat", "snapshot-pipeline materialize "),
        ("snapshot-pipeline materialize --fr", "snapshot-pipeline materialize --from "),
        ("snapshot-pipeline db mig", "snapshot-pipeline db migrate "),
        ("snapshot-pipeline completion fi", "snapshot-pipeline completion fish "),
        ("snapshot-pipeline status --js", "snapshot-pipeline status --json "),
    ],
)
def test_tab_completes_commands_options_and_values_in_bash(environment: dict[str, str], typed: str, completed: str):
    with Terminal(["bash", "--norc", "--noprofile", "-i"], environment) as terminal:
        terminal.wait_for("prompt> ", 10)
        terminal.type('eval "$(snapshot-pipeline completion bash)"; echo rea""dy\r')
        terminal.wait_for("ready", 20)
        terminal.type(f"{typed}\t")
        terminal.wait_for(f"prompt> {completed}", 20)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed_even_if_it_is_not_installed(environment: dict[str, str], shell: str):
    here = {**environment, "PATH": environment["HOME"]}
    done = subprocess.run(
        ["snapshot-pipeline", "completion", shell], env=here, capture_output=True, text=True, check=True
    )
    assert f"_SNAPSHOT_PIPELINE_COMPLETE={shell}_complete" in done.stdout
    assert done.stderr == ""
    if (program := shutil.which(shell)) and shell != "fish":
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True)


def test_an_unknown_shell_is_refused_with_the_known_ones(environment: dict[str, str]):
    done = subprocess.run(
        ["snapshot-pipeline", "completion", "tcsh"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
