"""Errors keep their type, message and classification when they return from a worker process."""

from __future__ import annotations

import importlib
import pkgutil

import adbc_driver_manager
import psycopg2
import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import snapshot_pipeline
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.batches import is_data_error
from snapshot_pipeline.pipeline.dask_cluster.remote_errors import RemoteError, WorkerError
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import DatabaseError, is_transient, readable_database_errors, sqlstate
from snapshot_pipeline.postgres.urls import adbc_uri


def our_errors() -> list[type[SnapshotPipelineError]]:
    for module in pkgutil.walk_packages(snapshot_pipeline.__path__, "snapshot_pipeline."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds, pending = [], [SnapshotPipelineError]
    while pending:
        kind = pending.pop()
        kinds.append(kind)
        pending += kind.__subclasses__()
    return [kind for kind in kinds if kind.__module__.startswith("snapshot_pipeline.")]


def sent_back(error: Exception) -> Exception:
    return RemoteError.of(error).error()


def test_own_errors_keep_their_type_across_processes():
    kinds = our_errors()
    assert len(kinds) > 10
    for kind in kinds:
        error = kind.__new__(kind, "one line")  # some constructors take other arguments and build the message
        returned = sent_back(error)
        assert (type(returned), str(returned), is_transient(returned)) == (kind, "one line", is_transient(error))


def error_of(statement: str, url: URL, by_adbc: bool) -> Exception:
    """Return the error that the server raises for a statement."""
    try:
        if by_adbc:
            with bulk.transaction(adbc_uri(url)) as connection:
                bulk.execute(connection, text(statement))
        else:
            with create_engine(url, poolclass=NullPool).begin() as connection:
                connection.execute(text(statement))
    except (adbc_driver_manager.Error, DBAPIError) as error:
        return error
    raise AssertionError(f"{statement} did not fail")


@pytest.mark.parametrize("by_adbc", [True, False], ids=["adbc", "psycopg2"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 / 0",
        "SELECT 1e30::numeric::bigint",
        "SELECT * FROM missing",
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$",
        "SELECT pg_terminate_backend(pg_backend_pid())",
    ],
)
def test_database_error_is_classified_as_in_the_worker(statement: str, by_adbc: bool, module_database_url: URL):
    error = error_of(statement, module_database_url, by_adbc)
    returned = sent_back(error)
    classified = [
        (sqlstate(getattr(each, "orig", each)), is_transient(each), is_data_error(each)) for each in (error, returned)
    ]
    assert classified[0] == classified[1]
    assert type(returned) is type(error)


def test_wrapped_error_keeps_its_transient_cause_and_worker_traceback():
    url = URL.create("postgresql+psycopg2", "someone", "hunter2", "127.0.0.1", 1, "nowhere")
    with pytest.raises(DatabaseError) as caught, readable_database_errors(url):
        psycopg2.connect(host="127.0.0.1", port=1, connect_timeout=2)
    returned = sent_back(caught.value)
    assert is_transient(returned)
    assert isinstance(returned.__cause__, psycopg2.OperationalError)
    assert "in readable_database_errors" in str(returned.__cause__.__cause__)


class CannotBeUnpickled(Exception):
    """An exception that cannot be unpickled; some libraries have such ones."""

    def __init__(self, *, needed: str) -> None:
        super().__init__(f"needs {needed}")


def test_unpicklable_error_is_replaced_by_a_picklable_one():
    returned = sent_back(CannotBeUnpickled(needed="a keyword"))
    assert isinstance(returned, WorkerError)
    assert str(returned) == "CannotBeUnpickled: needs a keyword"


def test_repr_of_a_remote_error_shows_no_contents():
    assert "hunter2" not in f"{RemoteError.of(ValueError('hunter2'))!r}"
