"""The commands that run something do so on a real instance."""

from snapshot_pipeline_tests.installation import installation

__all__ = ["installation"]
