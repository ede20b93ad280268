"""`performance_snapshots` becomes partitioned by month; the rows that are there become one partition.

Revision: 0003, of 2026-11-25.

The old table is attached as it stands, as the partition of all days before the first of the month after its last one
(and after today): no row is moved, its indexes become those of the partition, and readers wait for a moment only. That
it holds no later day is proven beforehand, beside readers and writers (`prepare`).
"""

from datetime import date, datetime, timezone

import sqlalchemy as sa
from alembic import context, op

from snapshot_pipeline.errors import SnapshotPipelineError

revision = "0003"
down_revision = "0002"

_TABLE = "performance_snapshots"
_PROOF = "performance_snapshots_before"

_KIND_AND_PROOF = sa.text(
    """
    SELECT c.oid::bigint AS oid, c.relkind = 'r' AS is_plain, pg_get_userbyid(c.relowner) AS owner,
           proof.convalidated AS is_proven
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      LEFT JOIN pg_constraint AS proof ON proof.conrelid = c.oid AND proof.conname = :proof
     WHERE n.nspname = :schema AND c.relname = :table
    """
)
# What belongs to the old table by its number, not by its name, and cannot be brought along.
_NOT_BROUGHT_ALONG = sa.text(
    """
    SELECT 'the materialized view ' || view.oid::regclass
      FROM pg_depend AS d
      JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
      JOIN pg_class AS view ON view.oid = r.ev_class AND view.relkind = 'm'
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = :oid
    UNION SELECT 'the function ' || objid::regprocedure FROM pg_depend
           WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = :oid
    UNION SELECT 'the rule ' || rulename FROM pg_rewrite WHERE ev_class = :oid
    UNION SELECT 'the trigger ' || tgname FROM pg_trigger WHERE tgrelid = :oid AND NOT tgisinternal
    UNION SELECT 'the policy ' || polname FROM pg_policy WHERE polrelid = :oid
    UNION SELECT 'row-level security' FROM pg_class WHERE oid = :oid AND relrowsecurity
    UNION SELECT 'the foreign key ' || conname FROM pg_constraint
           WHERE contype = 'f' AND (conrelid = :oid OR confrelid = :oid)
    UNION SELECT 'the publication ' || pubname FROM pg_publication_rel AS p JOIN pg_publication ON p.prpubid =
          pg_publication.oid WHERE p.prrelid = :oid
    UNION SELECT 'its parent table' FROM pg_inherits WHERE inhrelid = :oid
    UNION SELECT 'the child table ' || inhrelid::regclass FROM pg_inherits WHERE inhparent = :oid
     ORDER BY 1
    """
)
_VIEWS = sa.text(
    """
    SELECT DISTINCT format('CREATE OR REPLACE VIEW %s%s AS %s', view.oid::regclass,
                  ' WITH (' || nullif(array_to_string(view.reloptions, ', '), '') || ')', pg_get_viewdef(view.oid))
      FROM pg_depend AS d
      JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
      JOIN pg_class AS view ON view.oid = r.ev_class AND view.relkind = 'v'
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = :oid
    """
)
_GRANTS = sa.text(
    """
    SELECT format('GRANT %s%s ON %I.%I TO %s%s', given.privilege_type, ' (' || quote_ident(attname) || ')', :schema,
                  :table, CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END,
                  CASE WHEN given.is_grantable THEN ' WITH GRANT OPTION' END)
      FROM (SELECT NULL::name AS attname, relacl AS acl FROM pg_class WHERE oid = :oid
            UNION ALL SELECT attname, attacl FROM pg_attribute WHERE attrelid = :oid AND NOT attisdropped) AS holder
     CROSS JOIN aclexplode(holder.acl) AS given
    """
)

# Whoever may write to the table may make and remove its months, without a right to make or drop anything else: the
# functions act as the owner of the table. They belong to nobody's search path, and touch no table of another owner.
_MAKE = """
CREATE FUNCTION {schema}.make_snapshot_partition(parent regclass, first date, until date, name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  place record;
BEGIN
  SELECT n.nspname AS schema, 'TABLESPACE ' || quote_ident(s.spcname) AS tablespace INTO place
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
   WHERE c.oid = parent AND c.relkind = 'p' AND c.relname = 'performance_snapshots'
     AND pg_get_userbyid(c.relowner) = current_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'must be owner of table performance_snapshots' USING ERRCODE = '42501',
      DETAIL = 'The table and the function make_snapshot_partition have to belong to the same role.';
  END IF;
  IF NOT has_table_privilege(session_user, parent, 'INSERT') THEN
    RAISE EXCEPTION 'permission denied for table performance_snapshots' USING ERRCODE = '42501';
  END IF;
  IF name !~ '^performance_snapshots_[0-9_]+$' THEN
    RAISE EXCEPTION 'no name of a partition of performance_snapshots: %', name USING ERRCODE = '42602';
  END IF;
  -- Made apart and then attached: CREATE TABLE ... PARTITION OF would hold up all readers of the parent. With the
  -- constraint the new table need not be looked through.
  EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING ALL, CONSTRAINT its_days CHECK (snapshot_date >= %L AND '
                 'snapshot_date < %L)) %s', place.schema, name, parent, first, until, place.tablespace);
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                 parent, place.schema, name, first, until);
  EXECUTE format('ALTER TABLE %I.%I DROP CONSTRAINT its_days', place.schema, name);
END
$function$
"""
_DROP = """
CREATE FUNCTION {schema}.drop_snapshot_partition(parent regclass, partition regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $function$
BEGIN
  PERFORM FROM pg_class AS c JOIN pg_inherits AS i ON i.inhparent = c.oid
    WHERE c.oid = parent AND i.inhrelid = partition AND c.relkind = 'p' AND c.relname = 'performance_snapshots'
      AND pg_get_userbyid(c.relowner) = current_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'must be owner of table performance_snapshots' USING ERRCODE = '42501',
      DETAIL = 'The table, its partition and the function drop_snapshot_partition have to belong to the same role.';
  END IF;
  IF NOT has_table_privilege(session_user, parent, 'DELETE') THEN
    RAISE EXCEPTION 'permission denied for table performance_snapshots' USING ERRCODE = '42501';
  END IF;
  EXECUTE format('DROP TABLE %s', partition);
END
$function$
"""


