"""Runs: read from the platform, compute, publish to our tables, one batch of students at a time.

Nothing here imports Dagster, so a batch runs wherever Python does. Queries belong to `platform` and `store`, arithmetic
to `metrics`, rules to `recommendations`. The calls of a nightly run: docs/architecture.md.
"""
