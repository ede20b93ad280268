"""Everything that is Dagster: assets, checks, jobs, schedules, sensors, and the classes that `dagster.yaml` names.

`definitions.py` calls `build.build_defs(settings)`, which builds new objects from the settings and connects to nothing:

- `assets/`: the platform's tables, the daily assets `performance_snapshots` and `cohort_summary`, the weekly assets
  `adaptive_recommendations`, `at_risk_students` and `weekly_report`, and what monitoring shows: `incidents` and
  `recomputed_day`.
- `checks` (of a day or a week) and `platform_checks`.
- `jobs`, `manual_jobs` and `housekeeping`; `schedules` and `sensors` start them.
- `partitions` and `names`: what the objects share. `steps`: what every step runs in.
- `incident_scan/`: what `incident_scan_sensor` finds.
- `instance/`: storage, run launchers and log retention of the Dagster instance, and all private interfaces of Dagster.

Put here: one module per kind of Dagster object. Do not put here: arithmetic, SQL or rules, which work without Dagster.
See https://docs.dagster.io/getting-started/concepts.
"""

from snapshot_pipeline.gc_settings import collect_less_often

# Every Dagster process imports this package, after Dagster and before SQLAlchemy and pandas.
collect_less_often()
