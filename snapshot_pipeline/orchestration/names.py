"""Names that several modules of this package share: asset groups, pools and tags.

It imports nothing: `instance.storage` needs the pools in every Dagster process, also in those that compute nothing.
"""

LEARNING_PLATFORM = "learning_platform"
"""The asset group of the platform's tables, the first part of their keys, and the resource that is their database."""

STORE = "store"
"""The resource that is the database of our tables."""

DATABASES = {LEARNING_PLATFORM, STORE}
"""The resources that everything requires which opens the installation."""

SNAPSHOTS_GROUP = "snapshots"
RECOMMENDATIONS_GROUP = "recommendations"
REPORTS_GROUP = "reports"
MONITORING_GROUP = "monitoring"

SNAPSHOTS_POOL = "performance_snapshots"
RECOMMENDATIONS_POOL = "adaptive_recommendations"

POOLS = (SNAPSHOTS_POOL, RECOMMENDATIONS_POOL)
"""Concurrency pools with one slot each, so that two runs never write the same table at the same time.

The limits are set in `dagster.yaml` and by `instance.storage`; the locks of `store.locks` also hold for processes that
Dagster does not know. See https://docs.dagster.io/guides/operate/managing-concurrency.
"""

LATE_DATA_JOB = "late_data_job"
"""The job that `late_data_sensor` launches."""

REASON_TAG = "snapshot_pipeline/reason"
"""Run tag: why the run computes its days; stored with every figure that it restates."""

DAYS_TAG = "snapshot_pipeline/days"
"""Run tag: the days that the run computes, for people; Dagster's own tags of a range say the same."""

ALLOW_STUDENT_DROP_TAG = "snapshot_pipeline/allow_student_drop"
"""Run tag, `true`: publish even if that removes more published rows of a day than SNAPSHOT_MAX_STUDENT_DROP."""

PRIORITY_TAG = "dagster/priority"
"""Run tag of Dagster: queued runs with a higher number start first; without the tag, as in a backfill, it is 0."""

SCHEDULE_PRIORITY = "2"
"""Priority of runs that a schedule requests, so that the nightly run never waits behind the runs of a backfill."""

LATE_DATA_PRIORITY = "1"
"""Priority of runs that recompute days whose rows have changed."""

SEED_TAG = "snapshot_pipeline/seed"
"""Run tag: seed of the random choice of `recompute_matches`; runs with the same seed choose the same day."""

GRAIN_TAG = "snapshot_pipeline/grain"
"""Asset tag: what one partition represents (`day` or `week`), or `now` for an asset without partitions."""
