"""The pools that keep two runs of a writing asset apart, each with room for one.

Put here: their names. Their limits are in `dagster.yaml`, and in the storage from the first start on (`instance`).
Do not put here: the locks in the database (`store.locks`), which hold where Dagster cannot see.
See https://docs.dagster.io/guides/operate/managing-concurrency.
"""

SNAPSHOTS = "performance_snapshots"
RECOMMENDATIONS = "adaptive_recommendations"

ALL = (SNAPSHOTS, RECOMMENDATIONS)
