"""The initial migration: every table of `store.tables`, and the functions that create and drop months.

Revision: initial. No release exists yet, so this migration follows the table definitions; the first release freezes it.
"""

from alembic import context, op

from snapshot_pipeline.postgres.urls import quote_identifier
from snapshot_pipeline.store.tables import StoreTables

revision = "initial"
down_revision = None

# The nightly role may create and drop months without the right to create or drop anything else: the functions run as
# the owner of the table. They set their own search path, and touch no table of another owner.
_CREATE_MONTH = """
CREATE OR REPLACE FUNCTION {schema}.make_snapshot_partition(parent regclass, first date, until date, name text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO'
AS $function$
DECLARE
  place record;
  month date := date_trunc('month', first);
  next_month date := date_trunc('month', first) + interval '1 month';
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
  -- A month, or what other partitions have left of one: each of its bounds is the month's or another partition's.
  IF (first >= until OR until > next_month OR NOT isfinite(first)
      OR first <> month AND NOT EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
         WHERE i.inhparent = parent AND pg_get_expr(c.relpartbound, c.oid) LIKE format('%% TO (%L)', first))
      OR until <> next_month AND NOT EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
         WHERE i.inhparent = parent AND pg_get_expr(c.relpartbound, c.oid) LIKE format('%% FROM (%L) TO %%', until))
  ) IS NOT FALSE THEN
    RAISE EXCEPTION 'not a month, or the rest of one: % to %', first, until USING ERRCODE = '22023';
  END IF;
  IF name IS DISTINCT FROM 'performance_snapshots_'
      || to_char(first, CASE WHEN first = month AND until = next_month THEN 'YYYY_MM' ELSE 'YYYY_MM_DD' END) THEN
    RAISE EXCEPTION 'not the name of this partition of performance_snapshots: %', name USING ERRCODE = '42602';
  END IF;
  -- Created apart and then attached, because CREATE TABLE ... PARTITION OF would block all readers of the parent. With
  -- the constraint PostgreSQL need not scan the new table.
  EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING ALL, CONSTRAINT its_days CHECK (snapshot_date >= %L AND '
                 'snapshot_date < %L)) %s', place.schema, name, parent, first, until, place.tablespace);
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                 parent, place.schema, name, first, until);
  EXECUTE format('ALTER TABLE %I.%I DROP CONSTRAINT its_days', place.schema, name);
END
$function$
"""
_DROP_MONTH = """
CREATE OR REPLACE FUNCTION {schema}.drop_snapshot_partition(parent regclass, partition regclass)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
AS $function$
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


def upgrade() -> None:
    """Create the tables and functions in the configured schema."""
    schema = str(context.config.attributes["schema"])
    connection = op.get_bind()
    StoreTables.of(schema).metadata.create_all(connection, checkfirst=False)
    for statement in (_CREATE_MONTH, _DROP_MONTH):
        # As driver SQL without parameters: the statements, and a schema's name, may contain % and colons.
        connection.exec_driver_sql(
            statement.replace("{schema}", quote_identifier(schema)), execution_options={"no_parameters": True}
        )
