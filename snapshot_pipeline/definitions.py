"""The definitions that Dagster loads."""

import dagster as dg

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Build the definitions of this installation."""
    return build_defs(load_settings())
