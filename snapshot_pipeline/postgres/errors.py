"""Errors of the database that pass by themselves, and how long one is patient with them.

Put here: which errors are worth another try, and the pauses between two tries.
Do not put here: what an error is called to the user (`database`), or what is done again; whoever asks for another try
sees to it that doing it twice does no harm.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TypeVar

import adbc_driver_manager
import psycopg2
import sqlalchemy.exc
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from snapshot_pipeline.errors import SnapshotPipelineError

MOST_TRIES = 8
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
JITTER = 1.0
"""Seconds: the pauses of eight tries are 0.5, 1, 2, 4, 8, 15 and 15 with up to a second of jitter, a minute at most."""

_LOG = logging.getLogger(__name__)
_CONNECTION = "08"  # the SQLSTATE class of connections
_PASSING_STATES = frozenset(
    {
        "57P01",  # the server is stopped, or an administrator has ended the session
        "57P02",  # the server crashes
        "57P03",  # the server is starting, stopping or recovering
        "53300",  # it has no room for another connection
        "40001",  # two transactions could not both be right; or a standby needed what a query of ours still read
        "40P01",  # deadlock
        "55P03",  # somebody holds the table, such as an ALTER TABLE of the application
        "25P03",  # the session stood idle in its transaction, as after a laptop's sleep
        # The same row was put in at the same time: by our own transaction whose connection was lost before the server
        # could say that it was committed. The next try sees the row and replaces it.
        "23505",
    }
)
# Where libpq itself notices there is no SQLSTATE: ADBC and a failed connection bring a sentence only, which libpq does
# not translate unless it was built to. All of these were seen, or are in libpq's source beside those that were.
_PASSING_WORDS = re.compile(
    "server closed the connection|no connection to the server|connection (?:is |was )?already closed|"
    "terminating connection|connection refused|connection reset|connection timed out|broken pipe|timeout expired|"
    "could not (?:receive|send) data|the database system is |too many (?:clients|connections)|"
    "remaining connection slots|ssl syscall error|ssl connection has been closed|"
    "temporary failure in name resolution|network is unreachable|no route to host",
    re.IGNORECASE,
)
_WITHOUT_STATE = (psycopg2.OperationalError, psycopg2.InterfaceError, adbc_driver_manager.OperationalError)

Result = TypeVar("Result")


def is_transient(error: BaseException | None) -> bool:
    """Whether the same thing, done again in a while, may well succeed.

    True of a connection that was lost or refused, a server that starts or stops, a deadlock, a serialization failure
    and a lock that somebody holds. False of a student's data, a wrong password, a missing right or table, a full disk,
    a read-only database, a setting, and of a statement that took too long: it would take too long again.

    Args:
        error: Of psycopg2, SQLAlchemy or ADBC, or one of ours that was raised from such an error.
    """
    if isinstance(error, SnapshotPipelineError):
        return error.passes or is_transient(error.__cause__)
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return is_transient(error.orig) or (error.connection_invalidated and sqlstate(error.orig) is None)
    state = sqlstate(error)
    if state is not None:
        return state.startswith(_CONNECTION) or state in _PASSING_STATES
    return isinstance(error, _WITHOUT_STATE) and _PASSING_WORDS.search(str(error)) is not None


def sqlstate(error: BaseException | None) -> str | None:
    """The five characters by which PostgreSQL names an error; None where the server itself said nothing."""
    if isinstance(error, SnapshotPipelineError):
        return sqlstate(error.__cause__)
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)


def retry_transient(attempt: Callable[[], Result]) -> Result:
    """Call `attempt` until it does not fail for a passing reason, with growing pauses, for about a minute.

    Args:
        attempt: Something that may be done twice, and leaves nothing behind when it fails.

    Returns:
        What the first call that succeeded returned.

    Raises:
        Exception: What the last call raised; whatever does not pass is raised at once.
    """
    tries = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE) + wait_random(0, JITTER),
        stop=stop_after_attempt(MOST_TRIES),
        before_sleep=_log,
        reraise=True,
    )
    return tries(attempt)


def _log(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        error = error.orig
    # Not its message, which may repeat a statement with the data in it.
    _LOG.warning(
        "%s (SQLSTATE %s) may pass; try %d of %d follows in %.1f s",
        type(error).__name__,
        sqlstate(error) or "unknown",
        state.attempt_number + 1,
        MOST_TRIES,
        state.upcoming_sleep,
    )
