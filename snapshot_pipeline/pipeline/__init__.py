"""Runs: read from the platform, compute, publish to our tables, one batch of students at a time.

A day passes eight stations from the schedule to its SQL: `daily_snapshots_schedule`, the asset `performance_snapshots`,
`run_days`, `BatchExecutor.map_batches`, `SnapshotWork`, `read_history`, `PlatformReader`, SQL.

Nothing here imports Dagster, so a batch runs wherever Python does. Queries belong to `platform` and `store`, arithmetic
to `metrics`, rules to `recommendations`.
"""
