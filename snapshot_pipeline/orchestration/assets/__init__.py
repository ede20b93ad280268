"""The assets, one module each: each reads its partition, calls `pipeline` and reports metadata and check results.

See https://docs.dagster.io/guides/build/assets.
"""
