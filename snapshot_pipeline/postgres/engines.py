"""From the settings to URLs, engines and readable errors.

Put here: how a URL of the user is read, what engine it becomes, and what a failed connection is called.
Do not put here: the embedded server (`embedded`), bulk transfers (`bulk`), or any query.

Every URL made here names its driver, psycopg2: SQLAlchemy 2.1 reads a plain `postgresql://` as psycopg 3, with which
Dagster's storage fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import adbc_driver_manager
import psycopg2
import sqlalchemy.exc
from psycopg2.extensions import make_dsn
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.pool import NullPool

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import Settings

DRIVER = "postgresql+psycopg2"
# Named parameters: with psycopg2's own a % in a name would be doubled, and the SQL could not be pasted.
SHOWN_SQL = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
"""How SQL is written where it is shown to be pasted, not executed."""
_DEFAULTS = {"application_name": "snapshot_pipeline", "connect_timeout": "10"}
_SCHEMES = frozenset({"postgres", "postgresql", DRIVER})
_EXPECTED = (
    "expected postgresql://user:password@host:5432/database, with special characters in the password "
    "percent-encoded (@ is %40, : is %3A, / is %2F, % is %25)"
)
_INSUFFICIENT_PRIVILEGE = "42501"
_RIGHT = re.compile(
    "(permission denied for|must be owner of) "
    "(table|foreign table|view|materialized view|sequence|schema|database) (.+)"
)


@dataclass(frozen=True)
class _Fault:
    """A fault of the server that a user can mend.

    Attributes:
        states: Its SQLSTATEs.
        words: How it is known where ADBC brings no SQLSTATE.
        what: What happened.
        remediation: What to do.
    """

    states: frozenset[str]
    words: str
    what: str
    remediation: str


_FAULTS = (
    _Fault(
        frozenset({"57014"}),
        "canceling statement",
        "a statement was ended before it was done",
        "see `snapshot-pipeline check` for missing indexes, or allow it more time (SNAPSHOT_STATEMENT_TIMEOUT_SECONDS)",
    ),
    _Fault(
        frozenset({"55P03"}),
        "due to lock timeout",
        "somebody held a table for longer than SNAPSHOT_LOCK_TIMEOUT_SECONDS",
        "start again when that is over, such as an ALTER TABLE of the application",
    ),
    _Fault(
        frozenset({"40P01", "40001", "23505"}),
        "deadlock detected",
        "two transactions stood in each other's way",
        "start again; when it happens often, see what else writes to the pipeline's tables",
    ),
    _Fault(
        frozenset({"25006"}),
        "read-only transaction",
        "nothing can be written",
        "name the primary server instead of a standby, or lift default_transaction_read_only",
    ),
    _Fault(
        frozenset({"53100"}),
        "No space left on device",
        "the server's disk is full",
        "make room there, then start again",
    ),
    _Fault(
        frozenset({"53200", "53400"}),
        "out of memory",
        "the server is at a limit of its own",
        "see the server's log, then start again",
    ),
    _Fault(
        frozenset({"42P01", "42703", "42704", "42883", "42846", "42804", "3F000"}),
        " does not exist",
        "a table or a column is not what the pipeline needs",
        "see `snapshot-pipeline check`",
    ),
    _Fault(
        frozenset({"25P03", "25P04"}),
        "idle-in-transaction timeout",
        "a session was ended by one of the server's limits",
        "start again",
    ),
)
# PostgreSQL's class 08 is about connections; the others: the server is stopping, has crashed, or is starting.
_CONNECTION_LOST = re.compile(r"08...|57P0[123]|53300")


class DatabaseUrlError(SnapshotPipelineError):
    """A URL of a database cannot be read."""


class DatabaseError(SnapshotPipelineError):
    """A database cannot be reached, or does not let us in."""


def platform_url(settings: Settings) -> URL:
    """The platform's database: SNAPSHOT_DATABASE_URL, or `platform` on the embedded server, started if need be.

    Raises:
        DatabaseUrlError: The URL cannot be read.
        EmbeddedServerError: The server cannot be started.
    """
    if settings.database_url:
        return parse_url(settings.database_url.get_secret_value(), "SNAPSHOT_DATABASE_URL")
    return _embedded_url(settings, "platform")


def dagster_url(settings: Settings) -> URL:
    """Dagster's database: SNAPSHOT_DAGSTER_DATABASE_URL, or the database `dagster` on the platform's server.

    Raises:
        DatabaseUrlError: The URL cannot be read.
        EmbeddedServerError: The server cannot be started.
    """
    if settings.dagster_database_url:
        return parse_url(settings.dagster_database_url.get_secret_value(), "SNAPSHOT_DAGSTER_DATABASE_URL")
    if settings.database_url:
        return platform_url(settings).set(database="dagster")
    return _embedded_url(settings, "dagster")


def parse_url(text: str, variable_name: str) -> URL:
    """Read a URL in one of the spellings postgres://, postgresql:// or postgresql+psycopg2://.

    Args:
        text: What the user wrote; it may hold a password and is never shown.
        variable_name: Where it was written, for the message.

    Raises:
        DatabaseUrlError: It is not such a URL; one line that does not show the password.
    """
    try:
        url = make_url(text.strip())
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise DatabaseUrlError(f"{variable_name} is no URL that can be read; {_EXPECTED}") from None
    if url.drivername not in _SCHEMES:
        raise DatabaseUrlError(f"{variable_name} begins with {url.drivername}://; {_EXPECTED}")
    if "@" in f"{url.host}{url.database}":
        raise DatabaseUrlError(f"{variable_name} has an @ too many, perhaps in the password; {_EXPECTED}")
    if not url.database:
        raise DatabaseUrlError(f"{variable_name} names no database ({masked(url)}); {_EXPECTED}")
    for parameter in url.query:
        if not _is_known_to_libpq(parameter):
            raise DatabaseUrlError(
                f"{variable_name} has the parameter {parameter!r}, which PostgreSQL's own client does not know; "
                "remove it (a schema is set by SNAPSHOT_PLATFORM_SCHEMA, encryption by sslmode=require)"
            )
    return url.set(drivername=DRIVER)


def create_platform_engine(settings: Settings) -> Engine:
    """An engine for small questions to the platform's database; its URL serves `adbc_uri` too.

    Every session waits for locks, works on a statement and stands idle in a transaction for so long only as the
    settings allow: the platform comes first.

    Raises:
        DatabaseUrlError: The URL cannot be read.
        EmbeddedServerError: The server cannot be started.
    """
    return _engine(platform_url(settings), settings)


def create_source_engine(settings: Settings) -> Engine | None:
    """The same for SNAPSHOT_SOURCE_DATABASE_URL; None where the platform is read in its own database.

    Raises:
        DatabaseUrlError: The URL cannot be read.
    """
    if settings.source_database_url is None:
        return None
    return _engine(parse_url(settings.source_database_url.get_secret_value(), "SNAPSHOT_SOURCE_DATABASE_URL"), settings)


def _engine(url: URL, settings: Settings) -> Engine:
    # In the URL, not in connect_args, so that bulk transfers have them as well.
    url = url.update_query_dict({name: value for name, value in _DEFAULTS.items() if name not in url.query})
    url = url.update_query_dict({"options": f"{_limits(settings)} {_own_options(url)}".strip()})
    return create_engine(url, pool_pre_ping=True, pool_size=2, max_overflow=8)


def _limits(settings: Settings) -> str:
    limits = {
        "lock_timeout": settings.lock_timeout_seconds,
        "statement_timeout": settings.statement_timeout_seconds,
        "idle_in_transaction_session_timeout": settings.statement_timeout_seconds,
    }
    return " ".join(f"-c {name}={max(1, round(seconds * 1000))}" for name, seconds in limits.items())


def _own_options(url: URL) -> str:
    """What the user has put there; the last of two takes precedence in PostgreSQL, which is the user's."""
    own = url.query.get("options", "")
    return own if isinstance(own, str) else " ".join(own)


