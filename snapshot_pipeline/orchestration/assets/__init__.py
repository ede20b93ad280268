"""The assets, one module each: the platform's tables, the daily assets and the weekly assets.

Put here: read the partition, call `pipeline`, report metadata and check results.
Do not put here: anything that works without Dagster. See https://docs.dagster.io/guides/build/assets.
"""
