"""Whether the role may do what the pipeline does.

Put here: findings about rights on schemas and tables, the platform's and our own, each with its GRANT.
Do not put here: whether the tables are there and sound (`structure`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from snapshot_pipeline.platform.contract.catalogs import FoundTable, MissingRight, Place
from snapshot_pipeline.platform.contract.findings import Finding, full_name
from snapshot_pipeline.platform.contract.requirements import COLUMNS, NOT_READ
from snapshot_pipeline.postgres.urls import quote_identifier


def schema_findings(place: Place) -> Iterator[Finding]:
    """Of the schemas: whether they are there, and may be used."""
    role, schema, store = map(quote_identifier, (place.role, place.schema, place.store_schema))
    if not place.schema_exists:
        yield Finding(
            "error",
            None,
            f"database {place.database} has no schema {place.schema}; name the one of the platform's tables in "
            "SNAPSHOT_PLATFORM_SCHEMA",
        )
    elif not place.may_use_schema:
        yield Finding(
            "error",
            None,
            f"the role {place.role} may not use the schema {place.schema}; let its owner run",
            f"GRANT USAGE ON SCHEMA {schema} TO {role};",
        )
    if not place.store_schema_exists and not place.may_create_schema:
        yield Finding(
            "error",
            None,
            f"the schema {place.store_schema} for the pipeline's own tables is missing and the role {place.role} may "
            "not create it; let the database's owner run",
            f"CREATE SCHEMA {store} AUTHORIZATION {role};",
        )
    elif place.store_schema_exists and place.has_store_tables and not place.may_use_store:
        yield Finding(
            "error",
            None,
            f"the role {place.role} may not use the schema {place.store_schema} of the pipeline's own tables; let its "
            "owner run",
            f"GRANT USAGE ON SCHEMA {store} TO {role};",
        )
    elif place.store_schema_exists and not (
        # Tables that another role has made are enough: see docs/roles.sql.
        place.has_store_tables or (place.may_create_in_store and place.may_use_store)
    ):
        yield Finding(
            "error",
            None,
            f"the role {place.role} may not create the pipeline's own tables in the schema {place.store_schema}; let "
            "its owner run this, or name another schema in SNAPSHOT_STORE_SCHEMA",
            f"GRANT USAGE, CREATE ON SCHEMA {store} TO {role};",
        )


def reading_findings(table: FoundTable, place: Place) -> Iterator[Finding]:
    """Of one of the platform's tables: whether its columns may be read, and all of its rows."""
    unreadable = [
        column for column in COLUMNS[table.name] if column in table.columns and not _is_readable(table, column)
    ]
    if unreadable:
        yield Finding(
            "error",
            table.name,
            f"the role {place.role} may not read {', '.join(unreadable)}; let the table's owner run",
            f"GRANT SELECT ON {full_name(place.schema, table.name)} TO {quote_identifier(place.role)};",
        )
    if table.hides_rows:
        yield Finding(
            "advice",
            table.name,
            f"row-level security applies to the role {place.role}: rows that no policy shows it are left out; let the "
            "table's owner run this, if the pipeline is to see all",
            f"CREATE POLICY snapshot_pipeline_reads ON {full_name(place.schema, table.name)} FOR SELECT TO "
            f"{quote_identifier(place.role)} USING (true);",
        )


def store_findings(missing: Iterable[MissingRight], place: Place) -> Iterator[Finding]:
    """Of our own tables that are there already: a first run by another role may have made them."""
    for (table, owner), of_table in groupby(missing, key=lambda right: (right.table, right.owner)):
        rights = ", ".join(each.right for each in of_table)
        yield Finding(
            "error",
            table,
            f"is there already and belongs to {owner}; the role {place.role} lacks {rights}; let {owner} run",
            f"GRANT {rights} ON {full_name(place.store_schema, table)} TO {quote_identifier(place.role)};",
        )


def _is_readable(table: FoundTable, column: str) -> bool:
    return (table.name, column) in NOT_READ or table.columns[column].is_readable