def quoted(identifier: str) -> str:
    """An identifier as it stands in SQL that is shown, in quotes where it needs them."""
    return str(SHOWN_SQL.identifier_preparer.quote(identifier))


def adbc_uri(url: URL) -> str:
    """The same database as a URI of libpq, which ADBC and psql take; it shows the password."""
    _, arguments = PGDialect_psycopg2().create_connect_args(url)  # type: ignore[no-untyped-call]
    user, password = arguments.pop("user", None), arguments.pop("password", None)
    database = arguments.pop("dbname", None) or arguments.pop("database", None)
    host, port = str(arguments.pop("host", "") or ""), arguments.pop("port", None)
    parameters = {name: str(value) for name, value in arguments.items() if _is_known_to_libpq(name)}
    login = quote(user, safe="") if user else ""
    if password:
        login += f":{quote(password, safe='')}"
    if "/" in host or "," in host or not host:  # a socket's directory, several hosts: a place in the query only
        place = ""
        parameters = {**({"host": host} if host else {}), **({"port": str(port)} if port else {}), **parameters}
    else:
        place = (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
    authority = f"{login}@{place}" if login else place
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"postgresql://{authority}/{quote(database or '', safe='')}{query}"


def masked(url: URL) -> str:
    """The URL as it may be shown: without its driver and our defaults, and with *** for every password in it."""
    hidden = {name: "***" for name in url.query if "password" in name.lower()}
    shown = url.set(drivername="postgresql").update_query_dict(hidden).difference_update_query([*_DEFAULTS, "options"])
    return shown.render_as_string(hide_password=True)


def check_connection(url: URL) -> None:
    """Connect once.

    Raises:
        DatabaseError: That fails; one line that says why and what to do.
    """
    engine = create_engine(url, poolclass=NullPool)
    with readable_database_errors(url), engine.connect() as connection:
        connection.execute(text("SELECT 1"))


@contextmanager
def readable_database_errors(url: URL) -> Iterator[None]:
    """Turn what a user can mend into a `DatabaseError`: no connection, no such database, no right to something.

    Errors of psycopg2, of SQLAlchemy and of ADBC are understood; all others pass through as they are.

    Args:
        url: The database that is spoken to; shown with its password masked.

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


def _embedded_url(settings: Settings, database: str) -> URL:
    server = EmbeddedServer(settings.home)
    server.start()
    return server.url(database)


def _is_known_to_libpq(parameter: str) -> bool:
    try:
        make_dsn(**{parameter: "1"})
    except psycopg2.ProgrammingError:
        return False
    return True


def _sentence(error: Exception, url: URL) -> str | None:
    """What to tell the user; None for an error that is not the user's to mend."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and isinstance(error.orig, Exception):
        error = error.orig
    code = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    said = _one_line(str(error), url).split(" Query was")[0]
    if "conflict with recovery" in said:
        return (
            f"a read in {masked(url)} was ended, because the replica had to remove rows that it still needed: {said}; "
            "start again; when it happens often, set hot_standby_feedback = on there, or raise "
            "max_standby_streaming_delay"
        )
    if code == _INSUFFICIENT_PRIVILEGE:
        return _about_rights(str(error), _statement(error), url)
    is_operational = isinstance(error, (psycopg2.OperationalError, adbc_driver_manager.OperationalError))
    if code is None and is_operational and re.search("closed|terminat|no connection to the server", said):
        return f"the connection to {masked(url)} was lost: {said}; see the server's log"
    if code is None and is_operational:
        return _about_connecting(said, url)
    if code and _CONNECTION_LOST.fullmatch(code):
        return f"the connection to {masked(url)} was lost: {said}; see the server's log"
    found = next((kind for kind in _FAULTS if code in kind.states or (code is None and kind.words in said)), None)
    return f"{found.what} in {masked(url)}: {said}; {found.remediation}" if found else None


def _statement(error: Exception) -> str:
    """The statement that failed: psycopg2 keeps it beside the message, ADBC has it inside."""
    query = getattr(getattr(error, "cursor", None), "query", None)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(error)


def _one_line(message: str, url: URL) -> str:
    line = " ".join(message.split())
    line = line.removeprefix("IO: [libpq] Failed to connect: ")
    if url.password and len(url.password) > 3:  # libpq shows none; a safeguard against the day that it does
        line = line.replace(url.password, "***")
    return line


def _about_connecting(said: str, url: URL) -> str:
    name = masked(url)
    if match := re.search(r'database "(.*)" does not exist', said):
        create = f"CREATE DATABASE {quoted(match[1])}"
        return f"the server of {name} has no database {match[1]!r}; create it there ({create};), or name another one"
    if "password authentication failed" in said or "no password supplied" in said:
        return (
            f"the server of {name} does not accept user and password ({said}); check both, "
            "and that special characters in the password are percent-encoded (@ is %40, / is %2F)"
        )
    return f"{name} cannot be connected to: {said}; check host and port, and that the server runs and lets you in"


def _about_rights(message: str, statement: str, url: URL) -> str:
    role = url.username or "the role"
    found = _RIGHT.search(message)
    if found is None:
        said = _one_line(message, url).split(" Query was")[0]
        return f"the role {role!r} of {masked(url)} lacks a right: {said}"
    reason, kind, name = found.groups()
    remediation = _remedy(reason, kind, name, statement, url)
    return f"the role {role!r} of {masked(url)} lacks a right: {reason} {kind} {name}; run as its owner: {remediation};"


def _remedy(reason: str, kind: str, name: str, statement: str, url: URL) -> str:
    role = quoted(url.username or "")
    target = _qualified(name, statement) if kind not in ("schema", "database") else quoted(name)
    if reason == "must be owner of":
        return f"ALTER {kind.upper()} {target} OWNER TO {role}"
    if kind == "schema":
        rights = "USAGE, CREATE" if re.search(r"\bCREATE\b", statement, re.IGNORECASE) else "USAGE"
    elif kind == "database":
        rights = "CREATE" if re.search(r"\bCREATE\b", statement, re.IGNORECASE) else "CONNECT"
    elif kind == "sequence":
        rights = "USAGE, SELECT"
    elif _writes(statement):
        rights = "SELECT, INSERT, UPDATE, DELETE"
    else:
        rights = "SELECT"
    keyword = "TABLE" if kind.endswith(("table", "view")) else kind.upper()
    return f"GRANT {rights} ON {keyword} {target} TO {role}"


def _writes(statement: str) -> bool:
    writing = r"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE|MERGE\s+INTO|COPY\s+[^(\s].*\bFROM\s+STDIN)\b"
    return re.search(writing, statement, re.IGNORECASE | re.DOTALL) is not None


def _qualified(name: str, statement: str) -> str:
    """The relation with its schema, where the statement names one; PostgreSQL's message does not."""
    found = re.search(rf'(?:"((?:[^"]|"")+)"|\b(\w+))\.(?:"{re.escape(name)}"|{re.escape(name)}\b)', statement)
    if found is None:
        return quoted(name)
    schema = found[1].replace('""', '"') if found[1] else found[2]
    return f"{quoted(schema)}.{quoted(name)}"
