"""SQL as the superuser, and passwords that careless code shows or breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, create_engine, text

PASSWORD = "p@ss/w:rd%&#? ü'\"\\"  # noqa: S105
SECRET = "hunter2-secret"  # noqa: S105


@contextmanager
def administration(url: URL) -> Iterator[Callable[[str], object]]:
    """Yield a function that executes a statement in autocommit mode."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield lambda statement: connection.execute(text(statement))
    engine.dispose()
