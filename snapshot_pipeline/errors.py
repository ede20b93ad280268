"""The base class of errors that a user can cause or fix, and what of an error may be sent to others.

The command line and the Dagster code show a `SnapshotPipelineError` as one readable line; programming errors keep their
traceback.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SnapshotPipelineError(Exception):
    """An error that a user can fix. The message says what was found, where, what was expected and what to do.

    Attributes:
        quotes_rows: Whether the message may quote students' rows; such a message is shown, and never sent.
        transient: Whether the same operation, repeated later, may well succeed; see `postgres.errors.is_transient`.
    """

    quotes_rows: ClassVar[bool] = False
    transient: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Restored without __init__, whose parameters differ from class to class.
        return _restore_error, (type(self), self.args, self.__dict__)


def _restore_error(
    error_class: type[SnapshotPipelineError], arguments: tuple[Any, ...], attributes: dict[str, Any]
) -> SnapshotPipelineError:
    error = error_class.__new__(error_class, *arguments)
    error.__dict__.update(attributes)
    return error


def truncate_middle(text: str, max_length: int) -> str:
    """Shorten a text in its middle: most errors say what matters at the beginning and at the end."""
    half = (max_length - 3) // 2
    return text if len(text) <= max_length else f"{text[:half]} … {text[-half:]}"


def text_to_send(error: BaseException) -> str:
    """Return what may be sent to others: the message of an error of ours, only the class name of any other."""
    if isinstance(error, SnapshotPipelineError) and not error.quotes_rows:
        return str(error)
    return f"{type(error).__name__} (its message may quote students' rows, so only the log has it)"
