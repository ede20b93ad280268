"""Publishing without Dagster; apart from the other modules, whose imports a child process would wait for."""

from __future__ import annotations

from datetime import date

from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.settings import Settings


def publish(settings: Settings, first: date, last: date) -> None:
    """Compute and publish the days in this process, without Dagster."""
    with open_installation(settings) as installation:
        run_days(installation, first, last, "without Dagster")
