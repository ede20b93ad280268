"""How everything in the UI is described: what it is, what it reads, when it runs, what to do when it is red.

Put here: the form. Do not put here: the sentences, which stand at the assets, checks, jobs, schedules and sensors.
"""

from __future__ import annotations


def described(what: str, *, reads: str, runs: str, remediation: str) -> str:
    """A description as Markdown; lists in the UI show its first sentence.

    Args:
        what: What it is, in a sentence or a few.
        reads: What it looks at or computes from.
        runs: When, and by whom it is started.
        remediation: What a person does about it.
    """
    return f"{what}\n\n**Reads:** {reads}\n\n**Runs:** {runs}\n\n**When it is red:** {remediation}"


def described_plainly(what: str, *, reads: str, runs: str, remediation: str) -> str:
    """The same for schedules and sensors, whose pages show Markdown as it is typed."""
    return described(what, reads=reads, runs=runs, remediation=remediation).replace("**", "").replace("`", "")
