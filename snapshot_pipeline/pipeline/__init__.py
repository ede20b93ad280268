"""The way of the data, put together: read, compute, publish, batch by batch.

Put here: what happens to one batch (`snapshots`, `recommendations`), how students become batches and how a batch that
raises is taken apart (`batches`), and the installation that all of it runs in (`installation`).
Do not put here: queries, arithmetic, rules, Dagster. Nothing here imports Dagster: a batch runs wherever Python does.
"""
