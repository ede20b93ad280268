"""What `dagster.yaml` names, what Celery workers run, and every private interface of Dagster that we use."""
