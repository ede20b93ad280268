"""The structure of a database from PostgreSQL's catalogs: schemas, tables, columns, indexes and rights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from snapshot_pipeline.platform.contract.requirements import COLUMNS, Accepted
from snapshot_pipeline.platform.tables import TABLE_NAMES

PARTITIONED = "p"
# Kinds of relations: ordinary tables, partitioned tables, materialized views.
TAKES_INDEXES = frozenset({"r", PARTITIONED, "m"})
TAKES_CONSTRAINTS = frozenset({"r", PARTITIONED})

_DATABASE = text(
    """
    SELECT current_user::text AS role, current_database()::text AS database, n.oid IS NOT NULL AS schema_exists,
        coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS may_use_schema
    FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = :schema
    """
)
_TABLES = text(
    """
    SELECT c.relname::text AS name, c.relkind::text AS kind,
        row_security_active(c.oid) AND NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_policy p
            WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'
                AND EXISTS (SELECT 1 FROM unnest(p.polroles) AS role WHERE role = 0 OR pg_has_role(role, 'USAGE'))
        ) AS hides_rows
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY(:names) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    """
)
_TABLE_COLUMNS = text(
    """
    SELECT c.relname::text AS table_name, a.attname::text AS name,
        pg_catalog.format_type(a.atttypid, a.atttypmod) AS display_type,
        coalesce(base.typname, type.typname)::text AS type_name,
        coalesce(base.typtype, type.typtype) = 'e' AS is_enum,
        has_column_privilege(c.oid, a.attnum, 'SELECT') AS is_readable,
        a.attnotnull AS is_not_null
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type type ON type.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_type base ON type.typtype = 'd' AND base.oid = type.typbasetype
    WHERE n.nspname = :schema AND c.relname = ANY(:names)
    """
)
_INDEXES = text(
    """
    SELECT c.relname::text AS table_name, i.relname::text AS name, x.indisunique AS is_unique,
        x.indisvalid AS is_valid,
        ARRAY(
            SELECT a.attname::text
            FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS key(attnum, position)
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = key.attnum
            WHERE key.position <= x.indnkeyatts ORDER BY key.position
        ) AS columns
    FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_am m ON m.oid = i.relam AND m.amname = 'btree'
    JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY(:names) AND x.indpred IS NULL
    """
)
_FOREIGN_KEYS = text(
    """
    SELECT c.relname::text AS table_name, a.attname::text AS column_name, target.relname::text AS target_name
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_class target ON target.oid = k.confrelid AND target.relnamespace = n.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
    JOIN pg_catalog.pg_attribute b ON b.attrelid = target.oid AND b.attnum = k.confkey[1] AND b.attname = 'id'
    WHERE n.nspname = :schema AND c.relname = ANY(:names)
        AND k.contype = 'f' AND k.convalidated AND cardinality(k.conkey) = 1
    """
)
_RELATION_NAMES = text(
    """
    SELECT c.relname::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema
    """
)


@dataclass(frozen=True)
class FoundColumn:
    """A column; for a domain, the type is its base type."""

    display_type: str
    type_name: str
    is_enum: bool
    is_readable: bool
    is_not_null: bool

    def is_accepted(self, accepted: Accepted) -> bool:
        """Return whether the column's type is accepted."""
        return not accepted.type_names or self.type_name in accepted.type_names or (accepted.or_enum and self.is_enum)


@dataclass(frozen=True)
class FoundIndex:
    """A btree index over whole columns and all rows; `columns` holds None for an expression."""

    name: str
    columns: tuple[str | None, ...]
    is_unique: bool
    is_valid: bool


@dataclass
class FoundTable:
    """A table, view or foreign table.

    Attributes:
        kind: As in `pg_class.relkind`.
        hides_rows: Whether row-level security may hide rows from the role.
        relation_names: All names of relations in its schema.
        references: The pairs (column, table) of its foreign keys to the `id` of another table.
    """

    name: str
    kind: str
    hides_rows: bool
    relation_names: frozenset[str]
    columns: dict[str, FoundColumn] = field(default_factory=dict)
    indexes: list[FoundIndex] = field(default_factory=list)
    references: set[tuple[str, str]] = field(default_factory=set)

    def is_queryable(self, *names: str) -> bool:
        """Return whether the columns exist, have accepted types and are readable."""
        return all(
            name in self.columns
            and self.columns[name].is_readable
            and self.columns[name].is_accepted(COLUMNS[self.name][name])
            for name in names
        )

    def is_unique(self, columns: Iterable[str]) -> bool:
        """Return whether an index guarantees that no two rows have the same values in the columns."""
        return any(
            index.is_unique and index.is_valid and None not in index.columns and set(index.columns) <= set(columns)
            for index in self.indexes
        )


@dataclass(frozen=True)
class DatabaseInfo:
    """The role, the database, and the role's rights on the platform's schema."""

    role: str
    database: str
    schema: str
    schema_exists: bool
    may_use_schema: bool


def read_database_info(connection: Connection, schema: str) -> DatabaseInfo:
    """Read the role and its rights on the platform's schema."""
    row = connection.execute(_DATABASE, {"schema": schema}).one()
    return DatabaseInfo(schema=schema, **row._mapping)


def read_tables(connection: Connection, schema: str) -> dict[str, FoundTable]:
    """Read the platform's existing tables, by name."""
    parameters = {"schema": schema, "names": list(TABLE_NAMES)}
    relation_names = frozenset(connection.execute(_RELATION_NAMES, parameters).scalars())
    rows = connection.execute(_TABLES, parameters)
    tables = {name: FoundTable(name, kind, hides_rows, relation_names) for name, kind, hides_rows in rows}
    for table_name, name, *properties in connection.execute(_TABLE_COLUMNS, parameters):
        if table_name in tables:
            tables[table_name].columns[name] = FoundColumn(*properties)
    for table_name, name, is_unique, is_valid, columns in connection.execute(_INDEXES, parameters):
        tables[table_name].indexes.append(FoundIndex(name, tuple(columns), is_unique, is_valid))
    for table_name, column, target in connection.execute(_FOREIGN_KEYS, parameters):
        tables[table_name].references.add((column, target))
    return tables
