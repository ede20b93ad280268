"""URLs: every spelling is read, libpq gets every part, and no message shows a password."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import quote

import adbc_driver_postgresql.dbapi as adbc
import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn
from sqlalchemy import URL

from snapshot_pipeline.postgres.engines import check_connection
from snapshot_pipeline.postgres.urls import DatabaseUrlError, adbc_uri, masked_url, parse_url
from snapshot_pipeline_tests.postgres.administration import PASSWORD, SECRET


def user_url(url: URL, scheme: str) -> str:
    """Return the URL with the password percent-encoded."""
    assert url.username is not None
    assert url.password is not None
    login = f"{quote(url.username, safe='')}:{quote(url.password, safe='')}"
    return f"{scheme}://{login}@{url.host}:{url.port}/{url.database}"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_special_characters_in_a_password_work_in_every_spelling(role: URL, scheme: str) -> None:
    url = parse_url(user_url(role, scheme), "SNAPSHOT_DATABASE_URL")
    assert url.drivername == "postgresql+psycopg2"
    assert url.password == PASSWORD
    check_connection(url)
    with adbc.connect(adbc_uri(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user::text")
        assert cursor.fetchone() == (role.username,)
    with closing(psycopg2.connect(adbc_uri(url))) as psycopg2_connection:
        assert psycopg2_connection.info.user == role.username


def test_a_masked_url_contains_no_password() -> None:
    url = parse_url(f"postgresql://me:{SECRET}@host/db?sslmode=require&sslpassword={SECRET}", "X")
    assert masked_url(url) == "postgresql://me:***@host/db?sslmode=require&sslpassword=%2A%2A%2A"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (f"mysql://me:{SECRET}@host/db", "begins with mysql://"),
        (f"postgresql+asyncpg://me:{SECRET}@host/db", r"begins with postgresql\+asyncpg://"),
        (f"postgresql://me:{SECRET}@host", r"has no database name \(postgresql://me:\*\*\*@host\)"),
        (f"postgresql://me:{SECRET}@host/", "has no database name"),
        (f"postgresql://me:x@{SECRET}@host/db", "has more than one @"),
        (f"postgresql://me:x@y/{SECRET}@host/db", "has more than one @"),
        (f"postgresql://me:{SECRET}@host:port/db", "is not a valid URL"),
        (f"me:{SECRET}@host/db", "is not a valid URL"),
        (f"host=db password={SECRET}", "is not a valid URL"),
        (f"postgresql://me:{SECRET}@host/db?schema=public", "has the parameter 'schema'"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_its_password(wrong: str, expected: str) -> None:
    with pytest.raises(DatabaseUrlError, match=f"^SNAPSHOT_DATABASE_URL {expected}") as caught:
        parse_url(wrong, "SNAPSHOT_DATABASE_URL")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=12)


@given(user=TEXTS, password=TEXTS, database=TEXTS)
def test_libpq_reads_back_every_part_of_the_uri(user: str, password: str, database: str) -> None:
    url = URL.create("postgresql+psycopg2", user, password, "db.example.org", 5433, database)
    assert parse_dsn(adbc_uri(url)) == {
        "user": user,
        "password": password,
        "host": "db.example.org",
        "port": "5433",
        "dbname": database,
    }


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("postgresql://u@[::1]:5433/db", {"user": "u", "host": "::1", "port": "5433", "dbname": "db"}),
        ("postgresql:///db", {"dbname": "db"}),
        ("postgresql:///db?host=/run/postgre%20sql", {"host": "/run/postgre sql", "dbname": "db"}),
        ("postgresql://u@/db?host=/run&port=6000", {"user": "u", "host": "/run", "port": "6000", "dbname": "db"}),
        ("postgresql:///db?host=a:1&host=b:2", {"host": "a,b", "port": "1,2", "dbname": "db"}),
        (
            "postgresql://h/db?sslmode=verify-full&options=-c%20search_path%3Dx",
            {"host": "h", "dbname": "db", "sslmode": "verify-full", "options": "-c search_path=x"},
        ),
    ],
)
def test_sockets_several_hosts_and_options_reach_libpq(given_url: str, expected: dict[str, str]) -> None:
    assert parse_dsn(adbc_uri(parse_url(given_url, "X"))) == expected


def test_parameters_of_the_driver_alone_do_not_reach_libpq() -> None:
    url = URL.create("postgresql+psycopg2", "u", "p", "h", database="d", query={"async_": "0", "sslmode": "disable"})
    assert adbc_uri(url) == "postgresql://u:p@h/d?sslmode=disable"
