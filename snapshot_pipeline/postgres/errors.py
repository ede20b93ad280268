"""PostgreSQL errors: what each means to the user, what to do, and whether a retry may succeed.

`_CONDITIONS` is the one table of SQLSTATEs. Errors of psycopg2, SQLAlchemy and ADBC are understood.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import adbc_driver_manager
import psycopg2
import sqlalchemy.exc
from sqlalchemy import URL
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.urls import masked_url, quote_identifier

MAX_ATTEMPTS = 8
INITIAL_WAIT = 0.5
MAX_WAIT = 15.0
JITTER = 1.0
"""Seconds: eight attempts wait 0.5, 1, 2, 4, 8, 15 and 15, each with up to a second of jitter; a minute at most."""

UNIQUE_VIOLATION = "23505"
INSUFFICIENT_PRIVILEGE = "42501"
DUPLICATE_TABLE = "42P07"
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
DATA_EXCEPTION = "22"
"""SQLSTATEs that other modules ask for; the last is a class: a value does not fit, which is the row's fault."""

P = ParamSpec("P")
Result = TypeVar("Result")

_OUT_OF_CONNECTIONS = re.compile(
    "too many (?:clients|connections)|remaining connection slots|no more connections allowed", re.IGNORECASE
)

_LOG = logging.getLogger(__name__)


class DatabaseError(SnapshotPipelineError):
    """A database cannot be reached, or refuses a statement for a reason that a user can fix."""


@dataclass(frozen=True)
class _Condition:
    """An error condition of the server.

    Attributes:
        sqlstates: Its SQLSTATEs, or their class (the first two characters).
        message_part: Part of the message that identifies it when ADBC gives no SQLSTATE; None: not identified.
        summary: What happened; {database} becomes the masked URL.
        remediation: What to do.
        is_transient: Whether the same transaction, repeated later, may well succeed.
    """

    sqlstates: tuple[str, ...]
    message_part: str | None
    summary: str
    remediation: str
    is_transient: bool


_CONNECTION_LOST = _Condition(
    (
        "08",  # connection errors
        "57P01",  # the server is stopped, or an administrator has ended the session
        "57P02",  # the server has crashed
        "57P03",  # the server is starting, stopping or recovering
        "57P05",  # the session was idle for longer than idle_session_timeout
        "53300",  # too many connections
    ),
    None,
    "the connection to {database} was lost",
    "see the server's log",
    is_transient=True,
)
# SQLSTATE 40001 like a serialization failure; only the message tells them apart.
_RECOVERY_CONFLICT = _Condition(
    (),
    "conflict with recovery",
    "a query in {database} was canceled, because the replica had to remove rows that the query still needed",
    "start again; if it happens often, set hot_standby_feedback = on there, or raise max_standby_streaming_delay",
    is_transient=True,
)
_CONDITIONS = (
    _CONNECTION_LOST,
    _RECOVERY_CONFLICT,
    _Condition(
        (LOCK_NOT_AVAILABLE,),
        "due to lock timeout",
        "a table in {database} was locked for longer than SNAPSHOT_LOCK_TIMEOUT_SECONDS",
        "start again when the statement that locks it, such as an ALTER TABLE of the application, is done",
        is_transient=True,
    ),
    _Condition(
        (QUERY_CANCELED,),
        "canceling statement",
        "a statement in {database} was canceled",
        "run `snapshot-pipeline check` to find missing indexes, or raise SNAPSHOT_STATEMENT_TIMEOUT_SECONDS",
        is_transient=False,  # it would take too long again
    ),
    _Condition(
        (
            "40P01",  # deadlock
            "40001",  # serialization failure
            # Unique violation: the same row was inserted at the same time, possibly by our own transaction, whose
            # connection was lost before the server could confirm the commit. The next attempt sees the row and
            # replaces it.
            UNIQUE_VIOLATION,
        ),
        "deadlock detected",
        "two transactions in {database} were in conflict",
        "start again; if it happens often, find out what else writes to the pipeline's tables",
        is_transient=True,
    ),
    _Condition(
        ("25P03",),  # as after a laptop's sleep
        "idle-in-transaction timeout",
        "a session in {database} was idle in a transaction for longer than the server allows",
        "start again",
        is_transient=True,
    ),
    _Condition(
        ("25P04",),
        "transaction timeout",
        "a transaction in {database} took longer than the server's transaction_timeout allows",
        "raise that limit, then start again",
        is_transient=False,
    ),
    _Condition(
        ("25006",),
        "read-only transaction",
        "{database} accepts no writes",
        "use the primary server instead of a standby, or unset default_transaction_read_only",
        is_transient=False,
    ),
    _Condition(
        ("53100",),
        "No space left on device",
        "the disk is full on the server of {database}",
        "free space there, then start again",
        is_transient=False,
    ),
    _Condition(
        ("53200", "53400"),
        "out of memory",
        "the server of {database} has reached one of its limits",
        "see the server's log, then start again",
        is_transient=False,
    ),
    _Condition(
        ("42P01", "42703", "42704", "42883", "42846", "42804", "3F000"),
        " does not exist",
        "a table or column in {database} differs from what the pipeline needs",
        "run `snapshot-pipeline check`",
        is_transient=False,
    ),
)

