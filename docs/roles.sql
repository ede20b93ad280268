-- Create the two roles of the pipeline: one that creates its tables, and one that runs it.
--
--   snapshot_migrator   creates and owns the pipeline's tables; used only for `snapshot-pipeline db migrate`.
--   snapshot_pipeline   reads the platform's tables, reads and writes the pipeline's; cannot create, alter or drop any.
--
-- Run this in the platform's database, as a superuser, or as a role that owns the database and the platform's tables
-- and may create roles. Running it again sets the passwords and repeats the grants:
--
--   psql "$OWNER_URL" -v ON_ERROR_STOP=1 -v migrator_password=... -v pipeline_password=... -f docs/roles.sql
--
-- Then:
--
--   SNAPSHOT_DATABASE_URL=postgresql://snapshot_migrator:...@host/platform snapshot-pipeline db migrate
--   SNAPSHOT_DATABASE_URL=postgresql://snapshot_pipeline:...@host/platform snapshot-pipeline check
--
-- After an upgrade of the pipeline, run the first of these two again. For other names add -v pipeline=...,
-- -v migrator=..., -v platform_schema=..., -v store_schema=... (then set SNAPSHOT_STORE_SCHEMA to the last one).
--
-- Dagster's own database belongs to the second role, and is named after the platform's:
--
--   CREATE DATABASE platform_dagster OWNER snapshot_pipeline;
--
-- If there can be only one database, add -v dagster_schema=dagster: Dagster's tables then get that schema of the
-- platform's database (docs/operations.md, "Dagster's database").
--
-- To give access to the role of the application:
--
--   GRANT USAGE ON SCHEMA snapshots TO application;
--   GRANT SELECT ON ALL TABLES IN SCHEMA snapshots TO application;
--   GRANT UPDATE (is_active, dismissed_at) ON snapshots.adaptive_recommendations TO application;

\if :{?pipeline} \else \set pipeline snapshot_pipeline \endif
\if :{?migrator} \else \set migrator snapshot_migrator \endif
\if :{?platform_schema} \else \set platform_schema public \endif
\if :{?store_schema} \else \set store_schema snapshots \endif

SELECT format('CREATE ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE', name)
  FROM unnest(ARRAY[:'migrator', :'pipeline']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
ALTER ROLE :"migrator" LOGIN PASSWORD :'migrator_password' CONNECTION LIMIT 5;
ALTER ROLE :"pipeline" LOGIN PASSWORD :'pipeline_password' CONNECTION LIMIT 100;

SELECT current_database() AS database \gset
GRANT CONNECT ON DATABASE :"database" TO :"migrator";
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"pipeline";

SET client_min_messages = warning; -- no notice for what exists already
CREATE SCHEMA IF NOT EXISTS :"store_schema";
GRANT USAGE, CREATE ON SCHEMA :"store_schema" TO :"migrator";
GRANT USAGE ON SCHEMA :"store_schema" TO :"pipeline";

-- In English messages the pipeline finds the missing GRANT. Only a superuser or a role granted SET may set lc_messages.
SELECT current_setting('is_superuser')::boolean AS may_set_lc_messages,
       :SERVER_VERSION_NUM >= 150000 AS has_parameter_privileges \gset
\if :has_parameter_privileges
  SELECT has_parameter_privilege('lc_messages', 'SET') AS may_set_lc_messages \gset
\endif
\if :may_set_lc_messages
  ALTER ROLE :"migrator" IN DATABASE :"database" SET lc_messages = 'C';
  ALTER ROLE :"pipeline" IN DATABASE :"database" SET lc_messages = 'C';
\else
  \echo 'lc_messages stays as it is, since' :USER 'may not set it: the pipeline shows messages in the language of the server'
\endif

-- The pipeline may read and write all tables of the migrator, present and future; pg_dump also reads their sequences.
GRANT :"migrator" TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE :"migrator" IN SCHEMA :"store_schema"
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"pipeline";
ALTER DEFAULT PRIVILEGES FOR ROLE :"migrator" IN SCHEMA :"store_schema" GRANT SELECT ON SEQUENCES TO :"pipeline";
SELECT format(CASE relkind WHEN 'S' THEN 'GRANT SELECT ON SEQUENCE %s TO %I'
                           ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %s TO %I' END, oid::regclass, :'pipeline')
  FROM pg_class
 WHERE relnamespace = quote_ident(:'store_schema')::regnamespace AND relowner = quote_ident(:'migrator')::regrole
   AND relkind IN ('r', 'p', 'S')
\gexec
REVOKE :"migrator" FROM CURRENT_USER;

-- Read access to these tables of the platform only; exercise_submissions is optional.
GRANT USAGE ON SCHEMA :"platform_schema" TO :"pipeline";
SELECT format('GRANT SELECT ON %I.%I TO %I', :'platform_schema', name, :'pipeline')
  FROM unnest(ARRAY['users', 'lessons', 'user_lesson_progress', 'quizzes', 'quiz_attempts', 'exercise_submissions'])
       AS name
 WHERE to_regclass(format('%I.%I', :'platform_schema', name)) IS NOT NULL
\gexec

-- Dagster creates its tables in the first schema of the search path. The pipeline itself names the schema of each table.
\if :{?dagster_schema}
CREATE SCHEMA IF NOT EXISTS :"dagster_schema";
GRANT USAGE, CREATE ON SCHEMA :"dagster_schema" TO :"pipeline";
ALTER ROLE :"pipeline" IN DATABASE :"database" SET search_path TO :"dagster_schema";
\endif
