"""What the pipeline needs of a platform's database, and what of it a given database lacks.

Put here: the contract (columns, types, keys, rights), how a database is held against it, and what each finding says.
Do not put here: the reads themselves (`reads`), or how findings are printed (`cli.check`).

The structure is read from PostgreSQL's catalogs, which any role may read, so a role without rights is told which ones
it lacks. The rows are looked at in read-only transactions with a time limit, and only where the structure allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Executable,
    Index,
    MetaData,
    Row,
    String,
    Table,
    and_,
    cast,
    exists,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

from snapshot_pipeline.database import readable_database_errors
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, OPTIONAL_TABLES, TABLE_NAMES

DATA_CHECK_SECONDS = 60.0
"""How long one look at the rows may take before it is given up: the platform comes first."""

Severity = Literal["error", "advice"]

# Named parameters, or a % in a name would be doubled in the statements that are shown.
_DIALECT = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
_QUERY_CANCELED = "57014"
_PARTITIONED = "p"
# Ordinary and partitioned tables and materialized views; a view or a foreign table takes none.
_TAKES_INDEXES = frozenset({"r", _PARTITIONED, "m"})
_TAKES_CONSTRAINTS = frozenset({"r", _PARTITIONED})
_INSTEAD = "or put a view that has it in a schema of its own and name that in SNAPSHOT_PLATFORM_SCHEMA"


@dataclass(frozen=True)
class Finding:
    """One thing that a database lacks.

    Attributes:
        severity: `error`: the pipeline cannot run, or would publish wrong figures. `advice`: it runs.
        table: The table concerned; None for the database or a schema.
        message: One line that says what was found and what to do.
        statement: SQL that mends it, where there is such.
    """

    severity: Severity
    table: str | None
    message: str
    statement: str | None = None


# ---- The contract ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Accepted:
    """The types that a column may have, by their names in `pg_type`; none: any type."""

    words: str
    type_names: frozenset[str] = frozenset()
    or_enum: bool = False


_INTEGERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _INTEGERS | {"numeric", "float4", "float8"}
_ID = _Accepted("integer or bigint", _INTEGERS)
_MOMENT = _Accepted("timestamp or timestamptz", frozenset({"timestamp", "timestamptz"}))
_FLAG = _Accepted("boolean", frozenset({"bool"}))
_NUMBER = _Accepted("a numeric type", _NUMBERS)
_WORD = _Accepted("text, varchar or an enum", frozenset({"text", "varchar", "bpchar", "citext", "name"}), or_enum=True)
# Compared and shown as text, whatever it is.
_ANY = _Accepted("any type")

_COLUMNS: dict[str, dict[str, _Accepted]] = {
    "users": {
        "id": _ID,
        "role": _WORD,
        "is_active": _FLAG,
        "current_specialization": _ANY,
        "current_level": _ANY,
    },
    "lessons": {
        "id": _ID,
        "title": _ANY,
        "specialization_id": _ANY,
        "level_id": _ANY,
        "display_order": _NUMBER,
        "is_published": _FLAG,
    },
    "user_lesson_progress": {
        "user_id": _ID,
        "lesson_id": _ID,
        "started_at": _MOMENT,
        "completed_at": _MOMENT,
        "time_spent_minutes": _NUMBER,
    },
    "quizzes": {"id": _ID, "lesson_id": _ID, "title": _ANY},
    "quiz_attempts": {"id": _ID, "user_id": _ID, "quiz_id": _ID, "score": _NUMBER, "completed_at": _MOMENT},
    "exercise_submissions": {"id": _ID, "user_id": _ID, "created_at": _MOMENT},
}
# Part of the platform's tables in metrics.md, but no figure and no text comes from it.
_NOT_READ = frozenset({("quizzes", "title")})
_KEYS = {
    "users": ("id",),
    "lessons": ("id",),
    "user_lesson_progress": ("user_id", "lesson_id"),
    "quizzes": ("id",),
    "quiz_attempts": ("id",),
}
_REFERENCES = (
    ("user_lesson_progress", "user_id", "users"),
    ("quiz_attempts", "user_id", "users"),
    ("exercise_submissions", "user_id", "users"),
    ("quiz_attempts", "quiz_id", "quizzes"),
)


# ---- A database as it is -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _FoundColumn:
    shown_type: str
    type_name: str
    is_enum: bool
    is_readable: bool


@dataclass(frozen=True)
class _FoundIndex:
    """A btree index over whole columns and all rows; `columns` holds None for an expression."""

    name: str
    columns: tuple[str | None, ...]
    is_unique: bool
    is_valid: bool


@dataclass
class _FoundTable:
    name: str
    kind: str
    hides_rows: bool
    relation_names: frozenset[str]
    columns: dict[str, _FoundColumn] = field(default_factory=dict)
    indexes: list[_FoundIndex] = field(default_factory=list)
    references: set[tuple[str, str]] = field(default_factory=set)

    def can_be_asked(self, *names: str) -> bool:
        """Whether the columns are there, of an accepted type, and readable."""
        return all(
            name in self.columns
            and self.columns[name].is_readable
            and _is_accepted(self.columns[name], _COLUMNS[self.name][name])
            for name in names
        )

    def is_unique(self, columns: Iterable[str]) -> bool:
        return any(
            index.is_unique and index.is_valid and None not in index.columns and set(index.columns) <= set(columns)
            for index in self.indexes
        )


@dataclass(frozen=True)
class _Place:
    """Where a database is looked at, and as whom."""

    role: str
    database: str
    schema: str
    schema_exists: bool
    may_use_schema: bool
    store_schema: str
    store_schema_exists: bool
    may_use_store: bool
    may_create_in_store: bool
    may_create_schema: bool


def check_platform(
    engine: Engine, schema: str, store_schema: str, data_check_seconds: float = DATA_CHECK_SECONDS
) -> list[Finding]:
    """Hold a database against what the pipeline needs of it; nothing is written.

    Args:
        engine: The database, as the role that the pipeline works as.
        schema: The schema of the platform's tables.
        store_schema: The schema of the tables that we own.
        data_check_seconds: The time limit of each look at the rows.

    Returns:
        The findings, errors first, else in the order of the tables; none: all is well.

    Raises:
        DatabaseError: The database cannot be reached.
    """
    with readable_database_errors(engine.url), engine.connect() as connection:
        place = _read_place(connection, schema, store_schema)
        tables = _read_tables(connection, schema)
    rows = _Rows(engine, schema, data_check_seconds)
    findings = [*_schema_findings(place)]
    if place.schema_exists:
        for name in TABLE_NAMES:
            findings += _table_findings(name, tables, place)
        if place.may_use_schema:
            findings += _row_findings(tables, rows)
        findings += _index_findings(tables, rows)
    return sorted(findings, key=lambda finding: finding.severity != "error")


# ---- Schemas, tables, columns, rights ----------------------------------------------------------------------------


def _schema_findings(place: _Place) -> Iterator[Finding]:
    role, schema, store = _quoted(place.role), _quoted(place.schema), _quoted(place.store_schema)
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
    elif place.store_schema_exists and not (place.may_create_in_store and place.may_use_store):
        yield Finding(
            "error",
            None,
            f"the role {place.role} may not create the pipeline's own tables in the schema {place.store_schema}; let "
            "its owner run this, or name another schema in SNAPSHOT_STORE_SCHEMA",
            f"GRANT USAGE, CREATE ON SCHEMA {store} TO {role};",
        )


def _table_findings(name: str, tables: dict[str, _FoundTable], place: _Place) -> Iterator[Finding]:
    table = tables.get(name)
    if table is None:
        if name not in OPTIONAL_TABLES:
            yield Finding(
                "error",
                name,
                f"is missing in the schema {place.schema}; create it, put a view of that name in its place, or name "
                "the schema that holds it in SNAPSHOT_PLATFORM_SCHEMA",
            )
        return
    for column, accepted in _COLUMNS[name].items():
        yield from _column_findings(table, column, accepted)
    unreadable = [column for column in _COLUMNS[name] if column in table.columns and not _readable(table, column)]
    if unreadable:
        yield Finding(
            "error",
            name,
            f"the role {place.role} may not read {', '.join(unreadable)}; let the table's owner run",
            f"GRANT SELECT ON {_full_name(place.schema, name)} TO {_quoted(place.role)};",
        )
    if table.hides_rows:
        yield Finding(
            "advice",
            name,
            f"row-level security applies to the role {place.role}: rows that no policy shows it are left out; let the "
            "table's owner run this, if the pipeline is to see all",
            f"CREATE POLICY snapshot_pipeline_reads ON {_full_name(place.schema, name)} FOR SELECT TO "
            f"{_quoted(place.role)} USING (true);",
        )


def _column_findings(table: _FoundTable, column: str, accepted: _Accepted) -> Iterator[Finding]:
    found = table.columns.get(column)
    if found is None:
        if (table.name, column) in _NOT_READ:
            yield Finding("advice", table.name, f"has no column {column} ({accepted.words}); nothing reads it so far")
        else:
            yield Finding("error", table.name, f"has no column {column} ({accepted.words}); add it, {_INSTEAD}")
    elif not _is_accepted(found, accepted):
        yield Finding(
            "error",
            table.name,
            f"the column {column} is {found.shown_type}; expected {accepted.words}: change its type, {_INSTEAD}",
        )
    elif column == "time_spent_minutes" and found.type_name not in _INTEGERS:
        yield Finding(
            "advice",
            table.name,
            f"the column {column} is {found.shown_type} and is read as whole minutes, rounded; expected integer",
        )


def _is_accepted(found: _FoundColumn, accepted: _Accepted) -> bool:
    return not accepted.type_names or found.type_name in accepted.type_names or (accepted.or_enum and found.is_enum)


def _readable(table: _FoundTable, column: str) -> bool:
    return (table.name, column) in _NOT_READ or table.columns[column].is_readable


# ---- Rows --------------------------------------------------------------------------------------------------------


class _Rows:
    """Asks for one row of figures at a time, read-only and with a time limit."""

    def __init__(self, engine: Engine, schema: str, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self.schema = schema
        metadata = MetaData(schema=schema)
        self.tables = {
            name: Table(name, metadata, *(Column(column) for column in columns)) for name, columns in _COLUMNS.items()
        }

    def findings(
        self, table: str, question: str, query: Executable, judge: Callable[[Row[Any]], Finding | None]
    ) -> Iterator[Finding]:
        """Judge the query's one row; a look that takes too long or fails becomes a finding itself."""
        try:
            with self._engine.begin() as connection:
                connection.execute(text("SET TRANSACTION READ ONLY"))
                limit = str(max(1, round(self._seconds * 1000)))
                connection.execute(select(func.set_config("statement_timeout", limit, True)))
                row = connection.execute(query).one()
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) == _QUERY_CANCELED:
                took = f"was not verified: the look at the rows took longer than {self._seconds:g} s and was given up"
                yield Finding("advice", table, f"{question} {took}; run the check again at a quiet hour")
            else:
                yield Finding("error", table, f"cannot be read: {_line(error)}; mend the table or view")
            return
        if (finding := judge(row)) is not None:
            yield finding


