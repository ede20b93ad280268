"""The tests of Dagster's objects run on a real instance."""

from snapshot_pipeline_tests.installation import installation

__all__ = ["installation"]
