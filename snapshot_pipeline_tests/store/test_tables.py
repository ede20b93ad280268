"""Our tables and the platform's have descriptions, which the docs and the Dagster UI show."""

from __future__ import annotations

import pytest
from sqlalchemy import Table

from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.store.tables import DESCRIPTION, StoreTables

OURS = list(StoreTables.of("public").metadata.tables.values())
PLATFORM = list(platform_metadata("public").tables.values())


@pytest.mark.parametrize("table", OURS + PLATFORM, ids=lambda table: table.name)
def test_every_column_has_a_description(table: Table):
    unexplained = [column.name for column in table.columns if not column.doc or not column.doc.endswith(".")]
    assert unexplained == []


def test_every_own_table_describes_its_row():
    assert [table.name for table in OURS if not table.info.get(DESCRIPTION, "").startswith("One row per ")] == []
