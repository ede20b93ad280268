"""What `dagster.yaml` names, what Celery workers run, and every private interface of Dagster that we use.

Put here: storage, run launchers and log retention of the Dagster instance.
Do not put here: anything that an asset computes or reports.
"""
