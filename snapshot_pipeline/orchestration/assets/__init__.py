"""The assets, one a module: what the platform has, what is computed by day, what is computed by week.

Put here: partition in, `pipeline` called, metadata and check results out.
Do not put here: anything that can be done without Dagster.
See https://docs.dagster.io/guides/build/assets.
"""