# When libpq itself notices an error, there is no SQLSTATE but a message only, in English: the drivers' libpq does not
# translate. All of these were observed, or are in libpq's source beside those that were.
_NO_SQLSTATE = (psycopg2.OperationalError, psycopg2.InterfaceError, adbc_driver_manager.OperationalError)
_TRANSIENT_MESSAGE = re.compile(
    "server closed the connection|no connection to the server|connection (?:is |was )?already closed|"
    "terminating connection|connection refused|connection reset|connection timed out|broken pipe|timeout expired|"
    "could not (?:receive|send) data|the database system is |too many (?:clients|connections)|"
    "remaining connection slots|ssl syscall error|ssl connection has been closed|"
    "temporary failure in name resolution|network is unreachable|no route to host",
    re.IGNORECASE,
)
# A failed connection has no SQLSTATE either, but may have a message of the server, in the server's language: that it is
# starting, stopping or full, for example. So a failure to connect is transient, unless these say otherwise.
_PERMANENT_CONNECTION_MESSAGE = re.compile(
    'authentication failed|no password supplied|pg_hba.conf|(?:database|role) ".*" does not exist|'
    "is not permitted to log in|permission denied|does not support SSL|certificate|"
    "could not translate host name (?!.*temporary failure)|invalid .*(?:value|option|port|parameter)|"
    "unsupported startup parameter",
    re.IGNORECASE | re.DOTALL,
)
_CONNECT = "Failed to connect: "
_LOST_MESSAGE = re.compile("closed|terminat|no connection to the server")


def is_out_of_connections(text: str) -> bool:
    """Whether the server or a pooler, in English, refused a connection because all are in use; there is no SQLSTATE."""
    return _OUT_OF_CONNECTIONS.search(text) is not None


def is_transient(error: BaseException | None) -> bool:
    """Return whether the same operation, repeated later, may well succeed.

    True for a connection that was lost, for a failure to connect (also one whose reason the server gives in another
    language than English), a server that starts or stops, a deadlock, a serialization failure and a lock timeout. False
    for a student's data, a wrong password, a missing privilege or table, a full disk, a read-only database, a setting,
    and a statement that took too long: it would take too long again.

    Args:
        error: An error of psycopg2, SQLAlchemy or ADBC, or one of ours that was raised from such an error.
    """
    if isinstance(error, SnapshotPipelineError):
        return error.transient or is_transient(error.__cause__)
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return is_transient(error.orig) or (error.connection_invalidated and sqlstate(error) is None)
    state = sqlstate(error)
    if state is not None:
        condition = _condition(state)
        return condition is not None and condition.is_transient
    if not isinstance(error, _NO_SQLSTATE):
        return False
    if _is_failed_connection(error):
        return _PERMANENT_CONNECTION_MESSAGE.search(str(error)) is None
    return _TRANSIENT_MESSAGE.search(str(error)) is not None


def _is_failed_connection(error: BaseException) -> bool:
    # psycopg2 gives each error of a statement a SQLSTATE, unless the connection is lost.
    return isinstance(error, psycopg2.OperationalError) or _CONNECT in str(error)


def sqlstate(error: BaseException | None) -> str | None:
    """Return the five characters by which PostgreSQL names an error; None if the server itself did not answer."""
    if isinstance(error, SnapshotPipelineError):
        return sqlstate(error.__cause__)
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return sqlstate(error.orig)
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)


