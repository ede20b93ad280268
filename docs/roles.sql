-- Create the two roles of the pipeline: one that creates its tables, and one that runs it.
--
--   snapshot_migrator   creates and owns the pipeline's tables; used only for `snapshot-pipeline db migrate`.
--   snapshot_pipeline   reads the platform's tables, reads and writes the pipeline's; cannot create, alter or drop any.
--
-- Run this once in the platform's database, as a superuser, or as a role that owns the database and the platform's
-- tables and may create roles:
--
--   psql "$OWNER_URL" -v ON_ERROR_STOP=1 -v migrator_password=... -v pipeline_password=... -f docs/roles.sql
--
-- Then, with SNAPSHOT_STORE_SCHEMA=snapshots in both cases:
--
--   SNAPSHOT_DATABASE_URL=postgresql://snapshot_migrator:...@host/platform snapshot-pipeline db migrate
--   SNAPSHOT_DATABASE_URL=postgresql://snapshot_pipeline:...@host/platform snapshot-pipeline check
--
-- Dagster's own database belongs to the second role: CREATE DATABASE dagster OWNER snapshot_pipeline;
--
-- After an upgrade of the pipeline, run the first of these two again. For other names add -v pipeline=...,
-- -v migrator=..., -v platform_schema=..., -v store_schema=... To give access to the role of the application:
--
--   GRANT USAGE ON SCHEMA snapshots TO application;
--   GRANT SELECT ON ALL TABLES IN SCHEMA snapshots TO application;
--   GRANT UPDATE (is_active, dismissed_at) ON snapshots.adaptive_recommendations TO application;

\if :{?pipeline} \else \set pipeline snapshot_pipeline \endif
\if :{?migrator} \else \set migrator snapshot_migrator \endif
\if :{?platform_schema} \else \set platform_schema public \endif
\if :{?store_schema} \else \set store_schema snapshots \endif

CREATE ROLE :"migrator" LOGIN PASSWORD :'migrator_password' NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 5;
CREATE ROLE :"pipeline" LOGIN PASSWORD :'pipeline_password' NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 100;

SELECT current_database() AS database \gset
GRANT CONNECT ON DATABASE :"database" TO :"migrator";
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"pipeline";

CREATE SCHEMA IF NOT EXISTS :"store_schema";
GRANT USAGE, CREATE ON SCHEMA :"store_schema" TO :"migrator";
GRANT USAGE ON SCHEMA :"store_schema" TO :"pipeline";

-- The pipeline may read and write all tables that the migrator creates from now on.
GRANT :"migrator" TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE :"migrator" IN SCHEMA :"store_schema"
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"pipeline";
REVOKE :"migrator" FROM CURRENT_USER;

-- Read access to these tables of the platform only; exercise_submissions is optional.
GRANT USAGE ON SCHEMA :"platform_schema" TO :"pipeline";
SELECT format('GRANT SELECT ON %I.%I TO %I', :'platform_schema', name, :'pipeline')
  FROM unnest(ARRAY['users', 'lessons', 'user_lesson_progress', 'quizzes', 'quiz_attempts', 'exercise_submissions'])
       AS name
 WHERE to_regclass(format('%I.%I', :'platform_schema', name)) IS NOT NULL
\gexec
