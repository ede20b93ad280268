"""The databases of the installation as Dagster resources, which the UI lists with their addresses and what uses them.

They name a database and hold no password: only `steps.step_installation` opens one in a run, with the settings.
See https://docs.dagster.io/guides/build/external-resources.
"""

# No `from __future__ import annotations` here: pydantic reads the annotations of the fields at run time.
import dagster as dg
from pydantic import Field, SecretStr

from snapshot_pipeline.orchestration.names import LEARNING_PLATFORM, STORE
from snapshot_pipeline.orchestration.table_metadata import public_address
from snapshot_pipeline.settings import Settings


class Tables(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Tables in a schema of a PostgreSQL database."""

    address: str = Field(description="The database, without user and password.")
    schema_name: str = Field(description="The schema of the tables.")

    def __str__(self) -> str:
        return f"{self.address}, schema {self.schema_name}"


class PlatformTables(Tables):
    """The learning platform's tables, which are only read."""


class PipelineTables(Tables):
    """The pipeline's own tables."""


def build_resources(settings: Settings) -> dict[str, Tables]:
    """Build the resources that steps require as `names.DATABASES`; connect to nothing."""
    platform = _address(settings.source_database_url or settings.database_url, settings)
    store = _address(settings.database_url, settings)
    return {
        LEARNING_PLATFORM: PlatformTables(address=platform, schema_name=settings.platform_schema),
        STORE: PipelineTables(address=store, schema_name=settings.store_schema),
    }


def _address(url: SecretStr | None, settings: Settings) -> str:
    return public_address(url) or f"the embedded server in {settings.home}"
