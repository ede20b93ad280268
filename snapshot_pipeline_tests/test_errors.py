"""Which error messages may be sent in alerts and telemetry."""

from __future__ import annotations

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.pipeline.batches import SystematicError
from snapshot_pipeline.platform.csv_files import CsvFileError


def test_only_messages_that_cannot_quote_a_student_are_sent():
    assert text_to_send(SnapshotPipelineError("schema 'nowhere' has no tables")) == "schema 'nowhere' has no tables"
    for error in (ValueError("student 17"), SystematicError("the last one: student 17"), CsvFileError("row 17")):
        sent = text_to_send(error)
        assert "17" not in sent
        assert type(error).__name__ in sent