def _row_findings(tables: dict[str, _FoundTable], rows: _Rows) -> Iterator[Finding]:
    yield from _student_findings(tables, rows)
    for name, columns in _KEYS.items():
        if name in tables and tables[name].can_be_asked(*columns) and not tables[name].is_unique(columns):
            yield from _duplicate_findings(tables[name], columns, rows)
    for name, column, target in _REFERENCES:
        if (
            name in tables
            and target in tables
            and tables[name].can_be_asked(column)
            and tables[target].can_be_asked("id")
            and (column, target) not in tables[name].references
        ):
            yield from _unknown_findings(name, column, target, rows)


def _student_findings(tables: dict[str, _FoundTable], rows: _Rows) -> Iterator[Finding]:
    if "users" not in tables or not tables["users"].can_be_asked("role", "is_active"):
        return
    users = rows.tables["users"]
    student = and_(func.upper(cast(users.c.role, String)) == "STUDENT", users.c.is_active)

    def judge(row: Row[Any]) -> Finding | None:
        if row.has_students:
            return None
        return Finding(
            "advice",
            "users",
            "nobody is an active student (role STUDENT in any case, is_active true), so no snapshot would be "
            "published; look at the words that stand in role",
        )

    query = select(exists(select(literal(1)).select_from(users).where(student)).label("has_students"))
    yield from rows.findings("users", "whether there are students", query, judge)


