"""The errors that a user can cause or mend.

Put here: the one base class that the command line and the Dagster code show as a single readable line.
Do not put here: errors of programming; those keep their traceback.
"""


class SnapshotPipelineError(Exception):
    """Something a user can mend. The message says what was found, where, what was expected and what to do."""
