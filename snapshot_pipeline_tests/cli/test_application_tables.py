"""Every command refuses, and leaves alone, an application's tables that have names of ours."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.cli import command
from snapshot_pipeline.cli.dagster_runs import RunFailedError
from snapshot_pipeline.store.migrate import StoreSchemaError
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.pipeline.installations import execute

INSERT = "INSERT INTO public.performance_snapshots (student, snapshot_date) VALUES (1, '2031-01-01')"

DEFINITIONS = text(
    """
    SELECT format('%s %s', c.oid::regclass, a) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ORDER BY 1
    """
)


@pytest.fixture(scope="module")
def application(installation: TestInstallation) -> TestInstallation:
    """An application that keeps snapshots of its own, computed by a cron job, in `public`."""
    execute(
        installation.url,
        "CREATE TABLE public.performance_snapshots (id serial PRIMARY KEY, student int, snapshot_date date)",
        "CREATE TABLE public.adaptive_recommendations (id serial PRIMARY KEY, student int)",
        "CREATE TABLE public.incidents (id serial PRIMARY KEY, title text)",
    )
    return installation


def definitions(installation: TestInstallation) -> list[str]:
    engine = create_engine(installation.url, poolclass=NullPool)
    with engine.connect() as connection:
        return list(connection.execute(DEFINITIONS).scalars())


@pytest.mark.parametrize(
    "arguments",
    [
        ["db", "migrate"],
        ["status"],
        ["student", "1", "--day", "2026-02-27"],
        ["retry-failed"],
        ["materialize", "--from", "2026-02-27", "--to", "2026-02-27"],
        ["recommend", "--week", "2026-02-16"],
        ["report", "--week", "2026-02-16"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_refuses_in_one_line_and_changes_nothing(
    application: TestInstallation, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Regression: a constraint was added to the application's table, so that its next INSERT was refused."""
    monkeypatch.setenv("SNAPSHOT_STORE_SCHEMA", "public")
    before = definitions(application)
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, (StoreSchemaError, RunFailedError))
    assert "has adaptive_recommendations, incidents, performance_snapshots, which snapshot_pip" in str(result.exception)
    assert "set SNAPSHOT_STORE_SCHEMA to another schema" in str(result.exception)
    assert "\n" not in str(result.exception)
    assert definitions(application) == before
    execute(application.url, INSERT)


def test_the_default_schema_leaves_the_applications_tables_alone(
    application: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SNAPSHOT_STORE_SCHEMA")
    # As the message says.
    execute(application.dagster_url, "UPDATE kvs SET value = replace(value, 'public', 'snapshots')")
    before = definitions(application)
    for reading in (["status"], ["student", "1", "--day", "2026-02-27"]):
        result = CliRunner().invoke(command, reading)
        assert "schema snapshots of database" in str(result.exception)
        assert "run `snapshot-pipeline db migrate`" in str(result.exception)
    assert CliRunner().invoke(command, ["materialize", "--from", "2026-02-27", "--to", "2026-02-27"]).exit_code == 0
    assert CliRunner().invoke(command, ["status"]).exit_code == 3
    assert definitions(application) == before
    execute(application.url, INSERT)