def _duplicate_findings(table: _FoundTable, columns: tuple[str, ...], rows: _Rows) -> Iterator[Finding]:
    source = rows.tables[table.name]
    key = [source.c[column] for column in columns]
    repeated = (
        select(*key, func.count().label("how_often"))
        .where(*(column.is_not(None) for column in key))
        .group_by(*key)
        .having(func.count() > 1)
        .cte("repeated")
    )
    example = select(*repeated.c).order_by(*(repeated.c[column] for column in columns)).limit(1).cte("example")
    count = select(func.count()).select_from(repeated).scalar_subquery()
    query = select(count.label("repeated_keys"), *(select(part).scalar_subquery() for part in example.c))
    names = ", ".join(columns)

    def judge(row: Row[Any]) -> Finding | None:
        repeated_keys, *values, how_often = tuple(row)
        if repeated_keys:
            shown = ", ".join(f"{column} {number}" for column, number in zip(columns, values, strict=True))
            return Finding(
                "error",
                table.name,
                f"{_counted(repeated_keys, f'({names}) stands', f'({names}) stand')} in more than one row, e.g. "
                f"{shown} in {how_often}: such rows would count twice; keep one of each",
            )
        if table.kind not in _TAKES_CONSTRAINTS:
            return None
        return Finding(
            "advice",
            table.name,
            f"no row repeats ({names}) now, but nothing prevents it; a unique index would",
            _create_index(table, columns, source, unique=True),
        )

    yield from rows.findings(table.name, f"whether rows repeat ({names})", query, judge)


