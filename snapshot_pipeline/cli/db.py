"""`snapshot-pipeline db`: the database's URL, the embedded server, the migrations.

Put here: the options and what is printed. Do not put here: how a URL is made (`database`), how the server is run
(`embedded`), or what a migration does (`store.migrate`).
"""

from __future__ import annotations

import click

from snapshot_pipeline.embedded import EmbeddedServer, EmbeddedServerError
from snapshot_pipeline.postgres.engines import create_platform_engine, dagster_url, platform_url
from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.postgres.urls import adbc_uri, masked_url
from snapshot_pipeline.settings import Settings, load_settings


@click.group(name="db", epilog='Example: psql "$(snapshot-pipeline db url)"')
def command() -> None:
    """The database: its URL, starting, stopping, migrating."""


@command.command(epilog='Example: pg_dump "$(snapshot-pipeline db url --dagster)" > dagster.sql')
@click.option("--dagster", is_flag=True, help="Dagster's own database instead of the platform's.")
@click.option("--mask", is_flag=True, help="Show *** for the password, for a log or a ticket.")
def url(dagster: bool, mask: bool) -> None:
    """Print the URL, with its password, as psql and other clients take it; the embedded server is started."""
    settings = load_settings()
    found = dagster_url(settings) if dagster else platform_url(settings)
    click.echo(masked_url(found) if mask else adbc_uri(found))


@command.command(epilog="Example: snapshot-pipeline db start")
def start() -> None:
    """Start the embedded server, which every other command does by itself."""
    server = _embedded_server(load_settings(), "start")
    ran = server.is_running()
    server.start()
    click.echo(f"The embedded server {'runs already' if ran else 'was started'}: {masked_url(server.url('platform'))}")


@command.command(epilog="Example: snapshot-pipeline db stop")
def stop() -> None:
    """Stop the embedded server; what is connected to it is disconnected, and the data stay."""
    server = _embedded_server(load_settings(), "stop")
    stopped = server.stop()
    click.echo(f"The embedded server below {server.home} {'was stopped' if stopped else 'does not run'}.")


@command.command(epilog="Example: snapshot-pipeline db delete")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(yes: bool) -> None:
    """Stop the embedded server and delete its databases, Dagster's records among them."""
    server = _embedded_server(load_settings(), "delete")
    if not yes:
        click.confirm(f"Delete the embedded server below {server.home} with all that is in it?", abort=True)
    server.delete()
    click.echo(f"The embedded server below {server.home} is deleted.")


@command.command(epilog="Example: SNAPSHOT_DATABASE_URL=postgresql://owner@host/platform snapshot-pipeline db migrate")
def migrate() -> None:
    """Create our tables, or bring them to this version's shape; the other commands do it by themselves.

    Needs a role that may create tables in SNAPSHOT_STORE_SCHEMA; where the pipeline's own role may not, run this once
    with another SNAPSHOT_DATABASE_URL.
    """
    from snapshot_pipeline.store.migrate import migrate as bring_up_to_date

    settings = load_settings()
    engine = create_platform_engine(settings)
    try:
        with readable_database_errors(engine.url):
            revision = bring_up_to_date(engine, settings.store_schema)
    finally:
        engine.dispose()
    click.echo(f"The tables in schema {settings.store_schema} of {masked_url(engine.url)} are at revision {revision}.")


def _embedded_server(settings: Settings, verb: str) -> EmbeddedServer:
    if settings.database_url:
        raise EmbeddedServerError(
            "SNAPSHOT_DATABASE_URL names a server of your own, which is not ours to "
            f"{verb}; unset it for the embedded server"
        )
    return EmbeddedServer(settings.home)
