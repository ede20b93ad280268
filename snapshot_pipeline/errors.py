"""The errors that a user can cause or mend.

Put here: the one base class that the command line and the Dagster code show as a single readable line, and what of an
error may leave the house.
Do not put here: errors of programming; those keep their traceback.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SnapshotPipelineError(Exception):
    """Something a user can mend. The message says what was found, where, what was expected and what to do.

    Attributes:
        quotes_rows: Whether the message may quote students' rows; such a message is shown, and never sent.
        passes: Whether the same thing, done again in a while, may well succeed; see `postgres.errors`.
    """

    quotes_rows: ClassVar[bool] = False
    passes: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Whatever a subclass's __init__ takes, it travels between machines as what it has become.
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(
    kind: type[SnapshotPipelineError], arguments: tuple[Any, ...], attributes: dict[str, Any]
) -> SnapshotPipelineError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


def cut_in_the_middle(text: str, longest: int) -> str:
    """A text of at most so many characters, whose beginning and end are kept: most errors say what matters there."""
    kept = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:kept]} … {text[-kept:]}"


def text_to_send(error: BaseException) -> str:
    """What may be sent to others of an error: our own message, or of any other error no more than its name."""
    if isinstance(error, SnapshotPipelineError) and not error.quotes_rows:
        return str(error)
    return f"{type(error).__name__} (what it says may quote students' rows, so it is in the run's log only)"