def _unknown_findings(name: str, column: str, target: str, rows: _Rows) -> Iterator[Finding]:
    source, known = rows.tables[name].c[column], rows.tables[target].c.id
    query = select(func.count().label("how_many"), func.min(source).label("example")).where(
        source.is_not(None), ~exists(select(literal(1)).where(known == source))
    )

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        subject = _counted(row.how_many, "row has", "rows have")
        return Finding(
            "advice",
            name,
            f"{subject} a {column} that {target} does not know, e.g. {row.example}; they are ignored: delete them, or "
            f"find out where the {target} went",
        )

    yield from rows.findings(name, f"whether {target} knows every {column}", query, judge)


# ---- Indexes -----------------------------------------------------------------------------------------------------


def _index_findings(tables: dict[str, _FoundTable], rows: _Rows) -> Iterator[Finding]:
    for advised in ADVISED_INDEXES:
        table = tables.get(advised.table)
        if table is None or table.kind not in _TAKES_INDEXES or not set(advised.columns) <= set(table.columns):
            continue
        serving = [index for index in table.indexes if index.columns[: len(advised.columns)] == advised.columns]
        if any(index.is_valid for index in serving):
            continue
        columns = ", ".join(advised.columns)
        if serving:
            message = (
                f"the index {serving[0].name} is not valid (it was interrupted while it was built); build it again"
            )
            statement = f"REINDEX INDEX CONCURRENTLY {_full_name(rows.schema, serving[0].name)};"
        else:
            message = (
                f"no index begins with ({columns}), so {advised.reason} are looked for in the whole table; create it"
            )
            statement = _create_index(table, advised.columns, rows.tables[table.name], unique=False)
        yield Finding("advice", table.name, message, statement)


