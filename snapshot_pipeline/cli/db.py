"""`snapshot-pipeline db`: the database's URL, the embedded server, the migrations."""

from __future__ import annotations

import os
import shutil
import subprocess

import click

from snapshot_pipeline.embedded import EmbeddedServer, EmbeddedServerError
from snapshot_pipeline.embedded.programs import packaged_program
from snapshot_pipeline.postgres.engines import create_platform_engine, dagster_url, platform_url, start_existing_server
from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.postgres.urls import adbc_uri, masked_url
from snapshot_pipeline.settings import Settings, demo_file, load_settings


@click.group(epilog='Example: psql "$(snapshot-pipeline db url)"')
def db() -> None:
    """Print the database's URL, open psql; start, stop, delete or migrate it."""


@db.command(
    short_help="Print the database's URL.",
    epilog='Example: pg_dump "$(snapshot-pipeline db url --dagster)" > dagster.sql',
)
@click.option("--dagster", is_flag=True, help="Print the URL of Dagster's own database.")
@click.option("--mask", is_flag=True, help="Print *** instead of the password, e.g. for a log or a ticket.")
def url(dagster: bool, mask: bool) -> None:
    """Print the database's URL with its password, for psql and other clients.

    Starts the embedded server if it is used and not running; it must exist.
    """
    settings = load_settings()
    if not (dagster and settings.dagster_database_url):
        start_existing_server(settings)
    database_url = dagster_url(settings) if dagster else platform_url(settings)
    click.echo(masked_url(database_url) if mask else adbc_uri(database_url))


@db.command(
    short_help="Open psql.",
    epilog="Example: snapshot-pipeline db psql -c 'SELECT count(*) FROM data_issues'",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Run psql on the platform's database with ARGUMENTS.

    Uses the installed psql if there is one, otherwise the embedded server's.
    """
    settings = load_settings()
    start_existing_server(settings)
    database_url = platform_url(settings)
    program = shutil.which("psql") or packaged_program("psql")
    # In the environment: other accounts can read the arguments of a process.
    password = {"PGPASSWORD": str(database_url.password)} if database_url.password else {}
    finished = subprocess.run(  # noqa: S603 - our own command, and the user's arguments
        [program, "--dbname", adbc_uri(database_url.set(password=None)), *arguments],
        env={**os.environ, **password},
        check=False,
    )
    raise click.exceptions.Exit(finished.returncode)


@db.command(epilog="Example: snapshot-pipeline db start")
def start() -> None:
    """Start the embedded server. Other commands do this automatically."""
    server = _embedded_server(load_settings(), "start")
    was_running = server.is_running()
    server.start()
    state = "is already running" if was_running else "was started"
    click.echo(f"The embedded server {state}: {masked_url(server.url('platform'))}")


@db.command(epilog="Example: snapshot-pipeline db stop")
def stop() -> None:
    """Stop the embedded server. Its clients are disconnected; its data is kept."""
    server = _embedded_server(load_settings(), "stop")
    was_running = server.stop()
    click.echo(f"The embedded server in {server.home} {'was stopped' if was_running else 'is not running'}.")


@db.command(short_help="Delete the embedded server and its databases.", epilog="Example: snapshot-pipeline db delete")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete(yes: bool) -> None:
    """Stop the embedded server and delete all its databases, including Dagster's records."""
    settings = load_settings()
    server = _embedded_server(settings, "delete")
    if not yes:
        click.confirm(f"Delete the embedded server in {server.home} and all its databases?", abort=True)
    server.delete()
    demo_file(settings.home).unlink(missing_ok=True)
    click.echo(f"The embedded server in {server.home} was deleted.")


@db.command(epilog="\b\nExample: SNAPSHOT_DATABASE_URL=postgresql://owner@host/platform snapshot-pipeline db migrate")
def migrate() -> None:
    """Create the pipeline's tables. Other commands do this automatically.

    Needs a role that may create tables in SNAPSHOT_STORE_SCHEMA. If the pipeline's own role may not, run this once with
    another role in SNAPSHOT_DATABASE_URL.
    """
    from snapshot_pipeline.store.migrate import migrate as migrate_store  # imports Alembic, which is slow

    settings = load_settings()
    engine = create_platform_engine(settings)
    try:
        with readable_database_errors(engine.url):
            revision = migrate_store(engine, settings.store_schema)
    finally:
        engine.dispose()
    click.echo(f"The tables in schema {settings.store_schema} of {masked_url(engine.url)} are at revision {revision}.")


def _embedded_server(settings: Settings, verb: str) -> EmbeddedServer:
    if settings.database_url:
        raise EmbeddedServerError(
            "SNAPSHOT_DATABASE_URL is set, so the embedded server is not used; unset SNAPSHOT_DATABASE_URL to "
            f"{verb} the embedded server"
        )
    return EmbeddedServer(settings.home)