def retry_transient(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Call `function(*args, **kwargs)`; repeat it after transient errors, with growing waits, for about a minute.

    For a function with a SQLAlchemy connection as its first parameter see `engines.run_transaction`.

    Args:
        function: Something that may be done twice, and leaves nothing behind when it fails.

    Raises:
        Exception: The error of the last attempt, or the first error that is not transient.
    """
    attempts = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_exponential(multiplier=INITIAL_WAIT, max=MAX_WAIT) + wait_random(0, JITTER),
        stop=stop_after_attempt(MAX_ATTEMPTS),
        before_sleep=_log_retry,
        reraise=True,
    )
    return attempts(function, *args, **kwargs)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        error = error.orig
    # Without the message, which may repeat a statement with the data in it.
    _LOG.warning(
        "transient error %s (SQLSTATE %s); attempt %d of %d follows in %.1f s",
        type(error).__name__,
        sqlstate(error) or "unknown",
        state.attempt_number + 1,
        MAX_ATTEMPTS,
        state.upcoming_sleep,
    )


@contextmanager
def readable_database_errors(url: URL) -> Iterator[None]:
    """Turn errors that a user can fix into a `DatabaseError`; all others pass through unchanged.

    Raises:
        DatabaseError: One line that says what failed and what to do.
    """
    try:
        yield
    except (sqlalchemy.exc.DBAPIError, psycopg2.Error, adbc_driver_manager.Error) as error:
        sentence = _sentence(error, url)
        if sentence is None:
            raise
        raise DatabaseError(sentence) from error


def _sentence(error: Exception, url: URL) -> str | None:
    """Return one line for the user; None for an error that a user cannot fix."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and isinstance(error.orig, Exception):
        error = error.orig
    state = sqlstate(error)
    message = _one_line(str(error), url)
    if state == INSUFFICIENT_PRIVILEGE:
        return _privilege_sentence(str(error), _statement(error), url)
    if state is None and isinstance(error, (psycopg2.OperationalError, adbc_driver_manager.OperationalError)):
        if not _LOST_MESSAGE.search(message) and not _contains(message, _RECOVERY_CONFLICT):
            return _connection_sentence(message, url)
        state = "08"
    condition = _condition(state, message)
    if condition is None:
        return None
    return f"{condition.summary.format(database=masked_url(url))}: {message}; {condition.remediation}"


def _condition(state: str | None, message: str = "") -> _Condition | None:
    if _contains(message, _RECOVERY_CONFLICT):
        return _RECOVERY_CONFLICT
    if state is None:
        return next((condition for condition in _CONDITIONS if _contains(message, condition)), None)
    return next((condition for condition in _CONDITIONS if state.startswith(condition.sqlstates)), None)


def _contains(message: str, condition: _Condition) -> bool:
    return condition.message_part is not None and condition.message_part in message


def _statement(error: Exception) -> str:
    """Return the statement that failed: psycopg2 keeps it beside the message, ADBC has it inside."""
    query = getattr(getattr(error, "cursor", None), "query", None)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(error)


def _one_line(message: str, url: URL) -> str:
    """Return a driver's message in one line, without the statement that ADBC appends."""
    line = " ".join(message.split()).removeprefix(f"IO: [libpq] {_CONNECT}")
    if url.password and len(url.password) > 3:  # libpq shows no password; a safeguard against the day that it does
        line = line.replace(url.password, "***")
    return line.split(" Query was")[0]


def _connection_sentence(message: str, url: URL) -> str:
    database = masked_url(url)
    if match := re.search(r'database "(.*)" does not exist', message):
        owner = f" OWNER {quote_identifier(url.username)}" if url.username else ""
        create = f"CREATE DATABASE {quote_identifier(match[1])}{owner}"
        return f"the server of {database} has no database {match[1]!r}; create it there ({create};) or set another one"
    if "unsupported startup parameter" in message:
        return f"{database}: {message}; set ignore_startup_parameters = options in pgbouncer.ini"
    if "password authentication failed" in message or "no password supplied" in message:
        return (
            f"the server of {database} does not accept the user name and password ({message}); check both, "
            "and that special characters in the password are percent-encoded (@ is %40, / is %2F)"
        )
    return (
        f"cannot connect to {database}: {message}; check host, port, user name, password and database, that the server "
        "is running, and that pg_hba.conf and the firewall allow the connection"
    )


def _privilege_sentence(message: str, statement: str, url: URL) -> str:
    role = f"the role {url.username!r}" if url.username else "the role"
    beginning = f"{role} of {masked_url(url)} lacks a privilege"
    objects = "table|foreign table|view|materialized view|sequence|schema|database"
    match = re.search(f"(permission denied for|must be owner of) ({objects}) (.+)", message)
    if match is None:
        return f"{beginning}: {_one_line(message, url)}; run `snapshot-pipeline check`, which names the GRANT"
    reason, kind, name = match.groups()
    grant = _missing_grant(reason, kind, name, statement, url)
    return f"{beginning}: {reason} {kind} {name}; run as its owner: {grant};"


def _missing_grant(reason: str, kind: str, name: str, statement: str, url: URL) -> str:
    """Return the statement that gives the role what it lacks, for an object of this kind and name."""
    role = quote_identifier(url.username or "")
    target = _qualified_name(name, statement) if kind not in ("schema", "database") else quote_identifier(name)
    creates = re.search(r"\bCREATE\b", statement, re.IGNORECASE) is not None
    if reason == "must be owner of":
        return f"ALTER {kind.upper()} {target} OWNER TO {role}"
    if kind == "schema":
        privileges = "USAGE, CREATE" if creates else "USAGE"
    elif kind == "database":
        privileges = "CREATE" if creates else "CONNECT"
    elif kind == "sequence":
        privileges = "USAGE, SELECT"
    else:
        privileges = "SELECT, INSERT, UPDATE, DELETE" if _is_write(statement) else "SELECT"
    keyword = "TABLE" if kind.endswith(("table", "view")) else kind.upper()
    return f"GRANT {privileges} ON {keyword} {target} TO {role}"


def _is_write(statement: str) -> bool:
    writes = r"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE|MERGE\s+INTO|COPY\s+[^(\s].*\bFROM\s+STDIN)\b"
    return re.search(writes, statement, re.IGNORECASE | re.DOTALL) is not None


def _qualified_name(name: str, statement: str) -> str:
    """Return a relation with the schema that the statement gives; PostgreSQL's message does not name it."""
    match = re.search(rf'(?:"((?:[^"]|"")+)"|\b(\w+))\.(?:"{re.escape(name)}"|{re.escape(name)}\b)', statement)
    if match is None:
        return quote_identifier(name)
    schema = match[1].replace('""', '"') if match[1] else match[2]
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"
