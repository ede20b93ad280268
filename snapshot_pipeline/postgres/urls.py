"""Database URLs: read from settings, converted for libpq, shown without passwords; and identifiers quoted for display.

Every URL made here names its driver, psycopg2: SQLAlchemy 2.1 reads a plain `postgresql://` as psycopg 3, with which
Dagster's storage fails.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

import psycopg2
import sqlalchemy.exc
from psycopg2.extensions import make_dsn
from sqlalchemy import URL, make_url
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from snapshot_pipeline.errors import SnapshotPipelineError

DRIVER = "postgresql+psycopg2"
CONNECTION_DEFAULTS = {
    "application_name": "snapshot_pipeline",
    "connect_timeout": "10",
    # A connection that a firewall or a lost machine has silently dropped is noticed after 25 s (while waiting for
    # an answer) or 30 s (while sending), instead of two hours.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Parameters that our engines add to a URL that does not set them; not shown by `masked_url`."""

# Named parameters: psycopg2's own style doubles a % in a name, so that the SQL could not be pasted.
DISPLAY_DIALECT = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
"""The dialect for SQL that is shown to a user to be pasted, not executed."""

_SCHEMES = frozenset({"postgres", "postgresql", DRIVER})
_EXPECTED = (
    "expected postgresql://user:password@host:5432/database, with special characters in the password "
    "percent-encoded (@ is %40, : is %3A, / is %2F, % is %25)"
)


class DatabaseUrlError(SnapshotPipelineError):
    """A database URL is not valid."""


def parse_url(text: str, variable_name: str) -> URL:
    """Read a URL in one of the spellings postgres://, postgresql:// or postgresql+psycopg2://.

    Args:
        variable_name: The setting that holds it, for the message.

    Raises:
        DatabaseUrlError: The URL is not valid; one line that does not show the password.
    """
    try:
        url = make_url(text.strip())
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise DatabaseUrlError(f"{variable_name} is not a valid URL; {_EXPECTED}") from None
    if url.drivername not in _SCHEMES:
        raise DatabaseUrlError(f"{variable_name} begins with {url.drivername}://; {_EXPECTED}")
    if "@" in f"{url.host}{url.database}":
        raise DatabaseUrlError(f"{variable_name} has more than one @, perhaps in the password; {_EXPECTED}")
    if not url.database:
        raise DatabaseUrlError(f"{variable_name} has no database name ({masked_url(url)}); {_EXPECTED}")
    for parameter in url.query:
        if not _is_libpq_parameter(parameter):
            raise DatabaseUrlError(
                f"{variable_name} has the parameter {parameter!r}, which libpq, PostgreSQL's client library, does not "
                "support; remove it (the schema is set by SNAPSHOT_PLATFORM_SCHEMA, encryption by sslmode=require)"
            )
    return url.set(drivername=DRIVER)


def adbc_uri(url: URL) -> str:
    """Convert a URL to a libpq URI, as ADBC and psql take it; it contains the password."""
    _, arguments = PGDialect_psycopg2().create_connect_args(url)  # type: ignore[no-untyped-call]
    user, password = arguments.pop("user", None), arguments.pop("password", None)
    database = arguments.pop("dbname", None) or arguments.pop("database", None)
    host, port = str(arguments.pop("host", "") or ""), arguments.pop("port", None)
    parameters = {name: str(value) for name, value in arguments.items() if _is_libpq_parameter(name)}
    login = quote(user, safe="") if user else ""
    if password:
        login += f":{quote(password, safe='')}"
    if "/" in host or "," in host or not host:  # a socket directory and several hosts fit in the query only
        address = ""
        parameters = {**({"host": host} if host else {}), **({"port": str(port)} if port else {}), **parameters}
    else:
        address = (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
    authority = f"{login}@{address}" if login else address
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"postgresql://{authority}/{quote(database or '', safe='')}{query}"


def masked_url(url: URL) -> str:
    """Return a URL for display: without driver and our defaults, and with *** in place of every password."""
    hidden = {name: "***" for name in url.query if "password" in name.lower()}
    shown = url.set(drivername="postgresql").update_query_dict(hidden)
    return shown.difference_update_query([*CONNECTION_DEFAULTS, "client_encoding", "options"]).render_as_string(
        hide_password=True
    )


def quote_identifier(identifier: str) -> str:
    """Return an SQL identifier for display, in double quotes if it needs them."""
    return str(DISPLAY_DIALECT.identifier_preparer.quote(identifier))


def _is_libpq_parameter(name: str) -> bool:
    try:
        make_dsn(**{name: "1"})
    except psycopg2.ProgrammingError:
        return False
    return True