class NotBroughtAlongError(SnapshotPipelineError):
    """Something belongs to the old table that a partitioned one would not have."""


def prepare(engine: sa.Engine, schema: str) -> None:
    """Prove, beside readers and writers, that the old table holds no day after its last month.

    In transactions of its own before that of `upgrade`: looking through a large table takes its time, and the locks
    under which the constraint is made, and the table attached, must not last as long. What is done already is not done
    again.
    """
    with engine.begin() as connection:
        found = connection.execute(_KIND_AND_PROOF, _named(schema)).one_or_none()
        if found is None or not found.is_plain:
            return
        _refuse_what_stays_behind(connection, schema, found.oid)
        last = _last_day(connection, schema)
        if last is None:
            return
        table = _quoted(schema, _TABLE)
        if found.is_proven is None:
            check = f"CHECK (snapshot_date < '{_end(last)}') NOT VALID"
            _run(connection, f"ALTER TABLE {table} ADD CONSTRAINT {_PROOF} {check}")
    if not found.is_proven:
        with engine.begin() as connection:
            _run(connection, "SET LOCAL statement_timeout = 0")
            _run(connection, f"ALTER TABLE {table} VALIDATE CONSTRAINT {_PROOF}")


def upgrade() -> None:
    """Put a partitioned table in the place of the old one, and the old one into it."""
    connection, schema = op.get_bind(), str(context.config.attributes["schema"])
    table = _quoted(schema, _TABLE)
    _run(connection, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    # So that whatever a statement names is named with its schema.
    path = connection.execute(sa.text("SELECT current_setting('search_path')")).scalar_one()
    connection.execute(sa.text("SELECT set_config('search_path', 'pg_catalog', true)"))
    found = connection.execute(_KIND_AND_PROOF, _named(schema)).one()
    _refuse_what_stays_behind(connection, schema, found.oid)
    views = connection.execute(_VIEWS, {"oid": found.oid}).scalars().all()
    grants = connection.execute(_GRANTS, {"oid": found.oid, "schema": schema, "table": _TABLE}).scalars().all()
    last = _last_day(connection, schema)
    old = _put_aside(connection, schema, f"{_TABLE}_before_{_end(last):%Y_%m}")
    # As the old table was, with whatever else the installation has given it: columns, indexes, comments.
    like = f"LIKE {old} INCLUDING ALL EXCLUDING CONSTRAINTS"
    _run(connection, f"CREATE TABLE {table} ({like}) PARTITION BY RANGE (snapshot_date)")
    if last is not None:
        _run(connection, f"ALTER TABLE {table} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{_end(last)}')")
        _run(connection, f"ALTER TABLE {old} DROP CONSTRAINT IF EXISTS {_PROOF}")
    for name, statement in (("make_snapshot_partition", _MAKE), ("drop_snapshot_partition", _DROP)):
        _run(connection, statement.replace("{schema}", _quoted(schema)))
        _run(connection, f"ALTER FUNCTION {_quoted(schema, name)} OWNER TO {_quoted(found.owner)}")
    _run(connection, f"ALTER TABLE {table} OWNER TO {_quoted(found.owner)}")
    for statement in [*grants, *views]:
        _run(connection, statement)
    if last is None:
        _run(connection, f"DROP TABLE {old}")
    connection.execute(sa.text("SELECT set_config('search_path', :path, true)"), {"path": path})


def _put_aside(connection: sa.Connection, schema: str, name: str) -> str:
    """Rename the old table and its indexes, whose names the new one gets; the new name, quoted."""
    _run(connection, f"ALTER TABLE {_quoted(schema, _TABLE)} RENAME TO {_quoted(name)}")
    for suffix in ("pkey", "snapshot_date_idx"):
        index = _quoted(schema, f"{_TABLE}_{suffix}")
        _run(connection, f"ALTER INDEX {index} RENAME TO {_quoted(f'{name}_{suffix}')}")
    return _quoted(schema, name)


def _named(schema: str) -> dict[str, str]:
    return {"schema": schema, "table": _TABLE, "proof": _PROOF}


def _refuse_what_stays_behind(connection: sa.Connection, schema: str, oid: int) -> None:
    found = connection.execute(_NOT_BROUGHT_ALONG, {"oid": oid}).scalars().all()
    if found:
        raise NotBroughtAlongError(
            f"{schema}.{_TABLE} has {', '.join(found)}, which would not be at the table partitioned by month that "
            "takes its place; drop what is named, run `snapshot-pipeline db migrate`, and create it again"
        )


def _last_day(connection: sa.Connection, schema: str) -> date | None:
    table = sa.table(_TABLE, sa.column("snapshot_date", sa.Date), schema=schema)
    last: date | None = connection.execute(sa.select(sa.func.max(table.c.snapshot_date))).scalar_one()
    return last


def _end(last: date | None) -> date:
    """The first of the month after the last day, and after today: whatever is being written now belongs to it."""
    latest = max(last or date.min, datetime.now(timezone.utc).date())
    return date(latest.year + latest.month // 12, latest.month % 12 + 1, 1)


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _run(connection: sa.Connection, statement: str) -> None:
    """Run DDL as it stands: a name may hold a % or a colon."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
