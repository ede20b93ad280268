"""What an incident says of an error in Dagster's records: never a text that may quote students' rows."""

from __future__ import annotations

from collections.abc import Iterator

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.orchestration.instance.dagster_internals import SerializableErrorInfo
from snapshot_pipeline.postgres.errors import is_out_of_connections

_LONGEST_TEXT = 500

_DATABASE_ERRORS = {"OperationalError", "DagsterPostgresException"}


def one_line(text: str) -> str:
    """Return a text as one line of at most 500 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"


def launch_error(error: SerializableErrorInfo) -> str:
    """Return why a run could not start: our own line, a lost or refused connection, or the class of the error."""
    chain = list(_chain(error))
    for link in chain:
        if link.cls_name in _names(SnapshotPipelineError):
            return one_line(link.message.split(": ", 1)[-1])
    if any(is_out_of_connections(link.message) for link in chain):
        return "the run could not start: its process found no free connection to Dagster's database"
    if any(link.cls_name in _DATABASE_ERRORS for link in chain):
        return "the run could not start: its process could not connect to Dagster's database"
    return f"the run could not start: its process raised {chain[-1].cls_name or 'an error'}; see its log"


def _chain(error: SerializableErrorInfo) -> Iterator[SerializableErrorInfo]:
    link: SerializableErrorInfo | None = error
    while link is not None:
        yield link
        link = link.cause or link.context


def _names(parent: type[SnapshotPipelineError]) -> set[str]:
    """Return the names of the errors of ours whose message may be sent."""
    names = set() if parent.quotes_rows else {parent.__name__}
    return names.union(*map(_names, parent.__subclasses__()))
