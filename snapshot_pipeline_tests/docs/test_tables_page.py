"""`docs/tables.md` matches the table definitions."""

from __future__ import annotations

import runpy

from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.installation import PROJECT

PAGE = PROJECT / "docs" / "tables.md"


def test_the_page_is_current():
    generated = runpy.run_path(str(PROJECT / "docs" / "make_tables.py"))["page"]()
    assert PAGE.read_text(encoding="utf-8") == generated, "a table has changed: run `make docs`"


def test_every_table_and_column_has_a_description():
    sections = {section.split("`")[1]: section for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]}
    tables = [*StoreTables.of("public").metadata.tables.values(), *platform_metadata("public").tables.values()]
    assert list(sections) == [table.name for table in tables]
    for table in tables:
        lines = [line for line in sections[table.name].splitlines() if line.startswith("| `")]
        assert [line.split("`")[1] for line in lines] == [column.name for column in table.columns]
        for line in lines:
            assert line.split(" | ")[3].strip(" |").endswith("."), f"{table.name}: no sentence in {line}"


def test_a_computed_column_names_the_columns_it_is_computed_from():
    (line,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `quiz_average` "))
    assert "Computed from `quiz_attempts.completed_at`, `quiz_attempts.score`." in line