def _create_index(table: _FoundTable, columns: tuple[str, ...], source: Table, *, unique: bool) -> str:
    name = f"{table.name}_{'_'.join(columns)}_{'key' if unique else 'idx'}"
    # IF NOT EXISTS would do nothing where the name is taken by an index over something else.
    taken = name in table.relation_names
    index = Index(
        f"{name}_2" if taken else name,
        *(source.c[column] for column in columns),
        unique=unique,
        # PostgreSQL has no CONCURRENTLY for a partitioned table.
        postgresql_concurrently=table.kind != _PARTITIONED,
    )
    return " ".join(str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT)).split()) + ";"


# ---- The catalogs ------------------------------------------------------------------------------------------------

_PLACE = text(
    """
    SELECT current_user::text AS role, current_database()::text AS database,
        platform.oid IS NOT NULL AS schema_exists,
        coalesce(has_schema_privilege(platform.oid, 'USAGE'), false) AS may_use_schema,
        store.oid IS NOT NULL AS store_schema_exists,
        coalesce(has_schema_privilege(store.oid, 'USAGE'), false) AS may_use_store,
        coalesce(has_schema_privilege(store.oid, 'CREATE'), false) AS may_create_in_store,
        has_database_privilege(current_database(), 'CREATE') AS may_create_schema
    FROM (SELECT 1) AS one
    LEFT JOIN pg_catalog.pg_namespace platform ON platform.nspname = :schema
    LEFT JOIN pg_catalog.pg_namespace store ON store.nspname = :store_schema
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
        pg_catalog.format_type(a.atttypid, a.atttypmod) AS shown_type,
        coalesce(base.typname, type.typname)::text AS type_name,
        coalesce(base.typtype, type.typtype) = 'e' AS is_enum,
        has_column_privilege(c.oid, a.attnum, 'SELECT') AS is_readable
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
            FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS key(attnum, place)
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = key.attnum
            WHERE key.place <= x.indnkeyatts ORDER BY key.place
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


def _read_place(connection: Connection, schema: str, store_schema: str) -> _Place:
    row = connection.execute(_PLACE, {"schema": schema, "store_schema": store_schema}).one()
    return _Place(schema=schema, store_schema=store_schema, **row._mapping)


def _read_tables(connection: Connection, schema: str) -> dict[str, _FoundTable]:
    asked = {"schema": schema, "names": list(TABLE_NAMES)}
    relation_names = frozenset(connection.execute(_RELATION_NAMES, asked).scalars())
    found = connection.execute(_TABLES, asked)
    tables = {name: _FoundTable(name, kind, hides_rows, relation_names) for name, kind, hides_rows in found}
    for table_name, name, *properties in connection.execute(_TABLE_COLUMNS, asked):
        if table_name in tables:
            tables[table_name].columns[name] = _FoundColumn(*properties)
    for table_name, name, is_unique, is_valid, columns in connection.execute(_INDEXES, asked):
        tables[table_name].indexes.append(_FoundIndex(name, tuple(columns), is_unique, is_valid))
    for table_name, column, target in connection.execute(_FOREIGN_KEYS, asked):
        tables[table_name].references.add((column, target))
    return tables


# ---- Words -------------------------------------------------------------------------------------------------------


def _quoted(name: str) -> str:
    return str(_DIALECT.identifier_preparer.quote(name))


def _full_name(schema: str, name: str) -> str:
    return f"{_quoted(schema)}.{_quoted(name)}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _line(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
