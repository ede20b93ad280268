"""All that is Dagster: assets, checks, partitions, jobs, schedules, and what `dagster.yaml` names.

Put here: one module per kind of Dagster object; `build.build_defs` puts them together.
Do not put here: arithmetic, queries, rules; an asset reads its partition, calls `pipeline` and reports.
See https://docs.dagster.io/getting-started/concepts.
"""

from snapshot_pipeline.gc_settings import collect_less_often

# Every process of Dagster comes by here, with Dagster imported and SQLAlchemy and pandas still to come.
collect_less_often()
